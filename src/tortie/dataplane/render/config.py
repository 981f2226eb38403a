"""The part of FelixConfiguration that renderers read, parsed once. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

from tortie.base.errors import TortieError
from tortie.base.net import Family
from tortie.dataplane.marks import DEFAULT_MASK, Marks, allocate
from tortie.kernel.nft.objects import Limit

ToHost = Literal["DROP", "ACCEPT", "RETURN"]
LimitUnit = Literal["second", "minute", "hour", "day"]
_T = TypeVar("_T")

_MARKS = allocate(DEFAULT_MASK)
_LOG_LIMIT = Limit(rate=100, burst=100)
_UNITS: dict[str, LimitUnit] = {"second": "second", "minute": "minute", "hour": "hour", "day": "day"}


class ConfigError(TortieError):
    """A parameter has a value that cannot be understood. Names the parameter and what it may be."""


@dataclass(frozen=True, slots=True)
class Config:
    """Effective configuration of one node. Field by field Calico's parameter of a similar name, with Calico's default."""

    interface_prefixes: tuple[str, ...] = ("cali",)
    marks: Marks = _MARKS
    endpoint_to_host: ToHost = "DROP"
    reject: bool = False
    """A denied packet is answered (FilterDenyAction REJECT) instead of dropped silently."""
    drop_invalid: bool = True
    vxlan_port: int = 4789
    allow_vxlan: bool = False
    allow_ipip: bool = False
    source_spoofing: bool = False
    log_prefix: str = ""
    """LogPrefix; empty leaves each rule its own."""
    log_limit: Limit = _LOG_LIMIT
    """A Log rule never writes faster than this, unless LogActionRateLimit says otherwise."""
    nat_excludes_hosts: bool = False
    nat_interface: str = ""
    route_metric_v4: int = 1024
    route_metric_v6: int = 1024

    def route_metric(self, family: Family) -> int:
        """The metric of a workload's route."""
        return self.route_metric_v4 if family is Family.V4 else self.route_metric_v6


def parse(values: Mapping[str, str]) -> Config:
    """Read parameters by Calico's name; absent, empty and `none` mean the default. Raises ConfigError."""
    read = _Reader(values)
    return Config(
        interface_prefixes=read("InterfacePrefix", _prefixes, ("cali",)),
        marks=allocate(read("NftablesMarkMask", lambda text: int(text, 0), DEFAULT_MASK)),
        endpoint_to_host=read("DefaultEndpointToHostAction", _to_host, "DROP"),
        reject=read("NftablesFilterDenyAction", str.upper, "DROP") == "REJECT",
        drop_invalid=not read("DisableConntrackInvalidCheck", _boolean, False),
        vxlan_port=read("VXLANPort", int, 4789),
        allow_vxlan=read("AllowVXLANPacketsFromWorkloads", _boolean, False),
        allow_ipip=read("AllowIPIPPacketsFromWorkloads", _boolean, False),
        source_spoofing=read("WorkloadSourceSpoofing", str.lower, "disabled") == "any",
        log_prefix=read("LogPrefix", str, ""),
        log_limit=_log_limit(read),
        nat_excludes_hosts=read("NATOutgoingExclusions", str.lower, "ippoolsonly") == "ippoolsandhostips",
        nat_interface=read("IptablesNATOutgoingInterfaceFilter", str, "").replace("+", "*"),
        route_metric_v4=read("IPv4NormalRoutePriority", int, 1024),
        route_metric_v6=read("IPv6NormalRoutePriority", int, 1024),
    )


class _Reader:
    """Reads one parameter; parameter names are compared without regard to case, as Felix does."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = {name.lower(): value.strip() for name, value in values.items()}

    def __call__(self, name: str, parse_text: Callable[[str], _T], default: _T) -> _T:
        text = self._values.get(name.lower(), "")
        if not text or text.lower() == "none":
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


def _to_host(text: str) -> ToHost:
    match text.upper():
        case "DROP":
            return "DROP"
        case "ACCEPT":
            return "ACCEPT"
        case "RETURN":
            return "RETURN"
    raise ValueError("use DROP, ACCEPT or RETURN")


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
