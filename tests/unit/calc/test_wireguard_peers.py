"""Who is encrypted to whom, and with which networks."""

import pytest
from tests.unit.calc.routes_ground import (
    BLOCK_FAR,
    BLOCK_NEAR,
    FAR,
    HERE,
    NEAR,
    WG_NODES,
    Cluster,
    felix,
    key,
    node,
    pod,
    pool,
)

from tortie.base.net import Family


def test_wireguard_lies_on_top_of_every_way_between_nodes_that_have_keys() -> None:
    cluster = Cluster(pool(), *WG_NODES, felix(wireguardEnabled=True), pod("p", NEAR, "10.0.2.7/32"))
    assert (cluster[BLOCK_NEAR].encrypted, cluster[BLOCK_FAR].encrypted, cluster["10.0.0.0/26"].encrypted) == (
        True,
        False,
        False,
    )
    near, far = (cluster.state.wireguard_peers[each, Family.V4] for each in (NEAR, FAR))
    assert (near.public_key, str(near.endpoint), near.port, near.problem) == (key("b"), "192.0.2.2", 51820, "")
    assert list(map(str, near.allowed)) == [BLOCK_NEAR, "10.0.1.63/32", "10.0.2.7/32"]
    assert (far.public_key, list(map(str, far.allowed))) == ("", [BLOCK_FAR])
    assert (HERE, Family.V4) not in cluster.state.wireguard_peers
    cluster.tell(felix(wireguardEnabled=False))
    assert not cluster.state.wireguard_peers
    assert not cluster[BLOCK_NEAR].encrypted


def test_nothing_is_encrypted_before_this_node_has_a_key() -> None:
    cluster = Cluster(pool(), *WG_NODES[1:], felix(wireguardEnabled=True))
    assert not cluster[BLOCK_NEAR].encrypted
    assert cluster.state.overlay is not None
    assert cluster.state.overlay.wireguard[0].pools == ()
    overlay = cluster.tell(WG_NODES[0]).state.overlay
    assert overlay is not None
    assert cluster[BLOCK_NEAR].encrypted
    assert list(map(str, overlay.wireguard[0].pools)) == ["10.0.0.0/16"]


@pytest.mark.parametrize("twin", [HERE, NEAR])
def test_a_key_that_two_nodes_have_is_nobodys(twin: str) -> None:
    letter = "a" if twin == HERE else "b"
    cluster = Cluster(pool(), *WG_NODES, felix(wireguardEnabled=True), node(FAR, "198.51.100.3/24", key=key(letter)))
    assert not cluster[BLOCK_FAR].encrypted
    assert not cluster[BLOCK_NEAR].encrypted
    assert cluster.state.wireguard_peers[FAR, Family.V4].problem.endswith(f"is also that of node {twin}")
    assert "is also that of node far: nothing is encrypted with it" in cluster.problem("Node", twin)
    cluster.tell(node(FAR, "198.51.100.3/24", key=key("c")))
    assert cluster[BLOCK_FAR].encrypted
    assert cluster[BLOCK_NEAR].encrypted
    assert not cluster.graph.problems


def test_what_is_no_key_is_reported_and_not_used() -> None:
    for text in ("c2hvcnQ=", "A" * 42 + "B="):  # the latter is another spelling of a key of zeros
        cluster = Cluster(pool(), *WG_NODES, felix(wireguardEnabled=True), node(FAR, "198.51.100.3/24", key=text))
        assert not cluster[BLOCK_FAR].encrypted
    problem = "status.wireguardPublicKey of node far is no WireGuard key: nothing is encrypted with it"
    assert cluster.problem("Node", FAR) == problem


def test_with_host_encryption_nodes_themselves_are_encrypted_and_need_no_address_of_a_pool() -> None:
    cluster = Cluster(pool(), *WG_NODES, felix(wireguardEnabled=True, wireguardHostEncryptionEnabled=True))
    assert "192.0.2.2/32" in map(str, cluster.state.wireguard_peers[NEAR, Family.V4].allowed)
    overlay = cluster.state.overlay
    assert overlay is not None
    end = overlay.wireguard[0]
    assert (end.address, end.pools, end.host_encryption, end.strict) == (None, (), True, False)


def test_strict_encryption_is_asked_for_by_annotation_and_may_be_changed_alone() -> None:
    cluster = Cluster(pool(), *WG_NODES, felix(wireguardEnabled=True, wireguardListeningPort=7))
    assert cluster.state.wireguard_peers[NEAR, Family.V4].port == 7
    cluster.tell(felix({"tortie.io/wireguard-strict": "Enabled"}, wireguardEnabled=True, wireguardListeningPort=7))
    assert cluster.state.overlay is not None
    assert cluster.state.overlay.wireguard[0].strict


def test_a_wish_for_strict_encryption_that_cannot_be_read_is_told_and_granted() -> None:
    cluster = Cluster(*WG_NODES, felix({"tortie.io/wireguard-strict": "yes"}, wireguardEnabled=True))
    overlay = cluster.state.overlay
    assert overlay is not None
    assert overlay.wireguard[0].strict
    assert "must be Enabled or Disabled; it counts as Enabled" in cluster.problem("FelixConfiguration", "default")
    cluster.tell(felix({"tortie.io/wireguard-strict": "disabled"}, wireguardEnabled=True))
    assert not cluster.graph.problems


def allowed(cluster: Cluster, name: str) -> set[str]:
    return set(map(str, cluster.state.wireguard_peers[name, Family.V4].allowed))


def test_a_tunnel_address_that_another_has_too_is_one_peers_alone_and_never_that_of_a_pod_here() -> None:
    """Who may write a Node must not draw others' packets, nor have its own taken for theirs."""
    cluster = Cluster(pool(), felix(wireguardEnabled=True), *WG_NODES, pod("mine", HERE, "10.0.0.9/32"))
    cluster.tell(node(FAR, "198.51.100.3/24", key=key("c"), wg="10.0.1.63"))
    assert allowed(cluster, NEAR) == {BLOCK_NEAR, "10.0.1.63/32"}
    assert allowed(cluster, FAR) == {BLOCK_FAR}
    cluster.tell(node(FAR, "198.51.100.3/24", key=key("c"), wg="10.0.0.9"))
    assert allowed(cluster, FAR) == {BLOCK_FAR}
    cluster.forget(pod("mine", HERE, "10.0.0.9/32"))
    assert allowed(cluster, FAR) == {BLOCK_FAR, "10.0.0.9/32"}
    cluster.tell(pod("theirs", NEAR, "10.0.2.7/32"), node(FAR, "198.51.100.3/24", key=key("c"), wg="10.0.2.7"))
    assert allowed(cluster, NEAR) == {BLOCK_NEAR, "10.0.1.63/32"}
    assert allowed(cluster, FAR) == {BLOCK_FAR, "10.0.2.7/32"}
