"""Routes of the cluster in the main table: what calc decided is what the kernel has, whatever happens to it."""

import asyncio
import contextlib
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import replace

import pytest
from tests.kernel.spaces import spaces

from tortie.base.net import FAMILIES, Family, Prefix, parse_address, parse_interface, parse_prefix
from tortie.dataplane.render.config import Config, RouteConfig
from tortie.dataplane.route_manager import RouteManager
from tortie.intent.endpoint import Endpoint
from tortie.intent.keys import EndpointId
from tortie.intent.messages import ClusterRouteUpdate, Message, OverlayUpdate, VtepUpdate
from tortie.intent.routes import ClusterRoute, Overlay, Owner, Vtep, Way
from tortie.kernel import netns
from tortie.kernel.conntrack import Conntrack
from tortie.kernel.link import Links
from tortie.kernel.route import BLACKHOLE, METRIC, PROTOCOL, Route, Routes
from tortie.kernel.route_table import BIRD_PROTOCOL, RouteTable

pytestmark = pytest.mark.kernel

OWN = {Family.V4: "192.0.2.1/24", Family.V6: "2001:db8::1/64"}
OTHER = {Family.V4: parse_address("192.0.2.2"), Family.V6: parse_address("2001:db8::2")}
INSIDE = {Family.V4: parse_address("10.77.0.2"), Family.V6: parse_address("fd00:77::2")}
OVERLAY = Overlay("node1", parse_interface(OWN[Family.V4]), parse_interface(OWN[Family.V6]))
BLOCKS = {Family.V4: parse_prefix("10.65.1.0/26"), Family.V6: parse_prefix("fd00:65:1::/122")}
LOCAL_BLOCKS = {Family.V4: parse_prefix("10.65.0.0/26"), Family.V6: parse_prefix("fd00:65::/122")}
METRICS = {Family.V4: 0, Family.V6: 1023}
POD = EndpointId("node1", "shop", "pod1")
LATER_PROTOCOL = 81


class Tunnel:
    """An overlay that says what it is told to say."""

    way: Way | None = Way.VXLAN

    def __init__(self) -> None:
        self.device: str | None = None
        self.mtu = 1450
        self.problems: Mapping[str, str] = {}

    def configure(self, config: Config) -> None: ...

    def on_update(self, message: Message) -> None: ...

    async def apply(self) -> None: ...

    async def retire(self) -> None: ...

    def route(self, route: ClusterRoute) -> Route | None:
        if self.device is None or route.next_hop is None:
            return None
        return Route(
            dst=route.dst, via=route.next_hop, device=self.device, onlink=True, mtu=self.mtu, metric=METRICS[route.dst.family]
        )

    def links_changed(self, names: Set[str]) -> bool:
        return self.device in names

    def addresses_changed(self) -> bool:
        return False

    def invalidate(self) -> None: ...


class Node:
    """One life of a RouteManager. It leaves the kernel as it is."""

    def __init__(self, fd: int) -> None:
        self.links = Links(fd)
        self.routes = Routes(fd)
        self.table = RouteTable(self.routes, grace_seconds=0)
        self.conntrack = Conntrack(fd)
        self.tunnel = Tunnel()
        self.manager = RouteManager(self.table, self.conntrack, overlays=[self.tunnel], links=self.links)
        self.manager.configure(Config())
        self.endpoints: dict[EndpointId, Endpoint] = {}

    def tell(self, *updates: ClusterRoute | Prefix | Message) -> None:
        for update in updates:
            match update:
                case ClusterRoute():
                    self.manager.on_update(ClusterRouteUpdate(update.dst, update))
                case Prefix():
                    self.manager.on_update(ClusterRouteUpdate(update, None))
                case _:
                    self.manager.on_update(update)
        asyncio.run(self.manager.apply(self.endpoints))

    def kernel(self, *protocols: int) -> set[Route]:
        return {route for protocol in protocols or (PROTOCOL,) for route in self.routes.list(protocol=protocol)}

    def close(self) -> None:
        for each in (self.links, self.routes, self.conntrack):
            each.close()


@pytest.fixture
def space() -> Iterator[int]:
    with spaces("h2", 1) as (fd,):
        with Links(fd) as links:
            for name in ("cali1", "cali2", "up0", "up1", "tun0"):
                links.create_veth(name, f"{name}p")
                links.set_up(name)
                links.set_up(f"{name}p")
            for interface in OWN.values():
                links.add_address("up0", parse_interface(interface))
        yield fd


