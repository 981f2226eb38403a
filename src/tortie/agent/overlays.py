"""The overlays that an agent can carry, each with the sockets that it speaks through."""

import contextlib
from pathlib import Path

from tortie.agent.wireguard_keys import folder_of
from tortie.dataplane.ipip_manager import IpipManager
from tortie.dataplane.overlay import OverlayManager
from tortie.dataplane.vxlan_manager import VxlanManager
from tortie.dataplane.wireguard_manager import WireguardManager
from tortie.kernel.bpf.build import object_file
from tortie.kernel.bpf.tunnel import BpfIpip
from tortie.kernel.ethtool import Offload
from tortie.kernel.ipip import KernelIpip
from tortie.kernel.link import Links
from tortie.kernel.remotes import Remotes
from tortie.kernel.route import Routes
from tortie.kernel.rule import Rules
from tortie.kernel.vxlan import Vxlans
from tortie.kernel.wireguard.devices import WireguardDevices
from tortie.kernel.wireguard.generic import KernelWireguard
from tortie.kernel.wireguard.key_files import KeyFiles
from tortie.kernel.wireguard.userspace import UserspaceWireguard


class Overlays:
    """Their managers, in the order in which they are applied, and one way to close them all."""

    def __init__(self, links: Links, routes: Routes, *, run_dir: Path, state_dir: Path, ipip: str) -> None:
        self._sockets = contextlib.ExitStack()
        self.rules = Rules()
        self.wireguard = self._wireguard(links, routes, sockets=folder_of(run_dir), keys=state_dir / "wireguard")
        self._ebpf = BpfIpip(object_file())
        self._sockets.callback(self._ebpf.close)
        self.path_errors = self._ebpf.path_errors
        self.ipip = self._ipip(links, ipip)
        self.vxlan = self._vxlan(links)
        self.managers: tuple[OverlayManager, ...] = (self.vxlan, self.ipip, self.wireguard)

    def close(self) -> None:
        """Give back all sockets; may be called again. The kernel stays as it is."""
        self._sockets.close()

    def _vxlan(self, links: Links) -> VxlanManager:
        vxlans, remotes, offload = Vxlans(), Remotes(), Offload()
        for each in (vxlans, remotes, offload):
            self._sockets.callback(each.close)
        return VxlanManager(links, vxlans=vxlans, remotes=remotes, offload=offload)

    def _ipip(self, links: Links, choice: str) -> IpipManager:
        carriers = (KernelIpip(links), self._ebpf)
        wanted = tuple(each for each in carriers if choice in ("auto", each.name))
        return IpipManager(wanted, excluded=[each for each in carriers if each not in wanted])

    def _wireguard(self, links: Links, routes: Routes, *, sockets: Path, keys: Path) -> WireguardManager:
        kernel = KernelWireguard(links)
        for each in (kernel, self.rules):
            self._sockets.callback(each.close)
        devices = WireguardDevices(links, kernel, UserspaceWireguard(links, sockets))
        return WireguardManager(links, wireguard=devices, files=KeyFiles(keys), routes=routes, rules=self.rules)
