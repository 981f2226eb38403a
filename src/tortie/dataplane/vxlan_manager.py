"""VXLAN between the nodes of the cluster: a device a family, and on it exactly the ends that calc has told of.

Nothing is learned and nothing is flooded: a frame whose receiver is not told of is not sent.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import replace

from tortie.base.net import FAMILIES, Address, Family, address_from_bytes
from tortie.dataplane.cluster_routes import METRICS
from tortie.dataplane.render.config import Config
from tortie.dataplane.vxlan_device import VxlanDevice, Wanted
from tortie.intent.messages import Message, OverlayUpdate, VtepUpdate
from tortie.intent.routes import ClusterRoute, Overlay, TunnelEnd, Vtep, Way
from tortie.kernel.errors import KernelError
from tortie.kernel.ethtool import Offload, checksum_offload_is_broken
from tortie.kernel.link import Links
from tortie.kernel.remotes import EVERYBODY, EntryChange, Remote, Remotes
from tortie.kernel.route import Route
from tortie.kernel.vxlan import Vxlans


class VxlanManager:
    """Both families. An overlay manager (overlay.OverlayManager)."""

    way: Way | None = Way.VXLAN

    def __init__(self, links: Links, *, vxlans: Vxlans, remotes: Remotes, offload: Offload) -> None:
        self._devices = {
            family: VxlanDevice(family, links, vxlans=vxlans, remotes=remotes, offload=offload) for family in FAMILIES
        }
        self._config = Config()
        self._overlay: Overlay | None = None
        self._vteps: dict[Family, dict[str, Vtep]] = {family: {} for family in FAMILIES}
        self._accepted: dict[Family, dict[str, Vtep]] = {family: {} for family in FAMILIES}
        self._problems: dict[str, str] = {}
        self._dirty: set[Family] = set(FAMILIES)
        self._unretired: set[Family] = set(FAMILIES)

    def configure(self, config: Config) -> None:
        """VNI, port, MTU, and whether the kernel's checksum offload can be relied on."""
        self._config = config
        self._dirty.update(FAMILIES)

    def on_update(self, message: Message) -> None:
        """Our own ends, and those of others."""
        match message:
            case OverlayUpdate(overlay=overlay):
                self._overlay = overlay
                self._dirty.update(FAMILIES)
                self._unretired.update(FAMILIES)
            case VtepUpdate(node=node, family=family, vtep=vtep):
                self._vteps[family].pop(node, None)
                if vtep is not None:
                    mac = vtep.mac.lower()
                    self._vteps[family][node] = replace(vtep, mac=mac if _is_of_one(mac) else "")
                self._dirty.add(family)
            case _:
                pass

    async def apply(self) -> None:
        """Make the devices that are in use. One that has no address yet is left as it is."""
        failures: list[Exception] = []
        for family in sorted(self._dirty):
            self._dirty.discard(family)  # what is heard from now on is for the next time
            try:
                await self._apply(family)
            except ExceptionGroup as group:
                failures += group.exceptions
                self._dirty.add(family)
            except KernelError as error:
                failures.append(error)
                self._dirty.add(family)
        if failures:
            raise ExceptionGroup("VXLAN is not complete", failures)

    async def _apply(self, family: Family) -> None:
        device, wanted = self._devices[family], self._wanted(family)
        self._problems = {name: text for name, text in self._problems.items() if not name.startswith(device.name)}
        if wanted is None:
            return
        if not _is_of_one(wanted.mac):
            self._problems[device.name] = (
                f"this node's MAC {wanted.mac} is not that of one device: {device.name} stays as it is"
            )
            return
        self._accepted[family] = dict(self._accept(family, wanted))
        try:
            await device.ensure(wanted, _remotes(self._accepted[family].values()))
        finally:
            if device.problem:
                self._problems[device.name] = device.problem

    async def retire(self) -> None:
        """Remove devices that are not in use."""
        failures: list[Exception] = []
        for family in sorted(self._unretired):
            try:
                if self._end(family) is None:
                    self._devices[family].remove()
                self._unretired.discard(family)
            except KernelError as error:
                failures.append(error)
        if failures:
            raise ExceptionGroup("VXLAN devices that are not in use could not be removed", failures)

    def route(self, route: ClusterRoute) -> Route | None:
        """By the other node's end, which must be known.

        In IPv6 by its link-local address: a global one inside of the destination could not become the gateway while the
        kernel still reaches it another way.
        """
        family = route.dst.family
        device, vtep = self._devices[family], self._accepted[family].get(route.node)
        if not device.ready or vtep is None or vtep.address != route.next_hop or self._wanted(family) is None:
            return None
        is_v4 = family is Family.V4
        return Route(
            dst=route.dst,
            via=vtep.address if is_v4 else _link_local(vtep.mac),
            device=device.name,
            metric=METRICS[family],
            onlink=is_v4,
            mtu=self._config.mtus.tunnel(Way.VXLAN, family),
        )

    def links_changed(self, names: Set[str]) -> bool:
        """Our devices, and those that they send through."""
        concerned = False
        for family, device in self._devices.items():
            if device.name in names:
                device.distrust()
                self._unretired.add(family)
            if device.name in names or (device.parent in names and self._end(family) is not None):
                self._dirty.add(family)
                concerned = True
        return concerned

    def addresses_changed(self) -> bool:
        """The node's own address may be on another interface."""
        used = {family for family in FAMILIES if self._end(family) is not None}
        self._dirty.update(used)
        return bool(used)

    def entries_changed(self, changes: Sequence[EntryChange]) -> bool:
        """Forwarding entries and neighbours came or went. True if they are not as we left them."""
        concerned = {
            family
            for family, device in self._devices.items()
            if self._end(family) is not None and any(map(device.contradicts, changes))
        }
        for family in concerned:
            self._devices[family].distrust()
        self._dirty |= concerned
        return bool(concerned)

    def invalidate(self) -> None:
        """Look at everything."""
        for device in self._devices.values():
            device.distrust()
        self._dirty.update(FAMILIES)
        self._unretired.update(FAMILIES)

    @property
    def problems(self) -> Mapping[str, str]:
        """By device, and by device and node."""
        return self._problems

    def _end(self, family: Family) -> TunnelEnd | None:
        return self._overlay.tunnel(Way.VXLAN, family) if self._overlay is not None else None

    def _wanted(self, family: Family) -> Wanted | None:
        end = self._end(family)
        underlay = self._overlay.underlay(family) if self._overlay is not None else None
        if end is None or end.address is None or underlay is None:
            return None
        config = self._config
        broken = checksum_offload_is_broken() if config.checksum_offload_broken is None else config.checksum_offload_broken
        return Wanted(
            address=end.address,
            mac=end.mac.lower(),
            underlay=underlay.address,
            vni=config.vxlan_vni,
            port=config.vxlan_port,
            mtu=config.mtus.tunnel(Way.VXLAN, family),
            checksum_offload=not broken,
        )

    def _accept(self, family: Family, own: Wanted) -> Iterator[tuple[str, Vtep]]:
        """Ends that share nothing with another: of two with one MAC or address the first node by name counts, ours before."""
        macs, addresses = {own.mac: "this node"}, {own.address: "this node"}
        for node, vtep in sorted(self._vteps[family].items()):
            wrong = ""
            if not vtep.mac:
                wrong = "MAC of a group, of everybody, or none at all"
            elif vtep.mac in macs:
                wrong = f"MAC {vtep.mac} of {macs[vtep.mac]}"
            elif vtep.address in addresses:
                wrong = f"address {vtep.address} of {addresses[vtep.address]}"
            if wrong:
                text = f"node {node} has the tunnel {wrong}: it gets nothing through VXLAN"
                self._problems[f"{self._of(family)} {node}"] = text
                continue
            macs[vtep.mac] = addresses[vtep.address] = f"node {node}"
            yield node, vtep

    def _of(self, family: Family) -> str:
        return self._devices[family].name


def _remotes(vteps: Iterable[Vtep]) -> Iterator[Remote]:
    for each in vteps:
        yield Remote(each.address, each.mac, each.underlay)
        if each.family is Family.V6:
            yield Remote(_link_local(each.mac), each.mac, each.underlay)


def _link_local(mac: str) -> Address:
    """The address that a device with this MAC has by itself (RFC 4291, appendix A)."""
    octets = bytes.fromhex(mac.replace(":", ""))
    identifier = bytes((octets[0] ^ 2, *octets[1:3], 0xFF, 0xFE, *octets[3:]))
    return address_from_bytes(b"\xfe\x80" + bytes(6) + identifier)


def _is_of_one(mac: str) -> bool:
    """True for the MAC address of one device: neither of a group nor of everybody, which would flood."""
    return re.fullmatch(r"[0-9a-f][02468ace](:[0-9a-f]{2}){5}", mac) is not None and mac != EVERYBODY
