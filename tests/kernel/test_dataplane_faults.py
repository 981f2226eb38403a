"""Every netlink call of a whole node's apply fails in turn (nftables, routes, connections, limits): nothing leaks, nothing is
cut, and the next apply makes all of it right."""

import contextlib
import errno
import itertools
import socket
from collections.abc import Iterator

import pytest
from tests.kernel.dataplane_node import Node, endpoint, endpoint_id, ipset, node, policy, tier
from tests.kernel.dataplane_stage import Pod, Stage, open_socket, stage
from tests.kernel.netlink_faults import Fault, Injector, injected

from tortie.base.errors import TortieError
from tortie.base.net import FAMILIES, Family, parse_prefix
from tortie.intent.endpoint import Bandwidth
from tortie.intent.messages import EndpointUpdate, Message
from tortie.intent.policy import Action, Match, PortRange
from tortie.intent.sets import SetKind
from tortie.kernel import netns
from tortie.kernel.netlink import NETLINK_NETFILTER, RequestSocket
from tortie.kernel.nft import table as driver_module
from tortie.kernel.nft.read import read_table

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(120)]

OPEN, SHUT = 7000, 7009
SLOW = Bandwidth(rate_bits=80_000_000, burst_bits=8_000_000)
FAULTS = (
    Fault("send_fails", errno.EPERM),
    Fault("send_is_refused", errno.ENOMEM),
    Fault("send_is_refused", errno.EBUSY),
    Fault("send_reports_failure_of_what_was_done", errno.ENOBUFS),
    Fault("send_vanishes"),
    Fault("receive_finds_all_answers_dropped", errno.ENOBUFS),
    Fault("receive_truncates"),
    Fault("receive_sees_the_dump_interrupted"),
)


def messages(version: int, governed: Pod, coming: Pod) -> tuple[Message, ...]:
    """Two states; both let the outside reach `governed` at OPEN and not at SHUT."""
    ports = tuple(PortRange(port, port) for port in range(OPEN, OPEN + 1 + version))
    rule = {"action": Action.ALLOW, "protocol": 17, "destination": Match(ports=ports)}
    from_set = {"action": Action.ALLOW, "source": Match(sets=("s:front",)), "protocol": 6}
    member = parse_prefix(f"10.99.{version}.0/24")
    return (
        ipset("s:front", SetKind.NET, member),
        policy("web", ingress=(rule, from_set)),
        endpoint(governed, tier(ingress=("web",)), ingress_bandwidth=SLOW if version else None),
        endpoint(coming) if version else EndpointUpdate(endpoint_id(coming), None),
    )


class Watched:
    """A node under faults, and what its packets and its kernel say."""

    def __init__(self, built: Stage, made: Node, injector: Injector) -> None:
        self.stage, self.node, self.injector = built, made, injector
        self.governed, self.coming = built.pod(1), built.pod(2)
        self._eye = netns.run_in_named(built.node, lambda: RequestSocket(NETLINK_NETFILTER))
        self._ways: list[tuple[Family, int, socket.socket, socket.socket]] = []
        for family in FAMILIES:
            for port in (OPEN, SHUT):
                receiver = open_socket(self.governed.netns, family, socket.SOCK_DGRAM)
                receiver.bind((self.governed.address(family), port))
                receiver.settimeout(0.5 if port == OPEN else 0.002)
                self._ways.append((family, port, receiver, open_socket(built.outside, family, socket.SOCK_DGRAM)))
        # A route that nobody claims may be of a pod that is being added. Here nobody adds one.
        made.dataplane._routes._routes._grace_seconds = 0.0
        made.start()
        self.expected = []
        for version in (0, 1, 0):
            made.tell(*messages(version, self.governed, self.coming))
            self.expected.append(self.state())
        assert self.expected[0] == self.expected[2]

    def state(self) -> tuple[object, ...]:
        """All that is programmed."""
        self.injector.disarm()
        found = read_table(self._eye, "tortie")
        routes = [self.stage.show(self.stage.node, "ip", f"-{int(family)}", "route") for family in FAMILIES]
        limits = self.stage.show(self.stage.node, "tc", "qdisc", "show", "dev", self.governed.interface)
        return found.chains, found.sets, *routes, "tbf" in limits

    def judge(self, label: str) -> None:
        """One packet each way that is open or shut."""
        for family, port, receiver, sender in self._ways:
            sender.sendto(b"x", (self.governed.address(family), port))
            arrived = False
            with contextlib.suppress(TimeoutError):
                arrived = bool(receiver.recv(8))
            assert arrived is (port == OPEN), f"{label}: port {port}, IPv{int(family)} {'leaked' if arrived else 'was cut'}"

    def close(self) -> None:
        self._eye.close()
        for _, _, receiver, sender in self._ways:
            receiver.close()
            sender.close()


@pytest.fixture(scope="module")
def watched() -> Iterator[Watched]:
    with injected() as injector, stage() as built, node(built) as made, pytest.MonkeyPatch.context() as patch:
        patch.setattr(driver_module, "_BACKOFF_SECONDS", 0.0005)
        watching = Watched(built, made, injector)
        yield watching
        watching.close()


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_one_failure_of_any_call_leaks_nothing_and_is_repaired_by_the_next_apply(watched: Watched, fault: Fault) -> None:
    made, calls = watched.node, 0
    for at, version in zip(itertools.count(1), itertools.cycle((1, 0)), strict=False):
        label = f"{fault}, call {at}"
        made.dataplane.invalidate("everything is to be looked at")
        made.dataplane.on_messages(messages(version, watched.governed, watched.coming))
        watched.injector.arm(fault, at=at)
        with contextlib.suppress(TortieError, ExceptionGroup):
            made.run(made.dataplane.apply)
        watched.injector.disarm()
        watched.judge(label)
        made.tell()
        watched.judge(label)
        assert watched.state() == watched.expected[version], label
        if not watched.injector.fired:
            break
        calls += 1
    assert calls > 10, "no call failed: this tests nothing"
    made.tell(*messages(0, watched.governed, watched.coming))
