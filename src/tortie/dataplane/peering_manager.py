"""The node's address for workloads that are BGP peers, on the interface of each."""

from collections.abc import Iterable, Set

from tortie.base.net import Interface
from tortie.intent.messages import BgpUpdate, Message
from tortie.kernel.errors import KernelError
from tortie.kernel.link import Links


class PeeringManager:
    """Like the device manager it takes the devices of endpoints that are in force, whose addresses are all ours.

    The address is one that nothing else is sent from, and is the same on every such device. Absent devices wait.
    """

    def __init__(self, links: Links) -> None:
        self._links = links
        self._wanted: dict[str, frozenset[Interface]] = {}
        self._there: dict[str, frozenset[Interface]] = {}
        self._distrusted = True

    def on_update(self, message: Message) -> None:
        """Which workloads are peers."""
        if isinstance(message, BgpUpdate):
            wanted: dict[str, set[Interface]] = {}
            for end in () if message.bgp is None else message.bgp.workload_ends:
                wanted.setdefault(end.interface, set()).add(Interface(end.address, end.address.family.bits))
            self._wanted = {device: frozenset(addresses) for device, addresses in wanted.items()}

    def apply(self, devices: Set[str]) -> None:
        """Give and take what has to be. One ExceptionGroup for all that cannot be."""
        if self._distrusted:
            self._there = self._read(devices)
            self._distrusted = False
        wanted = {device: addresses for device, addresses in self._wanted.items() if device in devices}
        failures: list[Exception] = []
        for device in sorted(wanted.keys() | self._there.keys()):
            want, there = wanted.get(device, frozenset()), self._there.get(device, frozenset())
            if want == there:
                continue
            try:
                if self._replace(device, want, there=there):
                    self._there[device] = want
            except KernelError as error:
                failures.append(error)
        self._there = {device: addresses for device, addresses in self._there.items() if addresses}
        if failures:
            raise ExceptionGroup(f"{len(failures)} addresses for BGP with workloads cannot be programmed", failures)

    def links_changed(self, names: Iterable[str]) -> None:
        """These may be other devices by now, with the names of old ones."""
        for name in names:
            self._there.pop(name, None)

    def invalidate(self) -> None:
        """Look at every device again at the next `apply`."""
        self._distrusted = True

    def _replace(self, device: str, wanted: frozenset[Interface], *, there: frozenset[Interface]) -> bool:
        """False if there is no such device."""
        if self._links.find(device) is None:
            return not wanted
        for address in sorted(there - wanted):
            self._links.delete_address(device, address)
        for address in sorted(wanted):
            self._links.add_address(device, address, chosen_as_source=False)
        return True

    def _read(self, devices: Set[str]) -> dict[str, frozenset[Interface]]:
        """What an agent before us, or anybody else, put there."""
        found: dict[str, set[Interface]] = {}
        names = {link.index: link.name for link in self._links.list() if link.name in devices}
        for entry in self._links.addresses():
            single = entry.interface.length == entry.interface.address.family.bits
            if entry.index in names and (single or entry.is_global):  # not what the kernel makes itself in IPv6
                found.setdefault(names[entry.index], set()).add(entry.interface)
        return {device: frozenset(addresses) for device, addresses in found.items()}
