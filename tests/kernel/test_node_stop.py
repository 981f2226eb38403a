"""tortie node stop: the agent and BIRD end; --uninstall takes away what is ours and nothing else."""

import asyncio
import contextlib
import fcntl
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kernel.spaces import named_space

from tortie.agent.leaving import running_agent, stop_agent, uninstall
from tortie.agent.options import AgentError
from tortie.base.net import parse_address
from tortie.base.process import is_alive, run_blocking
from tortie.kernel import netns
from tortie.kernel.bpf.build import object_file
from tortie.kernel.bpf.hooks import ORDER, Hooks, Kind
from tortie.kernel.bpf.tunnel import NAME, BpfIpip
from tortie.kernel.ipip import IpipEnd
from tortie.kernel.nft.objects import Chain, Hook
from tortie.kernel.nft.table import NftTable

pytestmark = pytest.mark.kernel

HOLDER = """
import fcntl, os, sys, time
file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)
fcntl.flock(file, fcntl.LOCK_EX)
os.ftruncate(file, 0)
os.write(file, f"{os.getpid()}\\n".encode())
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def run_dir() -> Iterator[Path]:
    """A short path: control sockets have little room."""
    with tempfile.TemporaryDirectory(prefix=f"tcli-{secrets.token_hex(3)}-") as name:
        yield Path(name)


@pytest.fixture
def space() -> Iterator[str]:
    with named_space("tcli") as name:
        yield name


@pytest.fixture
def holder(run_dir: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process that holds the lock as an agent does."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(run_dir / "agent.lock")], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


OURS = {"table inet tortie", "table arp tortie"}


def ip(space: str, *words: str) -> str:
    return run_blocking(["ip", "-n", space, *words]).check().stdout.decode()


def nft(space: str, *words: str) -> str:
    return run_blocking(["nft", *words], netns_path=netns.path_of(space)).check().stdout.decode()


def furnish(space: str) -> None:
    """Our tables and routes beside those of others, in two routing tables and both families."""

    async def ours() -> None:
        with netns.opened(space) as fd:
            table, arp = NftTable(netns_fd=fd), NftTable(family="arp", netns_fd=fd)
            table.put_chain(Chain("cali-FORWARD", (), Hook("filter", "forward", 0, "drop")))
            arp.put_chain(Chain("cali-OUTPUT", (), Hook("filter", "output", 0)))
            for each in (table, arp):
                await each.apply()
                await each.close()

    ip(space, "link", "set", "lo", "up")
    ip(space, "link", "add", "cali1", "type", "bridge")
    # A link-local address would appear when it likes, between two looks.
    ip(space, "link", "set", "cali1", "addrgenmode", "none")
    ip(space, "link", "set", "cali1", "up")
    ip(space, "addr", "add", "192.0.2.1/24", "dev", "cali1")
    asyncio.run(ours())
    nft(space, "add table inet other; add chain inet other c; add table ip tortie2")
    for protocol, offset in (("80", 0), ("12", 100), ("static", 200)):
        ip(space, "route", "add", f"10.9.0.{offset + 1}/32", "dev", "cali1", "proto", protocol)
        ip(space, "-6", "route", "add", f"fd09::{offset + 1}/128", "dev", "cali1", "proto", protocol)
        ip(space, "route", "add", "blackhole", f"10.9.1.{offset + 1}/32", "proto", protocol, "table", "77")


def everything(space: str) -> list[str]:
    """All tables and routes of a namespace but the ones that are ours."""
    routes = ip(space, "route", "show", "table", "all") + ip(space, "-6", "route", "show", "table", "all")
    lines = [*nft(space, "list", "tables").splitlines(), *routes.splitlines()]
    return sorted(line.strip() for line in lines if "proto 80" not in line and line not in OURS)


def test_uninstall_removes_what_is_ours_and_nothing_else(space: str, run_dir: Path) -> None:
    furnish(space)
    before = everything(space)
    for number, device in enumerate(("vxlan.calico", "vxlan-v6.calico", "vxlan.others"), 1):
        ip(space, "link", "add", device, "type", "vxlan", "id", str(number), "dstport", "4789")
    assert set(nft(space, "list", "tables").splitlines()) >= OURS
    line = [sys.executable, "-m", "tortie.cli.main", "node", "stop", "--run-dir", str(run_dir), "--uninstall"]
    done = run_blocking(line, netns_path=netns.path_of(space)).check()
    assert b"3 routes of ours are removed" in done.stdout
    assert everything(space) == before
    assert [word.rstrip(":") for word in ip(space, "-o", "link").split() if "vxlan" in word] == ["vxlan.others"]
    assert OURS.isdisjoint(nft(space, "list", "tables").splitlines())
    assert "proto 80" not in ip(space, "route", "show", "table", "all") + ip(space, "-6", "route", "show", "table", "all")
    run_blocking(line, netns_path=netns.path_of(space)).check()


@pytest.mark.parametrize("kind", ORDER)
def test_uninstall_removes_ipip_wherever_its_programs_hang(space: str, run_dir: Path, kind: Kind) -> None:
    for words in (
        "link add eth0 type veth peer name eth1",
        "addr add 192.0.2.1/24 dev eth0",
        "link set eth0 up",
        "link set eth1 up",
    ):
        ip(space, *words.split())
    with netns.opened(space) as fd, contextlib.closing(Hooks(fd)) as hooks:
        with contextlib.closing(BpfIpip(object_file(), fd, order=(kind,))) as carrier:
            carrier.apply(IpipEnd(parse_address("192.0.2.1"), parse_address("10.65.1.0"), 1480))
        assert list(hooks.get("eth0", "ingress", name=NAME)) == [kind]
        line = [sys.executable, "-m", "tortie.cli.main", "node", "stop", "--run-dir", str(run_dir), "--uninstall"]
        run_blocking(line, netns_path=netns.path_of(space)).check()
        assert hooks.get("eth0", "ingress", name=NAME) == {}
    assert "tunl0" not in ip(space, "-o", "link")
    assert b"clsact" not in run_blocking(["tc", "qdisc"], netns_path=netns.path_of(space)).check().stdout


def test_without_uninstall_the_kernel_keeps_everything(space: str, run_dir: Path) -> None:
    furnish(space)
    before = nft(space, "list", "ruleset") + ip(space, "route", "show", "table", "all")
    line = [sys.executable, "-m", "tortie.cli.main", "node", "stop", "--run-dir", str(run_dir)]
    run_blocking(line, netns_path=netns.path_of(space)).check()
    assert nft(space, "list", "ruleset") + ip(space, "route", "show", "table", "all") == before
    assert "chain cali-FORWARD" in before


def test_the_agent_is_known_by_its_lock_and_ended(run_dir: Path, holder: "subprocess.Popen[str]", space: str) -> None:
    assert running_agent(run_dir) == holder.pid
    with netns.opened(space) as fd, pytest.raises(AgentError, match="stop it first"):
        asyncio.run(uninstall(run_dir, netns_fd=fd))
    assert asyncio.run(stop_agent(run_dir)) == holder.pid
    assert not is_alive(holder.pid)
    assert running_agent(run_dir) is None
    assert asyncio.run(stop_agent(run_dir)) is None


def test_a_lock_file_that_nobody_holds_names_no_agent(run_dir: Path) -> None:
    (run_dir / "agent.lock").write_text(f"{os.getpid()}\n")
    assert running_agent(run_dir) is None
    with (run_dir / "other").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert running_agent(run_dir) is None
