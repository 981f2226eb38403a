"""How one node reaches what the others have, and who programs it: rule by rule."""

import msgspec
import pytest
from tests.unit.calc.routes_ground import (
    BLOCK_FAR,
    BLOCK_NEAR,
    FAR,
    HERE,
    NEAR,
    VXLAN_NODES,
    WG_NODES,
    Cluster,
    bgp,
    block,
    felix,
    node,
    pod,
    pool,
)

from tortie.api.ipam import BlockAffinity
from tortie.api.node import Node
from tortie.api.resource import Update
from tortie.base.net import parse_prefix
from tortie.calc.graph import Graph
from tortie.intent.messages import (
    ClusterRouteUpdate,
    HostUpdate,
    Message,
    OverlayUpdate,
    PoolUpdate,
    VtepUpdate,
    WireguardPeerUpdate,
)
from tortie.intent.routes import Owner, Way
from tortie.intent.state import State


def test_without_encapsulation_bird_programs_what_bgp_has_learned() -> None:
    cluster = Cluster(pool())
    assert cluster.way(BLOCK_NEAR) == cluster.way(BLOCK_FAR) == (Way.BGP, Owner.BIRD, "")
    assert cluster.way("10.0.0.0/26") == (Way.LOCAL, Owner.BIRD, "")
    assert cluster.state.bgp is not None
    assert cluster.state.bgp.programs_no_encap
    assert cluster[BLOCK_FAR].reason == "pool pool has no encapsulation: BIRD programs what BGP has learned"


def test_a_disabled_pool_still_routes_and_gives_no_tunnel_addresses() -> None:
    cluster = Cluster(pool(vxlanMode="Always", disabled=True), *VXLAN_NODES)
    assert cluster.way(BLOCK_FAR) == (Way.VXLAN, Owner.AGENT, "10.0.2.1")
    overlay = cluster.state.overlay
    assert overlay is not None
    assert overlay.tunnels[0].pools == ()


def test_vxlan_is_the_agents_and_leads_to_the_other_nodes_end() -> None:
    cluster = Cluster(pool(vxlanMode="Always"), *VXLAN_NODES)
    assert cluster.way(BLOCK_NEAR) == (Way.VXLAN, Owner.AGENT, "10.0.1.1")
    assert cluster.way("10.0.0.0/26") == (Way.LOCAL, Owner.AGENT, "")
    assert cluster[BLOCK_FAR].reason == "pool pool has VXLAN Always"


def test_with_cross_subnet_only_other_subnets_are_reached_through_the_tunnel() -> None:
    cluster = Cluster(pool(vxlanMode="CrossSubnet"), *VXLAN_NODES)
    assert cluster.way(BLOCK_NEAR) == (Way.DIRECT, Owner.AGENT, "192.0.2.2")
    assert cluster.way(BLOCK_FAR) == (Way.VXLAN, Owner.AGENT, "10.0.2.1")
    assert "in this node's subnet" in cluster[BLOCK_NEAR].reason


def test_ipip_leads_to_the_nodes_own_address() -> None:
    here = node(HERE, "192.0.2.1/24", ipip="10.0.0.1")
    cluster = Cluster(pool(ipipMode="Always"), here)
    assert cluster.way(BLOCK_NEAR) == (Way.IPIP, Owner.AGENT, "192.0.2.2")
    cluster.tell(pool(ipipMode="CrossSubnet"))
    assert cluster.way(BLOCK_NEAR) == (Way.DIRECT, Owner.AGENT, "192.0.2.2")
    assert cluster.way(BLOCK_FAR) == (Way.IPIP, Owner.AGENT, "198.51.100.3")
    assert cluster[BLOCK_FAR].reason.endswith("far (198.51.100.3) is in another subnet")


def test_ipip_works_without_tunnel_addresses_where_no_pool_gives_any() -> None:
    cluster = Cluster(pool(ipipMode="Always", allowedUses=["Workload"]))
    assert cluster.way(BLOCK_NEAR) == (Way.IPIP, Owner.AGENT, "192.0.2.2")


