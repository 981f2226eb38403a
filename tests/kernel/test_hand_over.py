"""Destinations that change hands between the agent and BIRD: the new route comes before the old one goes."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from tests.kernel.test_bird import Host, affinity, bird_routes, eventually, intent, nodes
from tests.kernel.test_dataplane_routes import BLOCKS, Node, by_uplink, direct, node, space, vxlan

from tortie.base.net import FAMILIES, Address, Family, Prefix, parse_address, parse_interface, parse_prefix
from tortie.dataplane import cluster_routes, hand_over
from tortie.intent.messages import OverlayUpdate
from tortie.intent.routes import ClusterRoute, Overlay, Owner, Way
from tortie.intent.routing import Bgp
from tortie.kernel import netns
from tortie.kernel.route import PROTOCOL, Route, RouteMonitor
from tortie.kernel.route_table import BIRD_PROTOCOL

pytestmark = pytest.mark.kernel
__all__ = ["node", "space"]

V4, V6 = Family.V4, Family.V6


def of_bird(dst: Prefix) -> Route:
    return replace(by_uplink(dst), protocol=BIRD_PROTOCOL, metric=1024)


def bgp(dst: Prefix) -> ClusterRoute:
    return ClusterRoute(dst, Way.BGP, Owner.BIRD, "node2")


def handing_over(node: Node) -> bool:
    return node.manager.handing_over


def taking_over(node: Node) -> bool:
    return node.manager.taking_over


def test_bird_keeps_its_route_where_ours_would_lead_into_a_tunnel_that_is_not_there(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_routes, "SETTLE_SECONDS", 0.0)
    block = BLOCKS[V4]
    assert node.routes.add([of_bird(block)]) == ()
    node.tell(bgp(block))
    node.tell(vxlan(block))
    node.tell()
    found = sorted(node.kernel(PROTOCOL, BIRD_PROTOCOL), key=lambda route: route.metric)
    assert [route.kind for route in found] == ["unicast", "unreachable"], "BIRD's counts while it is there"
    assert taking_over(node)
    node.tunnel.device = "tun0"
    node.tell()
    assert not taking_over(node)
    assert [each.device for each in node.kernel()] == ["tun0"]


@pytest.mark.parametrize("family", FAMILIES)
def test_our_route_stays_until_that_of_bird_is_there(node: Node, family: Family) -> None:
    block = BLOCKS[family]
    node.tell(direct(block))
    node.tell(bgp(block))
    assert handing_over(node)
    node.manager.invalidate()
    node.tell()
    assert node.kernel(PROTOCOL, BIRD_PROTOCOL) == {by_uplink(block)}
    due = node.manager.due_in()
    assert due is not None
    assert due <= 1
    assert node.routes.add([of_bird(block)]) == ()
    assert node.manager.routes_changed([block])
    node.tell()
    assert node.kernel(PROTOCOL, BIRD_PROTOCOL) == {of_bird(block)}
    assert not handing_over(node)
    assert node.manager.due_in() is None
    assert node.manager.problems == {}


def test_a_route_that_an_agent_before_us_left_stays_for_bird_too(node: Node) -> None:
    block = BLOCKS[V4]
    assert node.routes.add([by_uplink(block), by_uplink(BLOCKS[V6])]) == ()
    node.manager.invalidate()
    node.tell(bgp(block))
    assert node.kernel() == {by_uplink(block)}, "what nobody has goes at once"


def test_what_bird_does_not_take_in_time_goes_and_is_reported_until_bird_has_it(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = BLOCKS[V4]
    node.tell(direct(block), direct(BLOCKS[V6]))
    node.tell(bgp(block))
    monkeypatch.setattr(hand_over, "PATIENCE_SECONDS", 0.0)
    node.tell()
    assert node.kernel() == {by_uplink(BLOCKS[V6])}
    assert list(node.manager.problems) == [f"route {block}"]
    assert not handing_over(node)
    assert not node.manager.routes_changed([block])
    assert node.manager.problems == {}


def test_who_changes_his_mind_while_a_route_is_handed_over_keeps_it_or_loses_it(node: Node) -> None:
    block = BLOCKS[V4]
    node.tell(direct(block))
    node.tell(bgp(block))
    node.tell(direct(block))
    assert not handing_over(node)
    assert node.kernel() == {by_uplink(block)}
    node.tell(bgp(block))
    node.tell(block)
    assert node.kernel() == set()
    assert not handing_over(node)


def test_bird_is_waited_for_until_everything_that_was_its_own_is_in_the_kernel_by_us(node: Node) -> None:
    block = BLOCKS[V4]
    node.tell(bgp(block))
    assert not taking_over(node)
    node.links.set_down("up0")
    node.manager.links_changed({"up0"})
    node.tell(direct(block))
    assert taking_over(node)
    node.links.set_up("up0")
    node.manager.links_changed({"up0"})
    node.tell()
    assert not taking_over(node)
    assert node.kernel() == {by_uplink(block)}


# ---- with BIRD ----
_SO_RCVBUFFORCE = 33


class Stream:
    """Numbered UDP packets from one namespace to an address of another, five hundred a second."""

    def __init__(self, source: str, target: str, address: Address) -> None:
        kind = socket.AF_INET if address.family is V4 else socket.AF_INET6
        self._receiver = netns.run_in_named(target, lambda: socket.socket(kind, socket.SOCK_DGRAM))
        self._receiver.bind((str(address), 4000))
        self._receiver.settimeout(0.5)
        # Whoever reads it may be without a processor for longer than the usual buffer lasts.
        self._receiver.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 8 << 20)
        self._sender = netns.run_in_named(source, lambda: socket.socket(kind, socket.SOCK_DGRAM))
        self._target = (str(address), 4000)
        self._seen: set[bytes] = set()
        self._sent = 0
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._send, self._receive)]
        for thread in self._threads:
            thread.start()

    def _send(self) -> None:
        while not self._ended.is_set():
            self._sent += 1
            try:
                self._sender.sendto(self._sent.to_bytes(8, "big"), self._target)
            except OSError:  # no route: it was lost
                pass
            time.sleep(0.002)

    def _receive(self) -> None:
        while True:
            try:
                self._seen.add(self._receiver.recv(64))
            except TimeoutError:
                if self._ended.is_set():
                    return

    def finish(self) -> tuple[int, int]:
        """Sent, and lost."""
        self._ended.set()
        for thread in self._threads:
            thread.join()
        self._sender.close()
        self._receiver.close()
        return self._sent, self._sent - len(self._seen)


TARGETS = {V4: parse_address("10.0.0.70"), V6: parse_address("fd00:10::45")}
THEIRS = {V4: parse_prefix("10.0.0.64/26"), V6: parse_prefix("fd00:10::40/122")}
OURS = {V4: parse_prefix("10.0.0.0/26"), V6: parse_prefix("fd00:10::/122")}
NEXT_HOPS = {V4: parse_address("172.18.0.2"), V6: parse_address("fd00:18::2")}


@contextmanager
def agent(host: Host) -> Iterator[Node]:
    """The routes' part of an agent, in its host."""
    with netns.opened(host.space) as fd:
        made = Node(fd)
        made.tell(OverlayUpdate(Overlay("n1", parse_interface("172.18.0.1/16"), parse_interface("fd00:18::1/64"))))
        yield made
        made.close()


