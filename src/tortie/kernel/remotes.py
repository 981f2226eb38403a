"""Whom a VXLAN device sends to: for each remote end a permanent neighbour (address to MAC) and a forwarding entry (MAC to the
machine behind it). What a device does not know here, it does not send: ours have no entry for everybody.
"""

import asyncio
import errno
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tortie.base.delta import diff
from tortie.base.net import Address
from tortie.kernel import rtnetlink
from tortie.kernel.errors import KernelError, kernel_error
from tortie.kernel.link import pack_mac
from tortie.kernel.netlink import NLM_F_CREATE, NLM_F_REPLACE, Message, Request, attribute, parse_attributes, u32
from tortie.kernel.rtnetlink import (
    AF_UNSPEC,
    FAMILY_NUMBERS,
    NEIGHBOUR_HEADER,
    open_requests,
    open_subscription,
    unpack_address,
)

EVERYBODY = "00:00:00:00:00:00"
"""The MAC of the entry that floods."""

_AF_BRIDGE = 7
_GROUP_NEIGHBOUR = 3
_NDA_DST, _NDA_LLADDR, _NDA_PORT, _NDA_VNI, _NDA_IFINDEX = 1, 2, 6, 7, 8
_NTF_SELF = 0x02
_NUD_NOARP, _NUD_PERMANENT = 0x40, 0x80
_FLAGS = NLM_F_CREATE | NLM_F_REPLACE
_SLICE = 200


@dataclass(frozen=True, slots=True)
class Remote:
    """One remote end."""

    address: Address
    """Inside: the next hop of routes."""
    mac: str
    underlay: Address
    """Outside."""


@dataclass(frozen=True, slots=True)
class EntryChange:
    """A forwarding entry or a neighbour, of any device, as it is now or was just before it went away."""

    index: int
    """Of the device."""
    mac: str
    """"" where the kernel has none for it any more."""
    underlay: Address | None
    """Of a forwarding entry that leads to one machine, with the device's own port and VNI."""
    address: Address | None
    """Of a neighbour; None: it is a forwarding entry."""
    permanent: bool
    present: bool


@dataclass(slots=True)
class _Seen:
    """What the kernel has for one device."""

    index: int
    forwards: dict[str, Address | None] = field(default_factory=dict)
    """None: something else than one machine with the device's own port and VNI, for good."""
    neighbours: dict[Address, str] = field(default_factory=dict)
    """Only entries for good."""


@dataclass(frozen=True, slots=True)
class _Step:
    """One change: a MAC is led to a machine, an address to a MAC, or one of them nowhere any more (None)."""

    key: str | Address
    value: Address | str | None

    def note(self, seen: _Seen) -> None:
        """As it will be."""
        if isinstance(self.key, str):
            if isinstance(self.value, Address):
                seen.forwards[self.key] = self.value
            else:
                seen.forwards.pop(self.key, None)
        elif isinstance(self.value, str):
            seen.neighbours[self.key] = self.value
        else:
            seen.neighbours.pop(self.key, None)

    def request(self, index: int) -> Request:
        """For the kernel. Of a MAC that is forgotten all goes, whatever it leads to."""
        kind, flags = (rtnetlink.RTM_DELNEIGH, 0) if self.value is None else (rtnetlink.RTM_NEWNEIGH, _FLAGS)
        if isinstance(self.key, str):
            header = NEIGHBOUR_HEADER.pack(_AF_BRIDGE, index, _NUD_PERMANENT | _NUD_NOARP if flags else 0, _NTF_SELF, 0)
            body = header + attribute(_NDA_LLADDR, pack_mac(self.key))
            if isinstance(self.value, Address):
                body += attribute(_NDA_DST, self.value.packed)
        else:
            header = NEIGHBOUR_HEADER.pack(FAMILY_NUMBERS[self.key.family], index, _NUD_PERMANENT if flags else 0, 0, 0)
            body = header + attribute(_NDA_DST, self.key.packed)
            if isinstance(self.value, str):
                body += attribute(_NDA_LLADDR, pack_mac(self.value))
        return Request(kind, flags, body)

    def __str__(self) -> str:
        what = f"{'forwarding entry' if isinstance(self.key, str) else 'neighbour'} {self.key}"
        return f"delete {what}" if self.value is None else f"set {what} to {self.value}"


