"""BPF programs in the way of a device's packets: tc filters on its clsact queue, in one network namespace.

A filter holds its program, and the program its maps: all of it outlives whoever made it, goes with the device or the
namespace, and is replaced in one step, so that no packet meets neither the old nor the new. Ours are recognised by priority
and name; by its handle each tells, also to who comes after us, whether the queue is ours or was there before. Linux 4.5 has
all of it. The price: with a device's first filter comes its queue, and with its last the queue goes,
and for either the kernel stops the device until all processors have taken notice. TCX (tcx.py) has no such moment.
"""

import struct
from typing import Literal, NamedTuple

from tortie.kernel.bpf.syscalls import program_id
from tortie.kernel.errors import AlreadyExists, Invalid, NotFound
from tortie.kernel.link import Links
from tortie.kernel.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    Message,
    Request,
    nested,
    parse_attributes,
    string,
    text,
    u32,
)
from tortie.kernel.rtnetlink import AF_UNSPEC, open_requests, unpack_u32

Side = Literal["ingress", "egress"]

PRIORITY = 80
"""As the protocol of our routes: late enough for whoever wants to see packets before us."""

_RTM_NEWQDISC, _RTM_DELQDISC, _RTM_GETQDISC = 36, 37, 38
_RTM_NEWTFILTER, _RTM_DELTFILTER, _RTM_GETTFILTER = 44, 45, 46
_HEADER = struct.Struct("=BxxxiIII")  # family, device, handle, parent, info
_CLSACT_PARENT, _CLSACT_HANDLE = 0xFFFFFFF1, 0xFFFF0000
_SIDES: dict[Side, int] = {"ingress": 0xFFFFFFF2, "egress": 0xFFFFFFF3}
_TCA_KIND, _TCA_OPTIONS = 1, 2
_BPF_FD, _BPF_NAME, _BPF_FLAGS, _BPF_ID = 6, 7, 8, 11
_DIRECT_ACTION = 1
_ETH_P_ALL_BIG_ENDIAN = 0x0300
_HANDLE_IN_ANOTHERS_QUEUE, _HANDLE_IN_OUR_QUEUE = 1, 2


class _Filter(NamedTuple):
    name: str
    program: int
    handle: int


