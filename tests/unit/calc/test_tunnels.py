"""Ends of tunnels: this node's own, and those of others."""

from tests.unit.calc.routes_ground import (
    BLOCK_NEAR,
    FAR,
    HERE,
    NEAR,
    VXLAN_NODES,
    Cluster,
    block,
    node,
    pool,
)

from tortie.base.net import Family, parse_address, parse_prefix
from tortie.intent.routes import TunnelEnd, Way


def test_vteps_are_other_nodes_complete_ends() -> None:
    cluster = Cluster(pool(vxlanMode="Always"), *VXLAN_NODES)
    near, far = (cluster.state.vteps[each, Family.V4] for each in (NEAR, FAR))
    assert (str(far.address), far.mac, str(far.underlay)) == ("10.0.2.1", "66:00:00:00:00:03", "198.51.100.3")
    assert near.mac == "66:d8:c4:66:83:a8"
    assert set(cluster.state.vteps) == {(NEAR, Family.V4), (FAR, Family.V4)}
    assert set(cluster.tell(node(FAR, "198.51.100.3/24")).state.vteps) == {(NEAR, Family.V4)}
    assert not cluster.tell(pool()).state.vteps


def test_of_two_nodes_with_one_vxlan_address_the_one_whose_block_it_is_in_is_reached() -> None:
    """The stale one may be the first by name."""
    cluster = Cluster(pool(vxlanMode="Always"), *VXLAN_NODES)
    assert min(FAR, NEAR) == FAR
    before = cluster.state.vteps[NEAR, Family.V4]
    stale = node(FAR, "198.51.100.3/24", vxlan=str(before.address), mac="66:00:00:00:00:03")
    assert cluster.tell(stale).state.vteps == {(NEAR, Family.V4): before}
    assert str(before.address) in cluster.problem("Node", FAR)
    cluster.forget(block(NEAR, BLOCK_NEAR))
    assert set(cluster.state.vteps) == {(FAR, Family.V4)}, "in nobody's block: the first by name"
    cluster.tell(block(NEAR, BLOCK_NEAR))
    assert set(cluster.state.vteps) == {(NEAR, Family.V4)}
    cluster.forget(stale)
    assert set(cluster.state.vteps) == {(NEAR, Family.V4)}
    own = next(each.address for each in cluster.state.overlay.tunnels) if cluster.state.overlay is not None else None
    cluster.tell(node(NEAR, "192.0.2.2/24", vxlan=str(own), mac="66:00:00:00:00:02"))
    assert not cluster.state.vteps, "this node's own comes before all"


def test_this_nodes_ends_name_the_pools_that_their_addresses_come_from() -> None:
    cluster = Cluster(
        node(HERE, "192.0.2.1/24", vxlan="10.0.0.1", labels={"rack": "a"}),
        pool(vxlanMode="CrossSubnet", nodeSelector="rack == 'a'"),
        pool("10.2.0.0/16", "other-rack", vxlanMode="Always", nodeSelector="rack == 'b'"),
        pool("10.3.0.0/16", "no-tunnels", vxlanMode="Always", allowedUses=["Workload"]),
        pool("10.4.0.0/16", "ipip", ipipMode="Always"),
        pool("fd00:10::/48", "six", vxlanMode="Always"),
    )
    overlay = cluster.state.overlay
    assert overlay is not None
    assert str(overlay.ipv4) == "192.0.2.1/24"
    vxlan = TunnelEnd(
        Way.VXLAN,
        Family.V4,
        parse_address("10.0.0.1"),
        (parse_prefix("10.0.0.0/16"),),
        "66:01:54:c0:da:be",
        keeps=tuple(parse_prefix(f"10.{number}.0.0/16") for number in (0, 2, 3)),
    )
    assert overlay.tunnel(Way.VXLAN, Family.V4) == vxlan
    ipip = (parse_prefix("10.4.0.0/16"),)
    assert overlay.tunnel(Way.IPIP, Family.V4) == TunnelEnd(Way.IPIP, Family.V4, None, ipip, keeps=ipip)
    assert overlay.tunnel(Way.VXLAN, Family.V6) is None, "the node has no IPv6 address"
    assert cluster.forget(node(HERE)).state.overlay is None
