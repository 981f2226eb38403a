"""Rate limits of a workload's device, in one network namespace: token buckets, and a detour for what the workload sends.

The node's end of a cable can hold back only what it sends, which is what the workload receives. What the workload sends is
redirected to a device of kind ifb, which holds it back and returns it to where it came from: packets still arrive on the
workload's device, so that nothing about policy changes. The ifb of `cali…` is named `bwcali…`, which is how it is recognised.
"""

import hashlib
import struct
from dataclasses import dataclass

from tortie.kernel.errors import AlreadyExists, NotFound
from tortie.kernel.link import Link, Links
from tortie.kernel.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    Message,
    Request,
    attribute,
    nested,
    parse_attributes,
    string,
    text,
    u32,
)
from tortie.kernel.rtnetlink import AF_UNSPEC, open_requests

IFB_PREFIX = "bwcali"

_RTM_NEWQDISC, _RTM_DELQDISC, _RTM_GETQDISC = 36, 37, 38
_RTM_NEWTFILTER, _RTM_GETTFILTER = 44, 46
_HEADER = struct.Struct("=BxxxiIII")  # family, device, handle, parent, info
_RATE = struct.Struct("=BBHhHI")  # cell log, link layer, overhead, cell align, minimal packet unit, bytes/s
_COUNTS = struct.Struct("=III")  # limit, buffer, mtu
_ROOT, _INGRESS, _INGRESS_HANDLE, _TBF_HANDLE = 0xFFFFFFFF, 0xFFFFFFF1, 0xFFFF0000, 0x10000
_TCA_KIND, _TCA_OPTIONS = 1, 2
_TBF_PARMS, _TBF_RATE64, _TBF_PRATE64, _TBF_BURST, _TBF_PBURST = 1, 4, 5, 6, 7
_ETHERNET = 1
_U32_SELECTOR, _U32_ACTIONS = 5, 7
_ACTION_KIND, _ACTION_OPTIONS = 1, 2
_MIRRED_PARMS, _STOLEN, _EGRESS_REDIRECT = 2, 4, 1
_ETH_P_ALL = 0x0003
_PRIORITY = 1

_FRAME_HEADER = 18
_U32_MAX = (1 << 32) - 1
_ROUNDING = 0.05
_QUEUE_SECONDS = 0.05
_SHORTEST_QUEUE, _LONGEST_QUEUE = 128 << 10, 16 << 20
"""Bytes. What waits in the kernel for tokens is memory that a workload can fill."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """A token bucket: bytes a second, bytes at once; and, unless 0, the rate of that burst and how much of it in one go."""

    rate: int
    burst: int
    peak_rate: int = 0
    peak_burst: int = 0

    def fitted(self, mtu: int) -> "Bucket":
        """As the kernel can have it: a bucket that is smaller than a frame lets nothing pass."""
        frame = mtu + _FRAME_HEADER
        peak_rate = self.peak_rate if self.peak_rate > self.rate else 0
        return Bucket(
            rate=max(self.rate, 1),
            burst=min(max(self.burst, frame), _U32_MAX),
            peak_rate=peak_rate,
            peak_burst=max(self.peak_burst, frame) if peak_rate else 0,
        )

    def resembles(self, other: "Bucket") -> bool:
        """True if they differ by no more than the kernel rounds."""
        bursts = ((self.burst, other.burst), (self.peak_burst, other.peak_burst))
        near = all(abs(one - two) <= max(one, two) * _ROUNDING for one, two in bursts)
        return near and (self.rate, self.peak_rate) == (other.rate, other.peak_rate)


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one device, as the workload sees it. None is no limit."""

    received: Bucket | None = None
    sent: Bucket | None = None

    def are_met_by(self, found: "Limits", *, mtu: int) -> bool:
        """True if a device of that MTU which has `found` has these."""
        for wanted, got in ((self.received, found.received), (self.sent, found.sent)):
            if (wanted is None) != (got is None):
                return False
            if wanted is not None and got is not None and not wanted.fitted(mtu).resembles(got):
                return False
        return True


NO_LIMITS = Limits()


def ifb_name(device: str) -> str:
    """The detour of a device."""
    return IFB_PREFIX + hashlib.sha1(device.encode(), usedforsecurity=False).hexdigest()[:9]


