"""Hands in our tables while the agent lives: it hears of it and puts right what is ours within a second, and what others have
beside it stays as it is."""

import contextlib
import subprocess
import time
from collections.abc import Iterator

import pytest
from tests.kernel.agent_node import AgentNode, agent_node
from tests.kernel.dataplane_stage import Pod
from tests.kernel.own_time import OwnTime

from tortie.api.networkset import GlobalNetworkSet, NetworkSetSpec
from tortie.api.policy import EntityRule, NetworkPolicy, NetworkPolicySpec, Rule
from tortie.api.resource import Metadata
from tortie.base.net import FAMILIES, parse_address
from tortie.kernel import netns
from tortie.kernel.netlink import NETLINK_NETFILTER, RequestSocket
from tortie.kernel.nft.decode import KernelTable
from tortie.kernel.nft.read import read_table
from tortie.lab.stream import Stream

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(120)]

WITHIN_SECONDS = 1.0
OPEN, SHUT = 80, 81
RATE = 500  # for each family: 1,000 a second
TO, FROM = "filter-cali-tw-cali1", "filter-cali-fw-cali1"
POLICY = "filter-cali-pi-np/shop/web"


class Watch:
    """A node with a living agent, and an eye on its tables."""

    def __init__(self, node: AgentNode, pod: Pod) -> None:
        self.node, self.pod = node, pod
        self._eye = netns.run_in_named(node.stage.node, lambda: RequestSocket(NETLINK_NETFILTER))
        self.whole = self.tables()
        self.set = next(name for name, each in self.whole[0].sets.items() if name.startswith("cali40s") and each.elements)

    def close(self) -> None:
        self._eye.close()

    def tables(self) -> tuple[KernelTable, KernelTable]:
        """Both of ours."""
        return read_table(self._eye, "tortie"), read_table(self._eye, "tortie", family="arp")

    def is_whole(self) -> bool:
        """True if both are what they were when the watch began."""
        found = self.tables()
        return all(
            (one.flags, one.chains, one.sets) == (other.flags, other.chains, other.sets)
            for one, other in zip(found, self.whole, strict=True)
        )

    def damage(self, command: str) -> float:
        """Do it; the seconds from the end of the command until all is as before."""
        name, _, rest = command.partition("HANDLE")
        if rest or command.endswith("HANDLE"):
            chain = command.split("tortie ")[1].split()[0]
            listed = self.node.stage.show(self.node.stage.node, "nft", "-a", "list", "chain", "inet", "tortie", chain)
            line = next(line for line in listed.splitlines() if "# handle" in line and "chain" not in line)
            command = f"{name}{line.rsplit(' ', 1)[1]}{rest}"
        self.node.stage.show(self.node.stage.node, "nft", command)
        assert self.node.process is not None
        return OwnTime(self.node.process.pid).until(self.is_whole, f"{command}: not repaired")


@contextlib.contextmanager
def watched(*flags: str) -> Iterator[Watch]:
    with agent_node() as node:
        pod = node.pod(1)
        node.apply(
            GlobalNetworkSet(
                metadata=Metadata(name="front", labels={"role": "front"}), spec=NetworkSetSpec(nets=("192.0.2.0/24",))
            ),
            NetworkPolicy(
                metadata=Metadata(name="web", namespace="shop"),
                spec=NetworkPolicySpec(
                    selector="all()",
                    types=("Ingress",),
                    ingress=(
                        Rule(action="Allow", protocol="TCP", destination=EntityRule(ports=(OPEN,))),
                        Rule(
                            action="Allow",
                            protocol="UDP",
                            source=EntityRule(selector="role == 'front'", namespace_selector="global()"),
                        ),
                    ),
                ),
            ),
        )
        node.start(*flags)
        node.until(lambda: POLICY in node.stage.show(node.stage.node, "nft", "list", "table", "inet", "tortie"))
        node.until(lambda: node.status().get("problems") == {})
        watching = Watch(node, pod)
        try:
            yield watching
        finally:
            watching.close()


@pytest.fixture(scope="module")
def watch() -> Iterator[Watch]:
    with watched() as made:
        yield made


