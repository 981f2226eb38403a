"""How another node is in WireGuard, for people: where it is, when there was a handshake last, and what is wrong."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tortie.base.net import Family
from tortie.intent.routes import WireguardEnd, WireguardPeer
from tortie.kernel.wireguard.device import PeerState

_STALE_SECONDS = 200.0
"""A session is renewed every two minutes while packets are sent."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What was found of a device and its peers."""

    available: bool
    ready: frozenset[str]
    """Nodes whose networks lead into the device."""
    states: Mapping[str, PeerState]
    """By public key."""
    sent_before: Mapping[str, int]
    """Bytes that had been sent when they were looked at the time before, by public key."""


@dataclass(frozen=True, slots=True)
class PeerReport:
    """One other node."""

    node: str
    public_key: str
    endpoint: str
    networks: int
    encrypted: bool
    handshake: float
    """When it was last, in seconds since 1970; 0 before the first."""
    handshake_age: float | None
    """Seconds since then."""
    received_bytes: int
    sent_bytes: int
    problem: str

    def as_json(self) -> dict[str, Any]:
        """As the status file has it."""
        return {
            "node": self.node,
            "publicKey": self.public_key,
            "endpoint": self.endpoint,
            "networks": self.networks,
            "encrypted": self.encrypted,
            "lastHandshake": self.handshake,
            "lastHandshakeSeconds": None if self.handshake_age is None else round(self.handshake_age, 1),
            "receivedBytes": self.received_bytes,
            "sentBytes": self.sent_bytes,
            "problem": self.problem,
        }


def is_usable(peer: WireguardPeer) -> bool:
    """True if it can be spoken to: it has a key, and nothing speaks against it."""
    return bool(peer.public_key) and not peer.problem


def report(peer: WireguardPeer, end: WireguardEnd, seen: Seen) -> PeerReport:
    """What there is to say of one other node."""
    usable = seen.available and is_usable(peer)
    known = seen.states.get(peer.public_key) if usable else None
    # The device tells the time of day; a clock that was set back makes no negative age.
    age = max(time.time() - known.last_handshake, 0.0) if known is not None and known.last_handshake else None
    host = str(peer.endpoint) if peer.family is Family.V4 else f"[{peer.endpoint}]"
    return PeerReport(
        node=peer.node,
        public_key=peer.public_key,
        endpoint=f"{host}:{peer.port}",
        networks=len(peer.allowed),
        encrypted=usable and peer.node in seen.ready,
        handshake=0.0 if known is None else known.last_handshake,
        handshake_age=age,
        received_bytes=0 if known is None else known.received_bytes,
        sent_bytes=0 if known is None else known.sent_bytes,
        problem=_problem(peer, end, seen, age=age),
    )


def _problem(peer: WireguardPeer, end: WireguardEnd, seen: Seen, *, age: float | None) -> str:
    reached = "it is not reached (strict)" if end.strict else "it is reached in clear"
    if peer.problem:
        return f"{peer.problem}: {reached}"
    if not peer.public_key:
        return f"node {peer.node} has no key: {reached}"
    if not seen.available:
        return ""  # the device's own problem says it
    if age is None:
        return "there was no handshake with it yet" if end.strict or peer.node in seen.ready else ""
    known = seen.states.get(peer.public_key)
    sent = known.sent_bytes if known is not None else 0
    if age > _STALE_SECONDS and sent != seen.sent_before.get(peer.public_key, sent):
        return f"it has not answered for {age:.0f} s"
    return ""
