"""Packet rates, connection limits and DSCP, by packets that are counted where they arrive."""

import contextlib
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.kernel.dataplane_node import Node, endpoint, node, policy, pool, tier
from tests.kernel.dataplane_stage import NODE, OUTSIDE, Pod, connect, echo, open_socket, stage, tcp_server, udp_arrives

from tortie.base.net import FAMILIES, Family, Interface, parse_address
from tortie.intent.endpoint import HostEndpoint, PacketRate
from tortie.intent.keys import HostEndpointId
from tortie.intent.messages import EndpointUpdate, HostEndpointUpdate, HostUpdate
from tortie.intent.policy import Action
from tortie.intent.routing import Host

pytestmark = pytest.mark.kernel

PORT = 5300
SENT = 60
SLOW = PacketRate(packets_per_second=1, burst=20)


@pytest.fixture
def ground() -> Iterator[tuple[Node, Pod]]:
    """A started node with one pod that only its profile governs, and the outside."""
    with stage() as built, node(built) as made:
        pod = built.pod(1)
        made.start(endpoint(pod), pool("10.77.0.0/16", nat=False), pool("fd77::/64", nat=False))
        yield made, pod


# ---- packet rate ----
def burst(source: str, target: str, address: str, family: Family) -> tuple[int, float]:
    """How many of SENT datagrams of one flow arrive, all sent at once, and how long that took."""
    with open_socket(source, family, socket.SOCK_DGRAM) as sender, open_socket(target, family, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("", PORT))
        sender.connect((address, PORT))
        started = time.monotonic()
        for _ in range(SENT):
            sender.send(b"x")
        took = time.monotonic() - started
        arrived = 0
        with contextlib.suppress(TimeoutError):
            while receiver.recv(64):
                arrived += 1
        return arrived, took


def within(limit: PacketRate, arrived: int, took: float) -> bool:
    return limit.burst <= arrived <= limit.burst + limit.packets_per_second * took + 1


@pytest.mark.shows("PS-4.2")
@pytest.mark.parametrize("family", FAMILIES)
def test_packets_to_a_workload_beyond_its_rate_are_dropped(ground: tuple[Node, Pod], family: Family) -> None:
    made, pod = ground
    outside, address = made.stage.outside, pod.address(family)
    assert burst(outside, pod.netns, address, family)[0] == SENT
    made.tell(endpoint(pod, ingress_packet_rate=SLOW))
    arrived, took = burst(outside, pod.netns, address, family)
    assert within(SLOW, arrived, took)
    assert made.stage.dropped("over the ingress packet rate") == SENT - arrived
    made.tell(endpoint(pod))
    assert burst(outside, pod.netns, address, family)[0] == SENT


@pytest.mark.shows("PS-4.2")
@pytest.mark.parametrize("family", FAMILIES)
def test_packets_from_a_workload_beyond_its_rate_are_dropped(ground: tuple[Node, Pod], family: Family) -> None:
    made, pod = ground
    made.tell(endpoint(pod, egress_packet_rate=SLOW))
    assert within(SLOW, *burst(pod.netns, made.stage.outside, OUTSIDE[family], family))
    assert burst(made.stage.outside, pod.netns, pod.address(family), family)[0] == SENT, "the other direction has no limit"


def test_both_families_share_a_packet_rate(ground: tuple[Node, Pod]) -> None:
    made, pod = ground
    made.tell(endpoint(pod, ingress_packet_rate=SLOW))
    results = [burst(made.stage.outside, pod.netns, pod.address(family), family) for family in FAMILIES]
    assert within(SLOW, results[0][0] + results[1][0], 2.0)


@pytest.mark.shows("PS-4.2")
def test_a_connection_that_is_there_is_limited_too(ground: tuple[Node, Pod]) -> None:
    made, pod = ground
    address = pod.address(Family.V4)
    with tcp_server(pod.netns, Family.V4, 80) as server:
        client = connect(made.stage.outside, Family.V4, address, 80)
        assert client is not None
        accepted, _ = server.accept()
        accepted.settimeout(0.3)
        with client, accepted:
            made.tell(endpoint(pod, ingress_packet_rate=PacketRate(packets_per_second=1, burst=1)))
            before = made.stage.dropped("over the ingress packet rate")
            client.sendall(b"a")
            client.sendall(b"b")
            with contextlib.suppress(TimeoutError):
                while accepted.recv(64):
                    client.sendall(b"c")
            assert made.stage.dropped("over the ingress packet rate") > before