def test_a_node_whose_address_has_no_subnet_has_no_neighbours() -> None:
    cluster = Cluster(pool(vxlanMode="CrossSubnet"), *VXLAN_NODES, node(HERE, "192.0.2.1/32", vxlan="10.0.0.1"))
    assert cluster.way(BLOCK_NEAR) == (Way.VXLAN, Owner.AGENT, "10.0.1.1")


@pytest.mark.parametrize("lacking", [HERE, FAR])
def test_until_a_tunnel_is_complete_packets_go_as_without_encapsulation(lacking: str) -> None:
    address = {HERE: "192.0.2.1/24", FAR: "198.51.100.3/24"}[lacking]
    cluster = Cluster(pool(vxlanMode="Always"), *VXLAN_NODES, node(lacking, address))
    assert cluster.way(BLOCK_FAR) == (Way.BGP, Owner.BIRD, "")
    who = "this node" if lacking == HERE else "far"
    assert f"but {who} has no VXLAN tunnel address of IPv4 yet; until then" in cluster[BLOCK_FAR].reason
    assert cluster.state.bgp is not None
    assert parse_prefix(BLOCK_FAR) in cluster.state.bgp.exceptions
    cluster.tell(*VXLAN_NODES)
    assert cluster.way(BLOCK_FAR) == (Way.VXLAN, Owner.AGENT, "10.0.2.1")
    assert cluster.state.bgp.exceptions == ()


def test_without_bird_an_incomplete_tunnel_is_no_way_at_all() -> None:
    cluster = Cluster(pool(vxlanMode="Always"), *VXLAN_NODES, node(FAR, "198.51.100.3/24"), backend="vxlan")
    assert cluster.way(BLOCK_FAR) == (Way.NONE, Owner.NOBODY, "")
    assert cluster[BLOCK_FAR].reason == "pool pool has VXLAN Always, but far has no VXLAN tunnel address of IPv4 yet"


def test_ipip_waits_for_this_nodes_end_where_there_is_another_way_meanwhile() -> None:
    assert Cluster(pool(ipipMode="Always")).way(BLOCK_FAR) == (Way.BGP, Owner.BIRD, "")
    assert Cluster(pool(ipipMode="Always"), backend="none").way(BLOCK_FAR) == (Way.IPIP, Owner.AGENT, "198.51.100.3")


@pytest.mark.parametrize("backend", ["vxlan", "none"])
def test_without_bird_the_agent_does_what_it_is_asked_to_and_no_more(backend: str) -> None:
    cluster = Cluster(pool(), backend=backend)
    assert cluster.way(BLOCK_NEAR) == (Way.NONE, Owner.NOBODY, "")
    assert "spec.programClusterRoutes (EnabledIPIPOnly) does not give it to the agent" in cluster[BLOCK_NEAR].reason
    assert cluster.way("10.0.0.0/26") == (Way.LOCAL, Owner.AGENT, "")
    cluster.tell(felix(programClusterRoutes="Enabled"))
    assert cluster.way(BLOCK_NEAR) == (Way.DIRECT, Owner.AGENT, "192.0.2.2")
    assert cluster.way(BLOCK_FAR) == (Way.NONE, Owner.NOBODY, "")
    assert "is in another subnet, where only BGP or an encapsulation leads" in cluster[BLOCK_FAR].reason
    assert not cluster.graph.problems


_ALL = ("Disabled", "EnabledIPIPOnly", "EnabledNoEncapOnly", "Enabled")


