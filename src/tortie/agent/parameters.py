"""The parameters of one node: which source wins, what a bad text leads to, and which of them this release acts on. Pure.

    command line > FELIX_* environment > configuration file > datastore (node > selector > default, done by calc) > built-in

A value that cannot be read gives way to the built-in default, not to the next source (Calico's rule), and is reported; for
parameters that Calico marks as fatal it is refused instead, so that nobody works with another firewall than was asked for.
"""

import configparser
import enum
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from tortie.agent.parameter_types import is_none, parse, zero
from tortie.api.felix_params import BY_NAME, PARAMETERS, Parameter

ENVIRONMENT_PREFIX = "felix_"
CONFIG_FILE_VARIABLE = "FELIX_CONFIGFILE"
DEFAULT_CONFIG_FILE = "/etc/calico/felix.cfg"
_NOT_PARAMETERS = frozenset((CONFIG_FILE_VARIABLE.lower(),))


class Handling(enum.Enum):
    """What a change of a parameter leads to."""

    LIVE = "live"
    RESTART = "restart in place"
    START = "read at start"
    """Comes from the environment or the file only; SIGHUP makes the agent start again in place and read it."""
    UNSUPPORTED = "not supported"


_LIVE = frozenset(
    (
        "AllowIPIPPacketsFromWorkloads",
        "AllowVXLANPacketsFromWorkloads",
        "DataplaneWatchdogTimeout",
        "DefaultEndpointToHostAction",
        "DeviceRouteProtocol",
        "DeviceRouteSourceAddress",
        "DeviceRouteSourceAddressIPv6",
        "DisableConntrackInvalidCheck",
        "EndpointReportingDelaySecs",
        "EndpointReportingEnabled",
        "EndpointStatusPathPrefix",
        "ExternalNodesCIDRList",
        "FailsafeInboundHostPorts",
        "FailsafeOutboundHostPorts",
        "FeatureDetectOverride",
        "FloatingIPs",
        "HealthEnabled",
        "HealthHost",
        "HealthPort",
        "HealthTimeoutOverrides",
        "IPv4NormalRoutePriority",
        "IPv6NormalRoutePriority",
        "InterfaceRefreshInterval",
        "IpInIpEnabled",
        "IpInIpMtu",
        "IpsetsRefreshInterval",
        "IptablesNATOutgoingInterfaceFilter",
        "LocalSubnetL2Reachability",
        "LocalSubnetL2ReachabilityRefreshInterval",
        "LogActionRateLimit",
        "LogActionRateLimitBurst",
        "LogPrefix",
        "LogSeverityScreen",
        "MTUIfacePattern",
        "NATOutgoingAddress",
        "NATOutgoingExclusions",
        "NATPortRange",
        "NftablesFilterAllowAction",
        "NftablesFilterDenyAction",
        "NftablesMangleAllowAction",
        "NftablesMarkMask",
        "NftablesRefreshInterval",
        "ProgramClusterRoutes",
        "PrometheusGoMetricsEnabled",
        "PrometheusMetricsEnabled",
        "PrometheusMetricsHost",
        "PrometheusMetricsPort",
        "PrometheusProcessMetricsEnabled",
        "PrometheusWireGuardMetricsEnabled",
        "RemoveExternalRoutes",
        "ReportingIntervalSecs",
        "ReportingTTLSecs",
        "RequireMTUFile",
        "RouteRefreshInterval",
        "RouteSyncDisabled",
        "RouteTableRange",
        "RouteTableRanges",
        "ServiceLoopPrevention",
        "VXLANEnabled",
        "VXLANMTU",
        "VXLANMTUV6",
        "VXLANPort",
        "VXLANVNI",
        "WireguardEnabled",
        "WireguardEnabledV6",
        "WireguardHostEncryptionEnabled",
        "WireguardInterfaceName",
        "WireguardInterfaceNameV6",
        "WireguardListeningPort",
        "WireguardListeningPortV6",
        "WireguardMTU",
        "WireguardMTUV6",
        "WireguardPersistentKeepAlive",
        "WireguardRoutingRulePriority",
        "WireguardThreadingEnabled",
        "WorkloadSourceSpoofing",
    )
)
_RESTART = frozenset(("IPForwarding", "InterfacePrefix"))
_START = frozenset(("FelixHostname",))

ASKS_NOTHING: Mapping[str, tuple[str, ...]] = {
    "IptablesBackend": ("nft",),
    "LogFilePath": ("none",),
    "LogSeverityFile": ("none",),
    "LogSeveritySys": ("none",),
    "NFTablesMode": ("enabled",),
    "UsageReportingEnabled": ("false",),
    "XDPEnabled": ("false",),
}
"""Of parameters that are not supported: values besides the default that describe what this release does anyway."""

DEFAULTS_OF_OUR_OWN: Mapping[str, str] = {"DeviceRouteProtocol": "80", "EndpointStatusPathPrefix": "", "LogPrefix": ""}
"""Built-in defaults that differ from Calico's: routes of ours are told from hand-made ones, status files only where a directory
is configured (conventions.md), and a rule of the Log action has its own prefix."""


def handling(name: str) -> Handling:
    """What becomes of a change of this parameter."""
    if name in _LIVE:
        return Handling.LIVE
    if name in _RESTART:
        return Handling.RESTART
    return Handling.START if name in _START else Handling.UNSUPPORTED


