"""The routes of any cluster, after any history, against a model that works them out anew, by brute force."""

import base64
import re
from collections.abc import Iterator, Mapping
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from tortie.api.bgp import BGPConfiguration
from tortie.api.endpoint import WorkloadEndpoint
from tortie.api.felix import FelixConfiguration
from tortie.api.ipam import BlockAffinity
from tortie.api.ippool import IPPool
from tortie.api.node import Node
from tortie.api.resource import Resource, Update
from tortie.base.net import Family
from tortie.bgp.filters import render_filters
from tortie.calc.graph import Graph
from tortie.intent.routes import Way
from tortie.intent.routing import Bgp
from tortie.intent.state import State

Model = dict[str, Any]
"""Everything by "<what>/<name>": what a user could write down."""
Expected = tuple[str, str, str, str, bool]
"""Way, owner, node, next hop, encrypted."""

ME = "n0"
NODES = ("n0", "n1", "n2")
BLOCKS = ("10.0.0.0/30", "10.0.0.4/30", "10.0.1.0/30", "10.0.1.9/32", "10.0.2.0/23")
ADDRESSES = ("10.0.0.1", "10.0.0.5", "10.0.1.2", "10.0.1.9", "10.0.2.77", "10.0.99.1", "172.16.0.1")
POOLS = ("10.0.0.0/16", "10.0.1.0/24")
MODES = ("", "Never", "Always", "CrossSubnet")
PROGRAMS = (None, "Disabled", "EnabledIPIPOnly", "EnabledNoEncapOnly", "Enabled")
KEYS = ("", *(base64.b64encode(letter * 32).decode() for letter in (b"a", b"b")))

_optional = st.none
node_values = st.fixed_dictionaries(
    {
        "address": st.sampled_from(("", "192.0.2.{}/24", "192.0.2.{}/32", "198.51.100.{}/24")),
        "vxlan": st.sampled_from(("", "10.0.0.5", "10.0.99.1")),
        "ipip": st.sampled_from(("", "10.0.1.2")),
        "key": st.sampled_from(KEYS),
    }
)
block_values = st.fixed_dictionaries(
    {"node": st.sampled_from(NODES), "state": st.sampled_from(("confirmed", "confirmed", "pending", "pendingDeletion"))}
)
pool_values = st.fixed_dictionaries(
    {
        "cidr": st.sampled_from(POOLS),
        "vxlan": st.sampled_from(MODES),
        "ipip": st.sampled_from(MODES),
        "tunnels": st.booleans(),
        "disabled": st.booleans(),
    }
)
felix_values = st.fixed_dictionaries(
    {
        "programs": st.sampled_from(PROGRAMS),
        "vxlan": st.sampled_from((None, None, True, False)),
        "ipip": st.sampled_from((None, None, True, False)),
        "wireguard": st.booleans(),
    }
)
changes = st.one_of(
    st.tuples(st.sampled_from([f"node/{name}" for name in NODES]), st.one_of(_optional(), node_values, node_values)),
    # Two claims of each block, so that they compete.
    st.tuples(
        st.sampled_from([f"block/{half}-{cidr}" for cidr in BLOCKS for half in "ab"]),
        st.one_of(_optional(), block_values, block_values),
    ),
    st.tuples(
        st.sampled_from([f"pod/{name}" for name in "abcd"]),
        st.one_of(_optional(), st.tuples(st.sampled_from(NODES), st.lists(st.sampled_from(ADDRESSES), max_size=2))),
    ),
    st.tuples(st.sampled_from(["pool/a", "pool/b"]), st.one_of(_optional(), pool_values, pool_values)),
    st.tuples(st.just("felix/default"), st.one_of(_optional(), felix_values)),
    st.tuples(st.just("bgp/default"), st.one_of(_optional(), st.sampled_from(PROGRAMS))),
    st.tuples(st.just("flush/"), _optional()),
)


