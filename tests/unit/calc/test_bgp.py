"""What BIRD must do on a node: sessions, blocks, pools, and settings, whatever the order of updates."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tortie.api.bgp import BGPConfiguration, BGPConfigurationSpec, BGPPassword, BGPPeer, BGPPeerSpec, SecretKeyRef, ServiceCIDR
from tortie.api.ipam import BlockAffinity, BlockAffinitySpec
from tortie.api.ippool import IPPool, IPPoolSpec
from tortie.api.node import Node, NodeBGP, NodeSpec
from tortie.api.resource import Metadata, Resource, Update
from tortie.base.net import parse_address, parse_prefix
from tortie.calc.bgp import BgpStage
from tortie.calc.bgp_peers import parse_as_number, parse_peer_ip, parse_seconds
from tortie.calc.bgp_settings import BgpEnvironment
from tortie.calc.problems import Problems
from tortie.intent.routing import Bgp, BgpPeer, Block


def node(name: str, ipv4: str = "", ipv6: str = "", *, asn: int | str | None = None, cluster: str = "", **labels: str) -> Node:
    bgp = NodeBGP(as_number=asn, ipv4_address=ipv4, ipv6_address=ipv6, route_reflector_cluster_id=cluster)
    return Node(metadata=Metadata(name=name, labels=labels), spec=NodeSpec(bgp=bgp))


def settings(name: str = "default", **fields: Any) -> BGPConfiguration:
    return BGPConfiguration(metadata=Metadata(name=name), spec=BGPConfigurationSpec(**fields))


def peering(name: str, **fields: Any) -> BGPPeer:
    return BGPPeer(metadata=Metadata(name=name), spec=BGPPeerSpec(**fields))


def pool(name: str, cidr: str, **fields: Any) -> IPPool:
    return IPPool(metadata=Metadata(name=name), spec=IPPoolSpec(cidr=cidr, **fields))


def block(cidr: str, state: Any = "confirmed", *, owner: str = "n1", kind: str = "host") -> BlockAffinity:
    return BlockAffinity(
        metadata=Metadata(name=f"{owner}-{cidr}"), spec=BlockAffinitySpec(state=state, node=owner, cidr=cidr, type=kind)
    )


N1 = node("n1", "172.18.0.1/16", "fd00:18::1/64")
N2 = node("n2", "172.18.0.2/16", "fd00:18::2/64")
N3 = node("n3", "172.18.0.3/16")


def maybe(*resources: Resource, at: str = "n1") -> Bgp | None:
    stage = BgpStage(at)
    for resource in resources:
        stage.on_update(Update(resource.key, resource))
    update = stage.flush()
    return None if update is None else update.bgp


def calculate(*resources: Resource, at: str = "n1") -> Bgp:
    bgp = maybe(*resources, at=at)
    assert bgp is not None
    return bgp


def peers(*resources: Resource, at: str = "n1") -> dict[str, BgpPeer]:
    return {peer.name: peer for peer in calculate(*resources, at=at).peers}


NO_MESH = settings(node_to_node_mesh_enabled=False)


def test_defaults_are_those_of_calico() -> None:
    bgp = calculate(N1)
    assert (bgp.as_number, bgp.listen_port, bgp.router_id, bgp.log_level) == (64512, 179, "172.18.0.1", "Info")
    assert (bgp.ipv4_priority, bgp.ipv6_priority, bgp.programs_no_encap, bgp.bind_node_ip) == (1024, 1024, True, False)
    assert (str(bgp.ipv4), str(bgp.ipv6)) == ("172.18.0.1/16", "fd00:18::1/64")


def test_the_mesh_has_a_session_for_each_family_that_both_nodes_have() -> None:
    assert set(peers(N1, N2, N3)) == {"Mesh_172_18_0_2", "Mesh_172_18_0_3", "Mesh_fd00_18__2"}
    assert set(peers(N1, N2, N3, at="n3")) == {"Mesh_172_18_0_1", "Mesh_172_18_0_2"}


@pytest.mark.parametrize(("one", "two"), [("172.18.0.1", "172.18.0.2"), ("172.18.0.9", "172.18.0.10"), ("10.0.0.1", "9.0.0.1")])
def test_of_two_nodes_exactly_one_waits_for_the_other(one: str, two: str) -> None:
    pair = (node("n1", f"{one}/8"), node("n2", f"{two}/8"))
    (here,), (there,) = (calculate(*pair, at=name).peers for name in ("n1", "n2"))
    assert here.passive == (two > one), "addresses are compared as text"
    assert there.passive != here.passive


def test_of_two_nodes_with_one_address_the_first_by_name_has_the_session() -> None:
    both = (node("n3", "10.0.0.3/24"), node("n2", "10.0.0.3/24"), settings("node.n3", listen_port=1179))
    (session,) = peers(node("n1", "10.0.0.1/24"), *both).values()
    assert (session.name, session.port, session.description) == ("Mesh_10_0_0_3", 179, "Connection to n2")
    assert len(calculate(node("n1", "10.0.0.1/24"), *both).peers) == 1


def test_mesh_settings_reach_every_session() -> None:
    password = BGPPassword(secret_key_ref=SecretKeyRef(name="bgp", key="mesh"))
    shared = settings(as_number="1.10", listen_port=1179, node_mesh_password=password, node_mesh_max_restart_time="90500ms")
    found = peers(N1, node("n2", "172.18.0.2/16", asn=65001), N3, shared, settings("node.n3", listen_port=1180))
    two, three = found["Mesh_172_18_0_2"], found["Mesh_172_18_0_3"]
    assert (two.as_number, two.port, two.password_ref, two.restart_seconds) == (65001, 1179, ("bgp", "mesh"), 91)
    assert (three.as_number, three.port) == (65546, 1180)


def test_route_reflectors_and_a_disabled_mesh_have_no_mesh() -> None:
    reflector = node("n2", "172.18.0.2/16", cluster="244.0.0.1")
    assert peers(N1, reflector) == {}
    assert peers(N1, reflector, N3, at="n2") == {}
    assert peers(N1, N2, NO_MESH) == {}


def test_a_node_without_addresses_has_no_bgp() -> None:
    assert maybe(N2) is None
    assert maybe(Node(metadata=Metadata(name="n1")), N2) is None
    assert maybe(node("n1", "not an address", "172.18.0.1/16")) is None, "an IPv4 address is no IPv6 address"


def test_an_ipv6_only_node_has_a_router_id_from_its_name() -> None:
    bgp = calculate(node("n1", "", "fd00:18::1/64"))
    first = parse_address(bgp.router_id).packed[0]
    assert first <= 223
    assert bgp.router_id == calculate(node("n1", "", "fd00:18::9/64")).router_id
    assert bgp.router_id != calculate(node("n2", "", "fd00:18::1/64"), at="n2").router_id


def test_own_blocks_by_state() -> None:
    bgp = calculate(
        N1,
        block("10.0.0.0/26"),
        block("10.0.0.64/26", ""),
        block("10.0.0.128/26", "pending"),
        block("10.0.0.192/26", "pendingDeletion"),
        block("10.0.1.0/26", owner="n2"),
        block("10.0.2.0/26", kind="virtual"),
    )
    assert bgp.blocks == (
        Block(parse_prefix("10.0.0.0/26"), confirmed=True),
        Block(parse_prefix("10.0.0.64/26"), confirmed=True),
        Block(parse_prefix("10.0.0.192/26"), confirmed=False),
    )


def test_pools_of_the_families_that_the_node_has_and_one_for_each_cidr() -> None:
    four = node("n1", "172.18.0.1/16")
    bgp = calculate(
        four,
        pool("b", "10.0.0.0/16", ipip_mode="Always"),
        pool("a", "10.0.0.0/16", vxlan_mode="CrossSubnet", disabled=True),
        pool("v6", "fd00:10::/48"),
        pool("hidden", "10.2.0.0/16", disable_bgp_export=True),
    )
    assert [(str(item.cidr), item.ipip_mode, item.vxlan_mode, item.disable_bgp_export) for item in bgp.pools] == [
        ("10.0.0.0/16", "Never", "CrossSubnet", False),
        ("10.2.0.0/16", "Never", "Never", True),
    ]


def test_bird_is_told_what_was_decided_about_its_part_of_the_routes() -> None:
    stage = BgpStage("n1")
    stage.on_update(Update(N1.key, N1))
    decided = (parse_prefix("10.0.1.0/26"),)
    seen = []
    for programs, exceptions in ((False, ()), (False, decided), (True, ()), (True, ())):
        stage.on_routes(programs_no_encap=programs, exceptions=exceptions)
        update = stage.flush()
        seen.append(None if update is None or update.bgp is None else (update.bgp.programs_no_encap, update.bgp.exceptions))
    assert seen == [(False, ()), (False, decided), (True, ()), None]


def test_settings_of_the_cluster_and_of_the_node() -> None:
    shared = settings(
        bind_mode="NodeIP",
        ignored_interfaces=("docker*",),
        ipv4_normal_route_priority=100,
        ipv6_normal_route_priority=200,
        listen_port=1179,
    )
    bgp = calculate(
        N1, shared, settings("node.n1", listen_port=1180, log_severity_screen="Debug"), settings("node.n2", listen_port=1)
    )
    assert (bgp.bind_node_ip, bgp.ignored_interfaces, bgp.ipv4_priority, bgp.ipv6_priority) == (True, ("docker*",), 100, 200)
    assert (bgp.listen_port, bgp.log_level) == (1180, "Debug")


def test_a_peer_by_address_with_all_its_fields() -> None:
    peer = peering(
        "tor",
        peer_ip="192.0.2.1:1179",
        as_number=65001,
        local_as_number=65099,
        num_allowed_local_as_numbers=2,
        ttl_security=3,
        source_address="None",
        keepalive_time="7s",
        max_restart_time="2m",
        next_hop_mode="Self",
        reachable_by="172.18.0.254",
        password=BGPPassword(secret_key_ref=SecretKeyRef(name="s", key="k")),
    )
    (found,) = calculate(N1, NO_MESH, peer).peers
    assert (found.name, str(found.address), found.as_number, found.port) == (
        "Global_192_0_2_1_port_1179",
        "192.0.2.1/32",
        65001,
        1179,
    )
    assert (found.local_as_number, found.allowed_local_as, found.ttl_security, found.source_node_ip) == (65099, 2, 3, False)
    assert (found.keepalive_seconds, found.restart_seconds, found.next_hop_mode) == (7, 120, "Self")
    assert (found.reachable_by, found.password_ref, found.is_mesh) == (parse_address("172.18.0.254"), ("s", "k"), False)


@pytest.mark.parametrize(
    ("password", "reference", "optional"),
    [
        (None, None, False),
        (BGPPassword(secret_key_ref=SecretKeyRef(name="s", key="k")), ("s", "k"), False),
        (BGPPassword(secret_key_ref=SecretKeyRef(name="s", key="k", optional=False)), ("s", "k"), False),
        (BGPPassword(secret_key_ref=SecretKeyRef(name="s", key="k", optional=True)), ("s", "k"), True),
        (BGPPassword(), ("", ""), False),
    ],
)
def test_a_password_is_a_reference_and_one_that_names_no_secret_is_not_no_password(
    password: BGPPassword | None, reference: tuple[str, str] | None, optional: bool
) -> None:
    (peer,) = calculate(N1, NO_MESH, peering("p", peer_ip="192.0.2.1", as_number=65001, password=password)).peers
    assert (peer.password_ref, peer.password_optional) == (reference, optional)
    assert peers(N1, N2, settings(node_mesh_password=password))["Mesh_172_18_0_2"].password_ref == reference


def test_next_hops_are_kept_only_towards_another_as() -> None:
    def mode(**fields: Any) -> str:
        (found,) = calculate(N1, NO_MESH, peering("p", peer_ip="192.0.2.1", keep_original_next_hop=True, **fields)).peers
        return found.next_hop_mode

    assert mode(as_number=65001) == "Keep"
    assert mode(as_number=64512) == "Auto"
    assert mode(as_number=65001, next_hop_mode="Self") == "Self"


def test_who_has_a_peer_is_chosen_by_name_by_selector_or_is_everyone() -> None:
    rack = node("n1", "172.18.0.1/16", rack="a")
    for fields, expected in (
        ({}, {"Global_192_0_2_1"}),
        ({"node": "n1"}, {"Node_192_0_2_1"}),
        ({"node": "n2"}, set()),
        ({"node_selector": "rack == 'a'"}, {"Node_192_0_2_1"}),
        ({"node_selector": "rack == 'b'"}, set()),
        ({"node_selector": "((("}, set()),
    ):
        assert set(peers(rack, NO_MESH, peering("p", peer_ip="192.0.2.1", as_number=65001, **fields))) == expected, fields


def test_a_peer_of_everyone_wins_over_the_same_peer_of_some() -> None:
    some = peering("a", node="n1", peer_ip="192.0.2.1", as_number=65001)
    everyone = peering("b", peer_ip="192.0.2.1", as_number=65002)
    (found,) = calculate(N1, NO_MESH, some, everyone).peers
    assert (found.name, found.as_number) == ("Global_192_0_2_1", 65002)


def test_route_reflectors_peer_with_their_clients_both_ways() -> None:
    reflectors = (
        node("r1", "172.18.0.8/16", cluster="244.0.0.1", rr="y"),
        node("r2", "172.18.0.9/16", cluster="244.0.0.1", rr="y"),
    )
    everything = (NO_MESH, N1, N3, *reflectors, peering("rr", node_selector="!has(rr)", peer_selector="has(rr)"))
    client = peers(*everything)
    assert set(client) == {"Node_172_18_0_8", "Node_172_18_0_9"}
    assert not any(peer.rr_client for peer in client.values())
    reflector = peers(*everything, at="r1")
    assert set(reflector) == {"Node_172_18_0_1", "Node_172_18_0_3"}, "the way back, to clients only"
    assert all(peer.rr_client for peer in reflector.values())
    among = peers(*everything, peering("both", node_selector="has(rr)", peer_selector="has(rr)"), at="r1")
    assert among["Node_172_18_0_9"].rr_client is False, "the same cluster"


def test_the_way_back_can_be_left_to_the_user() -> None:
    manual = peering("p", node="n3", peer_selector="has(rr)", reverse_peering="Manual")
    reflector = node("r1", "172.18.0.8/16", rr="y")
    assert peers(NO_MESH, N3, reflector, manual, at="r1") == {}
    assert set(peers(NO_MESH, N3, reflector, manual, at="n3")) == {"Node_172_18_0_8"}


def test_a_peer_that_is_a_node_peers_back_if_as_and_port_are_its_own() -> None:
    for ip, asn, expected in (
        ("172.18.0.2", 64512, {"Node_172_18_0_1"}),
        ("172.18.0.2:179", 64512, {"Node_172_18_0_1"}),
        ("172.18.0.2:180", 64512, set()),
        ("172.18.0.2", 65001, set()),
        ("172.18.0.7", 64512, set()),
    ):
        found = peers(NO_MESH, N1, N2, peering("p", node="n1", peer_ip=ip, as_number=asn), at="n2")
        assert set(found) == expected, (ip, asn)


def test_a_node_is_not_its_own_peer() -> None:
    assert set(peers(NO_MESH, N1, N3, peering("all", peer_selector="all()"))) == {"Global_172_18_0_3"}
    assert peers(NO_MESH, N1, peering("p", peer_ip="172.18.0.1", as_number=64512)) == {}


def test_a_configured_peer_takes_the_place_of_the_mesh_session() -> None:
    found = peers(N1, N3, peering("p", node="n1", peer_ip="172.18.0.3", as_number=64512))
    assert set(found) == {"Node_172_18_0_3"}


@pytest.mark.parametrize(
    "fields",
    [
        {"peer_ip": "nonsense", "as_number": 65001},
        {"peer_ip": "192.0.2.1", "as_number": "x"},
        {"peer_ip": "2001:db8::1", "as_number": 65001},
    ],
)
def test_a_peer_that_cannot_be_honoured_has_no_session(fields: dict[str, Any]) -> None:
    four = node("n1", "172.18.0.1/16")
    assert peers(four, NO_MESH, peering("p", **fields)) == {}


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (64512, 64512),
        ("64512", 64512),
        ("1.10", 65546),
        ("1.65536", None),
        ("", None),
        ("-1", None),
        (0, None),
        (1 << 32, None),
        ("9" * 5000, None),
        ("1." + "9" * 5000, None),
    ],
)
def test_as_numbers(value: int | str, number: int | None) -> None:
    assert parse_as_number(value) == number


@pytest.mark.parametrize(
    ("text", "address", "port"),
    [
        ("10.0.0.1", "10.0.0.1", None),
        ("10.0.0.1:99", "10.0.0.1", 99),
        ("fd00::1", "fd00::1", None),
        ("[fd00::1]:99", "fd00::1", 99),
    ],
)
def test_peer_addresses(text: str, address: str, port: int | None) -> None:
    assert parse_peer_ip(text) == (parse_address(address), port)


def test_durations() -> None:
    assert [parse_seconds(text) for text in ("90s", "1m30s", "1h", "1500ms", "0.4s", "soon", "", None, "9" * 400 + "s")] == [
        90,
        90,
        3600,
        2,
        0,
        None,
        None,
        None,
        None,
    ]


def test_only_a_difference_is_handed_over() -> None:
    stage = BgpStage("n1")
    assert stage.flush() is None
    stage.on_update(Update(N1.key, N1))
    assert stage.flush() is not None
    relabelled = msgspec.structs.replace(N1, metadata=Metadata(name="n1", labels={"irrelevant": "yes"}))
    stage.on_update(Update(N1.key, relabelled))
    stage.on_update(Update(block("10.0.9.0/26", owner="n2").key, block("10.0.9.0/26", owner="n2")))
    assert stage.flush() is None


WORLD: tuple[Resource, ...] = (
    N1,
    N2,
    node("r1", "172.18.0.8/16", cluster="244.0.0.1", rr="y"),
    settings(as_number=64600, listen_port=1179),
    settings("node.n2", listen_port=1180),
    peering("rr", peer_selector="has(rr)"),
    peering("tor", node="n1", peer_ip="192.0.2.1", as_number=65001),
    pool("a", "10.0.0.0/16"),
    pool("b", "10.0.0.0/16", vxlan_mode="Always"),
    block("10.0.0.0/26"),
)


@given(st.permutations(WORLD), st.lists(st.sampled_from(WORLD), max_size=10), st.data())
def test_the_value_depends_on_the_state_alone_and_removal_leaves_nothing(
    order: list[Resource], flickers: list[Resource], data: st.DataObject
) -> None:
    stage, last = BgpStage("n1"), None
    for resource in (*flickers, *order):
        if resource in flickers and data.draw(st.booleans()):
            stage.on_update(Update(resource.key, None))
        stage.on_update(Update(resource.key, resource))
        if data.draw(st.booleans()) and (update := stage.flush()) is not None:
            last = update.bgp
    if (update := stage.flush()) is not None:
        last = update.bgp
    assert last == calculate(*WORLD)
    for resource in order:
        stage.on_update(Update(resource.key, None))
    update = stage.flush()
    assert update is not None
    assert update.bgp is None
    left = [name for name, value in vars(stage).items() if isinstance(value, dict) and value]
    assert left == []


def in_environment(environment: BgpEnvironment, *resources: Resource) -> Bgp | None:
    stage = BgpStage("n1", environment=environment)
    for resource in resources:
        stage.on_update(Update(resource.key, resource))
    update = stage.flush()
    return None if update is None else update.bgp


def test_what_the_nodes_environment_says_of_bgp_counts() -> None:
    ids = {
        wanted: found.router_id
        for wanted in ("", "hash", "192.0.2.7")
        if (found := in_environment(BgpEnvironment(router_id=wanted), N1)) is not None
    }
    assert ids == {"": "172.18.0.1", "hash": calculate(node("n1", ipv6="fd00:18::1/64")).router_id, "192.0.2.7": "192.0.2.7"}
    bare = in_environment(BgpEnvironment(log_level="debug", cluster_ips="10.96.0.0/12"), N1)
    assert bare is not None
    assert bare.log_level == "debug"
    assert bare.services.advertised == (parse_prefix("10.96.0.0/12"),)
    cluster = settings(log_severity_screen="Error", service_cluster_ips=(ServiceCIDR(cidr="10.112.0.0/12"),))
    configured = in_environment(BgpEnvironment(log_level="debug", cluster_ips="10.96.0.0/12"), N1, cluster)
    assert configured is not None
    assert configured.log_level == "Error"
    assert configured.services.ranges == (parse_prefix("10.96.0.0/12"),)


def test_where_there_is_no_bird_there_is_nothing_to_do_for_it() -> None:
    assert in_environment(BgpEnvironment(speaks=False), N1, N2) is None


def test_what_is_not_done_is_said_until_it_is_taken_back() -> None:
    problems = Problems()
    stage = BgpStage("n1", problems)
    for resource in (
        settings(listen_port=70000, ipv4_normal_route_priority=-1, program_cluster_routes="EnabledIPIPOnly"),
        peering("workloads", local_workload_selector="((("),
        peering("odd", peer_ip="nonsense", node_selector="((("),
        peering("fine", peer_ip="192.0.2.1", as_number=65001),
    ):
        stage.on_update(Update(resource.key, resource))
    found = {key.name: text for key, text in problems.by_key().items()}
    assert "spec.listenPort 70000" in found["default"]
    assert "spec.ipv4NormalRoutePriority -1" in found["default"]
    assert "IPIP" in found["default"]
    assert "spec.localWorkloadSelector needs spec.asNumber" in found["workloads"]
    assert "spec.localWorkloadSelector selects nothing" in found["workloads"]
    assert "spec.peerIP" in found["odd"]
    assert "spec.nodeSelector" in found["odd"]
    assert "fine" not in found
    for key in problems.by_key():
        stage.on_update(Update(key, None))
    assert problems.is_empty()
