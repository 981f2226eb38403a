"""Whatever the datastore holds, BIRD takes the configuration that is made of it: one object that it cannot be told of must not
keep it from what all others say. Objects are as whoever may write them could, past any validation."""

import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tortie.api.bgp import BGPConfiguration, BGPPeer
from tortie.api.bgp_filter import BGPFilter
from tortie.api.endpoint import WorkloadEndpoint
from tortie.api.ippool import IPPool
from tortie.api.node import Node
from tortie.api.resource import Resource, Update
from tortie.base.process import run_blocking
from tortie.bgp.config import render
from tortie.bgp.limits import why_refused
from tortie.calc.bgp import BgpStage
from tortie.calc.problems import Problems
from tortie.intent.routing import Bgp

BIRD = shutil.which("bird", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

SESSION = re.compile(r"protocol bgp (Mesh|Global|Node|Local_Workload)_[0-9a-f_]+(_port_[0-9]+)? {")

EVIL = ['x";}', "x'", "x\n}", "/* x", "x */", "# x", "\\", "", "*", "\u00e9", "reject", "'; } protocol bgp mine {", "a" * 300]
ADDRESSES = ["172.18.0.9", "fd00:18::9", "fe80::1", "fe80::1%eth0", "::", "::1", "ff02::1", "0.0.0.0", "224.0.0.1", "127.0.0.1"]
ADDRESSES += ["255.255.255.255", "240.0.0.1", "::ffff:10.0.0.1", "10.0.0.1:0", "10.0.0.1:99999", "[fd00::9]:1179", "172.18.0.1"]
NETS = ["10.0.0.0/8", "10.1.2.3/9", "0.0.0.0/0", "::/0", "fd00::/8", "224.0.0.0/4", "10.0.0.1/32", "fe80::/64", "10.0.0.0/33"]
NUMBERS = [-1, 0, 1, 64512, 65535, 65536, 2**31 - 2, 2**31 - 1, 2**32 - 1, 2**32, 10**18]
TEXTS = st.sampled_from(EVIL)
DURATIONS = st.sampled_from(["0s", "90s", "1h", "soon", "-1s", "9" * 400 + "s", *EVIL])
AS_NUMBERS = st.sampled_from([*NUMBERS, "64512", "1.10", "65536.1", "9" * 5000, *EVIL])
COMMUNITIES = st.sampled_from(["1:1", "65536:1", "1:2:3", "9" * 5000 + ":1", *EVIL])


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


def subset(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(values, max_size=2)


def rules(prefix: int) -> st.SearchStrategy[list[dict[str, Any]]]:
    lengths = st.sampled_from([None, 0, 8, prefix])
    operations = st.one_of(
        COMMUNITIES.map(lambda text: {"addCommunity": {"value": text}}),
        st.sampled_from([1, 2**31 - 2]).map(lambda number: {"setPriority": {"value": number}}),
        subset(st.sampled_from([0, 1, 2**32 - 1])).map(lambda path: {"prependASPath": {"prefix": path}}),
    )
    optional = {
        "cidr": st.sampled_from(NETS),
        "matchOperator": st.sampled_from(["Equal", "NotEqual", "In", "NotIn"]),
        "prefixLength": some(min=lengths, max=lengths),
        "interface": TEXTS,
        "communities": subset(COMMUNITIES).map(lambda values: {"values": values}),
        "asPathPrefix": subset(st.sampled_from([0, 1, 2**32 - 1])),
        "priority": st.sampled_from([1, 2**31 - 2]),
        "peerType": st.sampled_from(["eBGP", "iBGP"]),
        "source": st.just("RemotePeers"),
        "operations": subset(operations),
    }
    rule = st.fixed_dictionaries({"action": st.sampled_from(["Accept", "Reject"])}, optional=optional)
    return st.lists(rule, max_size=2)


FILTERS = some(exportV4=rules(32), importV4=rules(32), exportV6=rules(128), importV6=rules(128))
PEERS = some(
    peerIP=st.sampled_from([*ADDRESSES, *EVIL]),
    asNumber=AS_NUMBERS,
    localASNumber=AS_NUMBERS,
    reachableBy=st.sampled_from([*ADDRESSES, *EVIL]),
    ttlSecurity=st.sampled_from(NUMBERS),
    maxRestartTime=DURATIONS,
    keepaliveTime=DURATIONS,
    numAllowedLocalASNumbers=st.sampled_from(NUMBERS),
    nextHopMode=st.sampled_from(["Auto", "Self", "Keep"]),
    sourceAddress=st.sampled_from(["UseNodeIP", "None"]),
    filters=subset(TEXTS),
)
CONFIGURATIONS = some(
    asNumber=AS_NUMBERS,
    bindMode=st.sampled_from(["None", "NodeIP"]),
    ignoredInterfaces=subset(TEXTS),
    listenPort=st.sampled_from(NUMBERS),
    ipv4NormalRoutePriority=st.sampled_from(NUMBERS),
    ipv6NormalRoutePriority=st.sampled_from(NUMBERS),
    logSeverityScreen=st.one_of(st.just("Debug"), TEXTS),
    nodeMeshMaxRestartTime=DURATIONS,
    prefixAdvertisements=subset(some(cidr=st.sampled_from(NETS), communities=subset(COMMUNITIES))),
    localWorkloadPeeringIPV4=st.sampled_from([*ADDRESSES, *EVIL]),
    localWorkloadPeeringIPV6=st.sampled_from([*ADDRESSES, *EVIL]),
    serviceClusterIPs=subset(some(cidr=st.sampled_from([*NETS, *EVIL]))),
)
BGP_OF_NODES = some(
    ipv4Address=st.sampled_from([*ADDRESSES, *NETS, *EVIL]),
    ipv6Address=st.sampled_from([*ADDRESSES, *NETS, *EVIL]),
    asNumber=AS_NUMBERS,
    routeReflectorClusterID=st.sampled_from([*ADDRESSES, *EVIL]),
)
WORKLOAD = {"orchestrator": "k8s", "node": "n1", "endpoint": "eth0", "interfaceName": "cali1"}
BFD = st.sampled_from(["Enabled", "300ms*5", "9ms*2", *EVIL])


def stored(kind: type[Resource], name: str, spec: dict[str, Any], **annotations: str) -> Resource:
    return msgspec.convert({"metadata": {"name": name, "annotations": annotations}, "spec": spec}, kind)


def configuration_of(resources: list[Resource]) -> str | None:
    """What BIRD would be given, as the agent goes about it: sessions that it cannot be told of are left out."""
    stage = BgpStage("n1", Problems())
    for each in resources:
        stage.on_update(Update(each.key, each))
    update = stage.flush()
    if update is None or update.bgp is None:
        return None
    found: Bgp = update.bgp
    return render(replace(found, peers=tuple(peer for peer in found.peers if not why_refused(found, peer))))


@pytest.mark.skipif(BIRD is None, reason="bird2 is not installed")
@settings(max_examples=60)
@given(
    peers=st.lists(st.tuples(PEERS, BFD), max_size=2),
    spec=CONFIGURATIONS,
    filters=st.lists(st.tuples(TEXTS, FILTERS), max_size=2),
    own=BGP_OF_NODES,
    others=st.dictionaries(TEXTS, st.tuples(BGP_OF_NODES, st.sampled_from(NUMBERS)), max_size=3),
    name=TEXTS,
    pool=st.sampled_from(NETS),
    workloads=subset(subset(st.sampled_from([f"{text}/32" for text in ADDRESSES] + [f"{text}/128" for text in ADDRESSES]))),
)
def test_whatever_is_stored_bird_takes_what_is_made_of_it(
    tmp_path_factory: pytest.TempPathFactory,
    peers: list[tuple[dict[str, Any], str]],
    spec: dict[str, Any],
    filters: list[tuple[str, dict[str, Any]]],
    own: dict[str, Any],
    others: dict[str, tuple[dict[str, Any], int]],
    name: str,
    pool: str,
    workloads: list[list[str]],
) -> None:
    first = {"bgp": {"ipv4Address": "172.18.0.1/16", "ipv6Address": "fd00:18::1/64", **own}}
    text = configuration_of(
        [
            stored(Node, "n1", first),
            *(stored(Node, other, {"bgp": each}) for other, (each, _) in others.items()),
            *(stored(BGPConfiguration, f"node.{other}", {"listenPort": port}) for other, (_, port) in others.items()),
            stored(IPPool, "p", {"cidr": pool}),
            stored(BGPConfiguration, "default", spec, **{"tortie.io/bfd": peers[0][1] if peers else "Enabled"}),
            *(stored(BGPPeer, f"{name}{index}", each, **{"tortie.io/bfd": bfd}) for index, (each, bfd) in enumerate(peers)),
            *(stored(BGPFilter, filter_name, each) for filter_name, each in filters),
            stored(BGPPeer, "routers", {"localWorkloadSelector": "all()", "asNumber": 65010}),
            *(stored(WorkloadEndpoint, f"w{index}", WORKLOAD | {"ipNetworks": each}) for index, each in enumerate(workloads)),
        ]
    )
    if text is None:
        return
    path: Path = tmp_path_factory.getbasetemp() / "whatever.conf"
    path.write_text(text)
    assert BIRD is not None
    run_blocking([BIRD, "-p", "-c", str(path)]).check()
    sessions = [line for line in re.sub(r'"[^"\n]*"', "", text).splitlines() if "protocol bgp" in line]
    assert all(SESSION.fullmatch(line) for line in sessions), sessions


@pytest.mark.parametrize(
    ("kind", "name", "spec", "word"),
    [
        (BGPPeer, "tor", {"peerIP": "fe80::1", "asNumber": 65001}, "fe80::1"),
        (BGPPeer, "tor", {"peerIP": "::", "asNumber": 65001}, "::"),
        (BGPPeer, "tor", {"peerIP": "224.0.0.5", "asNumber": 65001}, "224.0.0.5"),
        (BGPPeer, "tor", {"peerIP": "192.0.2.1", "asNumber": 65001, "keepaliveTime": "soon"}, "keepaliveTime"),
        (Node, "n3", {"bgp": {"ipv6Address": "fe80::5/64"}}, "ipv6Address"),
        (Node, "n3", {"bgp": {"ipv4Address": "0.0.0.0/0"}}, "ipv4Address"),
        (Node, "n3", {"bgp": {"ipv4Address": "fd00:18::3/64"}}, "no IPv4 address"),
        (BGPConfiguration, "default", {"ignoredInterfaces": ['eth0";']}, "ignoredInterfaces"),
        (BGPConfiguration, "default", {"ignoredInterfaces": ["*"]}, "ignoredInterfaces"),
        (BGPConfiguration, "default", {"nodeMeshMaxRestartTime": "2h"}, "nodeMeshMaxRestartTime"),
    ],
)
def test_what_bird_cannot_be_told_of_is_left_out_by_name_and_the_mesh_stays(
    kind: type[Resource], name: str, spec: dict[str, Any], word: str
) -> None:
    problems = Problems()
    stage = BgpStage("n1", problems)
    for number in (1, 2):
        node = stored(
            Node, f"n{number}", {"bgp": {"ipv4Address": f"172.18.0.{number}/16", "ipv6Address": f"fd00:18::{number}/64"}}
        )
        stage.on_update(Update(node.key, node))
    odd = stored(kind, name, spec)
    stage.on_update(Update(odd.key, odd))
    update = stage.flush()
    assert update is not None
    assert update.bgp is not None
    refused = {why_refused(update.bgp, peer) for peer in update.bgp.peers} - {""}
    told = problems.by_key().get(odd.key, "")
    assert word in told or any(word in reason for reason in refused), (told, refused)
    left = [peer.name for peer in update.bgp.peers if not why_refused(update.bgp, peer)]
    assert {"Mesh_172_18_0_2", "Mesh_fd00_18__2"} <= set(left)
    assert not any("fe80" in each or "0_0_0_0" in each for each in left)
    assert "eth0" not in "".join(update.bgp.ignored_interfaces)