@pytest.mark.parametrize("birds", _ALL)
@pytest.mark.parametrize("agents", _ALL)
def test_every_pair_of_program_cluster_routes_has_exactly_one_owner(agents: str, birds: str) -> None:
    cluster = Cluster(pool(), pool("10.9.0.0/16", "ipip", ipipMode="Always"), block(NEAR, "10.9.1.0/26"), bgp(birds))
    cluster.tell(felix(programClusterRoutes=agents), node(HERE, "192.0.2.1/24", ipip="10.9.0.1"))
    agent_does, bird_claims = "NoEncap" in agents or agents == "Enabled", "NoEncap" in birds or birds == "Enabled"
    expected = (Way.DIRECT, Owner.AGENT, "192.0.2.2") if agent_does else (Way.BGP, Owner.BIRD, "")
    assert cluster.way(BLOCK_NEAR) == expected
    assert cluster.way("10.9.1.0/26") == (Way.IPIP, Owner.AGENT, "192.0.2.2")
    # Where the agent has no way, BIRD has one: also while an operator edits one of the two fields after the other.
    left_alone = agent_does and not bird_claims
    assert cluster.way(BLOCK_FAR) == ((Way.NONE, Owner.NOBODY, "") if left_alone else (Way.BGP, Owner.BIRD, ""))
    assert cluster.state.bgp is not None
    assert cluster.state.bgp.programs_no_encap is not agent_does
    assert cluster.state.bgp.exceptions == ((parse_prefix(BLOCK_FAR),) if agent_does and bird_claims else ())
    text = cluster.problem("BGPConfiguration", "default")
    pair = f"FelixConfiguration spec.programClusterRoutes ({agents}) and BGPConfiguration spec.programClusterRoutes ({birds})"
    assert (pair in text and "pools without encapsulation" in text) is (agent_does == bird_claims)
    assert ("both claim" in text) is (agent_does and bird_claims)
    assert ("BIRD 2 cannot program" in text) is (birds in ("Enabled", "EnabledIPIPOnly"))


def test_what_the_node_itself_sets_is_stronger_than_the_datastore() -> None:
    cluster = Cluster(pool(), felix(programClusterRoutes="Disabled"), ProgramClusterRoutes="enablednoencaponly")
    assert cluster.way(BLOCK_NEAR) == (Way.DIRECT, Owner.AGENT, "192.0.2.2")
    unreadable = Cluster(pool(), felix(programClusterRoutes="Enabled"), ProgramClusterRoutes="perhaps")
    assert unreadable.way(BLOCK_NEAR) == (Way.BGP, Owner.BIRD, "")


@pytest.mark.parametrize("kind", ["vxlan", "ipip", "wg"])
def test_a_tunnel_address_that_somebody_else_has_too_is_told_of_both_nodes_until_one_gives_it_up(kind: str) -> None:
    cluster = Cluster(pool(), node(NEAR, "192.0.2.2/24", **{kind: "10.0.9.9"}))
    assert not cluster.graph.problems
    cluster.tell(node(FAR, "198.51.100.3/24", **{kind: "10.0.9.9"}))
    assert "its tunnel address 10.0.9.9 is also that of Node(" + FAR in cluster.problem("Node", NEAR)
    assert "is also that of Node(" + NEAR in cluster.problem("Node", FAR)
    cluster.tell(node(FAR, "198.51.100.3/24", **{kind: "10.0.9.8"}))
    assert not cluster.graph.problems
    cluster.tell(pod("thief", FAR, "10.0.9.9/32"))
    assert "WorkloadEndpoint" in cluster.problem("Node", NEAR)
    cluster.forget(pod("thief", FAR, "10.0.9.9/32"))
    assert not cluster.graph.problems


def test_nodes_with_one_address_are_told_by_name_until_one_has_another_or_is_deleted() -> None:
    """A machine that came back under another name, and whose old Node was left behind."""
    cluster = Cluster(pool())
    assert not cluster.graph.problems
    cluster.tell(node("again", "192.0.2.2/24", "fd00::2/64"))
    assert "its address 192.0.2.2 is also that of node again" in cluster.problem("Node", NEAR)
    assert f"its address 192.0.2.2 is also that of node {NEAR}" in cluster.problem("Node", "again")
    cluster.tell(node("again", "192.0.2.7/24"))
    assert not cluster.graph.problems
    cluster.tell(node("again", "192.0.2.2/24"))
    cluster.forget(node(NEAR))
    assert not cluster.graph.problems


@pytest.mark.parametrize(("text", "protocol"), [("", 80), ("17", 17), ("3", 80), ("12", 80), ("many", 80), ("256", 80)])
def test_bird_knows_the_agents_routes_by_their_protocol(text: str, protocol: int) -> None:
    cluster = Cluster(pool(), DeviceRouteProtocol=text)
    assert cluster.state.bgp is not None
    assert cluster.state.bgp.agent_protocol == protocol