class Shaper:
    """Sets, reads and removes limits. One thread at a time; deleting takes up to 16 ms, as with any device."""

    def __init__(self, netns_fd: int | None = None) -> None:
        self._socket = open_requests(netns_fd)
        self._links = Links(netns_fd)

    def close(self) -> None:
        """Give back the sockets; may be called again."""
        self._socket.close()
        self._links.close()

    def __enter__(self) -> "Shaper":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def index_of(self, device: str) -> int:
        """Number of a device, 0 if it is not there."""
        link = self._links.find(device)
        return link.index if link is not None else 0

    def apply(self, device: str, limits: Limits) -> int:
        """Make the device have these limits and no others, whatever it has; returns its number. NotFound if it is gone."""
        link = self._links.get(device)
        found = self._kinds(link)
        if limits.received is not None:
            self._put_bucket(link, limits.received)
        elif "tbf" in found:
            self._delete(link, _ROOT)
        if limits.sent is not None:
            self._detour(link, limits.sent, has_ingress="ingress" in found)
        else:
            if "ingress" in found:
                self._delete(link, _INGRESS)
            self._links.delete(ifb_name(device))
        return link.index

    def read(self, device: str) -> Limits:
        """The limits that a device has. Raises NotFound."""
        link = self._links.get(device)
        ifb = self._links.find(ifb_name(device)) if "ingress" in self._kinds(link) else None
        return Limits(received=self._bucket(link), sent=self._bucket(ifb) if ifb is not None else None)

    def has(self, device: str, limits: Limits) -> int:
        """Number of the device if it has just these limits, and its detour is taken; else 0."""
        link = self._links.find(device)
        if link is None or not limits.are_met_by(self.read(device), mtu=link.mtu):
            return 0
        return link.index if limits.sent is None or self._is_redirected(link) else 0

    def _is_redirected(self, link: Link) -> bool:
        body = _HEADER.pack(AF_UNSPEC, link.index, 0, _INGRESS_HANDLE, 0)
        filters = self._socket.dump(Request(_RTM_GETTFILTER, 0, body), action=f"list filters of {link.name}")
        return any(string(parse_attributes(each.body, _HEADER.size).get(_TCA_KIND, b"")) == "u32" for each in filters)

    def detours(self) -> frozenset[str]:
        """Names of all our ifb devices."""
        return frozenset(link.name for link in self._links.list() if link.kind == "ifb" and link.name.startswith(IFB_PREFIX))

    def limited_devices(self) -> frozenset[str]:
        """Names of all devices with a token bucket or a detour, the detours' own left out."""
        body = _HEADER.pack(AF_UNSPEC, 0, 0, 0, 0)
        names = {link.index: link.name for link in self._links.list() if not link.name.startswith(IFB_PREFIX)}
        return frozenset(
            names[_device(message)]
            for message in self._socket.dump(Request(_RTM_GETQDISC, 0, body), action="list queues")
            if _device(message) in names
            and string(parse_attributes(message.body, _HEADER.size).get(_TCA_KIND, b"")) in ("tbf", "ingress")
        )

    def remove_detour(self, name: str) -> None:
        """Remove one of those; what is gone is fine."""
        self._links.delete(name)

    # ---- steps ----
    def _detour(self, link: Link, bucket: Bucket, *, has_ingress: bool) -> None:
        """The detour limits before anything takes it."""
        name = ifb_name(link.name)
        try:
            ifb = self._links.create_ifb(name)
        except AlreadyExists:
            ifb = self._links.get(name)
        if ifb.mtu != link.mtu:
            self._links.set_mtu(name, link.mtu)
        self._put_bucket(self._links.get(name), bucket)
        self._links.set_up(name)
        if has_ingress:  # its filter may lead anywhere
            self._delete(link, _INGRESS)
        body = _HEADER.pack(AF_UNSPEC, link.index, _INGRESS_HANDLE, _INGRESS, 0) + text(_TCA_KIND, "ingress")
        self._socket.request(
            Request(_RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, body), action=f"add ingress queue to {link.name}"
        )
        self._socket.request(_redirection(link.index, ifb.index), action=f"redirect {link.name} to {name}")

    def _put_bucket(self, link: Link, bucket: Bucket) -> None:
        header = _HEADER.pack(AF_UNSPEC, link.index, _TBF_HANDLE, _ROOT, 0)
        body = header + text(_TCA_KIND, "tbf") + nested(_TCA_OPTIONS, _pack_bucket(bucket.fitted(link.mtu)))
        request = Request(_RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE, body)
        self._socket.request(request, action=f"set token bucket of {link.name}")

    def _delete(self, link: Link, parent: int) -> None:
        handle = _INGRESS_HANDLE if parent == _INGRESS else 0
        body = _HEADER.pack(AF_UNSPEC, link.index, handle, parent, 0)
        try:
            self._socket.request(Request(_RTM_DELQDISC, 0, body), action=f"delete queue of {link.name}")
        except NotFound:
            return

    # ---- reading ----
    def _queues(self, link: Link) -> list[dict[int, bytes]]:
        body = _HEADER.pack(AF_UNSPEC, link.index, 0, 0, 0)
        messages = self._socket.dump(Request(_RTM_GETQDISC, 0, body), action=f"list queues of {link.name}")
        return [parse_attributes(message.body, _HEADER.size) for message in messages if _device(message) == link.index]

    def _kinds(self, link: Link) -> set[str]:
        return {string(found.get(_TCA_KIND, b"")) for found in self._queues(link)}

    def _bucket(self, link: Link) -> Bucket | None:
        for found in self._queues(link):
            if string(found.get(_TCA_KIND, b"")) == "tbf":
                return _parse_bucket(found.get(_TCA_OPTIONS, b""))
        return None