@pytest.fixture
def node(space: int) -> Iterator[Node]:
    made = Node(space)
    made.tell(OverlayUpdate(OVERLAY))
    yield made
    made.close()


def direct(dst: Prefix, owner: Owner = Owner.AGENT) -> ClusterRoute:
    return ClusterRoute(dst, Way.DIRECT, owner, "node2", OTHER[dst.family])


def vxlan(dst: Prefix) -> ClusterRoute:
    return ClusterRoute(dst, Way.VXLAN, Owner.AGENT, "node2", INSIDE[dst.family])


def by_uplink(dst: Prefix, device: str = "up0") -> Route:
    return Route(dst=dst, via=OTHER[dst.family], device=device, onlink=True, metric=METRICS[dst.family]).as_kernel()


def endpoint(*texts: str, interface: str = "cali1") -> Endpoint:
    return Endpoint(POD, "shop/pod1", interface, tuple(parse_prefix(text) for text in texts), tiers=(), profiles=())


def pod_route(text: str, device: str = "cali1") -> Route:
    return replace(Route(dst=parse_prefix(text), device=device, metric=METRIC), scope=253).as_kernel()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_block_of_a_node_in_our_subnet_is_by_the_uplink_and_our_own_is_a_blackhole(node: Node, family: Family) -> None:
    local = ClusterRoute(LOCAL_BLOCKS[family], Way.LOCAL, Owner.AGENT, "node1")
    node.tell(direct(BLOCKS[family]), local)
    hole = Route(dst=local.dst, kind=BLACKHOLE, metric=METRICS[family]).as_kernel()
    assert node.kernel() == {by_uplink(BLOCKS[family]), hole}
    node.tell(local.dst)
    assert node.kernel() == {by_uplink(BLOCKS[family])}
    node.tell(BLOCKS[family])
    assert node.kernel() == set()


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_birds_or_has_no_way_or_is_a_single_address_of_ours_gets_no_route(node: Node, family: Family) -> None:
    single = Prefix(family, LOCAL_BLOCKS[family].value + 1, family.bits)
    node.tell(
        direct(BLOCKS[family], Owner.BIRD),
        ClusterRoute(LOCAL_BLOCKS[family], Way.LOCAL, Owner.BIRD, "node1"),
        ClusterRoute(single, Way.LOCAL, Owner.AGENT, "node1"),
        ClusterRoute(Prefix(family, single.value + 1, family.bits), Way.NONE, Owner.NOBODY, "node3", reason="no address"),
    )
    assert node.kernel() == set()
    assert node.manager.problems == {}


def test_a_workload_here_has_its_address_whatever_the_datastore_says_of_that(node: Node) -> None:
    address = "10.65.1.7/32"
    node.tell(direct(parse_prefix(address)), direct(BLOCKS[Family.V4]))
    assert node.kernel() == {by_uplink(parse_prefix(address)), by_uplink(BLOCKS[Family.V4])}
    node.endpoints[POD] = endpoint(address)
    node.tell()
    assert node.kernel() == {pod_route(address), by_uplink(BLOCKS[Family.V4])}
    node.tell(direct(parse_prefix(address)))
    assert node.kernel() == {pod_route(address), by_uplink(BLOCKS[Family.V4])}
    node.tell(parse_prefix(address), BLOCKS[Family.V4])
    assert node.kernel() == {pod_route(address)}
    node.endpoints.clear()
    node.tell(direct(parse_prefix(address)))
    assert node.kernel() == {by_uplink(parse_prefix(address))}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_route_follows_the_interface_that_has_the_nodes_own_address(node: Node, family: Family) -> None:
    own = parse_interface(OWN[family])
    node.tell(direct(BLOCKS[family]))
    node.links.delete_address("up0", own)
    assert node.manager.addresses_changed()
    node.tell()
    assert node.kernel() == set()
    assert "no interface that is up has this node's own address" in node.manager.problems[f"route {BLOCKS[family]}"]
    node.links.add_address("up1", own)
    assert node.manager.addresses_changed()
    node.tell()
    assert node.kernel() == {by_uplink(BLOCKS[family], "up1")}
    assert node.manager.problems == {}
    node.links.add_address("cali2", parse_interface("198.51.100.1/24"))
    assert not node.manager.addresses_changed()


def test_a_route_waits_while_the_uplink_is_down_and_comes_back_with_it(node: Node) -> None:
    block = BLOCKS[Family.V4]
    node.tell(direct(block))
    node.links.set_down("up0")
    assert node.manager.links_changed({"up0"})
    node.tell()
    assert node.kernel() == set()
    assert list(node.manager.problems) == [f"route {block}"]
    node.links.set_up("up0")
    assert node.manager.links_changed({"up0"})
    node.tell()
    assert node.kernel() == {by_uplink(block)}
    assert node.manager.problems == {}


