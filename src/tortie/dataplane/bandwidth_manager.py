"""Bandwidth limits of local workloads (`qosControls`), on their devices."""

from collections.abc import Mapping, Set

from tortie.intent.endpoint import Bandwidth, Endpoint
from tortie.intent.keys import EndpointId
from tortie.kernel.errors import KernelError, NotFound
from tortie.kernel.qdisc import NO_LIMITS, Bucket, Limits, Shaper, ifb_name


class BandwidthManager:
    """Like the device manager it takes the endpoints that are in force, not messages. Absent devices wait.

    Limits come before the transaction, so that an endpoint counts as programmed only when it has them.
    """

    def __init__(self, shaper: Shaper) -> None:
        self._shaper = shaper
        self._applied: dict[str, tuple[int, Limits]] = {}
        self._trusted = False

    def apply(self, endpoints: Mapping[EndpointId, Endpoint]) -> None:
        """Give every device its limits, and take away what nobody wants. One ExceptionGroup for all that failed."""
        wanted = {endpoints[each].interface: limits_of(endpoints[each]) for each in sorted(endpoints, reverse=True)}
        failures: list[Exception] = []
        if not self._trusted:
            try:
                self._look(wanted)
            except KernelError as error:
                failures.append(error)
        for device in sorted(self._applied.keys() | wanted.keys()):
            limits = wanted.get(device, NO_LIMITS)
            if device not in self._applied and limits == NO_LIMITS:
                continue
            try:
                # Its number tells a device from an earlier one of the same name, which took its limits along.
                if self._applied.get(device) != (self._shaper.index_of(device), limits):
                    self._settle(device, limits)
            except KernelError as error:
                failures.append(error)
        if failures:
            raise ExceptionGroup(f"{len(failures)} devices cannot be given their bandwidth limits", failures)

    def links_changed(self, names: Set[str]) -> bool:
        """True if one of these has limits: the next `apply` looks at it."""
        return not names.isdisjoint(self._applied)

    def invalidate(self) -> None:
        """Read back what there is at the next `apply`."""
        self._trusted = False

    def _look(self, wanted: Mapping[str, Limits]) -> None:
        """Detours of nobody go; a device that has not what it ought to have is set anew, any other is left in peace."""
        needed = {ifb_name(device) for device, limits in wanted.items() if limits.sent is not None}
        for name in self._shaper.detours() - needed:
            self._shaper.remove_detour(name)
        self._applied.clear()
        for device in self._shaper.limited_devices() & wanted.keys():
            limits = wanted[device]
            if limits == NO_LIMITS:
                self._shaper.apply(device, NO_LIMITS)
            elif index := self._shaper.has(device, limits):
                self._applied[device] = (index, limits)
        self._trusted = True

    def _settle(self, device: str, limits: Limits) -> None:
        try:
            index = self._shaper.apply(device, limits)
        except NotFound:  # it took its limits along, but not the detour; when it comes back it is another
            self._shaper.remove_detour(ifb_name(device))
            index = 0
        if limits == NO_LIMITS:
            self._applied.pop(device, None)
        else:
            self._applied[device] = (index, limits)


def limits_of(endpoint: Endpoint) -> Limits:
    """In bytes, as the kernel counts. What enters the workload is ingress."""
    return Limits(received=_bucket(endpoint.ingress_bandwidth), sent=_bucket(endpoint.egress_bandwidth))


def _bucket(bandwidth: Bandwidth | None) -> Bucket | None:
    if bandwidth is None:
        return None
    return Bucket(
        rate=bandwidth.rate_bits // 8,
        burst=bandwidth.burst_bits // 8,
        peak_rate=bandwidth.peak_rate_bits // 8,
        peak_burst=bandwidth.peak_burst_bytes,
    )
