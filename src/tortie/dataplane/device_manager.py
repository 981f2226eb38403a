"""The devices of local workloads: each is prepared to be a first hop, whoever made it."""

from collections.abc import Iterable, Mapping

from tortie.kernel.errors import KernelError
from tortie.kernel.forwarding import Forwarding


class DeviceManager:
    """Like the route manager it takes the devices of endpoints that are in force, not messages. Absent ones wait."""

    def __init__(self, forwarding: Forwarding) -> None:
        self._forwarding = forwarding
        self._prepared: dict[str, bool] = {}

    def apply(self, devices: Mapping[str, bool]) -> None:
        """Prepare those that are new: for each, whether it may send from addresses that are not routed to it.

        One ExceptionGroup for all that cannot be.
        """
        self._prepared = {device: any_source for device, any_source in self._prepared.items() if device in devices}
        failures: list[Exception] = []
        for device, any_source in sorted(devices.items()):
            if self._prepared.get(device) == any_source:
                continue
            try:
                if self._forwarding.prepare(device, any_source=any_source):
                    self._prepared[device] = any_source
            except KernelError as error:
                failures.append(error)
        if failures:
            raise ExceptionGroup(f"{len(failures)} workload devices cannot be prepared", failures)

    def links_changed(self, names: Iterable[str]) -> None:
        """These may be other devices by now, with the names of old ones."""
        for name in names:
            self._prepared.pop(name, None)

    def invalidate(self) -> None:
        """Look at every device again at the next `apply`."""
        self._prepared.clear()