def default_text(parameter: Parameter) -> str:
    """The raw text of the built-in default."""
    return DEFAULTS_OF_OUR_OWN.get(parameter.name, parameter.default)


class Source(NamedTuple):
    """One place that sets parameters: what it is called in reports, and raw texts by parameter name."""

    name: str
    values: Mapping[str, str]
    is_datastore: bool = False


class Setting(NamedTuple):
    """A parameter that some source sets."""

    text: str
    value: Any
    source: str


@dataclass(frozen=True, slots=True)
class Parameters:
    """The outcome. `refused` tells of fatal parameters that cannot be read: this must not be put into force."""

    settings: Mapping[str, Setting]
    reports: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Any:
        """The value of a parameter, the built-in default where nobody sets it."""
        setting = self.settings.get(name)
        parameter = BY_NAME[name]
        return parse(parameter, default_text(parameter)) if setting is None else setting.value

    def raw(self) -> tuple[tuple[str, str], ...]:
        """Raw texts of all that is set and supported, as a ConfigUpdate carries them."""
        return tuple(
            sorted(
                (name, setting.text) for name, setting in self.settings.items() if handling(name) is not Handling.UNSUPPORTED
            )
        )

    def restarting(self) -> dict[str, Any]:
        """The values that a running agent cannot change."""
        return {name: self[name] for name in sorted(_RESTART)}


def effective(sources: Sequence[Source]) -> Parameters:
    """Merge `sources`, the strongest first."""
    settings: dict[str, Setting] = {}
    reports: list[str] = []
    refused: list[str] = []
    decided: set[str] = set()
    for source in sources:
        for parameter, text in _known(source, reports):
            if source.is_datastore and parameter.local:
                reports.append(f"{parameter.name} in the {source.name}: belongs to the node alone and is ignored there")
                continue
            if parameter.name in decided or not _says_something(parameter, text):
                continue
            decided.add(parameter.name)
            try:
                settings[parameter.name] = _setting(parameter, text, source.name)
            except ValueError as error:
                problem = f"{parameter.name} in the {source.name}: {_shown(parameter, text)} is not understood: {error}"
                if parameter.fatal and handling(parameter.name) is not Handling.UNSUPPORTED:
                    refused.append(problem)
                else:
                    reports.append(f"{problem}; the default {default_text(parameter)!r} is used")
    reports += [
        f"{name} in the {setting.source}: not supported by this release of Tortie"
        for name, setting in sorted(settings.items())
        if handling(name) is Handling.UNSUPPORTED and _asks_something(BY_NAME[name], setting)
    ]
    return Parameters(settings, tuple(reports), tuple(refused))


def texts(sources: Sequence[Source]) -> dict[str, str]:
    """What `sources`, the strongest first, say: raw texts by Calico's name, readable or not."""
    found: dict[str, str] = {}
    for source in sources:
        for parameter, text in _known(source, []):
            if _says_something(parameter, text):
                found.setdefault(parameter.name, text)
    return found


def from_environment(environment: Mapping[str, str]) -> Source:
    """FELIX_*, the prefix in any case."""
    return Source(
        "environment",
        {
            name[len(ENVIRONMENT_PREFIX) :]: text
            for name, text in environment.items()
            if name.lower().startswith(ENVIRONMENT_PREFIX) and name.lower() not in _NOT_PARAMETERS
        },
    )


def from_file(text: str, *, path: str) -> Source:
    """Felix's configuration file: `Name = value`, with or without sections, whose names mean nothing. Raises ValueError."""
    parser = configparser.ConfigParser(interpolation=None, strict=False, delimiters=("=", ":"), default_section="")
    parser.optionxform = str  # type: ignore[method-assign,assignment]
    try:
        parser.read_string(f"[global]\n{text}", source=path)
    except configparser.Error as error:
        raise ValueError(f"configuration file {path} cannot be read: {error}") from error
    return Source(
        f"file {path}", {name: value for section in parser.sections() for name, value in parser.items(section, raw=True)}
    )


_BY_LOWER_NAME = {parameter.name.lower(): parameter for parameter in PARAMETERS}


def _known(source: Source, reports: list[str]) -> Iterator[tuple[Parameter, str]]:
    for name, text in sorted(source.values.items()):
        parameter = _BY_LOWER_NAME.get(name.lower())
        if parameter is None:
            reports.append(f"{name} in the {source.name}: there is no such parameter")
        else:
            yield parameter, text.strip()


def _says_something(parameter: Parameter, text: str) -> bool:
    """An empty text is an empty list or string where the type has such a thing, and says nothing elsewhere."""
    if text:
        return True
    return parameter.default != "" and parameter.type.partition("(")[0] in ("string", "file", "cidr-list", "regexp")


def _setting(parameter: Parameter, text: str, source: str) -> Setting:
    value = parse(parameter, text)
    return Setting(zero(parameter) if is_none(text) else text, value, source)


def _asks_something(parameter: Parameter, setting: Setting) -> bool:
    if setting.text.lower() in ASKS_NOTHING.get(parameter.name, ()):
        return False
    if not setting.text and "none" in ASKS_NOTHING.get(parameter.name, ()):
        return False
    return bool(setting.value != parse(parameter, parameter.default))


def _shown(parameter: Parameter, text: str) -> str:
    """Addresses of datastores may carry credentials: what is local to the node is not repeated."""
    return "its value" if parameter.local else repr(text)
