"""The part of FelixConfiguration that renderers read, parsed once. Pure."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar, cast

from tortie.base.errors import TortieError
from tortie.base.net import FAMILIES, Address, Family, Prefix, parse_address, parse_prefix
from tortie.dataplane.marks import DEFAULT_MASK, Marks, allocate
from tortie.dataplane.mtu import SMALLEST, Mtus
from tortie.kernel.nft.objects import Limit

ToHost = Literal["DROP", "ACCEPT", "RETURN"]
ServiceLoop = Literal["DROP", "REJECT", "DISABLED"]
LimitUnit = Literal["second", "minute", "hour", "day"]
_T = TypeVar("_T")
_D = TypeVar("_D")

_MARKS = allocate(DEFAULT_MASK)
_LOG_LIMIT = Limit(rate=100, burst=100)
_MTUS = Mtus()
_UNITS: dict[str, LimitUnit] = {"second": "second", "minute": "minute", "hour": "hour", "day": "day"}


_RESERVED_TABLES = frozenset((253, 254, 255))
_MAIN_PRIORITY = 32766
_OWN_PROTOCOL, _HAND_MADE = 80, 3
_TAKEN_PROTOCOLS = frozenset((1, 2, 4, 12, 16))
_TRANSPORTS = {"tcp": 6, "udp": 17, "sctp": 132}


class ConfigError(TortieError):
    """A parameter has a value that cannot be understood. Names the parameter and what it may be."""


@dataclass(frozen=True, slots=True)
class Failsafe:
    """A port of the node (inbound) or of another machine (outbound) that no policy of a host endpoint closes.

    With `net` only for far ends within it, and only for its family.
    """

    protocol: int
    port: int
    net: Prefix | None = None


def _failsafes(text: str) -> tuple[Failsafe, ...]:
    """`22`, `tcp:22`, `tcp:10.0.0.0/8:22` and `tcp:[fd00::/8]:22`, separated by commas; `none` for no port."""
    if text.lower() == "none":
        return ()
    return tuple(_failsafe(entry.strip()) for entry in text.split(",") if entry.strip())


def _failsafe(text: str) -> Failsafe:
    rest, _, port = text.rpartition(":")
    name, _, net = rest.partition(":")
    if name.lower() not in _TRANSPORTS:
        name, net = "tcp", rest
    try:
        prefix = parse_prefix(net.strip("[]"), strict=False) if net else None
    except ValueError:
        prefix, port = None, ""
    if not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"{text!r}: use a port, protocol:port or protocol:network:port, the protocol tcp, udp or sctp")
    return Failsafe(_TRANSPORTS[name.lower()], int(port), prefix)


_FAILSAFE_IN = _failsafes("tcp:22,udp:68,tcp:179,tcp:2379,tcp:2380,tcp:5473,tcp:6443,tcp:6666,tcp:6667")
_FAILSAFE_OUT = _failsafes("udp:53,udp:67,tcp:179,tcp:2379,tcp:2380,tcp:5473,tcp:6443,tcp:6666,tcp:6667")


@dataclass(frozen=True, slots=True)
class WireguardConfig:
    """How this node does WireGuard, whether or not it does. Pairs are of IPv4 and IPv6."""

    devices: tuple[str, str] = ("wireguard.cali", "wg-v6.cali")
    tables: tuple[int, int] = (1, 2)
    priority: int = 99
    """Of the rule that leads to the tables."""
    keepalive_seconds: int = 0
    host_encryption: bool = False
    threaded: bool = False


@dataclass(frozen=True, slots=True)
class RouteConfig:
    """What routes of ours are like. `protocol` is whose they are: 80, unless DeviceRouteProtocol says otherwise."""

    sync: bool = True
    """False leaves all routes to others (RouteSyncDisabled)."""
    protocol: int = _OWN_PROTOCOL
    sources: tuple[Address | None, ...] = (None, None)
    """By family: the address that the node itself speaks from on routes of ours."""
    remove_external: bool = True
    """Whatever others lead into workloads' interfaces goes, but for what BIRD learned there."""

    @property
    def cluster_protocol(self) -> int:
        """Of routes that lead to no workload here. With the protocol of hand-made routes they could not be told from such."""
        return _OWN_PROTOCOL if self.protocol == _HAND_MADE else self.protocol

    def source(self, family: Family) -> Address | None:
        """None leaves it to the kernel."""
        return self.sources[FAMILIES.index(family)]


