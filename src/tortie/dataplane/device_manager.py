"""The devices of local workloads: each is prepared to be a first hop, whoever made it."""

from collections.abc import Iterable

from tortie.kernel.errors import KernelError
from tortie.kernel.forwarding import Forwarding


class DeviceManager:
    """Like the route manager it takes the devices of endpoints that are in force, not messages. Absent ones wait."""

    def __init__(self, forwarding: Forwarding) -> None:
        self._forwarding = forwarding
        self._prepared: set[str] = set()

    def apply(self, devices: Iterable[str]) -> None:
        """Prepare those that are new. One ExceptionGroup for all that cannot be."""
        wanted = set(devices)
        self._prepared &= wanted
        failures: list[Exception] = []
        for device in sorted(wanted - self._prepared):
            try:
                if self._forwarding.prepare(device):
                    self._prepared.add(device)
            except KernelError as error:
                failures.append(error)
        if failures:
            raise ExceptionGroup(f"{len(failures)} workload devices cannot be prepared", failures)

    def links_changed(self, names: Iterable[str]) -> None:
        """These may be other devices by now, with the names of old ones."""
        self._prepared.difference_update(names)

    def invalidate(self) -> None:
        """Look at every device again at the next `apply`."""
        self._prepared.clear()