def _device(message: Message) -> int:
    index: int = _HEADER.unpack_from(message.body)[1]
    return index


def _pack_bucket(bucket: Bucket) -> bytes:
    queue = min(max(int(bucket.rate * _QUEUE_SECONDS), _SHORTEST_QUEUE), _LONGEST_QUEUE)
    rates = b"".join(
        _RATE.pack(0, _ETHERNET if rate else 0, 0, -1, 0, min(rate, _U32_MAX)) for rate in (bucket.rate, bucket.peak_rate)
    )
    found = [attribute(_TBF_PARMS, rates + _COUNTS.pack(queue, 0, 0)), u32(_TBF_BURST, bucket.burst)]
    if bucket.rate > _U32_MAX:
        found.append(attribute(_TBF_RATE64, struct.pack("=Q", bucket.rate)))
    if bucket.peak_rate:
        found.append(u32(_TBF_PBURST, bucket.peak_burst))
        if bucket.peak_rate > _U32_MAX:
            found.append(attribute(_TBF_PRATE64, struct.pack("=Q", bucket.peak_rate)))
    return b"".join(found)


def _parse_bucket(options: bytes) -> Bucket:
    """Rates come back exactly; bursts come back in ticks of 64 ns and are rounded."""
    found = parse_attributes(options)
    parameters = found[_TBF_PARMS]
    rate, peak = (_RATE.unpack_from(parameters, index * _RATE.size)[5] for index in (0, 1))
    _, buffer, mtu = _COUNTS.unpack_from(parameters, 2 * _RATE.size)
    if _TBF_RATE64 in found:
        rate = struct.unpack("=Q", found[_TBF_RATE64])[0]
    if _TBF_PRATE64 in found:
        peak = struct.unpack("=Q", found[_TBF_PRATE64])[0]
    return Bucket(rate, _bytes_of(buffer, rate), peak, _bytes_of(mtu, peak) if peak else 0)


def _bytes_of(ticks: int, rate: int) -> int:
    return round(ticks * 64 * rate / 1e9)


def _redirection(device: int, target: int) -> Request:
    """A filter that matches every packet and sends it out through `target`."""
    protocol = ((_ETH_P_ALL & 0xFF) << 8) | (_ETH_P_ALL >> 8)
    header = _HEADER.pack(AF_UNSPEC, device, 0, _INGRESS_HANDLE, (_PRIORITY << 16) | protocol)
    # One key that compares nothing: flags (terminal), shift, keys, offset mask, offset, offset, hash offset, hash mask.
    selector = struct.pack("=BBBxHHhhI", 1, 0, 1, 0, 0, 0, 0, 0) + struct.pack("=IIii", 0, 0, 0, 0)
    mirred = struct.pack("=IIiiiiI", 0, 0, _STOLEN, 0, 0, _EGRESS_REDIRECT, target)
    action = text(_ACTION_KIND, "mirred") + nested(_ACTION_OPTIONS, attribute(_MIRRED_PARMS, mirred))
    options = attribute(_U32_SELECTOR, selector) + nested(_U32_ACTIONS, nested(1, action))
    body = header + text(_TCA_KIND, "u32") + nested(_TCA_OPTIONS, options)
    return Request(_RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL, body)