START: tuple[tuple[str, Any], ...] = (
    ("node/n0", {"address": "192.0.2.{}/24", "vxlan": "10.0.99.1", "ipip": "10.0.1.2", "key": KEYS[1]}),
    ("node/n1", {"address": "192.0.2.{}/24", "vxlan": "10.0.0.5", "ipip": "", "key": KEYS[2]}),
    ("node/n2", {"address": "198.51.100.{}/24", "vxlan": "", "ipip": "", "key": ""}),
    ("block/a-10.0.0.0/30", {"node": "n0", "state": "confirmed"}),
    ("block/a-10.0.0.4/30", {"node": "n1", "state": "confirmed"}),
    ("block/a-10.0.1.0/30", {"node": "n2", "state": "confirmed"}),
    ("pod/a", ("n2", ["10.0.0.5", "10.0.0.1"])),
    ("pool/a", {"cidr": POOLS[0], "vxlan": "CrossSubnet", "ipip": "", "tunnels": True, "disabled": False}),
)


def resource(what: str, value: Any) -> Resource:
    """The resource as the datastore would hold it; `value` None for one whose key alone is needed."""
    kind, _, name = what.partition("/")
    match kind:
        case "node":
            return msgspec.convert({"metadata": {"name": name}} | _node(name, value), Node)
        case "block":
            spec = {"cidr": name.partition("-")[2], "node": "n0", "state": "confirmed"} | (value or {})
            return msgspec.convert({"metadata": {"name": name}, "spec": spec}, BlockAffinity)
        case "pod":
            spec = {"node": value[0], "ipNetworks": [f"{each}/32" for each in value[1]]} if value else {}
            metadata = {"name": name, "namespace": "ns"}
            return msgspec.convert({"metadata": metadata, "spec": {"orchestrator": "k8s"} | spec}, WorkloadEndpoint)
        case "pool":
            return msgspec.convert({"metadata": {"name": name}, "spec": _pool(value)}, IPPool)
        case "felix":
            return msgspec.convert({"metadata": {"name": name}, "spec": _felix(value)}, FelixConfiguration)
        case _:
            return msgspec.convert({"metadata": {"name": name}, "spec": {"programClusterRoutes": value}}, BGPConfiguration)


