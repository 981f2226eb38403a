"""IPIP by two programs of our own (ipip.c), where the kernel has no module for it.

The device `tunl0` is of kind ifb, which does nothing itself: routes, addresses and policy see it as they would see the
kernel's. What leaves by it gets its outer header; what comes to an uplink as protocol 4 loses it and arrives on `tunl0`.

The programs stay when we end. The next agent makes maps of its own, fills them, and puts its programs in place of the old
ones, each in one step: at no moment is a packet without the one or the other.

What the network says of packets that are too large is heard while somebody holds this; it is for the routes to follow.
"""

import contextlib
import struct
from collections.abc import Sequence
from pathlib import Path

from tortie.base.net import Address, Family, Prefix, single
from tortie.kernel import sysctl
from tortie.kernel.bpf import syscalls
from tortie.kernel.bpf.elf import ObjectError, parse
from tortie.kernel.bpf.hooks import ORDER, Hooks, Kind
from tortie.kernel.bpf.path_errors import PathErrors
from tortie.kernel.bpf.tcx import program_name
from tortie.kernel.errors import AlreadyExists, KernelError, NotFound, Unsupported
from tortie.kernel.ipip import DEVICE, IpipEnd, settle
from tortie.kernel.link import Link, Links

KIND = "ifb"
NAME = "tortie-ipip"
"""Of ours where they hang: as `tc filter show` tells it, and `bpftool net` with an underscore."""
LARGEST = 1 << 18
"""Destinations in the cluster: blocks, borrowed addresses, nodes."""

_EXTERNAL = b"\xff\xff\xff\xff"
_KEY = struct.Struct("=I4s")
_OWN = struct.Struct("=4sI6sxx")
_MAC_LENGTH = len("00:00:00:00:00:00")
_FIRST = struct.pack("=I", 0)


