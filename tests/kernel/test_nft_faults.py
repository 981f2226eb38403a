"""Every call of the driver fails in turn, in every way that netlink can: the kernel has the old or the new table, never a
mixture; what was denied stays denied; and what comes next repairs all."""

import errno
import itertools
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from tests.kernel.netlink_faults import FAULTS, Fault, Injector, injected
from tests.kernel.nft_ground import Driven, Ground, ground

from tortie.base.net import Family, parse_prefix
from tortie.kernel.errors import NftError
from tortie.kernel.netlink import NETLINK_NETFILTER, RequestSocket
from tortie.kernel.netns import in_netns
from tortie.kernel.nft import objects as nft
from tortie.kernel.nft import table as driver_module
from tortie.kernel.nft.decode import KernelTable
from tortie.kernel.nft.read import read_table

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(120)]

NETS = nft.SetSpec("nets", nft.ElementType.IPV4, interval=True)
HOSTS = nft.SetSpec("hosts", nft.ElementType.IPV4)
DISPATCH = nft.SetSpec("dispatch", nft.ElementType.IFNAME, is_verdict_map=True)
SHUT, OPEN = 7001, 7002


def to_port(port: int, verdict: nft.Verdict | nft.Jump) -> nft.Rule:
    return nft.Rule((nft.L4Proto(17), nft.Ports("destination", ((port, port),)), verdict))


def put(driver: Driven, version: int) -> None:
    """One of two states of a table, with something of every kind that differs. Both deny SHUT and allow OPEN."""
    table = driver.table
    extra = f"only-in-{version}"
    nets = [parse_prefix(f"10.{version}.0.0/16"), parse_prefix("127.0.0.0/8")]
    table.put_set(NETS, nets)
    table.put_set(DISPATCH, {"lo": nft.Goto("workload"), f"cali{version}": nft.Jump(extra)})
    table.put_chain(nft.Chain(extra, (nft.Rule((nft.Counter(), nft.DROP)),)))
    table.remove_chain(f"only-in-{1 - version}")
    if version:
        table.put_set(HOSTS, [parse_prefix("10.0.0.1/32")])
    else:
        table.remove_set(HOSTS.name)
    from_nets = nft.Rule((nft.NfProto(Family.V4), nft.NetIn("source", Family.V4, "nets"), nft.Counter()), f"version {version}")
    several = nft.Rule((nft.L4Proto(6), nft.Ports("destination", ((80, 80), (443 + version, 450))), nft.DROP))
    rules = (from_nets, to_port(SHUT, nft.DROP), several, to_port(OPEN, nft.ACCEPT), nft.Rule((nft.Jump(extra),)))
    table.put_chain(nft.Chain("workload", rules))
    table.put_chain(nft.Chain("input", (nft.Rule((nft.IfNameVmap("iif", "dispatch"),)),), nft.Hook("filter", "input", 0)))


class Bench:
    """A table whose driver can be made to fail, and an eye on the kernel that cannot."""

    def __init__(self, place: Ground, injector: Injector) -> None:
        self.place, self.injector = place, injector
        self.driver = place.table()
        self._eye = in_netns(place.fd, lambda: RequestSocket(NETLINK_NETFILTER))
        self._receivers = {port: place.socket(socket.SOCK_DGRAM) for port in (SHUT, OPEN)}
        for port, receiver in self._receivers.items():
            receiver.bind(("127.0.0.1", port))
            # On the loopback a packet has arrived, or has not, when it is sent.
            receiver.settimeout(0.5 if port == OPEN else 0.002)
        self._sender = place.socket(socket.SOCK_DGRAM)
        self.seen: list[KernelTable] = []
        for version in (0, 1, 0):
            put(self.driver, version)
            self.driver.apply()
            self.seen.append(self.table())
        assert same(self.seen[0], self.seen[2])
        assert not same(self.seen[0], self.seen[1])

    def table(self) -> KernelTable:
        """What the kernel has, read past all faults."""
        self.injector.disarm()
        return read_table(self._eye, "tortie")

    def passes(self, port: int) -> bool:
        """True if a packet to the port gets through."""
        self._sender.sendto(b"x", ("127.0.0.1", port))
        try:
            return bool(self._receivers[port].recv(8))
        except TimeoutError:
            return False

    def restart(self) -> None:
        """Another process, which knows nothing."""
        self.driver.close()
        self.driver = self.place.table()

    def close(self) -> None:
        self.driver.close()
        self._eye.close()
        for opened in (*self._receivers.values(), self._sender):
            opened.close()


