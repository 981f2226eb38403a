"""What of a node's configuration decides about packets (policy-semantics.md, sections 3, 9, 11 and 12).

Parameters by Calico's name, compared without regard to case; absent, empty, `none` and unreadable ones have their default.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

from tortie.api.felix_params import BY_NAME
from tortie.base.net import Address, Family, Prefix, parse_address, parse_prefix
from tortie.verdict.packet import TCP, protocol_number

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Failsafe:
    """One port that a host endpoint leaves open, for far ends in `net` (None: any)."""

    protocol: int
    port: int
    net: Prefix | None = None

    def covers(self, *, protocol: int, port: int | None, far_end: Address) -> bool:
        """True if it is about this protocol, port and far end."""
        return protocol == self.protocol and port == self.port and (self.net is None or self.net.contains(far_end))

    def __str__(self) -> str:
        return f"{self.protocol}/{self.port}" + (f" of {self.net}" if self.net else "")


@dataclass(frozen=True, slots=True)
class Settings:
    """One node's. Actions are in lower case."""

    endpoint_to_host: str
    source_spoofing: bool
    allow_vxlan: bool
    allow_ipip: bool
    vxlan_port: int
    drop_invalid: bool
    service_loop: str
    failsafe_inbound: tuple[Failsafe, ...]
    failsafe_outbound: tuple[Failsafe, ...]
    vxlan_enabled: bool | None
    """None: the pools say."""
    ipip_enabled: bool | None
    wireguard_ports: tuple[tuple[Family, int], ...]
    external_nodes: tuple[Prefix, ...]
    """Machines outside the cluster that may tunnel to a node."""
    floating: bool
    """Floating addresses are in force."""
    nat_address: Address | None
    """What packets that leave the cluster come from, in IPv4; None: the node's own address."""


def settings_of(config: Mapping[str, str]) -> Settings:
    """Read the effective configuration of a node (`State.config`)."""
    return _read(tuple(sorted(config.items())))


@lru_cache(maxsize=256)
def _read(config: tuple[tuple[str, str], ...]) -> Settings:
    values = {name.lower(): text.strip() for name, text in config}

    def read(name: str, parse: Callable[[str], _T]) -> _T:
        text = values.get(name.lower(), "")
        if text and text.lower() != "none":
            try:
                return parse(text)
            except ValueError:
                pass  # whoever reads configuration for the node reports it
        return parse(BY_NAME[name].default)

    def failsafes(name: str) -> tuple[Failsafe, ...]:
        return () if values.get(name.lower(), "").lower() == "none" else read(name, _failsafes)

    wireguard = [
        (family, read(f"WireguardListeningPort{suffix}", int))
        for family, suffix in ((Family.V4, ""), (Family.V6, "V6"))
        if read(f"WireguardEnabled{suffix}", _boolean)
    ]
    return Settings(
        endpoint_to_host=read("DefaultEndpointToHostAction", str.lower),
        source_spoofing=read("WorkloadSourceSpoofing", str.lower) == "any",
        allow_vxlan=read("AllowVXLANPacketsFromWorkloads", _boolean),
        allow_ipip=read("AllowIPIPPacketsFromWorkloads", _boolean),
        vxlan_port=read("VXLANPort", int),
        drop_invalid=not read("DisableConntrackInvalidCheck", _boolean),
        service_loop=read("ServiceLoopPrevention", str.lower),
        failsafe_inbound=failsafes("FailsafeInboundHostPorts"),
        failsafe_outbound=failsafes("FailsafeOutboundHostPorts"),
        vxlan_enabled=read("VXLANEnabled", _optional_boolean),
        ipip_enabled=read("IpInIpEnabled", _optional_boolean),
        wireguard_ports=tuple(wireguard),
        external_nodes=read("ExternalNodesCIDRList", _prefixes),
        floating=read("FloatingIPs", str.lower) == "enabled",
        nat_address=read("NATOutgoingAddress", _optional_ipv4),
    )


def _boolean(text: str) -> bool:
    match text.lower():
        case "true" | "1" | "yes" | "y" | "t":
            return True
        case "false" | "0" | "no" | "n" | "f" | "":
            return False
        case _:
            raise ValueError(f"{text!r} is neither true nor false")


def _optional_boolean(text: str) -> bool | None:
    return _boolean(text) if text else None


def _optional_ipv4(text: str) -> Address | None:
    address = parse_address(text) if text else None
    if address is not None and address.family is not Family.V4:
        raise ValueError(f"{text} is no IPv4 address")
    return address


def _prefixes(text: str) -> tuple[Prefix, ...]:
    return tuple(parse_prefix(entry.strip(), strict=False) for entry in text.split(",") if entry.strip())


def _failsafes(text: str) -> tuple[Failsafe, ...]:
    """Read `22`, `tcp:22` and `tcp:10.0.0.0/8:22`, separated by commas; IPv6 networks may stand in brackets."""
    return tuple(_failsafe(entry.strip()) for entry in text.split(",") if entry.strip())


def _failsafe(text: str) -> Failsafe:
    protocol, colon, rest = text.partition(":")
    if not colon:
        return Failsafe(TCP, int(text))
    net, _, port = rest.rpartition(":")
    number = protocol_number(protocol)
    if number is None:
        raise ValueError(f"protocol {protocol!r} is unknown")
    return Failsafe(number, int(port), parse_prefix(net.replace("[", "").replace("]", ""), strict=False) if net else None)
