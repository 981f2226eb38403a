"""What others do to the kernel, turned into wake-ups. Notification first; the slow resync stands behind it."""

import asyncio
from collections.abc import Callable

from tortie.agent.applier import Applier
from tortie.base import log
from tortie.base.net import Address
from tortie.dataplane.ipip_manager import IpipManager
from tortie.dataplane.linux import LinuxDataplane
from tortie.dataplane.vxlan_manager import VxlanManager
from tortie.dataplane.wireguard_manager import WireguardManager
from tortie.kernel.bpf.path_errors import PathErrors
from tortie.kernel.errors import Overflow
from tortie.kernel.link import AddressMonitor, LinkMonitor
from tortie.kernel.nft.monitor import NftMonitor
from tortie.kernel.remotes import EntryMonitor
from tortie.kernel.route import RouteMonitor
from tortie.kernel.rule import RuleMonitor

_log = log.get(__name__)
_FORGET_SECONDS = 10.0


async def follow_table(monitor: NftMonitor, applier: Applier) -> None:
    """Repair our nft table whenever another process changed it, without end."""
    try:
        await monitor.watch(applier.wake)
    finally:
        monitor.close()


async def follow_links(monitor: LinkMonitor, dataplane: LinuxDataplane, applier: Applier) -> None:
    """Look again at what belongs to every device that came, went or changed, without end."""

    def on_readable() -> None:
        try:
            names = {change.link.name for change in monitor.read()}
        except Overflow:
            applier.wake("link notifications were lost")
            return
        if dataplane.links_changed(names):  # the device of a pod that CNI is just wiring is nobody's yet
            applier.retry()

    await _read_forever(monitor, on_readable)


async def follow_addresses(monitor: AddressMonitor, dataplane: LinuxDataplane, applier: Applier) -> None:
    """Look again at which interface is whose when addresses come or go, without end."""

    def on_readable() -> None:
        try:
            changed = bool(monitor.read())
        except Overflow:
            applier.wake("address notifications were lost")
            return
        if changed and dataplane.addresses_changed():
            applier.retry()

    await _read_forever(monitor, on_readable)


async def follow_routes(
    monitor: RouteMonitor, dataplane: LinuxDataplane, *, wireguard: WireguardManager, applier: Applier
) -> None:
    """Repair our routes, WireGuard's table too, whenever another process took or replaced one, without end."""

    def on_readable() -> None:
        try:
            changes = monitor.read()
        except Overflow:
            applier.wake("route notifications were lost")
            return
        concerned = dataplane.routes_changed(change.route.dst for change in changes)
        if wireguard.routes_changed(changes) or concerned:
            applier.retry()

    await _read_forever(monitor, on_readable)


async def follow_rules(monitor: RuleMonitor, wireguard: WireguardManager, applier: Applier) -> None:
    """Put WireGuard's rules back whenever another process took one, without end: nobody's packets are encrypted without. What
    others put before them is told."""

    def on_readable() -> None:
        try:
            changes = monitor.read()
        except Overflow:
            applier.wake("rule notifications were lost")
            return
        if wireguard.rules_changed(changes):
            _log.warning("somebody changed WireGuard's rules, or put others before them")
            applier.retry()

    await _read_forever(monitor, on_readable)


async def follow_entries(monitor: EntryMonitor, vxlan: VxlanManager, applier: Applier) -> None:
    """Repair what VXLAN's devices know of their remotes whenever another process changed it, without end."""

    def on_readable() -> None:
        try:
            changes = monitor.read()
        except Overflow:
            applier.wake("neighbour notifications were lost")
            return
        if vxlan.entries_changed(changes):
            applier.retry()

    await _read_forever(monitor, on_readable)


async def follow_paths(errors: PathErrors, ipip: IpipManager, *, dataplane: LinuxDataplane, applier: Applier) -> None:
    """Let routes follow what the network says of the size of IPIP's packets, without end."""

    def settle(nodes: frozenset[Address]) -> None:
        if nodes:
            dataplane.ways_changed(nodes)
            applier.retry()

    loop = asyncio.get_running_loop()
    loop.add_reader(errors.fileno(), lambda: settle(ipip.hear(errors.read())))
    try:
        while True:
            await asyncio.sleep(_FORGET_SECONDS)
            settle(ipip.forget_paths())
    finally:
        loop.remove_reader(errors.fileno())


async def _read_forever(
    monitor: LinkMonitor | AddressMonitor | RouteMonitor | RuleMonitor | EntryMonitor, on_readable: Callable[[], None]
) -> None:
    """Call `on_readable` whenever the monitor has something; close it at the end."""
    loop = asyncio.get_running_loop()
    loop.add_reader(monitor.fileno(), on_readable)
    try:
        await asyncio.Event().wait()
    finally:
        loop.remove_reader(monitor.fileno())
        monitor.close()
