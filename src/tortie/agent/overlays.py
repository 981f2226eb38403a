"""The overlays that an agent can carry, each with the sockets that it speaks through."""

import contextlib

from tortie.dataplane.overlay import OverlayManager
from tortie.dataplane.vxlan_manager import VxlanManager
from tortie.kernel.ethtool import Offload
from tortie.kernel.link import Links
from tortie.kernel.remotes import Remotes
from tortie.kernel.vxlan import Vxlans


class Overlays:
    """Their managers, in the order in which they are applied, and one way to close them all."""

    def __init__(self, links: Links) -> None:
        self._sockets = contextlib.ExitStack()
        self.managers: tuple[OverlayManager, ...] = (self._vxlan(links),)

    def close(self) -> None:
        """Give back all sockets; may be called again. The kernel stays as it is."""
        self._sockets.close()

    def _vxlan(self, links: Links) -> VxlanManager:
        vxlans, remotes, offload = Vxlans(), Remotes(), Offload()
        for each in (vxlans, remotes, offload):
            self._sockets.callback(each.close)
        return VxlanManager(links, vxlans=vxlans, remotes=remotes, offload=offload)