class BpfIpip:
    """In the namespace of `netns_fd`, or the calling thread's at construction. One thread at a time. `order` is of the kinds
    of places where the programs may hang."""

    name = "ebpf"

    def __init__(self, object_file: Path, netns_fd: int | None = None, *, order: Sequence[Kind] = ORDER) -> None:
        self._file = object_file
        self._netns_fd = netns_fd
        self._links = Links(netns_fd)
        self._hooks = Hooks(netns_fd, order)
        self.path_errors = PathErrors(netns_fd)
        """About what these programs have sent."""
        self._maps: dict[str, int] = {}
        self._programs: dict[str, int] = {}
        self._own = b""
        self._owners: dict[Prefix, bytes] = {}
        self._uplinks: frozenset[str] = frozenset()
        self._checked: tuple[object, ...] | None = None

    def close(self) -> None:
        """Let go of everything; what the kernel carries, it goes on carrying."""
        for descriptor in (*self._programs.values(), *self._maps.values()):
            syscalls.close(descriptor)
        self._programs, self._maps = {}, {}
        self._hooks.close()
        self._links.close()
        self.path_errors.close()

    def why_not(self) -> str:
        """Why it cannot carry IPIP here; "" if it can. Asked for, the kernel has taken the programs."""
        link = self._links.find(DEVICE)
        if link is not None and link.kind != KIND:
            return f"{DEVICE} is a device of kind {link.kind or 'unknown'}"
        try:
            self._load()
        except (KernelError, ObjectError) as error:
            return str(error)
        return ""

    def apply(self, end: IpipEnd) -> None:
        """Make the device, the maps and the hooks as they should be. May be repeated."""
        self._load()
        link = self._device(end)
        self._tell_own(end, link)
        self._tell_owners(end)
        uplinks = self._find_uplinks(end.underlay)
        state = (link.index, uplinks)
        if self._checked != state:
            # What would arrive is understood before anything is sent, and errors too.
            self.path_errors.listen(sorted(uplinks))
            for uplink in sorted(uplinks):
                self._hooks.put(uplink, "ingress", name=NAME, program=self._programs["decapsulate"])
            self._hooks.put(DEVICE, "egress", name=NAME, program=self._programs["encapsulate"])
            for other in self._hooks.devices("ingress", name=NAME) - uplinks:
                self._hooks.remove(other, "ingress", name=NAME)
            self._uplinks, self._checked = uplinks, state

    def retire(self) -> None:
        """Out of use: nothing hangs anywhere, no device. Nothing there is fine."""
        self.path_errors.listen(())
        link = self._links.find(DEVICE)
        if link is not None and link.kind == KIND:
            # First, so that it is told, and all stays as it is, if our own are not told from others' here.
            self._hooks.remove(DEVICE, "egress", name=NAME)
        for device in self._hooks.devices("ingress", name=NAME):
            self._hooks.remove(device, "ingress", name=NAME)
        if link is not None and link.kind == KIND:
            self._links.delete(DEVICE)
        for descriptor in (*self._programs.values(), *self._maps.values()):
            syscalls.close(descriptor)
        self._programs, self._maps, self._owners, self._own = {}, {}, {}, b""
        self._checked, self._uplinks = None, frozenset()

    def distrust(self) -> None:
        """Look at what hangs with the next `apply`."""
        self._checked = None

    def concerned_by(self, name: str) -> bool:
        """True if a change of this device may be a change of ours."""
        return name == DEVICE or name in self._uplinks

    # ---- parts ----
    def _load(self) -> None:
        if self._programs:
            return
        try:
            data = self._file.read_bytes()
        except OSError as error:
            raise NotFound(
                f"{self._file}: {error.strerror}: build it with python -m tortie.kernel.bpf.build, which needs clang"
            ) from error
        programs = parse(data)
        maps: dict[str, int] = {}
        loaded: dict[str, int] = {}
        with contextlib.ExitStack() as undo:
            maps["owners"] = syscalls.create_map(
                syscalls.MAP_LPM_TRIE, key=_KEY.size, value=4, entries=LARGEST, flags=syscalls.NO_PREALLOCATION, name="owners"
            )
            undo.callback(syscalls.close, maps["owners"])
            maps["own"] = syscalls.create_map(syscalls.MAP_ARRAY, key=4, value=_OWN.size, entries=1, name="own")
            undo.callback(syscalls.close, maps["own"])
            for name in ("encapsulate", "decapsulate"):
                if f"tc/{name}" not in programs.programs:
                    raise ObjectError(f"{self._file} has no program tc/{name}")
                code = programs.programs[f"tc/{name}"].with_maps(maps)
                loaded[name] = syscalls.load_program(code, terms=programs.terms, name=program_name(NAME))
                undo.callback(syscalls.close, loaded[name])
            undo.pop_all()
        self._maps, self._programs, self._owners, self._own = maps, loaded, {}, b""
        self._checked = None

    def _device(self, end: IpipEnd) -> Link:
        link = self._links.find(DEVICE)
        if link is not None and link.kind != KIND:
            raise AlreadyExists(f"{DEVICE} is a device of kind {link.kind or 'unknown'}: our own programs need the name")
        if link is None:
            link = self._links.create_ifb(DEVICE)
            # It carries IPv4 alone, and would look for routers otherwise; and routes are found only for what may be forwarded.
            values = {f"net/ipv6/conf/{DEVICE}/disable_ipv6": 1, f"net/ipv4/conf/{DEVICE}/forwarding": 1}
            sysctl.write_many(values, netns_fd=self._netns_fd)
        settle(self._links, link, end)
        return link

    def _tell_own(self, end: IpipEnd, link: Link) -> None:
        own = _OWN.pack(end.underlay.packed, link.index, bytes.fromhex(link.mac.replace(":", "")))
        if own != self._own:
            syscalls.update_map(self._maps["own"], _FIRST, own, name="own")
            self._own = own

    def _tell_owners(self, end: IpipEnd) -> None:
        wanted = dict.fromkeys(end.external, _EXTERNAL)
        wanted |= {prefix: owner.packed for prefix, owner in end.owners.items()}
        wanted[single(end.underlay)] = end.underlay.packed
        for prefix, owner in wanted.items():
            if self._owners.get(prefix) != owner:
                syscalls.update_map(self._maps["owners"], _key(prefix), owner, name="owners")
                self._owners[prefix] = owner
        for prefix in [each for each in self._owners if each not in wanted]:
            with contextlib.suppress(NotFound):
                syscalls.delete_from_map(self._maps["owners"], _key(prefix), name="owners")
            del self._owners[prefix]

    def _find_uplinks(self, underlay: Address) -> frozenset[str]:
        names = {link.index: link for link in self._links.list()}
        found = [names[each.index] for each in self._links.addresses() if each.interface.address == underlay]
        uplinks = frozenset(link.name for link in found if not link.loopback and link.name != DEVICE)
        if not uplinks:
            raise NotFound(f"no interface has the node's address {underlay}: nothing can arrive by IPIP")
        for link in found:
            if link.name in uplinks and len(link.mac) != _MAC_LENGTH:
                raise Unsupported(
                    f"{link.name}, which has the node's address, is no Ethernet: our programs understand no other"
                )
        return uplinks


def _key(prefix: Prefix) -> bytes:
    assert prefix.family is Family.V4
    return _KEY.pack(prefix.length, prefix.network.packed)
