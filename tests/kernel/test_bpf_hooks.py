"""Where our eBPF programs hang: TCX or clsact, beside programs of others, and from the one to the other."""

import contextlib
import itertools
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator

import pytest
from tests.kernel.ipip_stage import Machine, asking, cluster, hanging, reaches

from tortie.kernel import netns
from tortie.kernel.bpf import syscalls
from tortie.kernel.bpf.build import object_file
from tortie.kernel.bpf.filters import Filters
from tortie.kernel.bpf.hooks import ORDER, Hooks, Kind
from tortie.kernel.bpf.tunnel import NAME
from tortie.kernel.errors import NotFound

pytestmark = pytest.mark.kernel
Cluster = tuple[Machine, Machine, int]
TCX_INGRESS = 46
NEXT, DROP = -1, 2
FOREIGN = "protocol ip prio 5 u32 match ip protocol 99 0xff flowid 1:1"


@pytest.fixture
def pair(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    with cluster("txh-", "ebpf", "ebpf", order=getattr(request, "param", ORDER)) as made:
        yield made


def on(*kinds: Kind) -> pytest.MarkDecorator:
    """With programs hanging in the first of these kinds that can be had."""
    return pytest.mark.parametrize("pair", [kinds], indirect=True, ids="-".join)


@contextlib.contextmanager
def somebodys(verdict: int) -> Iterator[int]:
    """A program of somebody else, which says the same of every packet."""
    code = struct.pack("=BBhi", 0xB7, 0, 0, verdict) + struct.pack("=BBhi", 0x95, 0, 0, 0)
    descriptor = syscalls.load_program(code, terms=b"GPL", name="somebodys")
    try:
        yield descriptor
    finally:
        syscalls.close(descriptor)


def attach(machine: Machine, descriptor: int) -> None:
    index = machine.links.get("eth0").index
    netns.in_netns(machine.fd, lambda: syscalls.attach(descriptor, index, TCX_INGRESS, action="attach"))


def detach(machine: Machine, descriptor: int) -> None:
    index = machine.links.get("eth0").index
    netns.in_netns(machine.fd, lambda: syscalls.detach(descriptor, index, TCX_INGRESS, action="detach"))


def in_order(machine: Machine) -> list[int]:
    index = machine.links.get("eth0").index
    return list(netns.in_netns(machine.fd, lambda: syscalls.chain(index, TCX_INGRESS, action="list")).programs)


def router_answers(machine: Machine) -> bool:
    """Not by IPIP."""
    with machine.socket(socket.SOCK_STREAM, in_pod=False) as asking:
        asking.settimeout(0.5)
        try:
            asking.connect((f"192.0.{machine.number}.1", 9))
        except ConnectionRefusedError:
            return True
        except TimeoutError:
            return False
    return True


# ---- TCX ----
@on(*ORDER)
def test_where_tcx_can_be_had_devices_get_no_queue(pair: Cluster) -> None:
    one, _, _ = pair
    assert [list(kinds) for kinds in hanging(one).values()] == [["tcx"], ["tcx"]]
    assert "clsact" not in one.run("tc", "qdisc", "show")


@on("tcx")
def test_programs_of_others_keep_their_place(pair: Cluster) -> None:
    one, two, _ = pair
    one.stop()
    with somebodys(NEXT) as first, somebodys(NEXT) as last:
        numbers = [syscalls.program_id(each) for each in (first, last)]
        attach(one, first)
        one.tell(two)
        ours = hanging(one)["eth0"]["tcx"]
        attach(one, last)
        assert in_order(one) == [numbers[0], ours, numbers[1]]
        one.new_life()
        one.tell(two)
        assert in_order(one) == [numbers[0], hanging(one)["eth0"]["tcx"], numbers[1]]
        assert hanging(one)["eth0"]["tcx"] != ours
        assert reaches(two, one)
        one.stop()
        assert in_order(one) == numbers


@on("tcx")
def test_a_program_after_ours_sees_all_but_ipip(pair: Cluster) -> None:
    one, two, _ = pair
    assert reaches(one, two)
    assert router_answers(one)
    with somebodys(DROP) as program:
        attach(one, program)
        assert not router_answers(one)
        assert reaches(one, two)
        detach(one, program)
    assert router_answers(one)


@on("tcx")
def test_a_filter_of_tc_sees_all_but_ipip(pair: Cluster) -> None:
    one, two, _ = pair
    assert router_answers(one)
    with contextlib.closing(Filters(one.fd)) as filters, somebodys(DROP) as program:
        filters.put("eth0", "ingress", name="somebodys", program=program)
        assert not router_answers(one)
        assert reaches(one, two)
        one.stop()
        assert filters.get("eth0", "ingress", name="somebodys") == syscalls.program_id(program)


@on("tcx")
def test_a_program_that_somebody_detaches_is_back(pair: Cluster) -> None:
    one, two, _ = pair
    with contextlib.closing(Hooks(one.fd)) as hooks:
        assert hooks.remove("eth0", "ingress", name=NAME)
        assert hooks.remove("tunl0", "egress", name=NAME)
    assert hanging(one) == {"eth0": {}, "tunl0": {}}
    one.repair()
    assert reaches(one, two)


@on("tcx")
def test_two_of_ours_become_one(pair: Cluster) -> None:
    """What two agents at the same time, or a copy of one, could leave."""
    one, two, _ = pair
    code = struct.pack("=BBhi", 0xB7, 0, 0, NEXT) + struct.pack("=BBhi", 0x95, 0, 0, 0)
    copy = syscalls.load_program(code, terms=b"GPL", name="tortie_ipip")
    attach(one, copy)
    syscalls.close(copy)
    assert len(in_order(one)) == 2
    one.new_life()
    one.tell(two)
    assert in_order(one) == [hanging(one)["eth0"]["tcx"]]


# ---- clsact ----
@pytest.mark.parametrize("damage", ["tc qdisc delete dev eth0 clsact", "tc filter delete dev tunl0 egress"])
@on("clsact")
def test_a_filter_that_somebody_deletes_is_back(pair: Cluster, damage: str) -> None:
    one, two, _ = pair
    one.run(*damage.split())
    assert {} in hanging(one).values()
    one.repair()
    assert reaches(one, two)


@on("clsact")
def test_a_queue_in_the_place_of_ours_is_told_of(pair: Cluster) -> None:
    one, two, _ = pair
    one.stop()
    one.run(*["tc", "qdisc", "add", "dev", "eth0", "ingress"])
    with pytest.raises(ExceptionGroup):
        one.tell(two)
    assert "tc qdisc delete dev eth0 ingress" in one.manager.problems["tunl0"]
    one.order = ORDER
    one.new_life()
    one.tell(two)
    assert reaches(one, two)


# ---- from the one to the other ----
MOVES = list(itertools.permutations(ORDER))


@pytest.mark.parametrize(("pair", "new"), [([old], new) for old, new in MOVES], indirect=["pair"], ids=map("-".join, MOVES))
def test_a_node_is_moved_over_without_a_lost_packet(pair: Cluster, new: Kind) -> None:
    """Somebody else's filter keeps the queue in its place: that it comes and goes may cost some, whoever asks for it."""
    one, two, _ = pair
    for machine in (one, two):
        if "clsact" not in machine.run("tc", "qdisc", "show", "dev", "eth0"):
            machine.run("tc", "qdisc", "add", "dev", "eth0", "clsact")
        machine.run("tc", "filter", "add", "dev", "eth0", "ingress", *FOREIGN.split())
    with asking(one, two) as lost:
        for machine, other in ((one, two), (two, one)):
            machine.order = [new]
            machine.new_life()
            machine.tell(other)
    assert lost == []
    for machine in (one, two):
        assert [list(kinds) for kinds in hanging(machine).values()] == [[new], [new]]
        machine.stop()
        assert hanging(machine) == {"eth0": {}, "tunl0": {}}
        assert "u32" in machine.run("tc", "filter", "show", "dev", "eth0", "ingress")


@on("clsact")
def test_the_queue_goes_with_the_last_filter(pair: Cluster) -> None:
    one, two, _ = pair
    one.order = ORDER
    one.new_life()
    one.tell(two)
    assert "clsact" not in one.run("tc", "qdisc", "show")
    assert reaches(one, two)


# ---- rights ----
CARRY = """
import sys
from pathlib import Path
from tortie.base.net import parse_address
from tortie.kernel.bpf.tunnel import BpfIpip
from tortie.kernel.ipip import IpipEnd
carrier = BpfIpip(Path(sys.argv[1]))
print(carrier.why_not())
if sys.argv[2] == "apply":
    carrier.apply(IpipEnd(parse_address("192.0.1.2"), parse_address("10.65.1.0"), 1480))
else:
    carrier.retire()
"""


def carry(machine: Machine, rights: str, what: str = "apply") -> "subprocess.CompletedProcess[str]":
    """What an agent with these capabilities does."""
    words = ["ip", "netns", "exec", machine.space, "setpriv", f"--bounding-set=-all,{rights}", sys.executable, "-c", CARRY]
    return subprocess.run([*words, str(object_file()), what], capture_output=True, text=True)


@pytest.mark.parametrize(
    ("rights", "kind"), [("+net_admin,+net_raw,+bpf", "clsact"), ("+net_admin,+net_raw,+bpf,+sys_admin", "tcx")]
)
def test_three_capabilities_are_enough_and_four_are_better(pair: Cluster, rights: str, kind: str) -> None:
    one, _, _ = pair
    one.stop()
    done = carry(one, rights)
    assert done.returncode == 0, done.stderr
    assert [list(kinds) for kinds in hanging(one).values()] == [[kind]] * 2


@pytest.mark.parametrize(
    ("rights", "told"),
    [("+net_admin,+net_raw", "CAP_BPF and CAP_NET_ADMIN are needed"), ("+net_admin,+bpf", "CAP_NET_RAW is needed")],
)
def test_a_capability_that_is_missing_is_told_and_nothing_hangs_anywhere(pair: Cluster, rights: str, told: str) -> None:
    one, _, _ = pair
    one.stop()
    done = carry(one, rights)
    assert done.returncode
    assert told in done.stdout + done.stderr
    assert hanging(one) == {"eth0": {}, "tunl0": {}}


@pytest.mark.parametrize("what", ["apply", "retire"])
@on("tcx")
def test_an_agent_that_may_not_see_what_its_forerunner_left_says_so(pair: Cluster, what: str) -> None:
    one, two, _ = pair
    before = hanging(one)
    done = carry(one, "+net_admin,+net_raw,+bpf", what)
    assert done.returncode
    assert "CAP_SYS_ADMIN is needed" in done.stderr
    assert hanging(one)["tunl0"]["tcx"] == before["tunl0"]["tcx"]
    assert reaches(one, two)


@pytest.mark.parametrize("kind", ORDER)
def test_a_device_that_is_not_there_has_nothing(pair: Cluster, kind: Kind) -> None:
    one, _, _ = pair
    with contextlib.closing(Hooks(one.fd, (kind,))) as hooks, somebodys(NEXT) as program:
        assert hooks.get("nowhere", "ingress", name=NAME) == {}
        assert not hooks.remove("nowhere", "ingress", name=NAME)
        with pytest.raises(NotFound):
            hooks.put("nowhere", "ingress", name=NAME, program=program)
