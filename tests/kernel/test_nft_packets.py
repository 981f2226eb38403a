"""Real packets over the loopback of a namespace meet the rules."""

import socket
import struct
from collections.abc import Iterator

import pytest
from tests.kernel.nft_ground import Driven, Ground, ground

from tortie.base.net import Family, Prefix, parse_address, parse_prefix
from tortie.kernel.netns import in_netns
from tortie.kernel.nft.objects import (
    ACCEPT,
    CT_ESTABLISHED,
    CT_NEW,
    DROP,
    RETURN,
    AddressPortIn,
    Chain,
    Counter,
    CtState,
    ElementType,
    FibType,
    Goto,
    Hook,
    IcmpIs,
    IfName,
    IfNameVmap,
    Jump,
    L4Proto,
    Limit,
    Mark,
    Net,
    NetIn,
    NfProto,
    Ports,
    Reject,
    Rule,
    SetMark,
    SetSpec,
    Statement,
)

pytestmark = pytest.mark.kernel

V4, V6 = Family.V4, Family.V6
INPUT = Hook("filter", "input", 0)
TCP, UDP, IP4, IP6 = L4Proto(6), L4Proto(17), NfProto(V4), NfProto(V6)


@pytest.fixture
def place() -> Iterator[Ground]:
    with ground() as made:
        yield made


@pytest.fixture
def driver(place: Ground) -> Iterator[Driven]:
    made = place.table()
    yield made
    made.close()


def rules(*many: tuple[Statement, ...]) -> tuple[Rule, ...]:
    return tuple(Rule(statements) for statements in many)


def udp_arrives(place: Ground, port: int, *, to: str = "127.0.0.1", source: str = "") -> bool:
    """True if a datagram to the address and port reaches a socket there."""
    family = socket.AF_INET6 if ":" in to else socket.AF_INET
    with place.socket(socket.SOCK_DGRAM, family) as receiver, place.socket(socket.SOCK_DGRAM, family) as sender:
        receiver.bind((to, port))
        receiver.settimeout(0.3)
        if source:
            sender.bind((source, 0))
        sender.sendto(b"hello", (to, port))
        try:
            return receiver.recv(16) == b"hello"
        except TimeoutError:
            return False


def tcp(place: Ground, port: int) -> str:
    """What a connection attempt to a listener on the port comes to."""
    with place.socket(socket.SOCK_STREAM) as listener, place.socket(socket.SOCK_STREAM) as client:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen()
        client.settimeout(0.3)
        try:
            client.connect(("127.0.0.1", port))
        except ConnectionRefusedError:
            return "reset"
        except TimeoutError:
            return "silence"
        except OSError as error:
            return f"error {error.errno}"
        return "connected"


def test_ports_in_and_out_of_a_set_of_ranges(place: Ground, driver: Driven) -> None:
    ports = Ports("destination", ((1000, 1000), (2000, 2010), (65000, 65535)))
    driver.table.put_chain(Chain("input", rules((UDP, ports, ACCEPT), (UDP, DROP)), INPUT))
    driver.apply()
    arrived = [p for p in (999, 1000, 1001, 1999, 2000, 2010, 2011, 64999, 65000, 65535) if udp_arrives(place, p)]
    assert arrived == [1000, 2000, 2010, 65000, 65535]
    negated = Ports("destination", ports.ranges, "!=")
    driver.table.put_chain(Chain("input", rules((UDP, negated, ACCEPT), (UDP, DROP)), INPUT))
    driver.apply()
    assert [p for p in (999, 1000, 2005, 2011, 65535) if udp_arrives(place, p)] == [999, 2011]


def test_members_of_an_interval_set_take_effect_and_end_one_by_one(place: Ground, driver: Driven) -> None:
    driver.table.put_set(SetSpec("nets", ElementType.IPV4, interval=True), [parse_prefix("127.0.0.0/24")])
    driver.table.put_chain(Chain("input", rules((IP4, UDP, NetIn("source", V4, "nets"), ACCEPT), (UDP, DROP)), INPUT))
    driver.apply()
    sources = ("127.0.0.1", "127.0.0.255", "127.0.1.0", "127.255.255.254")

    def allowed() -> list[str]:
        return [source for source in sources if udp_arrives(place, 5000, source=source)]

    assert allowed() == ["127.0.0.1", "127.0.0.255"]
    driver.table.add_members("nets", [parse_prefix("127.0.0.0/8"), parse_prefix("127.0.0.1/32")])
    driver.apply()
    assert allowed() == list(sources)
    driver.table.remove_members("nets", [parse_prefix("127.0.0.0/8")])
    driver.apply()
    assert allowed() == ["127.0.0.1", "127.0.0.255"]
    driver.table.remove_members("nets", [parse_prefix("127.0.0.0/24")])
    driver.apply()
    assert allowed() == ["127.0.0.1"]


@pytest.mark.parametrize(("address", "family", "kind"), [
    ("127.0.0.1", V4, ElementType.IPV4_PORT), ("::1", V6, ElementType.IPV6_PORT),
])  # fmt: skip
def test_address_protocol_and_port_together(
    place: Ground, driver: Driven, address: str, family: Family, kind: ElementType
) -> None:
    driver.table.put_set(SetSpec("pairs", kind), [(parse_address(address), 17, 5001), (parse_address(address), 6, 5002)])
    proto = NfProto(family)
    match = AddressPortIn("destination", family, "pairs")
    driver.table.put_chain(Chain("input", rules((proto, match, ACCEPT), (UDP, DROP)), INPUT))
    driver.apply()
    assert [port for port in (5000, 5001, 5002) if udp_arrives(place, port, to=address)] == [5001]