def test_where_nodes_have_pod_cidrs_of_their_own_these_are_their_blocks() -> None:
    def with_cidrs(name: str, address: str, *cidrs: str) -> Node:
        document = {"metadata": {"name": name}, "spec": {"bgp": {"ipv4Address": address}}, "status": {"podCIDRs": cidrs}}
        return msgspec.convert(document, Node)

    nodes = [with_cidrs(HERE, "192.0.2.1/24", "10.0.64.0/24"), with_cidrs(NEAR, "192.0.2.2/24", "10.0.65.0/24")]
    graph, state = Graph(HERE, use_pod_cidrs=True), State()
    graph.on_updates([Update(each.key, each) for each in (*nodes, pool())])
    graph.on_in_sync()
    state.apply_all(graph.flush())
    assert {str(dst): each.way for dst, each in state.cluster_routes.items()} == {
        "10.0.64.0/24": Way.LOCAL,
        "10.0.65.0/24": Way.BGP,
    }
    assert state.bgp is not None
    assert [str(each.cidr) for each in state.bgp.blocks] == ["10.0.64.0/24"]
    graph.on_updates([Update(nodes[1].key, with_cidrs(NEAR, "192.0.2.2/24", "10.0.66.0/24"))])
    state.apply_all(graph.flush())
    assert set(map(str, state.cluster_routes)) == {"10.0.64.0/24", "10.0.66.0/24"}
    graph.on_updates([Update(each.key, None) for each in (*nodes, pool())])
    graph.flush()
    assert graph.is_empty()
    assert not Cluster(pool(), *nodes).destinations() & {"10.0.64.0/24", "10.0.65.0/24"}, "they are used only where asked for"


def test_an_overlay_that_is_switched_off_leads_nowhere_and_the_reason_names_the_switch() -> None:
    cluster = Cluster(pool(vxlanMode="CrossSubnet"), *VXLAN_NODES, felix(vxlanEnabled=False))
    assert cluster.way(BLOCK_NEAR) == cluster.way(BLOCK_FAR) == (Way.NONE, Owner.NOBODY, "")
    assert cluster[BLOCK_FAR].reason == "pool pool has VXLAN CrossSubnet, but VXLANEnabled is false on this node"
    assert cluster.state.overlay is not None
    assert cluster.state.overlay.tunnels == ()
    cluster = Cluster(pool(ipipMode="Always"), felix(ipipEnabled=False))
    assert cluster[BLOCK_FAR].reason == "pool pool has IPIP Always, but IpInIpEnabled is false on this node"


def test_an_overlay_that_is_switched_on_is_in_use_without_any_pool() -> None:
    overlay = Cluster(felix(vxlanEnabled=True, ipipEnabled=True)).state.overlay
    assert overlay is not None
    assert [(each.way, each.pools) for each in overlay.tunnels] == [(Way.VXLAN, ()), (Way.IPIP, ())]


def test_a_node_that_lacks_an_address_of_the_family_is_not_reached() -> None:
    v6 = (pool("fd00:10::/48", "six", vxlanMode="Always"), block(NEAR, "fd00:10::/122"))
    cluster = Cluster(*v6, node(HERE, "192.0.2.1/24", "fd00::1/64", vxlan6="fd00:10::1:1"))
    assert cluster["fd00:10::/122"].reason == "pool six has VXLAN Always, but near has no IPv6 address"
    cluster.tell(node(NEAR, "", "fd00::2/64", vxlan6="fd00:10::1"))
    assert cluster.way("fd00:10::/122") == (Way.VXLAN, Owner.AGENT, "fd00:10::1")
    cluster.tell(node(HERE, "192.0.2.1/24"))
    assert cluster["fd00:10::/122"].reason == "pool six has VXLAN Always, but this node has no IPv6 address"
    cluster.forget(node(NEAR))
    assert cluster["fd00:10::/122"].reason == "pool six has VXLAN Always, but there is no Node near"