HARMLESS = [
    f"add rule inet tortie {POLICY} tcp dport 9999 counter",
    f"insert rule inet tortie {TO} counter",
    f"replace rule inet tortie {FROM} handle HANDLE ct state established,related counter accept",
    "add chain inet tortie stray { type filter hook forward priority 5; counter; }",
    "add set inet tortie stray { type ipv4_addr; elements = { 10.0.0.1 }; }",
    "add element inet tortie SET { 203.0.113.0/24 }",
    "delete element inet tortie SET { 192.0.2.0/24 }",
    "flush set inet tortie SET",
    "flush chain arp tortie filter-OUTPUT",
    "delete table arp tortie",
]
"""Changes that neither open nor close a TCP port."""
OPENING = [
    f"flush chain inet tortie {TO}",
    "flush chain inet tortie filter-FORWARD",
    f"insert rule inet tortie {POLICY} tcp dport {SHUT} meta mark set mark or 0x10000 return",
    'delete element inet tortie filter-cali-to-wl-dispatch { "cali1" }',
    "add table inet tortie { flags dormant; }",
    "delete table inet tortie",
    "flush ruleset",
]


@pytest.mark.parametrize("command", [*HARMLESS, *OPENING])
def test_what_is_damaged_is_repaired_within_a_second(watch: Watch, command: str) -> None:
    took = watch.damage(command.replace("SET", watch.set))
    print(f"repaired after {took * 1000:.1f} ms: {command}")
    assert took < WITHIN_SECONDS


@contextlib.contextmanager
def traffic(watch: Watch) -> Iterator[None]:
    """A stream that is allowed and one that is denied while the block runs: none of the one cut, none of the other leaked."""
    running = streams(watch)
    for _, stream in running:
        stream.start()
    try:
        time.sleep(0.3)
        yield
    finally:
        counts = [(port, stream.stop()) for port, stream in running]
    for port, count in counts:
        assert count.sent > 100
        if port == OPEN:
            assert count.lost == 0, f"{count.name}: {count.lost} of {count.sent} cut"
        else:
            assert count.received == 0, f"{count.name}: {count.received} of {count.sent} leaked"


def streams(watch: Watch) -> list[tuple[int, Stream]]:
    outside = watch.node.stage.outside
    made = []
    for family in FAMILIES:
        source = "192.0.2.2" if family == 4 else "2001:db8::2"
        for port in (OPEN, SHUT):
            stream = Stream(
                f"to port {port}, IPv{int(family)}",
                source_netns=outside,
                source=parse_address(source),
                target_netns=watch.pod.netns,
                target=parse_address(watch.pod.address(family)),
                port=port,
                rate=RATE,
            )
            made.append((port, stream))
    return made


def test_repairs_cut_nothing_and_leak_nothing_by_themselves(watch: Watch) -> None:
    with traffic(watch):
        for command in HARMLESS:
            watch.damage(command.replace("SET", watch.set))


def test_an_agent_that_owns_its_tables_leaks_nothing_whatever_is_tried() -> None:
    with watched("--own-tables") as watch:
        node = watch.node
        with traffic(watch):
            for command in (*HARMLESS, *OPENING):
                text = command.replace("SET", watch.set).replace("HANDLE", "1")
                refused = ["ip", "netns", "exec", node.stage.node, "nft", text]
                done = subprocess.run(refused, capture_output=True, text=True, check=False)
                assert done.returncode == 0 if command == "flush ruleset" else "not permitted" in done.stderr, command
                assert watch.is_whole(), command
            assert node.process is not None
            node.process.kill()
            node.process.wait()
            time.sleep(0.2)
            node.start("--own-tables")
            time.sleep(0.2)
        assert not node.log().count("will be read back: rule")
        node.stop()


def test_tables_of_others_and_their_changes_are_nobodys_business_of_ours(watch: Watch) -> None:
    name = watch.node.stage.node
    theirs = "table inet theirs { set s { type ipv4_addr; }; chain c { type filter hook forward priority 5; counter; }; }"
    applies = watch.node.log().count("will be read back")
    watch.node.stage.show(name, "nft", theirs)
    watch.node.stage.show(name, "nft", "add element inet theirs s { 10.0.0.1 }")
    watch.node.stage.show(name, "nft", "add table ip tortie")
    time.sleep(0.3)
    assert watch.is_whole()
    assert watch.node.log().count("will be read back") == applies
    listed = watch.node.stage.show(name, "nft", "list", "tables")
    assert "table inet theirs" in listed
    assert "table ip tortie" in listed