class Remotes:
    """The remotes of the VXLAN devices of one namespace. One thread at a time.

    What the kernel has is read at the first `apply` for a device, after any failure and after `distrust`.
    """

    def __init__(self, netns_fd: int | None = None) -> None:
        self._socket = open_requests(netns_fd)
        self._seen: dict[str, _Seen] = {}

    def close(self) -> None:
        """Give back the socket; may be called again."""
        self._socket.close()

    def distrust(self, device: str) -> None:
        """Read back at the next `apply` for this device."""
        self._seen.pop(device, None)

    def contradicts(self, device: str, change: EntryChange) -> bool:
        """True if a change means that the device is not as the last `apply` left it; what that did itself is no such."""
        seen = self._seen.get(device)
        if seen is None or seen.index != change.index:
            return False
        if change.address is None:
            known = change.mac in seen.forwards
            return seen.forwards.get(change.mac) != change.underlay or not known if change.present else known
        known = change.address in seen.neighbours
        if not change.present:
            return known
        return (known or change.permanent) and (seen.neighbours.get(change.address) != change.mac or not change.permanent)

    def read(self, device: str) -> tuple[dict[str, Address | None], dict[Address, str]]:
        """Forwarding entries and neighbours as the kernel has them now. Raises NotFound for the device."""
        seen = self._read(device)
        return seen.forwards, seen.neighbours

    async def apply(self, device: str, remotes: Iterable[Remote]) -> None:
        """Make the device know exactly these. Goes on past failures, then raises them together as an ExceptionGroup.

        New ones come before old ones go. Of two with one MAC, or one address, the later counts: callers see to it. Gives way
        to the rest of the process every so often; one `apply` at a time.
        """
        wanted = tuple(remotes)
        try:
            seen = self._seen.get(device)
            if seen is None:
                seen = self._seen[device] = self._read(device)
            failures = await self._change(device, seen, wanted)
        except KernelError as error:
            self.distrust(device)
            raise ExceptionGroup(f"the remotes of {device} could not be read or changed", [error]) from error
        if failures:
            self.distrust(device)
            raise ExceptionGroup(f"{len(failures)} entries of {device} were refused", failures)

    async def _change(self, device: str, seen: _Seen, wanted: tuple[Remote, ...]) -> list[KernelError]:
        forwards: Mapping[str, Address | None] = {each.mac: each.underlay for each in wanted}
        neighbours = {each.address: each.mac for each in wanted}
        forward_delta, neighbour_delta = diff(forwards, seen.forwards), diff(neighbours, seen.neighbours)
        # An entry of another shape is not replaced but doubled: away with it first.
        steps = [_Step(mac, None) for mac in forward_delta.change if seen.forwards[mac] is None]
        steps += [_Step(mac, dst) for mac, dst in (*forward_delta.add.items(), *forward_delta.change.items())]
        steps += [_Step(address, mac) for address, mac in (*neighbour_delta.add.items(), *neighbour_delta.change.items())]
        steps += [_Step(mac, None) for mac in forward_delta.remove]
        steps += [_Step(address, None) for address in neighbour_delta.remove]
        failures: list[KernelError] = []
        for begin in range(0, len(steps), _SLICE):
            if begin:
                await asyncio.sleep(0)
            failures += self._send(device, seen, steps[begin : begin + _SLICE])
        return failures

    def _send(self, device: str, seen: _Seen, steps: list[_Step]) -> list[KernelError]:
        for step in steps:  # what we are told of this by the kernel is then nothing new
            step.note(seen)
        return [
            kernel_error(answer.errno, f"{steps[answer.sequence]} of {device}", answer.detail)
            for answer in self._socket.request_many([step.request(seen.index) for step in steps])
            if answer.errno and not (steps[answer.sequence].value is None and answer.errno == errno.ENOENT)
        ]

    def _read(self, device: str) -> _Seen:
        link = self._socket.request(rtnetlink.get_link_by_name(device), action=f"read link {device}")
        seen = _Seen(rtnetlink.link_index(link[0]))
        request = Request(rtnetlink.RTM_GETNEIGH, 0, NEIGHBOUR_HEADER.pack(_AF_BRIDGE, seen.index, 0, 0, 0))
        for message in self._socket.dump(request, action=f"list forwarding entries of {device}"):
            entry = _parse(message)
            if entry is not None and entry.index == seen.index:
                seen.forwards[entry.mac] = None if entry.mac in seen.forwards else entry.underlay
        body = NEIGHBOUR_HEADER.pack(AF_UNSPEC, 0, 0, 0, 0) + u32(_NDA_IFINDEX, seen.index)
        for message in self._socket.dump(Request(rtnetlink.RTM_GETNEIGH, 0, body), action=f"list neighbours of {device}"):
            entry = _parse(message)
            if entry is not None and entry.index == seen.index and entry.permanent and entry.mac and entry.address is not None:
                seen.neighbours[entry.address] = entry.mac
        return seen


class EntryMonitor:
    """Notice of forwarding entries and neighbours that come, change or go. Wait for `fileno()`, then `read`."""

    def __init__(self, netns_fd: int | None = None) -> None:
        self._subscription = open_subscription(netns_fd, (_GROUP_NEIGHBOUR,))

    def fileno(self) -> int:
        """The descriptor that becomes readable."""
        return self._subscription.fileno()

    def close(self) -> None:
        """Give back the socket; may be called again."""
        self._subscription.close()

    def read(self) -> list[EntryChange]:
        """What happened since the last call, in order. Overflow: some was lost, read the devices again."""
        kinds = (rtnetlink.RTM_NEWNEIGH, rtnetlink.RTM_DELNEIGH)
        found = [_parse(message) for message in self._subscription.read() if message.type in kinds]
        return [entry for entry in found if entry is not None]


def _parse(message: Message) -> EntryChange | None:
    """One entry; None for those of bridges, and for what no address is known of."""
    family, index, state, flags, _ = NEIGHBOUR_HEADER.unpack_from(message.body)
    found = parse_attributes(message.body, NEIGHBOUR_HEADER.size)
    mac = found[_NDA_LLADDR].hex(":") if len(found.get(_NDA_LLADDR, b"")) == 6 else ""
    permanent, present = bool(state & _NUD_PERMANENT), message.type == rtnetlink.RTM_NEWNEIGH
    if family != _AF_BRIDGE:
        address = unpack_address(found[_NDA_DST]) if _NDA_DST in found else None
        return None if address is None else EntryChange(index, mac, None, address, permanent, present)
    if not flags & _NTF_SELF or not mac:
        return None
    usual = permanent and not found.keys() & {_NDA_PORT, _NDA_VNI, _NDA_IFINDEX} and _NDA_DST in found
    return EntryChange(index, mac, unpack_address(found[_NDA_DST]) if usual else None, None, permanent, present)