def test_without_an_address_of_the_family_there_is_no_bgp_and_the_agent_holds_the_own_block() -> None:
    cluster = Cluster(pool("fd00:10::/48"), block(HERE, "fd00:10::/122"), block(NEAR, "fd00:10::40/122"))
    assert cluster.way("fd00:10::/122") == (Way.LOCAL, Owner.AGENT, "")
    assert cluster.way("fd00:10::40/122")[0] is Way.NONE
    assert "so that there is no BGP" in cluster["fd00:10::40/122"].reason


def test_ipip_of_an_ipv6_pool_means_nothing() -> None:
    cluster = Cluster(pool("fd00:10::/48", ipipMode="Always"), block(NEAR, "fd00:10::/122"))
    cluster.tell(node(HERE, "", "fd00::1/64"))
    assert cluster.way("fd00:10::/122") == (Way.BGP, Owner.BIRD, "")


def test_a_block_in_no_pool_is_left_to_bgp() -> None:
    assert Cluster().way(BLOCK_NEAR) == (Way.BGP, Owner.BIRD, "")
    assert Cluster(backend="none")[BLOCK_NEAR].reason == "no IP pool contains it, and there is no BIRD"
    assert Cluster(backend="vxlan")[BLOCK_NEAR].owner is Owner.NOBODY


def test_of_two_pools_the_narrower_counts_and_of_two_alike_the_first_by_name() -> None:
    cluster = Cluster(pool(), pool("10.0.1.0/24", "narrow", ipipMode="Always"), node(HERE, "192.0.2.1/24", ipip="10.0.0.1"))
    assert (cluster[BLOCK_NEAR].way, cluster[BLOCK_FAR].way) == (Way.IPIP, Way.BGP)
    cluster.tell(pool("10.0.1.0/24", "a"))
    assert cluster[BLOCK_NEAR].way is Way.BGP


@pytest.mark.parametrize(
    ("affinity", "counts"),
    [
        (block(NEAR, "10.0.3.0/26"), True),
        (block(NEAR, "10.0.3.0/26", ""), True),
        (block(NEAR, "10.0.3.0/26", "pendingDeletion"), True),
        (block(NEAR, "10.0.3.0/26", "pending"), False),
        (block(NEAR, "10.0.3.0/26", deleted=True), False),
        (block("load-balancer", "10.0.3.0/26", kind="virtual"), False),
        (block("", "10.0.3.0/26"), False),
        (block(NEAR, "nonsense"), False),
    ],
)
def test_which_claims_of_a_block_count(affinity: BlockAffinity, counts: bool) -> None:
    cluster = Cluster(pool(), affinity)
    assert ("10.0.3.0/26" in cluster.destinations()) is counts
    assert cluster.forget(affinity).destinations() == {"10.0.0.0/26", BLOCK_NEAR, BLOCK_FAR}


def test_while_two_nodes_claim_a_block_the_one_that_does_not_give_it_up_has_it() -> None:
    giving, taking = block(NEAR, "10.0.3.0/26", "pendingDeletion"), block(FAR, "10.0.3.0/26")
    cluster = Cluster(pool(), giving, taking)
    assert cluster["10.0.3.0/26"].node == FAR
    assert cluster.forget(taking)["10.0.3.0/26"].node == NEAR
    assert cluster.tell(block(NEAR, "10.0.3.0/26"), taking)["10.0.3.0/26"].node == FAR


def test_a_borrowed_address_has_a_route_of_its_own_while_it_is_borrowed() -> None:
    borrowed = pod("p", FAR, "10.0.1.5/32")
    cluster = Cluster(pool(vxlanMode="Always"), *VXLAN_NODES, borrowed, pod("q", NEAR, "10.0.1.6/32"))
    assert cluster.way("10.0.1.5/32") == (Way.VXLAN, Owner.AGENT, "10.0.2.1")
    assert "10.0.1.6/32" not in cluster.destinations()
    assert "10.0.1.5/32" not in cluster.tell(pod("p", HERE, "10.0.1.5/32")).destinations(), "the pod here has its own route"
    cluster.forget(pod("p", HERE))
    assert "10.0.1.5/32" in cluster.destinations()
    assert "10.0.1.5/32" not in cluster.forget(block(NEAR, BLOCK_NEAR)).tell(block(FAR, BLOCK_NEAR)).destinations()