@dataclass(frozen=True, slots=True)
class Config:
    """Effective configuration of one node. Field by field Calico's parameter of a similar name, with Calico's default."""

    interface_prefixes: tuple[str, ...] = ("cali",)
    marks: Marks = _MARKS
    endpoint_to_host: ToHost = "DROP"
    reject: bool = False
    """A denied packet is answered (FilterDenyAction REJECT) instead of dropped silently."""
    drop_invalid: bool = True
    failsafe_in: tuple[Failsafe, ...] = _FAILSAFE_IN
    failsafe_out: tuple[Failsafe, ...] = _FAILSAFE_OUT
    service_loop: ServiceLoop = "DROP"
    ipip_enabled: bool | None = None
    """None: the pools say, as for VXLAN."""
    vxlan_enabled: bool | None = None
    vxlan_port: int = 4789
    vxlan_vni: int = 4096
    checksum_offload_broken: bool | None = None
    """Whether the kernel spoils checksums in VXLAN; None: its version says."""
    wireguard_ports: tuple[tuple[Family, int], ...] = ()
    """Of the families that are encrypted."""
    wireguard: WireguardConfig = WireguardConfig()
    external_nodes: tuple[Prefix, ...] = ()
    """Machines outside the cluster that tunnel to us."""
    allow_vxlan: bool = False
    allow_ipip: bool = False
    source_spoofing: bool = False
    log_prefix: str = ""
    """LogPrefix; empty leaves each rule its own."""
    log_limit: Limit = _LOG_LIMIT
    """A Log rule never writes faster than this, unless LogActionRateLimit says otherwise."""
    nat_excludes_hosts: bool = False
    nat_interface: str = ""
    nat_address: Address | None = None
    """What leaves the cluster gets this source (IPv4) instead of that of the interface."""
    nat_ports: tuple[int, int] | None = None
    """Source ports of TCP and UDP that leaves the cluster."""
    floating_ips: bool = False
    l2_reachability: bool = False
    l2_refresh_seconds: float = 120.0
    route_metric_v4: int = 1024
    route_metric_v6: int = 1024
    routes: RouteConfig = RouteConfig()
    mtus: Mtus = _MTUS
    """What there is room for, here and in tunnels; how much on the uplink is no parameter, the agent finds it."""

    def route_metric(self, family: Family) -> int:
        """The metric of a workload's route."""
        return self.route_metric_v4 if family is Family.V4 else self.route_metric_v6