class Filters:
    """The filters of one namespace: that of `netns_fd`, or the calling thread's at construction. One thread at a time."""

    def __init__(self, netns_fd: int | None = None) -> None:
        self._socket = open_requests(netns_fd)
        self._links = Links(netns_fd)

    def close(self) -> None:
        """Give back the sockets; may be called again."""
        self._socket.close()
        self._links.close()

    def put(self, device: str, side: Side, *, name: str, program: int) -> None:
        """Put a program (a descriptor) into the way, in place of one of ours that is there; it may be there already. Raises
        NotFound, and AlreadyExists where the device has a queue of kind ingress, which takes clsact's place."""
        index = self._links.get(device).index
        there = self._find(index, side, name)
        if there is not None and there.program == program_id(program):
            return
        handle = there.handle if there is not None else self._ensure_queue(index, device)
        options = nested(_TCA_OPTIONS, u32(_BPF_FD, program), text(_BPF_NAME, name), u32(_BPF_FLAGS, _DIRECT_ACTION))
        body = self._header(index, side, handle=handle) + text(_TCA_KIND, "bpf") + options
        action = f"put BPF program {name} on {side} of {device}"
        self._socket.request(Request(_RTM_NEWTFILTER, NLM_F_CREATE, body), action=action)

    def get(self, device: str, side: Side, *, name: str) -> int | None:
        """The number of our program there; None if there is none, or no such device."""
        link = self._links.find(device)
        found = self._find(link.index, side, name) if link is not None else None
        return found.program if found is not None else None

    def remove(self, device: str, side: Side, *, name: str) -> bool:
        """Take our filter out of the way, and the queue if it is ours and nothing else uses it. True if it was there."""
        link = self._links.find(device)
        found = self._find(link.index, side, name) if link is not None else None
        if link is None or found is None:
            return False
        body = self._header(link.index, side, handle=found.handle) + text(_TCA_KIND, "bpf")
        try:
            self._socket.request(Request(_RTM_DELTFILTER, 0, body), action=f"remove our filter on {side} of {device}")
        except NotFound:
            return False
        if found.handle == _HANDLE_IN_OUR_QUEUE and not any(self._list(link.index, each) for each in _SIDES):
            self._delete_queue(link.index, device)
        return True

    def devices(self, side: Side, *, name: str) -> frozenset[str]:
        """Devices that have a filter of ours, of this name, on this side."""
        names = {link.index: link.name for link in self._links.list()}
        found: set[str] = set()
        body = _HEADER.pack(AF_UNSPEC, 0, 0, 0, 0)
        for message in self._socket.dump(Request(_RTM_GETQDISC, 0, body), action="list queues"):
            _, index, _, parent, _ = _HEADER.unpack_from(message.body)
            kind = string(parse_attributes(message.body, _HEADER.size).get(_TCA_KIND, b""))
            if parent == _CLSACT_PARENT and kind == "clsact" and index in names:
                found.update(names[index] for each in self._ours(index, side) if each.name == name)
        return frozenset(found)

    def _find(self, index: int, side: Side, name: str) -> _Filter | None:
        if self._queue_kind(index) != "clsact":
            return None
        return next((found for found in self._ours(index, side) if found.name == name), None)

    def _ensure_queue(self, index: int, device: str) -> int:
        """The handle that a filter in it must have."""
        body = _HEADER.pack(AF_UNSPEC, index, _CLSACT_HANDLE, _CLSACT_PARENT, 0) + text(_TCA_KIND, "clsact")
        try:
            self._socket.request(Request(_RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, body), action=f"add clsact to {device}")
        except AlreadyExists:
            if (kind := self._queue_kind(index)) != "clsact":
                raise AlreadyExists(
                    f"{device} has a queue of kind {kind} in clsact's place: remove it (tc qdisc delete dev {device} ingress)"
                ) from None
            handles = {each.handle for side in _SIDES for each in self._ours(index, side)}
            return _HANDLE_IN_OUR_QUEUE if _HANDLE_IN_OUR_QUEUE in handles else _HANDLE_IN_ANOTHERS_QUEUE
        return _HANDLE_IN_OUR_QUEUE

    def _queue_kind(self, index: int) -> str:
        body = _HEADER.pack(AF_UNSPEC, index, 0, 0, 0)
        for message in self._socket.dump(Request(_RTM_GETQDISC, 0, body), action="list queues"):
            _, device, _, parent, _ = _HEADER.unpack_from(message.body)
            if device == index and parent == _CLSACT_PARENT:
                return string(parse_attributes(message.body, _HEADER.size).get(_TCA_KIND, b""))
        return ""

    def _delete_queue(self, index: int, device: str) -> None:
        body = _HEADER.pack(AF_UNSPEC, index, _CLSACT_HANDLE, _CLSACT_PARENT, 0)
        try:
            self._socket.request(Request(_RTM_DELQDISC, 0, body), action=f"delete clsact of {device}")
        except NotFound:
            return

    def _list(self, index: int, side: Side) -> list[Message]:
        body = _HEADER.pack(AF_UNSPEC, index, 0, _SIDES[side], 0)
        try:
            return self._socket.dump(Request(_RTM_GETTFILTER, 0, body), action="list filters")
        except (NotFound, Invalid):  # no such queue any more
            return []

    def _ours(self, index: int, side: Side) -> list[_Filter]:
        return [each for each in map(_parse, self._list(index, side)) if each is not None]

    def _header(self, index: int, side: Side, *, handle: int) -> bytes:
        return _HEADER.pack(AF_UNSPEC, index, handle, _SIDES[side], (PRIORITY << 16) | _ETH_P_ALL_BIG_ENDIAN)


def _parse(message: Message) -> _Filter | None:
    _, _, handle, _, info = _HEADER.unpack_from(message.body)
    found = parse_attributes(message.body, _HEADER.size)
    if (
        handle not in (_HANDLE_IN_ANOTHERS_QUEUE, _HANDLE_IN_OUR_QUEUE)
        or info >> 16 != PRIORITY
        or string(found.get(_TCA_KIND, b"")) != "bpf"
    ):
        return None
    options = parse_attributes(found.get(_TCA_OPTIONS, b""))
    number = unpack_u32(options[_BPF_ID]) if _BPF_ID in options else 0
    return _Filter(string(options.get(_BPF_NAME, b"")), number, handle)