def test_an_uplink_that_vanishes_between_looking_and_writing_is_not_the_end(node: Node) -> None:
    block, pod = BLOCKS[Family.V4], "10.65.0.5/32"
    node.tell(OverlayUpdate(OVERLAY))
    node.links.delete("up0")
    node.endpoints[POD] = endpoint(pod)
    node.tell(direct(block))
    assert node.kernel() == {pod_route(pod)}
    node.links.create_veth("up0", "up0p")
    node.links.set_up("up0")
    node.links.set_up("up0p")
    node.links.add_address("up0", parse_interface(OWN[Family.V4]))
    node.manager.links_changed({"up0"})
    node.manager.addresses_changed()
    node.tell()
    assert node.kernel() == {pod_route(pod), by_uplink(block)}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_tunnels_route_is_withheld_until_there_can_be_one_and_follows_its_device_and_mtu(node: Node, family: Family) -> None:
    block = BLOCKS[family]
    nowhere = Route(dst=block, kind="unreachable", metric=1 << 20).as_kernel()
    node.tell(vxlan(block))
    assert node.kernel() == {nowhere}, "not by the default route, without the tunnel"
    assert list(node.manager.problems) == [f"route {block}"]
    node.tunnel.device = "tun0"
    node.tell()
    tunnelled = replace(by_uplink(block, "tun0"), via=INSIDE[family], mtu=1450)
    assert node.kernel() == {tunnelled}
    assert node.manager.problems == {}
    node.tunnel.mtu = 1400
    node.tell()
    assert node.kernel() == {replace(tunnelled, mtu=1400)}
    node.tunnel.device = None
    node.tell(VtepUpdate("node2", family, Vtep("node2", family, INSIDE[family], "02:00:00:00:00:02", OTHER[family])))
    assert node.kernel() == {nowhere}
    node.tell(direct(block))
    assert node.kernel() == {by_uplink(block)}


def test_a_new_life_keeps_what_is_wanted_sweeps_what_is_not_and_leaves_others_alone(node: Node, space: int) -> None:
    blocks = [Prefix(Family.V4, BLOCKS[Family.V4].value + (n << 6), 26) for n in range(8)]
    node.endpoints[POD] = endpoint("10.65.0.5/32", "fd00:65::5/128")
    node.tell(*map(direct, blocks))
    bird = replace(by_uplink(blocks[7]), protocol=BIRD_PROTOCOL, metric=1024)
    static = Route(dst=parse_prefix("203.0.113.0/24"), via=OTHER[Family.V4], device="up0", protocol=4)
    assert node.routes.add([bird, static]) == ()
    foreign = {route for route in node.routes.list() if route.protocol != PROTOCOL}
    node.routes.delete([by_uplink(blocks[0])])
    node.routes.replace([replace(by_uplink(blocks[1]), device="up1")])
    node.close()
    later = Node(space)
    try:
        later.endpoints = node.endpoints
        later.tell(OverlayUpdate(OVERLAY), *map(direct, blocks[:6]))
        pods = {pod_route("10.65.0.5/32"), pod_route("fd00:65::5/128")}
        assert later.kernel() == {by_uplink(block) for block in blocks[:6]} | pods
        assert {route for route in later.routes.list() if route.protocol != PROTOCOL} == foreign
        later.endpoints = {}
        later.tell(*blocks)
        assert later.kernel() == set()
        assert {route for route in later.routes.list() if route.protocol != PROTOCOL} == foreign
    finally:
        later.close()


def test_device_route_protocol_moves_every_route_of_ours(node: Node) -> None:
    node.endpoints[POD] = endpoint("10.65.0.5/32")
    node.tell(direct(BLOCKS[Family.V4]), direct(BLOCKS[Family.V6]))
    pod, blocks = pod_route("10.65.0.5/32"), {by_uplink(block) for block in BLOCKS.values()}
    assert node.kernel() == {pod, *blocks}
    for workload, cluster in ((LATER_PROTOCOL, LATER_PROTOCOL), (3, PROTOCOL), (PROTOCOL, PROTOCOL)):
        node.manager.configure(replace(Config(), routes=RouteConfig(protocol=workload)))
        node.tell()
        expected = {replace(pod, protocol=workload), *(replace(route, protocol=cluster) for route in blocks)}
        assert node.kernel(PROTOCOL, LATER_PROTOCOL, 3) == expected


