"""One VXLAN device, brought to what is wanted of it. Ours by its name alone: whatever else has that name gives way."""

from collections.abc import Iterable
from dataclasses import dataclass, fields

from tortie.base import log
from tortie.base.net import Address, Family, Interface
from tortie.dataplane.render.tunnels import DEVICES
from tortie.intent.routes import Way
from tortie.kernel.errors import KernelError, NotFound
from tortie.kernel.ethtool import Offload
from tortie.kernel.link import Link, Links
from tortie.kernel.remotes import EntryChange, Remote, Remotes
from tortie.kernel.vxlan import Vxlan, Vxlans

_log = log.get(__name__)
_OVERHEAD = {Family.V4: 50, Family.V6: 70}
"""Bytes around what is carried; the kernel takes no larger MTU than leaves room for them."""
_ROUTED = 0
"""In place of a parent: the routes say where its datagrams leave."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What one node's end is to be."""

    address: Address
    mac: str
    underlay: Address
    vni: int
    port: int
    mtu: int
    checksum_offload: bool
    """False where the kernel spoils checksums; where it does not, nobody's setting is touched."""


class VxlanDevice:
    """The device of one family. Keeps nothing but what its `Remotes` keep; `ensure` may be repeated at any time."""

    def __init__(self, family: Family, links: Links, *, vxlans: Vxlans, remotes: Remotes, offload: Offload) -> None:
        self.name = DEVICES[Way.VXLAN, family]
        self._family = family
        self._links = links
        self._vxlans = vxlans
        self._remotes = remotes
        self._offload = offload
        self.parent = ""
        """Name of the device that it sends through, as the last `ensure` found it."""
        self.ready = False
        """True if the last `ensure` left it so that routes may lead into it."""
        self.problem = ""
        """What is not as it should be, though nothing failed."""

    async def ensure(self, wanted: Wanted, remotes: Iterable[Remote]) -> None:
        """Make the device so, and no other. Raises an ExceptionGroup or a KernelError.

        Made anew, which its connections survive, where it differs in what a device cannot change: VNI, port, source address,
        parent, or that it learns or floods. MAC, MTU, address and remotes change while it lives.
        """
        self.problem = ""
        self.ready = False
        parent = self._find_parent(wanted.underlay)
        if parent is None:
            self.problem = f"no interface of this node has its address {wanted.underlay}: {self.name} stays as it is"
            self.ready = self._links.find(self.name) is not None
            return
        self.parent = parent.name
        device = Vxlan(wanted.vni, wanted.port, wanted.underlay, _ROUTED if parent.loopback else parent.index)
        mtu = self._room(wanted, parent)
        self._make_way(device)
        link = self._links.find(self.name)
        if link is None:
            self._vxlans.create(self.name, device, mac=wanted.mac, mtu=mtu)
            self._remotes.distrust(self.name)
            link = self._links.get(self.name)
            _log.info("%s made: VNI %d, port %d, from %s", self.name, wanted.vni, wanted.port, wanted.underlay)
        self._settle(link, wanted, mtu)
        await self._remotes.apply(self.name, remotes)
        self.ready = True

    def remove(self) -> bool:
        """Let nothing of this name be. True if there was something."""
        self.ready, self.parent, self.problem = False, "", ""
        self._remotes.distrust(self.name)
        gone = self._links.delete(self.name)
        if gone:
            _log.info("%s removed: not in use", self.name)
        return gone

    def distrust(self) -> None:
        """Read the remotes back at the next `ensure`; everything else is looked at each time."""
        self._remotes.distrust(self.name)

    def contradicts(self, change: EntryChange) -> bool:
        """True if somebody changed what this device knows of its remotes."""
        return self._remotes.contradicts(self.name, change)

    def _find_parent(self, underlay: Address) -> Link | None:
        holders = {entry.index for entry in self._links.addresses() if entry.interface.address == underlay}
        found = [link for link in self._links.list() if link.index in holders and link.name != self.name]
        return min(found, key=lambda link: (link.loopback, link.index), default=None)

    def _room(self, wanted: Wanted, parent: Link) -> int:
        if parent.loopback or wanted.mtu <= parent.mtu - _OVERHEAD[self._family]:
            return wanted.mtu
        fitting = parent.mtu - _OVERHEAD[self._family]
        self.problem = f"MTU {wanted.mtu} is too large: {parent.name} has room for {fitting}, which {self.name} has instead"
        return fitting

    def _make_way(self, device: Vxlan) -> None:
        """Remove what has the name and cannot be made what is wanted."""
        if self._links.find(self.name) is None:
            return
        found = self._vxlans.find(self.name)
        if found == device:
            return
        if found is None:
            reason = "it is no VXLAN device"
        else:
            differing = [each.name for each in fields(Vxlan) if getattr(found, each.name) != getattr(device, each.name)]
            reason = ", ".join(f"{name} was {getattr(found, name)}" for name in differing)
        _log.info("%s is made anew: %s", self.name, reason)
        self._remotes.distrust(self.name)
        self._links.delete(self.name)

    def _settle(self, link: Link, wanted: Wanted, mtu: int) -> None:
        if link.mac != wanted.mac:
            self._links.set_mac(self.name, wanted.mac)
        if link.mtu != mtu:
            self._links.set_mtu(self.name, mtu)
        if not wanted.checksum_offload:
            self._spare_checksums()
        if not link.up:
            self._links.set_up(self.name)
            self._remotes.distrust(self.name)  # neighbours go when a device goes down
        own = Interface(wanted.address, wanted.address.family.bits)
        has = {entry.interface for entry in self._links.addresses(self.name) if entry.is_global}
        if own not in has:
            self._links.add_address(self.name, own)
        for other in sorted(has - {own}):
            self._links.delete_address(self.name, other)

    def _spare_checksums(self) -> None:
        try:
            if self._offload.transmits_checksums(self.name):
                self._offload.set_transmits_checksums(self.name, False)
        except NotFound:
            raise
        except KernelError as error:
            self.problem = f"this kernel spoils checksums in VXLAN, and {error}: connections through it may stall"
