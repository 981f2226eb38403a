"""One WireGuard device, brought to what is wanted of it. Ours by its name; its private key survives whatever happens to it."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tortie.base import log
from tortie.base.net import Address, Interface
from tortie.kernel.errors import KernelError, NotFound
from tortie.kernel.link import Links
from tortie.kernel.wireguard import keys
from tortie.kernel.wireguard.device import Change, Device, Peer, PeerState
from tortie.kernel.wireguard.devices import WireguardDevices
from tortie.kernel.wireguard.key_files import KeyFiles
from tortie.kernel.wireguard.keys import PrivateKey

_log = log.get(__name__)
_FIRST_SECONDS, _SECOND_SECONDS = 0.1, 1.0
"""After which time, since each can know the other, the one and the other of two new peers speaks."""
_SILENCE_SECONDS = 30.0
"""So long a device that could not be read is left alone by `look`."""
_NO_STATES: Mapping[str, PeerState] = {}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the device is to be, besides its peers."""

    port: int
    mark: int
    mtu: int
    address: Address | None
    threaded: bool = False


class WireguardDevice:
    """`ensure` may be repeated at any time; what the device has is read at first, after a failure and after `distrust`."""

    def __init__(self, name: str, links: Links, *, wireguard: WireguardDevices, files: KeyFiles) -> None:
        self.name = name
        self._links = links
        self._wireguard = wireguard
        self._files = files
        self._actual: Device | None = None
        self._new_key: PrivateKey | None = None
        self._threaded = False
        self.remark = ""
        """What could not be done, though the device works."""
        self.is_readdressed = False
        """An address came or went. Without its last one the kernel drops an IPv4 device's routes, and says nothing."""
        self._new: set[str] = set()
        """Peers that are still to be spoken to."""
        self._later: dict[str, float] = {}
        """When, once they can know our key."""
        self.public_key = ""
        """As the last `ensure` or `look` found it; "" without a device."""
        self.found: frozenset[str] = frozenset()
        """Public keys of the peers that the device had before the last `ensure`."""
        self.silence = ""
        """Why the last `look` could not read the device."""
        self._unasked_until = 0.0
        self.states = _NO_STATES
        """The peers as the last `look` found them, by public key."""

    @property
    def restless(self) -> bool:
        """True while it may still have to speak to a new peer: then `look` is worth calling often."""
        return bool(self._later)

    def distrust(self) -> None:
        """Read the device back at the next `ensure`."""
        self._actual = None

    def rotate(self) -> None:
        """Take a new key at the next `ensure`. Sessions end; whoever learns the new key begins another."""
        self._new_key = keys.generate()

    async def ensure(self, wanted: Wanted, peers: Mapping[str, Peer]) -> None:
        """Make the device so, with exactly these peers (by public key). Raises KernelError; Unsupported: no WireGuard here.

        New peers are spoken to by `look`, so that there is a session before packets have to wait for one; but not before
        `is_known` was called, which is when they can know our key.
        """
        try:
            await self._ensure(wanted, peers)
        except KernelError:
            self._actual = None
            self._later.clear()
            self._new.clear()
            raise

    async def remove(self) -> None:
        """Remove the device, and its key for good. None there is fine."""
        self._actual, self._new_key, self.public_key, self.states = None, None, "", _NO_STATES
        self._later.clear()
        self._new.clear()
        if await self._wireguard.delete(self.name):
            _log.info("WireGuard device %s is removed", self.name)
        self._files.remove(self.name)

    def is_known(self) -> None:
        """Others can know our key by now."""
        now = time.monotonic()
        for key in self._new:
            self._later[key] = now + (_FIRST_SECONDS if self.public_key < key else _SECOND_SECONDS)
        self._new.clear()

    def look(self) -> bool:
        """Read how the peers are. True if the device is not as the last `ensure` left it."""
        if self._actual is None or time.monotonic() < self._unasked_until:
            return False
        try:
            found = self._wireguard.read(self.name)
            self._wireguard.widen(self.name)
        except NotFound:
            self._actual, self.states, self.silence = None, _NO_STATES, ""
            return True
        except KernelError as error:  # whoever asks a wireguard-go that hangs waits for seconds, and does nothing else
            _log.warning("WireGuard device %s cannot be read: %s", self.name, error)
            self.silence, self._unasked_until = str(error), time.monotonic() + _SILENCE_SECONDS
            return False
        self.silence = ""
        self.states = found.peers
        self._greet_late()
        if (found.private_key, found.port, found.mark) == (self._actual.private_key, self._actual.port, self._actual.mark):
            return False
        self._actual = None
        return True

    async def _ensure(self, wanted: Wanted, peers: Mapping[str, Peer]) -> None:
        actual = self._actual
        if actual is None:
            self._threaded = False
            await self._wireguard.create(self.name)
            actual = self._wireguard.read(self.name)
        self.found = frozenset(actual.peers)
        self.states = self.states or actual.peers
        key = self._new_key or actual.private_key or self._files.read(self.name) or keys.generate()
        if (self._actual is None or key != actual.private_key) and self._files.read(self.name) != key:
            self._files.write(self.name, key)  # first: a key that others know must not be lost
        settings = Change(
            private_key=key if key != actual.private_key else None,
            port=wanted.port if wanted.port != actual.port else None,
            mark=wanted.mark if wanted.mark != actual.mark else None,
        )
        self._wireguard.write(self.name, settings)
        self._new_key = None
        self._ensure_link(wanted)
        self._write_peers({known: state.peer for known, state in actual.peers.items()}, peers)
        if peers:  # a device without peers has nothing to work off
            self._set_threads(wanted.threaded)
        self.public_key = key.public
        kept = {known: actual.peers.get(known, PeerState(peer)) for known, peer in peers.items()}
        told = {known: replace(state, peer=peers[known]) for known, state in kept.items()}
        self._actual = Device(key, key.public, wanted.port, mark=wanted.mark, peers=told)

    def _set_threads(self, threaded: bool) -> None:
        if threaded == self._threaded:
            return
        try:
            self._wireguard.set_threaded(self.name, threaded)
            self._threaded, self.remark = threaded, ""
        except KernelError as error:
            self.remark = f"WireguardThreadingEnabled is without effect: {error}"

    def _write_peers(self, actual: Mapping[str, Peer], wanted: Mapping[str, Peer]) -> None:
        """Of two new peers one speaks first, and the other later if it has heard nothing: handshakes that cross fail both, and
        are not repeated for seconds. Who has a new key has tried already, and in vain.
        """
        removed = tuple(sorted(actual.keys() - wanted.keys()))
        changed = [wanted[key] for key in sorted(wanted) if wanted[key] != actual.get(key)]
        new = [peer.public_key for peer in changed if peer.public_key not in actual]
        growing = {peer.public_key for peer in changed if _grows(actual.get(peer.public_key), peer)}
        change = Change(
            peers=tuple(peer for peer in changed if peer.public_key not in growing),
            extended=tuple(_extension(actual[peer.public_key], peer) for peer in changed if peer.public_key in growing),
            removed=removed,
        )
        self._wireguard.write(self.name, change)
        replaced = {actual[key].endpoint for key in removed}
        again = [wanted[key] for key in new if wanted[key].endpoint in replaced]
        self._greet(again)
        self._new = {key for key in self._new | set(new) if key in wanted} - {peer.public_key for peer in again}
        self._later = {key: due for key, due in self._later.items() if key in wanted}

    def _greet(self, peers: Sequence[Peer]) -> None:
        """Make the device say something, which begins a session where there is none."""
        quiet = [Peer(peer.public_key) for peer in peers if not peer.keepalive_seconds]
        for seconds in (1, 0) if quiet else ():
            extended = tuple(replace(each, keepalive_seconds=seconds) for each in quiet)
            self._wireguard.write(self.name, Change(extended=extended))

    def _greet_late(self) -> None:
        now = time.monotonic()
        due = {key for key, since in self._later.items() if since <= now}
        if due and self._actual is not None:
            for key in due:
                del self._later[key]
            states = self._actual.peers
            silent = [states[key].peer for key in sorted(due) if key in states and not self._has_session(key)]
            try:
                self._greet(silent)
            except KernelError as error:  # the first packet begins one too
                _log.warning("WireGuard device %s: %s", self.name, error)

    def _has_session(self, key: str) -> bool:
        known = self.states.get(key)
        return known is not None and known.last_handshake > 0

    def _ensure_link(self, wanted: Wanted) -> None:
        link = self._links.get(self.name)
        self._wireguard.prepare(self.name)
        if link.mtu != wanted.mtu:
            self._links.set_mtu(self.name, wanted.mtu)
        if not link.up:
            self._links.set_up(self.name)
        own = Interface(wanted.address, wanted.address.family.bits) if wanted.address is not None else None
        found = [each.interface for each in self._links.addresses(self.name) if each.is_global]
        if own is not None and own not in found:
            self._links.add_address(self.name, own)
            self.is_readdressed = True
        for other in found:
            if other != own:
                self._links.delete_address(self.name, other)
                self.is_readdressed = True


def _grows(actual: Peer | None, wanted: Peer) -> bool:
    return actual is not None and actual.allowed <= wanted.allowed


def _extension(actual: Peer, wanted: Peer) -> Peer:
    """What the device must learn of a peer, and nothing that it knows."""
    endpoint = wanted.endpoint if wanted.endpoint != actual.endpoint else None
    return replace(wanted, endpoint=endpoint, allowed=wanted.allowed - actual.allowed)
