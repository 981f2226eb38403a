"""How large packets may be on the way to each other node, where the network takes less than this node's uplink. Pure.

As the kernel keeps it for its own tunnels: what routers say counts for ten minutes, and only ever makes packets smaller. Then
the way is tried anew; if it has not become wider, the first packet that is too large brings the next error.
"""

from tortie.base.net import Address
from tortie.dataplane.mtu import SMALLEST

KEPT_SECONDS = 600.0
"""Linux's own `net.ipv4.route.mtu_expires`."""


class PathMtus:
    """Of outer packets, by the other node's address. Times are one clock's, the caller's."""

    def __init__(self) -> None:
        self._known: dict[Address, tuple[int, float]] = {}

    def learn(self, node: Address, mtu: int, *, now: float) -> bool:
        """Somebody says that the way to a node takes no more than this. True if that makes a difference.

        Anybody may say so: less than every network takes is not believed.
        """
        known, _ = self._known.get(node, (None, 0.0))
        if mtu < SMALLEST or (known is not None and mtu > known):
            return False
        self._known[node] = (mtu, now + KEPT_SECONDS)
        return mtu != known

    def get(self, node: Address) -> int | None:
        """What the way to a node takes; None if it is not known to take less than the uplink."""
        known = self._known.get(node)
        return known[0] if known is not None else None

    def forget(self, *, now: float) -> frozenset[Address]:
        """Drop what is too old; of which nodes."""
        old = frozenset(node for node, (_, until) in self._known.items() if until <= now)
        for node in old:
            del self._known[node]
        return old

    def clear(self) -> frozenset[Address]:
        """Drop everything; of which nodes."""
        dropped = frozenset(self._known)
        self._known = {}
        return dropped