def test_a_map_sends_packets_of_an_interface_to_its_chain(place: Ground, driver: Driven) -> None:
    spec = SetSpec("dispatch", ElementType.IFNAME, is_verdict_map=True)
    driver.table.put_set(spec, {"other0": DROP})
    driver.table.put_chain(Chain("workload", rules((UDP, Ports("destination", ((5000, 5000),)), DROP), (RETURN,))))
    driver.table.put_chain(Chain("input", rules((IfNameVmap("iif", "dispatch"),), (Counter(),)), INPUT))
    driver.apply()
    assert udp_arrives(place, 5000)
    driver.table.add_members("dispatch", {"lo": Goto("workload")})
    driver.apply()
    assert not udp_arrives(place, 5000)
    assert udp_arrives(place, 5001)


def test_reject_answers_and_drop_does_not(place: Ground, driver: Driven) -> None:
    driver.table.put_chain(
        Chain(
            "input",
            rules(
                (TCP, Ports("destination", ((81, 81),)), Reject(tcp_reset=True)),
                (TCP, Ports("destination", ((82, 82),)), DROP),
                (TCP, Ports("destination", ((83, 83),)), Reject()),
            ),
            INPUT,
        )
    )
    driver.apply()
    assert [tcp(place, port) for port in (80, 81, 82, 83)] == ["connected", "reset", "silence", "error 113"]


def test_conntrack_state_lets_answers_through(place: Ground, driver: Driven) -> None:
    stateful = rules((CtState(CT_ESTABLISHED), Counter(), ACCEPT), (TCP, CtState(CT_NEW), Counter(), DROP))
    driver.table.put_chain(Chain("input", stateful, INPUT))
    driver.apply()
    assert tcp(place, 80) == "silence"
    driver.table.put_chain(Chain("input", (*stateful[:1], Rule((CtState(CT_NEW), ACCEPT)), Rule((DROP,))), INPUT))
    driver.apply()
    assert tcp(place, 80) == "connected"
    assert driver.counters()["input", 0][0] > 0


def test_marks_change_their_bits_only(place: Ground, driver: Driven) -> None:
    driver.table.put_chain(Chain("step", rules((SetMark(0xF0, 0x50),))))
    driver.table.put_chain(
        Chain(
            "input",
            rules(
                (SetMark(0xFFFFFFFF, 0xABCD00FF),),
                (Jump("step"),),
                (UDP, Mark(0xFFFFFFFF, 0xABCD005F), Mark(0xF, 0xF), Mark(0xFF, 0x5E, "!="), ACCEPT),
                (UDP, DROP),
            ),
            INPUT,
        )
    )
    driver.apply()
    assert udp_arrives(place, 5000)


def test_interface_patterns_families_and_route_types(place: Ground, driver: Driven) -> None:
    everything = Net("source", Prefix(V4, 0, 0))
    nothing = Net("source", Prefix(V4, 0, 0), "!=")
    driver.table.put_chain(
        Chain(
            "input",
            rules(
                (IP4, nothing, DROP),
                (IfName("iif", "l*"), IfName("iif", "lo"), IfName("iif", "lox*", "!="), FibType("destination", 2), Counter()),
                (IP6, UDP, DROP),
                (IP4, everything, UDP, Ports("destination", ((5001, 5001),)), DROP),
            ),
            INPUT,
        )
    )
    driver.apply()
    assert udp_arrives(place, 5000)
    assert not udp_arrives(place, 5001)
    assert not udp_arrives(place, 5000, to="::1")
    assert driver.counters()["input", 1][0] == 3


def test_icmp_type_and_code_are_negated_as_a_whole(place: Ground, driver: Driven) -> None:
    negated = rules((IP4, L4Proto(1), IcmpIs(V4, 3, 1, "!="), Counter()), (IP4, L4Proto(1), IcmpIs(V4, 3, 1), Counter()))
    driver.table.put_chain(Chain("input", negated, INPUT))
    driver.apply()
    for kind, code, matched in ((3, 1, 1), (3, 2, 0), (5, 1, 0)):
        before = driver.counters()
        send_icmp(place, kind, code)
        after = driver.counters()
        rose = [after["input", rule][0] - before["input", rule][0] for rule in (0, 1)]
        assert rose == [1 - matched, matched], f"type {kind} code {code}"


def send_icmp(place: Ground, kind: int, code: int) -> None:
    """One ICMP message to the loopback (its content is nobody's)."""
    body = struct.pack(">BBHI", kind, code, 0, 0)
    total = sum(struct.unpack(">4H", body))
    checksum = ~(total + (total >> 16)) & 0xFFFF
    raw = in_netns(place.fd, lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))
    with raw:
        raw.sendto(struct.pack(">BBHI", kind, code, checksum, 0), ("127.0.0.1", 0))


def test_a_limit_lets_the_burst_pass_and_no_more(place: Ground, driver: Driven) -> None:
    limit = Limit(1, "minute", burst=3)
    driver.table.put_chain(Chain("input", rules((UDP, limit, ACCEPT), (UDP, DROP)), INPUT))
    driver.apply()
    assert [udp_arrives(place, 5000) for _ in range(5)] == [True, True, True, False, False]
