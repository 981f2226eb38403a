"""What every manager of an overlay (VXLAN, IPIP, WireGuard) promises."""

from collections.abc import Mapping, Set
from typing import Protocol

from tortie.dataplane.render.config import Config
from tortie.intent.messages import Message
from tortie.intent.routes import ClusterRoute, Way
from tortie.kernel.route import Route


class OverlayManager(Protocol):
    """Owns one overlay's devices and whatever hangs on them; all of it goes when the overlay is not in use any more.

    `apply` comes after the nft transaction and before the routes, so that a route finds its device; `retire` comes after the
    routes, so that a device goes only when no route of ours leads into it.
    """

    way: Way | None
    """Which routes of the main table are its own; None if it has none there."""

    def configure(self, config: Config) -> None:
        """Remember the configuration and mark dirty what depends on it. Called before the first `apply`."""

    def on_update(self, message: Message) -> None:
        """Note what a message changes; ignore what it does not concern."""

    async def apply(self) -> None:
        """Make the kernel have what is wanted. May be repeated. Raises an ExceptionGroup for all that failed."""

    async def retire(self) -> None:
        """Remove what is not wanted any more. May be repeated. Raises an ExceptionGroup for all that failed."""

    def route(self, route: ClusterRoute) -> Route | None:
        """The kernel's route for a route of `way`; None while there cannot be one (no device, no uplink)."""

    def links_changed(self, names: Set[str]) -> bool:
        """Interfaces came, went or changed. True if that concerns us: the next `apply` looks at them."""

    def addresses_changed(self) -> bool:
        """Addresses of interfaces came or went. True if that concerns us."""

    def invalidate(self) -> None:
        """Read back at the next `apply`."""

    @property
    def problems(self) -> Mapping[str, str]:
        """What is not as it should be, by what it concerns (a device, a peer), and why."""