def test_device_route_source_address_is_on_every_route_with_a_device_as_long_as_the_node_has_it(node: Node) -> None:
    sources = tuple(parse_interface(OWN[family]).address for family in FAMILIES)
    node.endpoints[POD] = endpoint("10.65.0.5/32", "fd00:65::5/128")
    node.tell(*map(direct, BLOCKS.values()))
    plain = node.kernel()
    assert len(plain) == 4
    node.manager.configure(replace(Config(), routes=RouteConfig(sources=sources)))
    node.tell()
    assert node.kernel() == {replace(route, source=sources[FAMILIES.index(route.dst.family)]) for route in plain}
    node.manager.configure(replace(Config(), routes=RouteConfig(sources=(parse_address("198.51.100.9"), None))))
    node.tell()
    assert node.kernel() == plain
    assert list(node.manager.problems) == ["route source 198.51.100.9"]
    node.links.add_address("up1", parse_interface("198.51.100.9/24"))
    assert node.manager.addresses_changed()
    node.tell()
    assert {str(route.source) for route in node.kernel() if route.dst.family is Family.V4} == {"198.51.100.9"}
    assert node.manager.problems == {}


def test_remove_external_routes_says_whether_others_may_lead_into_workloads(node: Node) -> None:
    manual = Route(dst=parse_prefix("198.51.100.0/24"), device="cali1", protocol=3).as_kernel()
    assert node.routes.add([manual]) == ()
    node.manager.configure(replace(Config(), routes=RouteConfig(remove_external=False)))
    node.tell()
    assert node.kernel(3) == {manual}
    node.manager.configure(Config())
    node.tell()
    assert node.kernel(3) == set()


def test_route_sync_disabled_leaves_all_routes_as_they_are(node: Node) -> None:
    kept = by_uplink(parse_prefix("10.65.9.0/26"))
    node.manager.configure(replace(Config(), routes=RouteConfig(sync=False)))
    assert node.routes.add([kept]) == ()
    node.endpoints[POD] = endpoint("10.65.0.5/32")
    node.tell(direct(BLOCKS[Family.V4]))
    assert node.kernel() == {kept}
    assert node.manager.due_in() is None
    node.manager.configure(Config())
    node.tell()
    assert node.kernel() == {pod_route("10.65.0.5/32"), by_uplink(BLOCKS[Family.V4])}


# ---- connections ----
MOVING, STAYING = "10.65.1.7", "10.65.1.8"
HERE, HERE_TOO, THERE, ELSEWHERE = "cali1", "cali2", "up0", "tun0"


@contextlib.contextmanager
def talking(fd: int) -> Iterator[Callable[[], None]]:
    """Sends one datagram of one connection to each of both addresses; connections are tracked."""
    rules = "add table ip h2; add chain ip h2 o { type filter hook output priority 0; }; add rule ip h2 o ct state new accept"
    netns.in_netns(fd, lambda: subprocess.run(["nft", rules], check=True))
    sender = netns.in_netns(fd, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))

    def talk() -> None:
        for address in (MOVING, STAYING):
            sender.sendto(b"?", (address, 4000))

    with sender:
        yield talk


@pytest.mark.parametrize(
    ("before", "after", "forgotten"),
    [
        (HERE, HERE_TOO, 1),
        (HERE, THERE, 1),
        (THERE, HERE, 1),
        (HERE, None, 1),
        (THERE, ELSEWHERE, 0),
        (THERE, None, 0),
    ],
)
def test_connections_of_an_address_that_comes_or_leaves_are_forgotten_and_no_others(
    node: Node, space: int, before: str, after: str | None, forgotten: int
) -> None:
    node.tunnel.device = ELSEWHERE
    address = parse_prefix(MOVING)

    def be(where: str | None) -> None:
        node.endpoints = {POD: endpoint(MOVING, interface=where)} if where in (HERE, HERE_TOO) else {}
        node.tell({THERE: direct, ELSEWHERE: vxlan}[where](address) if where in (THERE, ELSEWHERE) else address)

    node.tell(direct(BLOCKS[Family.V4]))
    be(before)
    with talking(space) as talk:
        talk()
        be(after)
        node.tell(vxlan(BLOCKS[Family.V4]))
        assert node.conntrack.forget([address.network]) == 1 - forgotten
        assert node.conntrack.forget([parse_address(STAYING)]) == 1, "a block's route has taken another way, and that is all"
