"""A WireGuard device as a value, and what both back ends promise."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from tortie.base.net import Address, Prefix
from tortie.kernel.wireguard.keys import PrivateKey


@dataclass(frozen=True, slots=True)
class Peer:
    """Who may talk to us, where it is, and what is behind it."""

    public_key: str
    endpoint: tuple[Address, int] | None = None
    allowed: frozenset[Prefix] = frozenset()
    keepalive_seconds: int = 0
    """0: speak only when there is something to say."""


@dataclass(frozen=True, slots=True)
class PeerState:
    """A peer as the device has it."""

    peer: Peer
    last_handshake: float = 0.0
    """Seconds since 1970; 0 before the first."""
    received_bytes: int = 0
    sent_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Device:
    """What a device is set to. `public_key` is "" before it has a private key."""

    private_key: PrivateKey | None = None
    public_key: str = ""
    port: int = 0
    mark: int = 0
    """Of the packets that it sends itself."""
    peers: Mapping[str, PeerState] = field(default_factory=dict)
    """By public key."""


@dataclass(frozen=True, slots=True)
class Change:
    """What to change in one device; None and empty leave things as they are.

    A peer in `peers` is replaced as a whole, sessions and counters excepted: for a moment it has no networks, and its packets
    are lost. One in `extended`, which must be there, gets the networks besides those that it has, the keepalive, and the
    endpoint unless that is None; no packet is lost. `removed` names keys. Removals come first, so that a network can move from
    one peer to another.
    """

    private_key: PrivateKey | None = None
    port: int | None = None
    mark: int | None = None
    peers: tuple[Peer, ...] = ()
    extended: tuple[Peer, ...] = ()
    removed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        settings = (self.private_key, self.port, self.mark)
        return any(each is not None for each in settings) or bool(self.peers or self.extended or self.removed)


class Wireguard(Protocol):
    """The devices of one network namespace, by name. All calls raise KernelError; a device that is not there is NotFound."""

    async def create(self, name: str) -> None:
        """Make the device, down. Adopts one that is there. Unsupported where this back end cannot make any."""

    async def delete(self, name: str) -> bool:
        """Remove the device and whatever serves it. True if it was there."""

    def read(self, name: str) -> Device:
        """How the device is set, and how its peers are."""

    def write(self, name: str, change: Change) -> None:
        """Change what `change` names, and nothing else."""
