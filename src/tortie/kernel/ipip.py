"""IPIP by the kernel's own device `tunl0`, and what any carrier of IPIP is told.

`tunl0` is the device that module ipip makes in every network namespace by itself; it takes whatever comes to the node as
protocol 4, and sends to whom the route says. It cannot be deleted: out of use it is switched off and has no address.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from tortie.base.net import Address, Family, Interface, Prefix
from tortie.kernel.errors import AlreadyExists, KernelError, NotFound, Unsupported
from tortie.kernel.link import Link, Links

DEVICE = "tunl0"
KIND = "ipip"


@dataclass(frozen=True, slots=True)
class IpipEnd:
    """This node's end."""

    underlay: Address
    """The node's own address: what stands outside."""
    address: Address | None
    """Of the device: what the node's own packets have inside. None until there is one."""
    mtu: int
    owners: Mapping[Prefix, Address] = field(default_factory=lambda: MappingProxyType({}))
    """Whose each destination of the cluster is: the address of its node; the nodes themselves, and we, among them."""
    external: tuple[Prefix, ...] = ()
    """Machines outside of the cluster that may tunnel to us."""


class KernelIpip:
    """In the namespace of the Links that it is given."""

    name = "kernel"

    def __init__(self, links: Links) -> None:
        self._links = links

    def why_not(self) -> str:
        """Why it cannot carry IPIP here; "" if it can. Asked for, the kernel loads its module."""
        link = self._links.find(DEVICE)
        if link is None:
            try:
                self._links.create_ipip(DEVICE)
            except AlreadyExists:  # made with the module, while we asked
                pass
            except Unsupported:
                return "this kernel has no module ipip"
            except KernelError as error:
                return str(error)
            link = self._links.find(DEVICE)
        if link is None:
            return f"{DEVICE} did not come with the module ipip"
        return "" if link.kind == KIND else f"{DEVICE} is a device of kind {link.kind or 'unknown'}"

    def apply(self, end: IpipEnd) -> None:
        """Make the device as it should be. May be repeated."""
        link = self._links.get(DEVICE)
        if link.kind != KIND:
            raise NotFound(f"{DEVICE} is a device of kind {link.kind or 'unknown'}, not the kernel's own")
        settle(self._links, link, end)

    def retire(self) -> None:
        """Out of use: no address, switched off. No device is fine, and so is somebody else's."""
        link = self._links.find(DEVICE)
        if link is None or link.kind != KIND:
            return
        for found in self._links.addresses(DEVICE):
            self._links.delete_address(DEVICE, found.interface)
        if link.up:
            self._links.set_down(DEVICE)

    def distrust(self) -> None:
        """Everything is read with every `apply` anyway."""

    def concerned_by(self, name: str) -> bool:
        """True if a change of this device is a change of ours."""
        return name == DEVICE


def settle(links: Links, link: Link, end: IpipEnd) -> None:
    """MTU, one IPv4 address and no other, up."""
    if link.mtu != end.mtu:
        links.set_mtu(link.name, end.mtu)
    wanted = Interface(end.address, end.address.family.bits) if end.address is not None else None
    found = [each.interface for each in links.addresses(link.name) if each.interface.address.family is Family.V4]
    if wanted is not None and wanted not in found:
        links.add_address(link.name, wanted)
    for each in found:
        if each != wanted:
            links.delete_address(link.name, each)
    if not link.up:
        links.set_up(link.name)
