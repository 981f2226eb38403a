"""What a machine is like, read from a made-up /proc: each problem is named with why and what to do."""

import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from tortie.agent.checkup import Check, advised
from tortie.agent.checkup_firewall import find_legacy
from tortie.agent.checkup_host import check_host, check_mtu, default_interface, interface_mtus

TCP = "  sl  local_address rem_address   st tx_queue:rx_queue tr:tm->when retrnsmt   uid  timeout inode\n"
Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A machine where all is well."""
    proc = tmp_path / "proc"
    for name, text in (
        ("sys/net/ipv4/ip_forward", "1\n"),
        ("sys/net/ipv6/conf/all/forwarding", "1\n"),
        ("sys/net/ipv4/conf/all/rp_filter", "2\n"),
        ("sys/net/netfilter/nf_conntrack_count", "5\n"),
        ("sys/net/netfilter/nf_conntrack_max", "100\n"),
        ("net/tcp", TCP),
    ):
        put(proc, name, text)
    (proc / "self/ns").mkdir(parents=True)
    (proc / "self/ns/net").write_text("")
    return proc


def put(proc: Path, name: str, text: str) -> None:
    (proc / name).parent.mkdir(parents=True, exist_ok=True)
    (proc / name).write_text(text)


def problems(proc: Path, *, running: bool = True) -> list[Check]:
    return [check for check in check_host(running=running, directories=(proc,), proc=proc) if check.state == "problem"]


def test_a_good_machine_has_no_problem(proc: Path) -> None:
    assert problems(proc) == []


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("sys/net/ipv4/ip_forward", "0", "sysctl -w net.ipv4.ip_forward=1"),
        ("sys/net/netfilter/nf_conntrack_count", "81", "nf_conntrack_max"),
    ],
)
def test_a_wrong_sysctl_says_what_to_do(proc: Path, name: str, text: str, words: str) -> None:
    put(proc, name, text)
    (found,) = problems(proc)
    assert found.why
    assert words in found.fix


def test_without_an_agent_forwarding_may_be_off(proc: Path) -> None:
    put(proc, "sys/net/ipv4/ip_forward", "0")
    assert problems(proc, running=False) == []


@pytest.mark.parametrize(("holder", "count"), [("bird", 0), ("frr-bgpd", 1)])
def test_the_port_of_bgp_belongs_to_bird(proc: Path, holder: str, count: int) -> None:
    put(
        proc,
        "net/tcp",
        f"{TCP}   0: 00000000:00B3 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4242 1\n",
    )
    put(proc, "77/comm", f"{holder}\n")
    (proc / "77/fd").mkdir()
    (proc / "77/fd/3").symlink_to("socket:[4242]")
    found = problems(proc)
    assert len(found) == count
    assert all(check.detail == f"{holder} has it" for check in found)


def test_little_room_is_a_problem(proc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1 << 40, 0, 50 << 20))
    (found,) = problems(proc)
    assert found.detail.startswith("50 MiB are free")


@pytest.mark.parametrize(
    ("mtus", "words"),
    [
        ({"eth0": 1500, "cali1": 1500}, None),
        ({"eth0": 1500, "vxlan.calico": 1450, "cali1": 1450, "tunl0": 1480}, None),
        ({"eth0": 1500, "vxlan.calico": 1500}, "vxlan.calico has 1500, and eth0 has room for 1450 inside of 1500"),
        ({"eth0": 1500, "vxlan.calico": 1450, "cali1": 1500}, "cali1 have up to 1500, and the way has 1450"),
        ({"eth0": 1400, "cali1": 1500, "cali2": 9000}, "cali1 and 1 more have up to 9000, and the way has 1400"),
    ],
)
def test_sizes_that_do_not_fit_are_found(mtus: dict[str, int], words: str | None) -> None:
    (found,) = check_mtu(mtus, "eth0")
    assert (found.state, found.detail if words else None) == ("problem" if words else "ok", words)


def test_the_uplink_is_that_of_the_best_default_route(tmp_path: Path) -> None:
    lines = ["Iface Destination Gateway Flags RefCnt Use Metric Mask", "eth1 00000000 01 3 0 0 200 00000000 0 0 0"]
    lines += ["eth0 00000000 01 3 0 0 100 00000000 0 0 0", "eth2 0000FEA9 00 1 0 0 0 0000FFFF 0 0 0"]
    put(tmp_path, "net/route", "\n".join(lines))
    assert default_interface(tmp_path) == "eth0"
    assert default_interface(tmp_path / "none") == ""
    anywhere = "0" * 32 + " 00 " + "0" * 32 + " 00 fd180000000000010000000000000001"
    six = [
        f"{anywhere} ffffffff 00000001 00000000 00200200 lo",
        f"{anywhere} 00000400 2 0 3 eth3",
        f"{anywhere} 00000064 2 0 3 eth4",
    ]
    put(tmp_path / "six", "net/ipv6_route", "\n".join(six))
    put(tmp_path / "six", "net/route", lines[0])
    assert default_interface(tmp_path / "six") == "eth4", "a node of IPv6 alone"
    put(tmp_path, "net/ipv6_route", "\n".join(six))
    assert default_interface(tmp_path) == "eth0"
    put(tmp_path, "sys/eth0/mtu", "1500\n")
    assert interface_mtus(tmp_path / "sys") == {"eth0": 1500}
    assert check_mtu({"eth0": 1500}, "")[0].state == "note"


def test_rules_of_old_iptables_are_judged_too() -> None:
    text = "*filter\n:INPUT DROP [0:0]\n:FORWARD {} [0:0]\n{}COMMIT\n"
    assert [check.state for check in find_legacy(text.format("DROP", ""), "iptables-legacy-save")] == ["problem", "note"]
    passing = text.format("DROP", "-A FORWARD -i cali+ -j ACCEPT\n")
    assert [check.state for check in find_legacy(passing, "iptables-legacy-save")] == ["note", "note"]
    rejecting = text.format("ACCEPT", "-A FORWARD -j REJECT --reject-with icmp-host-prohibited\n")
    assert find_legacy(rejecting, "iptables-legacy-save")[0].detail.startswith(
        "chain FORWARD of iptables-legacy (hook forward)"
    )
    assert len(find_legacy(text.format("ACCEPT", "-A FORWARD -s 192.0.2.1 -j DROP\n"), "iptables-legacy-save")) == 1


@pytest.mark.parametrize("name", ["kernel fib", "bird", "datastore", "unreadable", "agent", "bgp peer", "clock"])
def test_every_problem_has_a_why_and_a_what_to_do(name: str) -> None:
    found = advised(Check(name, "problem", "x"))
    assert found.why
    assert found.fix
    assert advised(Check(name, "ok", "x")).fix == ""