# ---- connections ----
class Connections:
    """Connections from the outside to a pod that hold until they are closed."""

    def __init__(self, made: Node, pod: Pod, server: socket.socket, family: Family) -> None:
        self._made, self._pod, self._server, self._family = made, pod, server, family
        self.held: list[tuple[socket.socket, socket.socket]] = []

    def opens(self) -> bool:
        """False if it was reset. Not to be answered at all would fail the test."""
        try:
            client = connect(self._made.stage.outside, self._family, self._pod.address(self._family), 80)
        except ConnectionRefusedError:
            return False
        assert client is not None, "the packet was dropped instead of answered"
        accepted, _ = self._server.accept()
        accepted.settimeout(1)
        self.held.append((client, accepted))
        return True

    def close_one(self) -> None:
        for each in self.held.pop():
            each.close()

    def all_carry(self) -> bool:
        return all(echo(client, accepted) for client, accepted in self.held)


@contextlib.contextmanager
def connections(made: Node, pod: Pod, family: Family) -> Iterator[Connections]:
    with tcp_server(pod.netns, family, 80) as server:
        opened = Connections(made, pod, server, family)
        try:
            yield opened
        finally:
            while opened.held:
                opened.close_one()


def eventually_opens(opened: Connections) -> bool:
    """The kernel looks through its list of closed connections now and then."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if opened.opens():
            return True
        time.sleep(0.05)
    return False


@pytest.mark.shows("PS-4.6")
@pytest.mark.parametrize("family", FAMILIES)
def test_a_connection_beyond_the_limit_is_reset_until_another_one_ends(ground: tuple[Node, Pod], family: Family) -> None:
    made, pod = ground
    made.tell(endpoint(pod, ingress_max_connections=3))
    with connections(made, pod, family) as opened:
        assert [opened.opens() for _ in range(6)] == [True] * 3 + [False] * 3
        assert opened.all_carry()
        opened.close_one()
        assert eventually_opens(opened)
        assert not opened.opens()
        assert opened.all_carry()
        assert udp_arrives(made.stage.outside, family, pod.netns, pod.address(family), PORT), "only TCP is counted"


@pytest.mark.shows("PS-4.6")
def test_the_limit_of_a_workloads_own_connections(ground: tuple[Node, Pod]) -> None:
    made, pod = ground
    made.tell(endpoint(pod, egress_max_connections=1))
    for family in FAMILIES:
        with tcp_server(made.stage.outside, family, 80), contextlib.ExitStack() as held:
            first = connect(pod.netns, family, OUTSIDE[family], 80)
            assert first is not None
            held.enter_context(first)
            with pytest.raises(ConnectionRefusedError):
                connect(pod.netns, family, OUTSIDE[family], 80)
        made.tell(endpoint(pod))  # forget what is counted
        made.tell(endpoint(pod, egress_max_connections=1))


def limit_handles(made: Node, pod: Pod) -> str:
    """Changes whenever the rule of the limit is written again."""
    chain = f"filter-cali-tw-connections-of-{pod.interface}"
    return made.stage.show(made.stage.node, "nft", "-a", "list", "chain", "inet", "tortie", chain)


def test_connections_go_on_being_counted_when_policy_changes_and_the_agent_starts_again(ground: tuple[Node, Pod]) -> None:
    made, pod = ground
    other = made.stage.pod(2)
    limited: dict[str, Any] = {"ingress_max_connections": 2}
    made.tell(endpoint(pod, **limited))
    with connections(made, pod, Family.V4) as opened:
        assert [opened.opens() for _ in range(3)] == [True, True, False]
        before = limit_handles(made, pod).split("# handle")[-1]
        made.tell(endpoint(other), policy("web", ingress=({"action": Action.ALLOW},)))
        made.tell(endpoint(pod, tier(ingress=("web",)), **limited))
        made.tell(EndpointUpdate(endpoint(other).id, None))
        assert not opened.opens()
        with node(made.stage) as restarted:
            restarted.start(
                policy("web", ingress=({"action": Action.ALLOW},)), endpoint(pod, tier(ingress=("web",)), **limited)
            )
            assert not opened.opens()
        assert opened.all_carry()
        assert limit_handles(made, pod).split("# handle")[-1] == before
        opened.close_one()
        assert eventually_opens(opened)


# ---- dscp ----
def traffic_class(source: str, target: str, address: str, family: Family, *, port: int = PORT, ecn: int = 0) -> int:
    """The traffic class of a datagram as it arrives."""
    level, read, write = {
        Family.V4: (socket.IPPROTO_IP, 13, socket.IP_TOS),  # IP_RECVTOS
        Family.V6: (socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, socket.IPV6_TCLASS),
    }[family]
    with open_socket(source, family, socket.SOCK_DGRAM) as sender, open_socket(target, family, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("", port))
        receiver.setsockopt(level, read, 1)
        sender.setsockopt(level, write, ecn)
        sender.sendto(b"x", (address, port))
        _, ancillary, _, _ = receiver.recvmsg(64, 64)
        return ancillary[0][2][0]


@pytest.mark.shows("PS-1.15")
@pytest.mark.parametrize("family", FAMILIES)
def test_packets_that_leave_the_cluster_carry_their_workloads_dscp(ground: tuple[Node, Pod], family: Family) -> None:
    made, pod = ground
    other, outside = made.stage.pod(2), made.stage.outside
    made.tell(endpoint(pod, dscp=46), endpoint(other))
    assert traffic_class(pod.netns, outside, OUTSIDE[family], family, ecn=1) == 46 << 2 | 1, "the bits for congestion stay"
    assert traffic_class(other.netns, outside, OUTSIDE[family], family) == 0
    assert traffic_class(pod.netns, other.netns, other.address(family), family) == 0
    assert traffic_class(outside, pod.netns, pod.address(family), family, ecn=2) == 2
    made.tell(endpoint(pod, dscp=10), endpoint(other, dscp=46))
    assert traffic_class(pod.netns, outside, OUTSIDE[family], family) == 10 << 2
    assert traffic_class(other.netns, outside, OUTSIDE[family], family) == 46 << 2
    made.tell(endpoint(pod), endpoint(other))
    assert traffic_class(pod.netns, outside, OUTSIDE[family], family) == 0
    assert "dscp" not in made.stage.show(made.stage.node, "nft", "list", "table", "inet", "tortie")


def test_packets_to_another_node_carry_no_dscp(ground: tuple[Node, Pod]) -> None:
    made, pod = ground
    interfaces = [Interface(parse_address(OUTSIDE[family]), 24) for family in FAMILIES]
    made.tell(endpoint(pod, dscp=46), HostUpdate("node2", Host("node2", interfaces[0], interfaces[1])))
    for family in FAMILIES:
        assert traffic_class(pod.netns, made.stage.outside, OUTSIDE[family], family) == 0


def test_a_nodes_own_packets_carry_its_host_endpoints_dscp(ground: tuple[Node, Pod]) -> None:
    made, _ = ground
    expected = tuple(parse_address(NODE[family]) for family in FAMILIES)
    owner = HostEndpointId("node1", "uplink")
    made.tell(HostEndpointUpdate(owner, HostEndpoint(owner, "uplink", expected, dscp=24)))
    for family in FAMILIES:
        # Port 53 is a failsafe: without it the endpoint, which has no policy, would let nothing out.
        assert traffic_class(made.stage.node, made.stage.outside, OUTSIDE[family], family, port=53) == 24 << 2
    made.tell(HostEndpointUpdate(owner, None))
    assert traffic_class(made.stage.node, made.stage.outside, OUTSIDE[Family.V4], Family.V4, port=53) == 0
