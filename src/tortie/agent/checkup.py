"""Is this machine fit for an agent, and is all well with the one that runs? One `Check` for each question."""

import asyncio
import os
import secrets
from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from tortie.base import process
from tortie.base.errors import TortieError
from tortie.base.net import Family
from tortie.base.process import ProcessError
from tortie.kernel import netns
from tortie.kernel.errors import KernelError
from tortie.kernel.nft.objects import (
    Chain,
    Connections,
    CtState,
    FibType,
    Hook,
    LogGroup,
    Masquerade,
    NfProto,
    NoReversePath,
    Rule,
    SetDscp,
    Statement,
    Terminal,
    Verdict,
)
from tortie.kernel.nft.table import NftTable

State = Literal["ok", "note", "problem"]
"""A note is worth knowing and hinders nothing."""

_MULTICAST = 5
_ELF = b"\x7fELF"
_ACCEPT = Verdict(Terminal.ACCEPT)
_FEATURES: Mapping[str, tuple[Statement, ...]] = {
    "nf_tables": (_ACCEPT,),
    "fib": (FibType("destination", _MULTICAST), NoReversePath(), _ACCEPT),
    "conntrack": (CtState(1), _ACCEPT),
    "nflog": (LogGroup(1, "probe"), _ACCEPT),
    "masquerade": (Masquerade(),),
    "connlimit": (Connections(1), _ACCEPT),
    "dscp": (NfProto(Family.V4), SetDscp(Family.V4, 0)),
}
_FILTER = Hook("filter", "prerouting", 0)
_NAT = Hook("nat", "postrouting", 100)


@dataclass(frozen=True, slots=True)
class Check:
    """One question and its answer. Of what is not fine, `why` says what it harms and `fix` what to do."""

    name: str
    state: State
    detail: str
    why: str = ""
    fix: str = ""


_ADVICE: Mapping[str, tuple[str, str]] = {
    "kernel": (
        "policy is made of such rules: without them the agent programs nothing and its pods stay closed",
        "load the module (tortie node checksystem names it), or use a kernel of 5.10 or newer",
    ),
    "bird": (
        "without BIRD no other node learns the way to this node's pods",
        "install bird2 (or set CALICO_NETWORKING_BACKEND=none)",
    ),
    "cni plugin": ("the container runtime cannot start pods", "make tortie-cni readable and executable, or install it again"),
    "datastore": (
        "what the agent has stays in force, and changes do not reach this node",
        "check DATASTORE_TYPE, the endpoints and the credentials (docs: datastore), then the store itself",
    ),
    "unreadable": ("its value has no effect", "get it with -o yaml, mend it and apply it again, or delete it"),
    "not enforced": ("it has no effect here, though somebody meant it to", "take the field out, or do without it knowingly"),
    "agent status": ("nothing is known of the agent", "look at the file; `tortie node status`"),
    "agent datastore": ("changes do not reach this node", "see the datastore's own line"),
    "agent bird": ("other nodes may lose the way to this node's pods", "the agent's log says what BIRD refuses"),
    "agent parameter": ("the parameter has its default instead", "mend it where it is set"),
    "agent problem": (
        "what it names denies, or is as it was before",
        "mend the resource that it names; the agent's log has more",
    ),
    "agent": (
        "this node may be without the newest policy and pods may wait",
        "follow the reasons given; the agent's log has more",
    ),
    "ipip": (
        "pods of nodes that are reached by IPIP cannot be reached from here",
        "load the kernel's module ipip, or see that the agent may load eBPF programs (docs: overlays, IPIP)",
    ),
    "bgp peer": (
        "routes to and from that peer are missing",
        "can it be reached on TCP port 179, and do AS number and password agree? If it is not configured: mend what is named",
    ),
    "clock": (
        "cooling addresses, leases and certificates depend on the time",
        "let this machine follow a time server (chrony, systemd-timesyncd), and compare it with the other nodes",
    ),
}


def advised(check: Check) -> Check:
    """The check with what is generally known of its kind, where it does not say itself."""
    if check.state != "problem" or check.fix:
        return check
    why, fix = next((text for name, text in _ADVICE.items() if check.name.startswith(name)), ("", ""))
    return replace(check, why=check.why or why, fix=fix)


async def check_kernel() -> list[Check]:
    """What the packet path needs, tried out in a network namespace that exists for a moment. Needs root."""
    if os.geteuid() != 0:
        return [Check("kernel", "note", "not tried out: that needs root")]
    name = f"tortie-doctor-{os.getpid()}-{secrets.token_hex(3)}"
    try:
        netns.create(name)
    except (KernelError, OSError) as error:
        return [Check("kernel netns", "problem", f"a network namespace cannot be made: {error}")]
    found = [Check("kernel netns", "ok", "network namespaces can be made")]
    try:
        with netns.opened(name) as fd:
            for feature, statements in _FEATURES.items():
                found.append(await _try_out(feature, statements, fd))
    finally:
        netns.delete(name)
    return found


async def _try_out(feature: str, statements: tuple[Statement, ...], fd: int) -> Check:
    """Program one rule that needs the feature."""
    try:
        table = NftTable(name="probe", netns_fd=fd)
    except (KernelError, OSError) as error:
        return Check(f"kernel {feature}", "problem", str(error))
    try:
        table.put_chain(Chain("probe", (Rule(statements),), _NAT if feature == "masquerade" else _FILTER))
        await table.apply()
        await table.delete()
    except KernelError as error:
        return Check(f"kernel {feature}", "problem", f"a rule that needs it is refused: {error}")
    finally:
        await table.close()
    return Check(f"kernel {feature}", "ok", "a rule that needs it is accepted")


