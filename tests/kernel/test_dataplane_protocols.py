"""SCTP and UDPLite meet policy as TCP and UDP do."""

import secrets
import socket
from collections.abc import Iterator

import pytest
from tests.kernel.dataplane_node import Node, config, endpoint, ipset, node, policy, tier
from tests.kernel.dataplane_stage import Pod, open_socket, stage, udp_arrives
from tests.kernel.sctp import SCTP, associates, carries, ends, initiates

from tortie.base.net import FAMILIES, Family
from tortie.intent.policy import Action, Match, PortRange
from tortie.intent.sets import PortMember, SetKind

pytestmark = pytest.mark.kernel

UDP, UDPLITE = 17, 136
ALLOW, DENY = {"action": Action.ALLOW}, {"action": Action.DENY}


@pytest.fixture
def ground() -> Iterator[tuple[Node, Pod, Pod]]:
    """A started node with two pods that only their profile governs."""
    with stage() as built, node(built) as made:
        a, b = built.pod(1), built.pod(2)
        made.start(endpoint(a), endpoint(b))
        yield made, a, b


def to_port(protocol: int, *numbers: int) -> dict[str, object]:
    return {"protocol": protocol, "destination": Match(ports=tuple(PortRange(number, number) for number in numbers))}


def sctp_reaches(source: Pod, target: Pod, family: Family, port: int, *, source_port: int = 0) -> bool:
    """True if an INIT arrives."""
    sides = (source.netns, source.address(family)), (target.netns, target.address(family))
    with ends(family, *sides, port, source_port=source_port) as (client, server):
        return initiates(client, server)


def udplite_reaches(source: Pod, target: Pod, family: Family, port: int) -> bool:
    """True if a datagram arrives, and the answer to it too."""
    with (
        open_socket(target.netns, family, socket.SOCK_DGRAM, UDPLITE) as receiver,
        open_socket(source.netns, family, socket.SOCK_DGRAM, UDPLITE) as sender,
    ):
        receiver.bind(("", port))
        token = secrets.token_bytes(8)
        sender.sendto(token, (target.address(family), port))
        try:
            data, back = receiver.recvfrom(64)
        except TimeoutError:
            return False
        receiver.sendto(data, back)
        return sender.recv(64) == token


# ---- SCTP ----
@pytest.mark.shows("PS-7.15", "PS-12.5")
@pytest.mark.parametrize("family", FAMILIES)
def test_an_sctp_association_comes_about_through_policy_of_one_direction_only(
    ground: tuple[Node, Pod, Pod], family: Family
) -> None:
    made, a, b = ground
    made.tell(
        policy("server", ingress=(ALLOW | to_port(SCTP, 3868),), egress=(DENY,)),
        policy("client", ingress=(DENY,), egress=(ALLOW | to_port(SCTP, 3868),)),
        endpoint(a, tier(ingress=("client",), egress=("client",))),
        endpoint(b, tier(ingress=("server",), egress=("server",))),
    )
    sides = (a.netns, a.address(family)), (b.netns, b.address(family))
    with ends(family, *sides, 3868) as (client, server):
        assert associates(client, server)
        assert carries(client, server)
        made.tell(policy("server", ingress=(DENY,)))
        assert carries(client, server), "an association outlives a policy that would deny it"
        assert not sctp_reaches(a, b, family, 3868), "a new one is denied"


@pytest.mark.shows("PS-7.15")
@pytest.mark.parametrize("family", FAMILIES)
def test_ports_of_sctp_are_told_apart(ground: tuple[Node, Pod, Pod], family: Family) -> None:
    made, a, b = ground
    from_port = {"protocol": SCTP, "source": Match(ports=(PortRange(5000, 5009),))}
    made.tell(
        policy("server", ingress=(DENY | to_port(SCTP, 3870), ALLOW | to_port(SCTP, 3868, 3870), ALLOW | from_port)),
        endpoint(b, tier(ingress=("server",))),
    )
    assert sctp_reaches(a, b, family, 3868)
    assert not sctp_reaches(a, b, family, 3869)
    assert not sctp_reaches(a, b, family, 3870)
    assert sctp_reaches(a, b, family, 3869, source_port=5004)
    assert not udp_arrives(a.netns, family, b.netns, b.address(family), 3868), "the port of another protocol"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_named_port_of_sctp(ground: tuple[Node, Pod, Pod], family: Family) -> None:
    made, a, b = ground
    members = [PortMember(prefix.network, SCTP, 3868) for prefix in b.addresses]
    made.tell(
        ipset("n:diameter", SetKind.IP_PORT, *members),
        policy("server", ingress=(ALLOW | {"protocol": SCTP, "destination": Match(named_ports=("n:diameter",))},)),
        endpoint(b, tier(ingress=("server",))),
    )
    assert sctp_reaches(a, b, family, 3868)
    assert not sctp_reaches(a, b, family, 3869)


@pytest.mark.shows("PS-4.4")
@pytest.mark.parametrize("family", FAMILIES)
def test_sctp_data_without_an_association_is_invalid(ground: tuple[Node, Pod, Pod], family: Family) -> None:
    made, a, b = ground
    sides = (a.netns, a.address(family)), (b.netns, b.address(family))
    with ends(family, *sides, 3868) as (client, server):
        assert not carries(client, server)
        assert made.stage.dropped("invalid connection state") == 1
        assert associates(client, server)
        assert carries(client, server)


# ---- UDPLite ----
# The kernel's connection tracking reckons UDPLite's checksum with the protocol number of UDP, so it calls good packets
# invalid unless it is told not to look at checksums (seen with 6.18).
LOOK_AT_CHECKSUMS = "net.netfilter.nf_conntrack_checksum"


@pytest.mark.parametrize("family", FAMILIES)
def test_udplite_is_a_protocol_of_its_own(ground: tuple[Node, Pod, Pod], family: Family) -> None:
    made, a, b = ground
    made.stage.sysctl(made.stage.node, {LOOK_AT_CHECKSUMS: 0})
    made.tell(
        policy("only", ingress=(ALLOW | {"protocol": UDPLITE},)),
        policy("client", ingress=(DENY,)),
        endpoint(a, tier(ingress=("client",))),
        endpoint(b, tier(ingress=("only",))),
    )
    assert udplite_reaches(a, b, family, 4000), "there and back"
    assert not udp_arrives(a.netns, family, b.netns, b.address(family), 4000)
    made.tell(policy("only", ingress=(ALLOW | {"protocol": UDP},)))
    assert not udplite_reaches(a, b, family, 4001)
    assert udp_arrives(a.netns, family, b.netns, b.address(family), 4001)
    made.tell(policy("only", ingress=(DENY | {"protocol": UDPLITE}, ALLOW)))
    assert not udplite_reaches(a, b, family, 4002)


@pytest.mark.shows("PS-4.4", "PS-4.5")
@pytest.mark.parametrize("family", FAMILIES)
def test_udplite_that_tracking_calls_invalid_is_governed_without_tracking_when_configured(
    ground: tuple[Node, Pod, Pod], family: Family
) -> None:
    made, a, b = ground
    made.tell(
        config(DisableConntrackInvalidCheck="true"),
        policy("server", ingress=(ALLOW | {"protocol": UDPLITE},)),
        endpoint(b, tier(ingress=("server",))),
    )
    assert udplite_reaches(a, b, family, 4000)
    made.tell(policy("server", ingress=(DENY | {"protocol": UDPLITE}, ALLOW)))
    assert not udplite_reaches(a, b, family, 4000)