def same(one: KernelTable, other: KernelTable) -> bool:
    return (one.flags, one.chains, one.sets) == (other.flags, other.chains, other.sets)


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with ground() as place, injected() as injector, pytest.MonkeyPatch.context() as patch:
        patch.setattr(driver_module, "_BACKOFF_SECONDS", 0.0005)  # hundreds of times
        made = Bench(place, injector)
        yield made
        made.close()


# ---- what is done while something fails ----
def change(_: Bench) -> None:
    """The driver knows the kernel's table."""


def new_life(bench: Bench) -> None:
    """The driver knows nothing."""
    bench.restart()


def damaged(bench: Bench) -> None:
    """The driver must read, and what it finds is not what it wrote. What denies is still there."""
    bench.place.nft(script="add rule inet tortie workload drop\ndelete element inet tortie nets { 127.0.0.0/8 }\n")
    bench.driver.table.invalidate("damage")


Situation = Callable[[Bench], None]


@dataclass
class Outcome:
    """What one apply with a fault came to."""

    refused: bool
    fired: int


def attempt(bench: Bench, situation: Situation, fault: Fault, *, at: int, version: int, for_ever: bool = False) -> Outcome:
    """Apply `version` with a fault, judge the kernel, let the driver repair it, judge again."""
    situation(bench)
    before = bench.table()
    put(bench.driver, version)
    bench.injector.arm(fault, at=at, for_ever=for_ever)
    refused = False
    try:
        bench.driver.apply()
    except NftError:
        refused = True
    fired = bench.injector.fired
    after = bench.table()
    label = f"{fault}, call {at}"
    assert same(after, bench.seen[version]) or (refused and same(after, before)), f"{label}: a mixture"
    assert not bench.passes(SHUT), f"{label}: what is denied leaked"
    assert bench.passes(OPEN) or situation is damaged, f"{label}: what is allowed was cut"
    if refused:
        assert bench.driver.table.pending, f"{label}: a failure is forgotten"
        assert bench.driver.apply().read_back, f"{label}: the driver trusts what it knew before the failure"
    assert same(bench.table(), bench.seen[version]), f"{label}: not repaired"
    assert bench.driver.apply().messages == 0
    assert bench.passes(OPEN)
    assert not bench.passes(SHUT)
    return Outcome(refused, fired)


@pytest.mark.parametrize("fault", FAULTS, ids=str)
@pytest.mark.parametrize("situation", [change, new_life, damaged], ids=lambda each: each.__name__)
def test_one_failure_of_any_call_is_survived_within_the_same_apply(bench: Bench, situation: Situation, fault: Fault) -> None:
    calls = 0
    for at, version in zip(itertools.count(1), itertools.cycle((1, 0)), strict=False):
        outcome = attempt(bench, situation, fault, at=at, version=version)
        if not outcome.fired:
            break
        assert not outcome.refused, f"{fault}, call {at}: one failure is enough to give up"
        calls += 1
    assert calls >= (1 if situation is change else 5), "no call failed: this tests nothing"
    settle(bench)


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault.errno in (errno.ENOBUFS, errno.EPERM)], ids=str)
def test_a_failure_that_lasts_is_told_and_ends_without_a_trace(bench: Bench, fault: Fault) -> None:
    for situation, at in ((change, 1), (new_life, 1), (new_life, 3)):
        outcome = attempt(bench, situation, fault, at=at, version=1, for_ever=True)
        assert outcome.refused
        settle(bench)


def settle(bench: Bench) -> None:
    """The state that the next test begins from."""
    put(bench.driver, 0)
    bench.driver.apply()