def test_an_address_of_this_nodes_block_that_another_node_has_is_reached_there() -> None:
    cluster = Cluster(pool(vxlanMode="Always"), *VXLAN_NODES, pod("p", FAR, "10.0.0.9/32"))
    assert cluster.way("10.0.0.9/32") == (Way.VXLAN, Owner.AGENT, "10.0.2.1")


def test_an_address_in_no_pool_and_a_network_of_a_workload_have_no_route() -> None:
    cluster = Cluster(pool(), pod("p", FAR, "172.16.0.1/32", "10.0.77.0/24"), pod("q", FAR, "10.0.99.1/32"))
    assert cluster.destinations() == {"10.0.0.0/26", BLOCK_NEAR, BLOCK_FAR, "10.0.99.1/32"}
    assert "172.16.0.1/32" in cluster.tell(pool("172.16.0.0/16", "late")).destinations()


def test_a_single_address_that_two_nodes_have_leads_to_one_of_them() -> None:
    cluster = Cluster(pool(), pod("p", FAR, "10.0.99.1/32"), pod("q", NEAR, "10.0.99.1/32"))
    assert cluster["10.0.99.1/32"].node == FAR
    cluster.tell(block(NEAR, "10.0.99.0/26"))
    assert "10.0.99.1/32" not in cluster.destinations(), "the block leads to the right node"


def test_a_block_of_one_address_here_is_no_blackhole() -> None:
    cluster = Cluster(pool(), block(HERE, "10.0.5.1/32"), block(NEAR, "10.0.5.2/32"), pod("p", NEAR, "10.0.5.2/32"))
    assert "10.0.5.1/32" not in cluster.destinations()
    assert cluster["10.0.5.2/32"].node == NEAR
    cluster.tell(pod("p", HERE, "10.0.5.2/32"))
    assert "10.0.5.2/32" not in cluster.destinations(), "a pod of this node has a route of its own"


def test_the_end_of_a_tunnel_in_a_foreign_block_has_a_route_of_its_own() -> None:
    cluster = Cluster(pool(vxlanMode="Always"), *VXLAN_NODES, node(FAR, "198.51.100.3/24", vxlan="10.0.1.60"))
    assert cluster.way("10.0.1.60/32") == (Way.VXLAN, Owner.AGENT, "10.0.1.60")
    assert "10.0.1.60/32" not in cluster.tell(VXLAN_NODES[2]).destinations()


def test_one_flush_tells_ends_before_routes_and_takes_routes_before_ends() -> None:
    def order(messages: list[Message]) -> list[str]:
        kinds = (HostUpdate, PoolUpdate, OverlayUpdate, VtepUpdate, WireguardPeerUpdate, ClusterRouteUpdate)
        return list(dict.fromkeys(type(each).__name__ for each in messages if isinstance(each, kinds)))

    graph = Graph(HERE)
    things = (*WG_NODES, *VXLAN_NODES[:2], pool(vxlanMode="Always"), block(NEAR, BLOCK_NEAR), felix(wireguardEnabled=True))
    graph.on_updates([Update(each.key, each) for each in things])
    graph.on_in_sync()
    expected = ["HostUpdate", "PoolUpdate", "OverlayUpdate", "VtepUpdate", "WireguardPeerUpdate", "ClusterRouteUpdate"]
    assert order(graph.flush()) == expected
    graph.on_updates([Update(each.key, None) for each in things])
    gone = ["HostUpdate", "PoolUpdate", "ClusterRouteUpdate", "WireguardPeerUpdate", "VtepUpdate", "OverlayUpdate"]
    assert order(graph.flush()) == gone
    assert graph.is_empty()


def test_what_did_not_change_is_not_told_again() -> None:
    cluster = Cluster(pool(vxlanMode="Always"), *VXLAN_NODES)
    cluster.tell(*VXLAN_NODES, pool(vxlanMode="Always"), block(NEAR, BLOCK_NEAR))
    assert cluster.last == []
    assert [type(each) for each in cluster.tell(block(FAR, "10.0.3.0/26")).last] == [ClusterRouteUpdate]