async def check_bird() -> Check:
    """Whether BIRD is installed, and is version 2."""
    try:
        told = await process.run(["bird", "--version"], timeout=5.0)
    except ProcessError as error:
        return Check("bird", "problem", f"{error}: install bird2")
    words = (told.stdout + told.stderr).decode(errors="replace").strip().splitlines()
    version = words[0].rpartition(" ")[2] if words else ""
    if not version.startswith("2."):
        return Check("bird", "problem", f"version {version or 'unknown'}: version 2 is needed (package bird2)")
    return Check("bird", "ok", f"version {version}")


def check_plugin(path: Path | None) -> Check:
    """What a container runtime would execute."""
    if path is None:
        return Check("cni plugin", "note", "tortie-cni is not installed here: only nodes with pods need it")
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as error:
        return Check("cni plugin", "problem", f"{path} cannot be read: {error.strerror}")
    if not os.access(path, os.X_OK):
        return Check("cni plugin", "problem", f"{path} is not executable")
    if start == _ELF:
        return Check("cni plugin", "ok", f"{path} is the C shim")
    return Check("cni plugin", "note", f"{path} is the Python fallback: a C compiler would make pods start faster")


def check_agent(pid: int | None, status: Mapping[str, Any]) -> list[Check]:
    """What the agent of this node says of itself; each of its problems is one answer."""
    if pid is None:
        return [Check("agent", "note", "no agent runs on this node")]
    ready = bool(status.get("ready"))
    reasons = [*map(str, status.get("reasons", ())), *filter(None, [str(status.get("failure", ""))])]
    condition = "; ".join(reasons) or ("ready" if ready else "not ready")
    found = [Check("agent", "ok" if ready else "problem", f"pid {pid}, {condition}")]
    if not status.get("datastoreConnected", True):
        found.append(Check("agent datastore", "problem", "no connection: what the agent has stays in force"))
    if status.get("bird", "running") not in ("", "running"):
        found.append(Check("agent bird", "problem", str(status["bird"])))
    found += _addresses(status)
    found += _ipip(status)
    found += _wireguard(status)
    found += _routes(status)
    found += [Check("agent parameter", "problem", str(text)) for text in status.get("parameters", ())]
    problems = status.get("problems", {})
    return found + [Check("agent problem", "problem", f"{key}: {text}") for key, text in sorted(problems.items())]


def _routes(status: Mapping[str, Any]) -> list[Check]:
    """Nodes that this one has no way to; it may be meant so, where something outside the nodes routes."""
    withheld = status.get("routes", {}).get("withheld", ())
    found = dict.fromkeys((str(each["node"]), str(each["reason"])) for each in withheld)
    return [Check("agent routes", "note", f"no way to what node {node} has: {reason}") for node, reason in found]


def _addresses(status: Mapping[str, Any]) -> list[Check]:
    """The node's addresses, and how it came by them."""
    return [
        Check(
            f"address of IPv{each['family']}",
            "ok" if each["interface"] else "note",
            " ".join((each["address"] or "none", f"of {each['interface']}" if each["interface"] else "")).strip()
            + f", {each['method']}: {each['why']}",
        )
        for each in status.get("addresses", ())
    ]


async def within(seconds: float, name: str, work: Awaitable[list[Check]]) -> list[Check]:
    """The answers of `work`, or one problem when it fails or takes too long."""
    try:
        async with asyncio.timeout(seconds):
            return await work
    except TimeoutError:
        return [Check(name, "problem", f"no answer within {seconds:g} s")]
    except TortieError as error:
        return [Check(name, "problem", str(error))]


def verdict(checks: Iterable[Check]) -> bool:
    """True if nothing is a problem."""
    return all(check.state != "problem" for check in checks)


def _ipip(status: Mapping[str, Any]) -> list[Check]:
    """Who carries IPIP, where it is in use."""
    said = status.get("ipip") or {}
    if said.get("problem"):
        return [Check("ipip", "problem", said["problem"])]
    words = {"kernel": "carried by the kernel's tunl0", "ebpf": "carried by our eBPF programs (this kernel has no tunl0)"}
    return [Check("ipip", "ok", words[said["carrier"]])] if said.get("carrier") in words else []


def _wireguard(status: Mapping[str, Any]) -> list[Check]:
    """Whether each device of WireGuard works, and how many nodes it encrypts for; single problems come with the agent's."""
    said = status.get("wireguard") or {}
    found = []
    for device in said.get("devices", ()):
        peers = device["peers"]
        encrypted = sum(bool(peer["encrypted"]) for peer in peers)
        how = "in the kernel" if device["inKernel"] else "by wireguard-go: slower than in a kernel that has WireGuard"
        good = not device["problem"] and not any(peer["problem"] for peer in peers)
        told = f"{device['device']}: {encrypted} of {len(peers)} other nodes encrypted, {how}"
        found.append(Check("wireguard", "ok" if good else "problem", device["problem"] or told))
    if said.get("problem"):
        found.append(Check("wireguard keys", "problem", f"not published: {said['problem']}"))
    return found
