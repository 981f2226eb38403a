"""A destination whose way leads into another tunnel keeps the way that it had for a moment."""

import time
from typing import cast

import pytest

from tortie.base.net import parse_address, parse_prefix
from tortie.dataplane import cluster_routes
from tortie.dataplane.cluster_routes import ClusterRoutes
from tortie.dataplane.overlay import OverlayManager
from tortie.intent.messages import ClusterRouteUpdate
from tortie.intent.routes import ClusterRoute, Owner, Way
from tortie.kernel.route import Route

BLOCK = parse_prefix("10.244.1.0/26")


class Tunnel:
    """An overlay that can do everything at once."""

    def __init__(self, way: Way) -> None:
        self.way = way

    def route(self, route: ClusterRoute) -> Route | None:
        return Route(dst=route.dst, via=route.next_hop, device=self.way.value)


@pytest.fixture
def routes() -> ClusterRoutes:
    return ClusterRoutes(None, [cast(OverlayManager, Tunnel(way)) for way in (Way.VXLAN, Way.IPIP)])


def tell(routes: ClusterRoutes, way: Way | None, node: str = "n2") -> None:
    owner = Owner.BIRD if way is Way.BGP else Owner.AGENT
    route = ClusterRoute(BLOCK, way, owner, node, parse_address("172.18.0.3"), reason="x") if way is not None else None
    routes.on_update(ClusterRouteUpdate(BLOCK, route))


@pytest.mark.parametrize("before", [Way.BGP, Way.DIRECT, Way.IPIP])
def test_the_old_way_stays_until_the_other_end_is_surely_there(
    routes: ClusterRoutes, before: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_routes, "SETTLE_SECONDS", 1.0)
    tell(routes, before)
    assert (routes.settles(BLOCK), routes.due_in()) == (False, None)
    tell(routes, Way.VXLAN)
    due = routes.due_in()
    assert routes.settles(BLOCK)
    assert due is not None
    assert 0 < due <= 1.0
    time.sleep(1.01)
    assert routes.due_in() == 0.0
    assert not routes.settles(BLOCK)
    assert routes.due_in() is None
    found = routes.kernel_route(BLOCK)
    assert found is not None
    assert found.device == "vxlan"


@pytest.mark.parametrize("after", [Way.BGP, Way.DIRECT, Way.NONE])
def test_a_tunnel_that_is_left_for_another_is_kept_over_the_moments_without_any(routes: ClusterRoutes, after: Way) -> None:
    tell(routes, Way.VXLAN)
    tell(routes, after)
    assert routes.settles(BLOCK)
    tell(routes, Way.IPIP)
    assert routes.settles(BLOCK)


@pytest.mark.parametrize(
    ("before", "after"),
    [(None, Way.VXLAN), (Way.NONE, Way.VXLAN), (Way.BGP, Way.DIRECT), (Way.DIRECT, Way.NONE), (Way.VXLAN, Way.VXLAN)],
)
def test_nothing_is_kept_where_there_was_no_way_or_no_tunnel_is_concerned(
    routes: ClusterRoutes, before: Way | None, after: Way
) -> None:
    tell(routes, before)
    tell(routes, after)
    assert not routes.settles(BLOCK)


def test_a_destination_that_moves_to_another_node_goes_at_once(routes: ClusterRoutes) -> None:
    tell(routes, Way.IPIP)
    tell(routes, Way.VXLAN, node="n3")
    assert not routes.settles(BLOCK)


def test_who_changes_back_or_goes_away_meanwhile_is_not_waited_for(routes: ClusterRoutes) -> None:
    tell(routes, Way.BGP)
    tell(routes, Way.VXLAN)
    tell(routes, None)
    assert (routes.settles(BLOCK), routes.due_in()) == (False, None)


def test_where_the_ways_to_nodes_change_their_destinations_are_asked_for_again_and_no_others(routes: ClusterRoutes) -> None:
    tell(routes, Way.IPIP)
    routes.take_dirty()
    routes.kernel_route(BLOCK)
    routes.ways_changed({parse_address("172.18.0.4")})
    assert routes.take_dirty() == set()
    routes.ways_changed({parse_address("172.18.0.3")})
    assert routes.take_dirty() == {BLOCK}
