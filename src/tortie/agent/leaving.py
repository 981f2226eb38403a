"""Ending what runs on a node, and taking away what it left in the kernel: for operators, from outside of the agent.

An agent that ends leaves the kernel and BIRD as they are, on purpose; here is how the rest goes too. Ours is recognised by
name and protocol alone (decisions.md, "ownership"); nothing else is touched.
"""

import asyncio
import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from tortie.agent import wireguard_keys
from tortie.agent.bird import Bird
from tortie.agent.options import AgentError
from tortie.base import process
from tortie.bgp.errors import BgpError
from tortie.dataplane.render.config import WireguardConfig
from tortie.dataplane.render.tunnels import DEVICES
from tortie.intent.routes import Way
from tortie.kernel.bpf.build import object_file
from tortie.kernel.bpf.tunnel import BpfIpip
from tortie.kernel.ipip import KernelIpip
from tortie.kernel.link import Links
from tortie.kernel.nft.objects import TableFamily
from tortie.kernel.nft.table import NftTable
from tortie.kernel.route import GUARD_PROTOCOL, MAIN_TABLE, PROTOCOL, Route, Routes
from tortie.kernel.rule import Rules
from tortie.kernel.wireguard.userspace import UserspaceWireguard

_GRACE_SECONDS = 15.0
_ALL_TABLES = 0
_FAMILIES: tuple[TableFamily, ...] = ("inet", "arp")


@dataclass(frozen=True, slots=True)
class Removed:
    """What `uninstall` took away."""

    routes: tuple[Route, ...]


def running_agent(run_dir: Path, *, locks: Path = Path("/proc/locks")) -> int | None:
    """The pid of the agent that holds this run directory's lock; None if there is none.

    A lock file outlives its agent, and its pid may be another's by now: the kernel's list of held locks decides. Taking the
    lock to see whether it is free could keep an agent from starting.
    """
    path = run_dir / "agent.lock"
    try:
        pid, inode = int(path.read_text()), path.stat().st_ino
    except (OSError, ValueError):
        return None
    for line in locks.read_text().splitlines():
        words = line.split()
        if words[1] == "FLOCK" and words[4] == str(pid) and words[5].rpartition(":")[2] == str(inode):
            return pid
    return None


async def stop_agent(run_dir: Path) -> int | None:
    """End the agent and wait for its end; returns its pid, None if none ran. Raises AgentError, ProcessError."""
    pid = running_agent(run_dir)
    if pid is None:
        return None
    try:
        await process.stop(pid, grace=_GRACE_SECONDS)
    except PermissionError as error:
        raise AgentError(f"the agent (pid {pid}) cannot be ended by this user: be root") from error
    return pid


async def stop_bird(run_dir: Path) -> bool:
    """End this node's BIRD; False if it did not run. What BIRD had put into the kernel stays there."""
    bird = Bird(run_dir / "bird")
    try:
        await bird.status()
    except BgpError:
        return False
    await bird.stop()
    return True


async def uninstall(run_dir: Path, *, netns_fd: int | None = None) -> Removed:
    """Remove our nft tables, our devices of tunnels and our routes, of all routing tables, from a network namespace (None:
    our own).

    Pods then have neither policy nor a way to the network. Raises AgentError while an agent runs (it would put all of it
    back) or when something of ours is still there afterwards.
    """
    pid = running_agent(run_dir)
    if pid is not None:
        raise AgentError(f"an agent (pid {pid}) runs with {run_dir}: stop it first, it would put everything back")
    for family in _FAMILIES:
        table = NftTable(family=family, netns_fd=netns_fd)
        try:
            await table.delete()
        finally:
            await table.close()
    await asyncio.to_thread(_remove_rules, netns_fd)
    await _remove_wireguard(run_dir, netns_fd)
    routes = await asyncio.to_thread(_remove_routes, netns_fd)
    await asyncio.to_thread(_remove_vxlan, netns_fd)
    await asyncio.to_thread(_remove_ipip, netns_fd)
    return Removed(routes)


def _remove_rules(netns_fd: int | None) -> None:
    """Those that lead to tables of ours: packets take the main table before theirs is empty."""
    with Routes(netns_fd) as routes, Rules(netns_fd) as rules:
        tables = {each.table for each in routes.list(table=_ALL_TABLES, protocol=PROTOCOL)} - {MAIN_TABLE}
        for found in rules.list():
            if found.rule is not None and found.table in tables and found.rule.invert and found.rule.mask:
                rules.delete(found)


async def _remove_wireguard(run_dir: Path, netns_fd: int | None) -> None:
    """The devices by Calico's names and those that processes of this node serve."""
    folder = wireguard_keys.folder_of(run_dir)
    names = {*WireguardConfig().devices, *(path.stem for path in folder.glob("*.pid"))}
    with Links(netns_fd) as links:
        processes = UserspaceWireguard(links, folder)
        for name in sorted(names):
            await processes.delete(name)


def _remove_vxlan(netns_fd: int | None) -> None:
    """After the routes that lead into them; what they know goes with them."""
    with Links(netns_fd) as links:
        for (way, _), name in DEVICES.items():
            if way is Way.VXLAN:
                links.delete(name)


def _remove_ipip(netns_fd: int | None) -> None:
    """Whoever carried it; the device of the kernel's own module cannot go, and is left as the kernel makes it."""
    with Links(netns_fd) as links, contextlib.closing(BpfIpip(object_file(), netns_fd)) as ebpf:
        for carrier in (KernelIpip(links), ebpf):
            carrier.retire()


def _remove_routes(netns_fd: int | None) -> tuple[Route, ...]:
    with Routes(netns_fd) as routes:
        found = _ours(routes)
        failures = routes.delete(found)
        left = _ours(routes)
    if failures or left:
        reasons = "; ".join(f"{failure.route}: {failure.error}" for failure in failures) or ", ".join(map(str, left))
        raise AgentError(f"not all of our routes could be removed: {reasons}")
    return found


def _ours(routes: Routes) -> tuple[Route, ...]:
    return tuple(
        route for protocol in (PROTOCOL, GUARD_PROTOCOL) for route in routes.list(table=_ALL_TABLES, protocol=protocol)
    )


def read_status(run_dir: Path) -> bytes:
    """The agent's last words on itself (status.json), empty where it never spoke. Raises AgentError."""
    try:
        return (run_dir / "status.json").read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise AgentError(f"{run_dir / 'status.json'} cannot be read: {os.strerror(error.errno or 0)}") from error
