"""What WireGuard's table must be told to be on this node."""

from hypothesis import given
from hypothesis import strategies as st

from tortie.base.net import Family, Prefix, parse_prefix
from tortie.dataplane.wireguard_routes import Here
from tortie.intent.endpoint import Endpoint
from tortie.intent.keys import EndpointId
from tortie.intent.routes import ClusterRoute, Owner, Way

V4, V6 = Family.V4, Family.V6
BLOCKS = [parse_prefix(text) for text in ("10.0.0.0/26", "10.0.1.0/26", "10.0.1.0/28", "10.0.0.9/32")]
PODS = [
    parse_prefix(text) for text in ("10.0.0.9/32", "10.0.0.7/32", "10.0.1.9/32", "10.0.1.30/32", "10.0.2.1/32", "fd00::9/128")
]


def endpoint(name: str, *addresses: Prefix) -> Endpoint:
    return Endpoint(EndpointId("here", "ns", name), f"ns/{name}", "cali1", addresses=addresses, tiers=(), profiles=())


def local(dst: Prefix) -> ClusterRoute:
    return ClusterRoute(dst, Way.LOCAL, Owner.AGENT, "here", reason="a block")


def narrowest(pod: Prefix, nets: set[Prefix]) -> int:
    return max((net.length for net in nets if net.contains(pod)), default=-1)


@given(st.sets(st.sampled_from(BLOCKS)), st.sets(st.sampled_from([*BLOCKS, *PODS[:5]])), st.sets(st.sampled_from(PODS)))
def test_a_pod_is_here_although_the_table_leads_elsewhere(
    blocks: set[Prefix], elsewhere: set[Prefix], pods: set[Prefix]
) -> None:
    """Whoever is asked, the longest match: what is here is never looked for elsewhere, and nothing is said without need."""
    here = Here()
    for dst in blocks:
        assert here.on_route(dst, local(dst))
        assert not here.on_route(dst, local(dst))
    for number, pod in enumerate(sorted(pods)):
        each = endpoint(str(number), pod)
        here.on_endpoint(each.id, each, V4)
    found = set(here.nets(elsewhere))
    led_away = {pod for pod in pods if pod.family is V4 and -1 < narrowest(pod, elsewhere) >= narrowest(pod, blocks)}
    assert found == blocks | led_away
    for pod in pods:
        if pod.family is V4 and narrowest(pod, elsewhere) > -1:
            assert narrowest(pod, found) >= narrowest(pod, elsewhere)


def test_only_a_pod_that_the_table_leads_away_is_news() -> None:
    here = Here()
    here.on_route(BLOCKS[0], local(BLOCKS[0]))
    assert here.nets({BLOCKS[1]}) == [BLOCKS[0]]
    own, borrowed = endpoint("own", PODS[1]), endpoint("borrowed", PODS[2])
    assert not here.on_endpoint(own.id, own, V4)
    assert not here.on_endpoint(borrowed.id, borrowed, V6)
    assert here.on_endpoint(borrowed.id, borrowed, V4)
    assert here.nets({BLOCKS[1]}) == [BLOCKS[0], PODS[2]]
    assert not here.on_endpoint(borrowed.id, borrowed, V4)
    assert here.on_endpoint(borrowed.id, None, V4)
    assert here.nets({BLOCKS[1]}) == [BLOCKS[0]]
