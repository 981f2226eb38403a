"""Which workload endpoints are local, in the form that the rest of the graph needs. Remote ones count for IP sets only."""

import re
from collections.abc import Callable, Sequence

from tortie.api.endpoint import IPNAT, QoSControls, WorkloadEndpoint
from tortie.api.resource import Key
from tortie.base.decimals import number_up_to
from tortie.base.net import Address, Prefix, parse_address, single
from tortie.calc.endpoint_resolver import LocalEndpoint
from tortie.calc.labelled import Labelled, parse_nets
from tortie.calc.problems import Problems
from tortie.convert.qos import DEFAULT_BURST, DSCP_NAMES
from tortie.intent.endpoint import Bandwidth, FloatingAddress, PacketRate
from tortie.intent.keys import EndpointId

INTERFACE = re.compile(r"[a-zA-Z0-9_.-]{1,15}")
"""A name that a network device can have."""
_HIGHEST_DSCP = 63
_HIGHEST_COUNT = (1 << 32) - 1
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")

Listener = Callable[[EndpointId, LocalEndpoint | None, Labelled | None], None]


class LocalEndpoints:
    """`listener(id, endpoint, labelled)` for local endpoints, both None when one is gone."""

    def __init__(self, is_local: Callable[[str], bool], listener: Listener, problems: Problems) -> None:
        self._is_local = is_local
        self._listener = listener
        self._problems = problems
        self._ids: dict[Key, EndpointId] = {}

    def on_endpoint(self, key: Key, endpoint: WorkloadEndpoint | None, labelled: Labelled | None) -> None:
        """An endpoint of the cluster came, changed or went."""
        old = self._ids.get(key)
        new: EndpointId | None = None
        problems: list[str] = []
        if endpoint is not None and self._is_local(endpoint.spec.node):
            if INTERFACE.fullmatch(endpoint.spec.interface_name):
                new = EndpointId(endpoint.spec.node, key.namespace, key.name)
            else:
                problems = [f"spec.interfaceName: {endpoint.spec.interface_name!r} is no device name; its traffic is denied"]
        if old is not None and old != new:
            del self._ids[key]
            self._listener(old, None, None)
        if new is not None and endpoint is not None and labelled is not None:
            self._ids[key] = new
            local, problems = _local(new, endpoint, labelled)
            self._listener(new, local, labelled)
        self._problems.report(key, "local", problems)

    def is_empty(self) -> bool:
        """True if no endpoint is local."""
        return not self._ids


def _local(endpoint_id: EndpointId, endpoint: WorkloadEndpoint, labelled: Labelled) -> tuple[LocalEndpoint, list[str]]:
    spec = endpoint.spec
    prefixes, problems = parse_nets(spec.allow_spoofed_source_prefixes, "spec.allowSpoofedSourcePrefixes")
    mac = spec.mac.lower().replace("-", ":")
    if mac and not _MAC.fullmatch(mac):
        problems.append(f"spec.mac: {spec.mac!r} is no MAC address and is left out")
        mac = ""
    dscp = None
    if spec.qos_controls is not None:
        dscp = dscp_number(spec.qos_controls.dscp)
        if dscp is None and spec.qos_controls.dscp is not None:
            problems.append(
                f"spec.qosControls.dscp: {spec.qos_controls.dscp!r} is neither 0 to {_HIGHEST_DSCP} nor a name of one"
            )
    workload = spec.pod or spec.workload or spec.container_id or endpoint.metadata.name
    local = LocalEndpoint(
        id=endpoint_id,
        workload=f"{endpoint_id.namespace}/{workload}",
        interface=spec.interface_name,
        addresses=tuple(net for net in labelled.nets if net.is_single),
        profiles=spec.profiles,
        mac=mac,
        allowed_source_prefixes=prefixes,
        ingress_bandwidth=_bandwidth(spec.qos_controls, "ingress"),
        egress_bandwidth=_bandwidth(spec.qos_controls, "egress"),
        ingress_packet_rate=_packet_rate(spec.qos_controls, "ingress"),
        egress_packet_rate=_packet_rate(spec.qos_controls, "egress"),
        ingress_max_connections=_max_connections(spec.qos_controls, "ingress"),
        egress_max_connections=_max_connections(spec.qos_controls, "egress"),
        dscp=dscp,
        floating=_floating(spec.ip_nats, labelled.nets, problems),
    )
    return local, problems


def _floating(nats: Sequence[IPNAT], nets: Sequence[Prefix], problems: list[str]) -> tuple[FloatingAddress, ...]:
    """The floating addresses, each once, in order; what cannot be translated is left out and told."""
    found: dict[Address, FloatingAddress] = {}
    for index, nat in enumerate(nats):
        try:
            external, internal = parse_address(nat.external_ip), parse_address(nat.internal_ip)
        except ValueError as error:
            problems.append(f"spec.ipNATs[{index}]: {error}; it has no effect")
            continue
        if external.family is not internal.family or single(internal) not in nets:
            problems.append(f"spec.ipNATs[{index}]: {internal} is no address of the endpoint for {external}; it has no effect")
            continue
        found.setdefault(external, FloatingAddress(external, internal))
    return tuple(found[external] for external in sorted(found))


def dscp_number(value: int | str | None) -> int | None:
    """The number of a DSCP as written, None where that is none."""
    if isinstance(value, str):
        number = number_up_to(value, _HIGHEST_DSCP)
        value = number if number is not None else DSCP_NAMES.get(value.upper())
    return value if value is not None and 0 <= value <= _HIGHEST_DSCP else None


def _packet_rate(controls: QoSControls | None, way: str) -> PacketRate | None:
    rate = 0 if controls is None else getattr(controls, f"{way}_packet_rate")
    if rate <= 0:
        return None
    burst = getattr(controls, f"{way}_packet_burst")
    rate = min(rate, _HIGHEST_COUNT)
    return PacketRate(rate, min(burst, _HIGHEST_COUNT)) if burst > 0 else PacketRate(rate)


def _max_connections(controls: QoSControls | None, way: str) -> int | None:
    highest = 0 if controls is None else getattr(controls, f"{way}_max_connections")
    return min(highest, _HIGHEST_COUNT) if highest > 0 else None


def _bandwidth(controls: QoSControls | None, way: str) -> Bandwidth | None:
    """A burst that is not given is what conversion would give (conversions.md, section 2.1)."""
    if controls is None or not getattr(controls, f"{way}_bandwidth"):
        return None
    return Bandwidth(
        rate_bits=getattr(controls, f"{way}_bandwidth"),
        burst_bits=getattr(controls, f"{way}_burst") or DEFAULT_BURST,
        peak_rate_bits=getattr(controls, f"{way}_peakrate"),
        peak_burst_bytes=getattr(controls, f"{way}_minburst"),
    )