def parse(values: Mapping[str, str]) -> Config:
    """Read parameters by Calico's name; absent, empty and `none` mean the default. Raises ConfigError."""
    read = _Reader(values)
    for name in ("NftablesFilterAllowAction", "NftablesMangleAllowAction"):
        # Both mean the same here: what our chains accept, chains of other tables may still drop.
        read(name, _one_of("ACCEPT", "RETURN"), "ACCEPT")
    wireguard_ports = _wireguard_ports(read)
    return Config(
        interface_prefixes=read("InterfacePrefix", _prefixes, ("cali",)),
        marks=allocate(read("NftablesMarkMask", lambda text: int(text, 0), DEFAULT_MASK), wireguard=bool(wireguard_ports)),
        endpoint_to_host=read("DefaultEndpointToHostAction", _to_host, "DROP"),
        reject=read("NftablesFilterDenyAction", str.upper, "DROP") == "REJECT",
        drop_invalid=not read("DisableConntrackInvalidCheck", _boolean, False),
        failsafe_in=read("FailsafeInboundHostPorts", _failsafes, _FAILSAFE_IN, none_is_default=False),
        failsafe_out=read("FailsafeOutboundHostPorts", _failsafes, _FAILSAFE_OUT, none_is_default=False),
        service_loop=read("ServiceLoopPrevention", _service_loop, "DROP"),
        ipip_enabled=read("IpInIpEnabled", _boolean, None),
        vxlan_enabled=read("VXLANEnabled", _boolean, None),
        vxlan_port=read("VXLANPort", _port, 4789),
        vxlan_vni=read("VXLANVNI", _vni, 4096),
        checksum_offload_broken=read("FeatureDetectOverride", _override("ChecksumOffloadBroken"), None),
        wireguard_ports=wireguard_ports,
        wireguard=_wireguard(read),
        external_nodes=read("ExternalNodesCIDRList", _networks, ()),
        allow_vxlan=read("AllowVXLANPacketsFromWorkloads", _boolean, False),
        allow_ipip=read("AllowIPIPPacketsFromWorkloads", _boolean, False),
        source_spoofing=read("WorkloadSourceSpoofing", str.lower, "disabled") == "any",
        log_prefix=read("LogPrefix", str, ""),
        log_limit=_log_limit(read),
        nat_excludes_hosts=read("NATOutgoingExclusions", str.lower, "ippoolsonly") == "ippoolsandhostips",
        nat_interface=read("IptablesNATOutgoingInterfaceFilter", str, "").replace("+", "*"),
        nat_address=read("NATOutgoingAddress", _ipv4, None),
        nat_ports=read("NATPortRange", _port_range, None),
        floating_ips=read("FloatingIPs", _one_of("ENABLED", "DISABLED"), "DISABLED") == "ENABLED",
        l2_reachability=read("LocalSubnetL2Reachability", str.lower, "disabled") == "podsandloadbalancers",
        l2_refresh_seconds=read("LocalSubnetL2ReachabilityRefreshInterval", float, 120.0),
        route_metric_v4=read("IPv4NormalRoutePriority", int, 1024),
        route_metric_v6=read("IPv6NormalRoutePriority", int, 1024),
        routes=RouteConfig(
            sync=not read("RouteSyncDisabled", _boolean, False),
            protocol=read("DeviceRouteProtocol", _route_protocol, _OWN_PROTOCOL),
            sources=(
                read("DeviceRouteSourceAddress", _address(Family.V4), None),
                read("DeviceRouteSourceAddressIPv6", _address(Family.V6), None),
            ),
            remove_external=read("RemoveExternalRoutes", _boolean, True),
        ),
        mtus=Mtus(
            ipip=read("IpInIpMtu", _mtu, 0),
            vxlan=read("VXLANMTU", _mtu, 0),
            vxlan_v6=read("VXLANMTUV6", _mtu, 0),
            wireguard_v4=read("WireguardMTU", _mtu, 0),
            wireguard_v6=read("WireguardMTUV6", _mtu, 0),
        ),
    )


class _Reader:
    """Reads one parameter; parameter names are compared without regard to case, as Felix does."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = {name.lower(): value.strip() for name, value in values.items()}

    def __call__(self, name: str, parse_text: Callable[[str], _T], default: _D, *, none_is_default: bool = True) -> _T | _D:
        text = self._values.get(name.lower(), "")
        if not text or (none_is_default and text.lower() == "none"):
            return default
        try:
            return parse_text(text)
        except ValueError as error:
            raise ConfigError(f"{name}: {text!r} is not understood ({error})") from error


def _boolean(text: str) -> bool:
    lowered = text.lower()
    if lowered in ("true", "1", "yes", "y", "t"):
        return True
    if lowered in ("false", "0", "no", "n", "f"):
        return False
    raise ValueError("use true or false")


def _prefixes(text: str) -> tuple[str, ...]:
    """An empty one would begin every name: the node's own interfaces would be taken for workloads, and dropped."""
    prefixes = tuple(part.strip() for part in text.split(",") if part.strip())
    if not prefixes:
        raise ValueError("use the beginnings of interface names, separated by commas")
    return prefixes


def _networks(text: str) -> tuple[Prefix, ...]:
    return tuple(parse_prefix(part.strip(), strict=False) for part in text.split(",") if part.strip())


def _port(text: str) -> int:
    if not 1 <= int(text) <= 65535:
        raise ValueError("use 1 to 65535")
    return int(text)


def _vni(text: str) -> int:
    if not 1 <= int(text) < 1 << 24:
        raise ValueError(f"use 1 to {(1 << 24) - 1}")
    return int(text)


def _override(feature: str) -> Callable[[str], bool | None]:
    """One of `Feature=true,Other=false`; None where it is not named. Other features are nothing that we detect."""

    def read(text: str) -> bool | None:
        pairs = dict(part.strip().partition("=")[::2] for part in text.split(",") if part.strip())
        return _boolean(pairs[feature]) if pairs.get(feature) else None

    return read


def _ipv4(text: str) -> Address:
    address = parse_address(text)
    if address.family is not Family.V4:
        raise ValueError("use an IPv4 address")
    return address