def told_to_bird() -> Bgp:
    return intent("n1", affinity(2, "fd00:10::40/122"))


def routes_of(owner: Owner) -> list[ClusterRoute]:
    way = Way.BGP if owner is Owner.BIRD else Way.DIRECT
    remote = [ClusterRoute(THEIRS[each], way, owner, "n2", NEXT_HOPS[each]) for each in FAMILIES]
    return remote + [ClusterRoute(OURS[each], Way.LOCAL, owner, "n1") for each in FAMILIES]


def until(made: Node, host: Host, check: Callable[[], bool], what: str) -> None:
    """Apply when somebody else changed a route of ours, or when that is due, as the agent does, until something is so."""
    with netns.opened(host.space) as fd:
        monitor = RouteMonitor(fd, ignore_port=made.routes.port_id)
    began = applied = time.monotonic()
    try:
        while not check():
            now = time.monotonic()
            assert now < began + 20, what
            due = made.manager.due_in()
            if made.manager.routes_changed([change.route.dst for change in monitor.read()]) or now > applied + (due or 60):
                applied = now
                made.tell()
            time.sleep(0.02)
    finally:
        monitor.close()


def test_no_packet_is_lost_while_routes_go_from_bird_to_the_agent_and_back() -> None:
    with nodes(2) as (one, two), agent(one) as made:
        for address in TARGETS.values():
            two.ip("address", "add", str(address), "dev", "lo", *(["nodad"] if address.family is V6 else []))
        two.ip("link", "set", "lo", "up")
        theirs = intent("n2", affinity(2, "fd00:10::40/122"))
        two.do(lambda bird: bird.apply(theirs))
        by_bird = told_to_bird()
        by_agent = replace(by_bird, programs_no_encap=False)
        one.do(lambda bird: bird.apply(by_bird))
        made.tell(*routes_of(Owner.BIRD))
        remote = {str(each) for each in THEIRS.values()}

        def birds() -> set[str]:
            return (bird_routes(one).keys() | bird_routes(one, "-6").keys()) & remote

        def ours() -> set[str]:
            return {str(route.dst) for route in made.kernel()}

        eventually(lambda: birds() == remote, "BIRD has not learned the other node's blocks")
        assert ours() == set()
        streams = [Stream(one.space, two.space, address) for address in TARGETS.values()]
        try:
            for _ in range(3):
                made.tell(*routes_of(Owner.AGENT))
                assert not taking_over(made), "only now BIRD may be configured"
                one.do(lambda bird: bird.apply(by_agent))
                eventually(lambda: birds() == set(), "BIRD has routes that are the agent's")
                assert ours() == remote | {str(each) for each in OURS.values()}
                made.tell(*routes_of(Owner.BIRD))
                one.do(lambda bird: bird.apply(by_bird))
                until(made, one, lambda: ours() == set(), "the agent has routes that are BIRD's")
                assert birds() == remote
        finally:
            counts = [stream.finish() for stream in streams]
        assert [lost for _, lost in counts] == [0, 0], counts
        assert min(sent for sent, _ in counts) > 100
