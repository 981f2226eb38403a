"""Where programs of ours hang at a device: TCX where the kernel has it and lets us, else tc filters on clsact.

A program hangs in one of them alone. One that moves from the one to the other (the kernel, the agent's rights or the agent
itself is another one) is put into the new place before it is taken from the old one. Whichever sees a packet first takes it
from the way of the other: it is never handled twice.
"""

from collections.abc import Sequence, Set
from typing import Literal, Protocol

from tortie.kernel.bpf.filters import Filters, Side
from tortie.kernel.bpf.tcx import Tcx
from tortie.kernel.errors import PermissionDenied, Unsupported

Kind = Literal["tcx", "clsact"]
ORDER: tuple[Kind, ...] = ("tcx", "clsact")


class _Place(Protocol):
    def close(self) -> None: ...

    def put(self, device: str, side: Side, *, name: str, program: int) -> None: ...

    def get(self, device: str, side: Side, *, name: str) -> int | None: ...

    def remove(self, device: str, side: Side, *, name: str) -> bool: ...

    def devices(self, side: Side, *, name: str) -> frozenset[str]: ...


class Hooks:
    """In the namespace of `netns_fd`, or the calling thread's at construction. One thread at a time.

    A program is put into the first kind of `order` that can be had here; one of any kind is found and removed.
    """

    def __init__(self, netns_fd: int | None = None, order: Sequence[Kind] = ORDER) -> None:
        self._places: dict[Kind, _Place] = {"tcx": Tcx(netns_fd), "clsact": Filters(netns_fd)}
        self._order = tuple(order)

    def close(self) -> None:
        """Give back the sockets; may be called again."""
        for place in self._places.values():
            place.close()

    def put(self, device: str, side: Side, *, name: str, program: int) -> None:
        """Put a program (a descriptor, loaded with `tcx.program_name(name)`) into the way, in place of one of ours that is
        there; it may be there already. Raises NotFound, and Unsupported if no kind can be had."""
        reasons = []
        for kind in self._order:
            try:
                self._places[kind].put(device, side, name=name, program=program)
            except Unsupported as error:
                reasons.append(str(error))
                continue
            self._remove(self._places.keys() - {kind}, device, side, name)
            return
        raise Unsupported("; ".join(reasons))

    def get(self, device: str, side: Side, *, name: str) -> dict[Kind, int]:
        """The numbers of our programs there, by kind."""
        found = {kind: place.get(device, side, name=name) for kind, place in self._places.items()}
        return {kind: number for kind, number in found.items() if number is not None}

    def remove(self, device: str, side: Side, *, name: str) -> bool:
        """Take ours out of the way. True if one was there."""
        return self._remove(self._places.keys(), device, side, name)

    def devices(self, side: Side, *, name: str) -> frozenset[str]:
        """Devices that have a program of ours, of this name, on this side."""
        return frozenset().union(*(place.devices(side, name=name) for place in self._places.values()))

    def _remove(self, kinds: Set[Kind], device: str, side: Side, name: str) -> bool:
        found = False
        for kind in kinds:
            try:
                found = self._places[kind].remove(device, side, name=name) or found
            except PermissionDenied:
                # Programs are there, and we are not told whose. At an uplink they may be anybody's; at the egress of our own
                # device they are ours, and in the way.
                if side == "egress":
                    raise
        return found