def _node(name: str, value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    bgp = {"ipv4Address": value["address"].format("1" + name[1:]), "ipv4IPIPTunnelAddr": value["ipip"]}
    spec = {"bgp": bgp, "ipv4VXLANTunnelAddr": value["vxlan"]}
    return {"spec": spec, "status": {"wireguardPublicKey": value["key"]}}


def _pool(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    uses = ["Workload", "Tunnel"] if value["tunnels"] else ["Workload"]
    modes = {"vxlanMode": value["vxlan"], "ipipMode": value["ipip"]}
    return {"cidr": value["cidr"], "allowedUses": uses, "disabled": value["disabled"]} | modes


def _felix(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    switches = {"vxlanEnabled": value["vxlan"], "ipipEnabled": value["ipip"], "wireguardEnabled": value["wireguard"]}
    return {"programClusterRoutes": value["programs"]} | switches


class Reference:
    """What routes there must be. Knows nothing of how they are calculated."""

    def __init__(self, model: Mapping[str, Any], backend: str) -> None:
        self.backend = backend
        self.nodes: Model = {name: model[f"node/{name}"] for name in NODES if model.get(f"node/{name}") is not None}
        self.pools = {name: model[f"pool/{name}"] for name in "ab" if model.get(f"pool/{name}")}
        self.felix = model.get("felix/default") or {}
        self.bird = model.get("bgp/default") or "EnabledNoEncapOnly"
        self.blocks = dict(self._blocks(model))
        self.pods = [model[f"pod/{name}"] for name in "abcd" if model.get(f"pod/{name}")]

    @staticmethod
    def _blocks(model: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        for cidr in BLOCKS:
            claims = [model.get(f"block/{half}-{cidr}") for half in "ab"]
            counting = [(each["state"] != "confirmed", each["node"]) for each in claims if each and each["state"] != "pending"]
            if counting:
                yield cidr, min(counting)[1]

    def own(self, name: str) -> str:
        """The node's address and subnet."""
        text = self.nodes[name]["address"] if name in self.nodes else ""
        return str(text.format("1" + name[1:]))

    def routes(self) -> dict[str, Expected]:
        expected = {}
        for cidr, name in self.blocks.items():
            holders = self.holders(cidr[:-3]) if cidr.endswith("/32") else set()
            if not cidr.endswith("/32") or (name != ME and (not holders or (name in holders and ME not in holders))):
                expected[cidr] = self.route(cidr, name)
        for address in ADDRESSES:
            holders = self.holders(address)
            around = self.around(address)
            if not holders or ME in holders or around in holders or self.pool(f"{address}/32") is None:
                continue
            expected[f"{address}/32"] = self.route(f"{address}/32", min(holders))
        return expected

    def holders(self, address: str) -> set[str]:
        found = {name for name, addresses in self.pods if address in addresses}
        return found | {name for name, each in self.nodes.items() if address in (each["vxlan"], each["ipip"])}

    def around(self, address: str) -> str:
        """Who has the smallest block with this address."""
        found = [cidr for cidr in self.blocks if ip_address(address) in ip_network(cidr)]
        return self.blocks[max(found, key=lambda cidr: ip_network(cidr).prefixlen)] if found else ""

    def pool(self, cidr: str) -> Any:
        inside = [name for name, each in self.pools.items() if ip_network(cidr).subnet_of(ip_network(each["cidr"]))]  # type: ignore[arg-type]
        narrowest = max((ip_network(self.pools[name]["cidr"]).prefixlen for name in inside), default=0)
        chosen = sorted(name for name in inside if ip_network(self.pools[name]["cidr"]).prefixlen == narrowest)
        return self.pools[chosen[0]] if chosen else None

    def no_encap(self) -> str:
        agent = self.felix.get("programs") in ("Enabled", "EnabledNoEncapOnly")
        if agent:
            return "agent"
        return "bird" if self.backend == "bird" else "nobody"

    def route(self, cidr: str, name: str) -> Expected:
        pool = self.pool(cidr)
        encapsulation = ""
        if pool is not None:
            encapsulation = next((kind for kind in ("vxlan", "ipip") if pool[kind] in ("Always", "CrossSubnet")), "")
        if name == ME:
            bird = self.backend == "bird" and self.own(ME) and not encapsulation and (pool is None or self.no_encap() == "bird")
            return "local", "bird" if bird else "agent", name, "", False
        way, owner, next_hop = self.way(name, pool, encapsulation)
        return way, owner, name, next_hop, self.encrypted(name)

    def way(self, name: str, pool: Any, encapsulation: str) -> tuple[str, str, str]:
        nothing = ("none", "nobody", "")
        if not encapsulation:
            return self.plain(name, pool)
        if self.felix.get(encapsulation) is False or not self.own(ME) or not self.own(name):
            return nothing
        if pool[encapsulation] == "CrossSubnet" and self.near(name):
            return "direct", "agent", self.own(name).partition("/")[0]
        plain = self.plain(name, pool)
        mine, theirs = self.nodes[ME][encapsulation], self.nodes[name][encapsulation]
        if encapsulation == "vxlan":
            return ("vxlan", "agent", theirs) if mine and theirs else plain
        waits = not mine and any(each["tunnels"] and not each["disabled"] for each in self.of_kind("ipip"))
        return plain if waits and plain != nothing else ("ipip", "agent", self.own(name).partition("/")[0])

    def of_kind(self, kind: str) -> list[Any]:
        """Pools that are IPIP: those that are not VXLAN first."""
        on = ("Always", "CrossSubnet")
        return [each for each in self.pools.values() if each[kind] in on and each["vxlan"] not in on]

    def plain(self, name: str, pool: Any) -> tuple[str, str, str]:
        owner = self.no_encap() if pool is not None else "bird" if self.backend == "bird" else "nobody"
        if owner == "bird" and self.own(ME):
            return "bgp", "bird", ""
        if owner == "agent" and self.own(ME) and self.own(name) and self.near(name):
            return "direct", "agent", self.own(name).partition("/")[0]
        both = owner == "agent" and self.backend == "bird" and self.bird in ("Enabled", "EnabledNoEncapOnly")
        if both and self.own(ME) and self.own(name):
            return "bgp", "bird", ""
        return "none", "nobody", ""

    def near(self, name: str) -> bool:
        return ip_interface(self.own(name)).ip in ip_interface(self.own(ME)).network

    def encrypted(self, name: str) -> bool:
        if not self.felix.get("wireguard") or not self.own(name):
            return False
        keys = [each["key"] for each in self.nodes.values()]
        both = [self.nodes[each]["key"] if each in self.nodes else "" for each in (ME, name)]
        return all(key and keys.count(key) == 1 for key in both)


def bird_programs(bgp: Bgp, cidr: str) -> bool:
    """What BIRD's kernel filter says of a destination: the first line that speaks of it."""
    text = "\n".join(render_filters(bgp, Family.V4)).partition("filter tortie_kernel4\n")[2].partition("\n}")[0]
    for nets, verdict in re.findall(r"if net ~ (.+) then (accept|reject);", text):
        for net in nets.strip("[] ").split(", "):
            # A set without a sign after the prefix means exactly that prefix.
            if net == cidr or (not nets.startswith("[") and ip_network(cidr).subnet_of(ip_network(net))):  # type: ignore[arg-type]
                return bool(verdict == "accept")
    return True


def told(state: State) -> dict[str, Expected]:
    return {
        str(dst): (str(each.way), str(each.owner), each.node, str(each.next_hop or ""), each.encrypted)
        for dst, each in state.cluster_routes.items()
    }


@settings(max_examples=400, deadline=None)
@given(st.lists(changes, max_size=40), st.sampled_from(["bird", "bird", "vxlan"]))
def test_routes_are_what_the_model_says_whatever_came_before(history: list[tuple[str, Any]], backend: str) -> None:
    graph, state, model = Graph(ME, backend=backend), State(), Model()
    graph.on_in_sync()
    for what, value in [*START, *history, ("flush/", None)]:
        if what != "flush/":
            given_value = resource(what, value)
            graph.on_updates([Update(given_value.key, None if value is None else given_value)])
            model[what] = value
            continue
        state.apply_all(graph.flush())
        expected = Reference(model, backend).routes()
        assert told(state) == expected
        assert all(each.reason for each in state.cluster_routes.values())
        if state.bgp is not None and backend == "bird":
            agents = {cidr for cidr in expected if _is_agents(model, cidr, bird_has_no_encap=state.bgp.programs_no_encap)}
            assert set(map(str, state.bgp.exceptions)) == {cidr for cidr in agents if expected[cidr][0] == Way.BGP}
            for cidr, each in expected.items():
                assert bird_programs(state.bgp, cidr) is (each[1] == "bird"), "BIRD has another opinion"
    graph.on_updates([Update(resource(what, None).key, None) for what in model])
    state.apply_all(graph.flush())
    assert graph.is_empty()
    assert state == State(in_sync=True)


def _is_agents(model: Mapping[str, Any], cidr: str, *, bird_has_no_encap: bool) -> bool:
    """The pool's routes are the agent's as a rule."""
    pool = Reference(model, "bird").pool(cidr)
    if pool is None:
        return False
    return not bird_has_no_encap or any(pool[kind] in ("Always", "CrossSubnet") for kind in ("vxlan", "ipip"))