def _port_range(text: str) -> tuple[int, int] | None:
    first, _, last = text.partition(":")
    if not (first.isdecimal() and (last or first).isdecimal() and 0 <= int(first) <= int(last or first) <= 65535):
        raise ValueError("use a port, or a range first:last")
    return (int(first), int(last or first)) if int(first) else None


def _mtu(text: str) -> int:
    if int(text) != 0 and not SMALLEST <= int(text) <= 65535:
        raise ValueError(f"use 0 (found by itself), or {SMALLEST} to 65535")
    return int(text)


def _one_of(*words: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text.upper() not in words:
            raise ValueError(f"use {', '.join(words[:-1])} or {words[-1]}")
        return text.upper()

    return read


def _to_host(text: str) -> ToHost:
    return cast(ToHost, _one_of("DROP", "ACCEPT", "RETURN")(text))


def _service_loop(text: str) -> ServiceLoop:
    return cast(ServiceLoop, _one_of("DROP", "REJECT", "DISABLED")(text))


def _wireguard_ports(read: _Reader) -> tuple[tuple[Family, int], ...]:
    return tuple(
        (family, read(f"WireguardListeningPort{suffix}", _port, port))
        for family, suffix, port in zip(FAMILIES, ("", "V6"), (51820, 51821), strict=True)
        if read(f"WireguardEnabled{suffix}", _boolean, False)
    )


def _route_protocol(text: str) -> int:
    """Ours are told from others' by it, so it cannot be one that others have."""
    number = int(text)
    if not 0 < number < 256 or number in _TAKEN_PROTOCOLS:
        raise ValueError("use a number from 3 to 255; 4 (static), 12 (BIRD) and 16 (DHCP) are others'")
    return number


def _address(family: Family) -> Callable[[str], Address]:
    def read(text: str) -> Address:
        address = parse_address(text)
        if address.family is not family:
            raise ValueError(f"use an IPv{family.value} address")
        return address

    return read


def _wireguard(read: _Reader) -> WireguardConfig:
    ranges = read("RouteTableRanges", _tables, ()) + read("RouteTableRange", _tables, ())
    default = WireguardConfig()
    devices = [
        read(f"WireguardInterfaceName{suffix}", str, name) for suffix, name in zip(("", "V6"), default.devices, strict=True)
    ]
    if devices[0] == devices[1]:
        raise ConfigError(f"WireguardInterfaceNameV6: {devices[1]!r} is WireguardInterfaceName too; each family has its own")
    return WireguardConfig(
        devices=(devices[0], devices[1]),
        tables=(ranges[0], ranges[1]) if ranges else default.tables,
        priority=read("WireguardRoutingRulePriority", _priority, default.priority),
        keepalive_seconds=read("WireguardPersistentKeepAlive", _keepalive, 0),
        host_encryption=read("WireguardHostEncryptionEnabled", _boolean, False),
        threaded=read("WireguardThreadingEnabled", _boolean, False),
    )


def _tables(text: str) -> tuple[int, ...]:
    """The first two tables of `1-250` or `10-20,30-40`."""
    found: list[int] = []
    for part in text.replace(",", " ").split():
        first, _, last = part.partition("-")
        found += range(int(first), min(int(last), int(first) + 1) + 1)
    if len(found) < 2 or any(table < 1 or table in _RESERVED_TABLES for table in found[:2]):
        raise ValueError("use ranges such as 1-250 that hold two tables other than 253, 254 and 255")
    return tuple(found[:2])


def _priority(text: str) -> int:
    if not 0 < int(text) < _MAIN_PRIORITY:
        raise ValueError(f"use 1 to {_MAIN_PRIORITY - 1}: the rule must come before the one of the main table")
    return int(text)


def _keepalive(text: str) -> int:
    """Whole seconds: WireGuard knows no others."""
    seconds = float(text)
    if not 0 <= seconds <= 65535:
        raise ValueError("use 0 to 65535 seconds")
    return math.ceil(seconds)


def _log_limit(read: _Reader) -> Limit:
    def rate(text: str) -> tuple[int, LimitUnit]:
        number, _, unit = text.partition("/")
        if unit not in _UNITS:
            raise ValueError("use a number, a slash, and second, minute, hour or day")
        if int(number) < 1:
            raise ValueError("use a number that is at least 1")
        return int(number), _UNITS[unit]

    limit = read("LogActionRateLimit", rate, None)
    if limit is None:
        return _LOG_LIMIT
    return Limit(rate=limit[0], unit=limit[1], burst=read("LogActionRateLimitBurst", int, 5))
