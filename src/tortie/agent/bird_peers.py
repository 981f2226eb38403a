"""How each BGP session is, and why one is down, in words that name what to look at.

BIRD knows what the other end said and what its socket said. It cannot know that segments with a wrong TCP MD5 signature, or
from too far away, were dropped: the kernel does that below it and only counts them, for all sessions together.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tortie.bgp.status import PeerStatus
from tortie.intent.routing import BgpPeer

_RECENT_SECONDS = 60.0
"""BIRD and TCP try again after seconds; a count that has not risen for this long belongs to the past."""

_NETSTAT = Path("/proc/thread-self/net/netstat")
_WORDS = {
    "TCPMD5Failure": "segments signed with another TCP MD5 password arrive at this node: the passwords of the two ends differ",
    "TCPMD5NotFound": "unsigned TCP segments arrive at this node: the other end has no password for this session",
    "TCPMD5Unexpected": "signed TCP segments arrive at this node, and this session has no password: the other end has one",
    "TCPMinTTLDrop": "TCP segments arrive at this node with a lower TTL than ttlSecurity asks for: the other end is too far"
    " away, or does not send with TTL 255",
}
_WAITING = {
    "Idle": "not started yet",
    "Active": "between two attempts to connect",
    "Passive": "waits for the other end to connect",
    "Connect": "connecting, no answer yet",
    "OpenSent": "connected, the other end has not introduced itself yet",
    "OpenConfirm": "connected, the other end has not agreed yet",
    "Down": "the session is disabled",
    "Start": "starting",
}


class SignatureCounts:
    """The kernel's counts of refused TCP MD5 signatures and TTLs in this network namespace, and which rose lately."""

    def __init__(self) -> None:
        self._counts: Mapping[str, int] = {}
        self._rose: dict[str, float] = {}

    def sample(self, now: float, counts: Mapping[str, int]) -> None:
        """Take the counts of this moment (seconds of any steady clock). The first sample is where counting begins."""
        for name, count in counts.items():
            if count > self._counts.get(name, count):
                self._rose[name] = now
        self._counts = counts
        self._rose = {name: when for name, when in self._rose.items() if now - when < _RECENT_SECONDS}

    def words(self, *, has_password: bool, has_ttl_security: bool = False) -> str:
        """What the counts say of a session that is down, "" for nothing."""
        concerned = ["TCPMD5Failure", "TCPMD5NotFound"] if has_password else ["TCPMD5Unexpected"]
        if has_ttl_security:
            concerned.append("TCPMinTTLDrop")
        return "; ".join(_WORDS[name] for name in concerned if name in self._rose)


def read_signature_counts() -> dict[str, int]:
    """The counts of the calling thread's network namespace; empty for a kernel without TCP MD5."""
    try:
        lines = _NETSTAT.read_text().splitlines()
    except OSError:
        return {}
    for names, values in zip(lines[::2], lines[1::2], strict=False):
        if names.startswith("TcpExt:"):
            found = dict(zip(names.split(), values.split(), strict=False))
            return {name: int(found[name]) for name in _WORDS if name in found}
    return {}


class Withheld(NamedTuple):
    """A session that is wanted and not configured: it would lack its password or a filter, or BIRD cannot be told of it."""

    peer: BgpPeer
    reason: str


def describe(
    found: Iterable[PeerStatus], wanted: Iterable[BgpPeer], *, withheld: Iterable[Withheld], counts: SignatureCounts
) -> list[dict[str, Any]]:
    """All sessions, by name, for the status file. One that is down always has a reason."""
    by_name = {peer.name: peer for peer in wanted}
    lines = [_line(peer, by_name.get(peer.name), counts) for peer in found]
    lines += [
        {
            "name": peer.name,
            "description": peer.description,
            "address": str(peer.address.address),
            "asNumber": peer.as_number,
            "state": "NotConfigured",
            "since": "",
            "reason": reason,
            "established": False,
            "imported": 0,
            "exported": 0,
        }
        for peer, reason in withheld
    ]
    return sorted(lines, key=lambda line: str(line["name"]))


def _line(peer: PeerStatus, wanted: BgpPeer | None, counts: SignatureCounts) -> dict[str, Any]:
    return {
        "name": peer.name,
        "description": wanted.description if wanted is not None else "",
        "address": str(peer.address or ""),
        "asNumber": peer.as_number,
        "state": peer.state,
        "since": peer.since,
        "reason": "" if peer.established else _reason(peer, wanted, counts),
        "established": peer.established,
        "imported": peer.imported,
        "exported": peer.exported,
    }


def _reason(peer: PeerStatus, wanted: BgpPeer | None, counts: SignatureCounts) -> str:
    state = "Passive" if wanted is not None and wanted.passive and peer.state in ("Active", "Idle") else peer.state
    said = peer.reason or _WAITING.get(state, f"state {peer.state}")
    signed = counts.words(
        has_password=wanted is not None and wanted.password_ref is not None,
        has_ttl_security=wanted is not None and wanted.ttl_security > 0,
    )
    return "; ".join(part for part in (said, signed) if part)
