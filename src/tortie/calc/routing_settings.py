"""What parameters and BGPConfiguration say about routes, and which of two programs writes those without encapsulation.

Texts are read leniently: one that cannot be read counts as not set, which is what the agent does with it and reports.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from tortie.base.decimals import number_up_to
from tortie.base.net import FAMILIES, Family
from tortie.intent.routes import Owner, Way
from tortie.intent.routing import AGENT_PROTOCOL

STRICT_ANNOTATION = "tortie.io/wireguard-strict"
"""On FelixConfiguration, `Enabled`: what cannot be encrypted although it should is not sent at all. `Disabled` is the default;
what is neither is told, and counts as `Enabled`."""

_TAKEN_PROTOCOLS = frozenset((1, 2, 3, 4, 12, 16))
_TRUE = frozenset(("true", "1", "yes", "y", "t"))
_FALSE = frozenset(("false", "0", "no", "n", "f", "none"))
_NO_ENCAP = frozenset(("Enabled", "EnabledNoEncapOnly"))
_IPIP = frozenset(("Enabled", "EnabledIPIPOnly"))
_CHOICES = ("Enabled", "Disabled", "EnabledIPIPOnly", "EnabledNoEncapOnly")
_AGENT_DEFAULT = "EnabledIPIPOnly"
_BIRD_DEFAULT = "EnabledNoEncapOnly"
_PORTS = {Family.V4: ("WireguardListeningPort", 51820), Family.V6: ("WireguardListeningPortV6", 51821)}
_ENCRYPTS = {Family.V4: "WireguardEnabled", Family.V6: "WireguardEnabledV6"}


@dataclass(frozen=True, slots=True)
class RoutingSettings:
    """In force on this node."""

    bird: bool
    """There is a BIRD (CALICO_NETWORKING_BACKEND)."""
    no_encap: Owner
    """Who programs routes of pools without encapsulation."""
    bird_stands_in: bool
    """BIRD claims them too: it programs those to which the agent has no way, so that a wrong pair leaves no gap."""
    why_nobody: str
    """Where nobody does: why."""
    problems: tuple[str, ...]
    """About the pair of programClusterRoutes."""
    strict_problem: str
    """About the annotation, "" if nothing is wrong."""
    vxlan_enabled: bool | None
    """None: the pools say. Concerns IPv4 alone, as in Calico."""
    ipip_enabled: bool | None
    encrypts: tuple[Family, ...]
    """Families with WireGuard."""
    wireguard_ports: tuple[tuple[Family, int], ...]
    host_encryption: bool
    strict: bool
    agent_protocol: int
    """The kernel's mark of the agent's routes to other nodes (route protocol)."""

    def forced(self, way: Way, family: Family) -> bool | None:
        """Whether an overlay is switched on or off, whatever the pools say."""
        if way is Way.IPIP:
            return self.ipip_enabled
        return self.vxlan_enabled if family is Family.V4 else None


def read_settings(
    texts: Mapping[str, str], *, backend: str, bird_programs: str | None, annotations: Mapping[str, str]
) -> RoutingSettings:
    """`texts` are parameters by Calico's name; `bird_programs` is BGPConfiguration's programClusterRoutes."""
    agents = _choice(texts.get("ProgramClusterRoutes", ""), _AGENT_DEFAULT)
    birds = _choice(bird_programs or "", _BIRD_DEFAULT)
    owner, problems = _no_encap(backend, agents, birds)
    if backend == "bird":
        problems += _ipip(agents, birds)
    strict = annotations.get(STRICT_ANNOTATION, "").strip().lower()
    return RoutingSettings(
        bird=backend == "bird",
        no_encap=owner,
        bird_stands_in=owner is Owner.AGENT and backend == "bird" and birds in _NO_ENCAP,
        why_nobody=(
            f"there is no BIRD (CALICO_NETWORKING_BACKEND {backend}), and FelixConfiguration spec.programClusterRoutes"
            f" ({agents}) does not give it to the agent: whatever lies outside the node has to route it"
            if owner is Owner.NOBODY
            else ""
        ),
        problems=tuple(problems),
        vxlan_enabled=_boolean(texts, "VXLANEnabled"),
        ipip_enabled=_boolean(texts, "IpInIpEnabled"),
        encrypts=tuple(family for family in FAMILIES if _boolean(texts, _ENCRYPTS[family])),
        wireguard_ports=tuple((family, _port(texts, *_PORTS[family])) for family in FAMILIES),
        host_encryption=bool(_boolean(texts, "WireguardHostEncryptionEnabled")),
        strict=strict not in ("", "disabled"),
        strict_problem=(
            f"metadata.annotations[{STRICT_ANNOTATION}] must be Enabled or Disabled; it counts as Enabled"
            if strict not in ("", "enabled", "disabled")
            else ""
        ),
        agent_protocol=_protocol(texts.get("DeviceRouteProtocol", "").strip()),
    )


def _no_encap(backend: str, agents: str, birds: str) -> tuple[Owner, list[str]]:
    """Exactly one owner, whatever the pair says."""
    agent, bird = agents in _NO_ENCAP, birds in _NO_ENCAP
    if backend != "bird":
        return (Owner.AGENT if agent else Owner.NOBODY), []
    if agent != bird:
        return (Owner.AGENT if agent else Owner.BIRD), []
    both = _pair(agents, birds)
    if agent:
        claim = f"{both} both claim the routes of pools without encapsulation"
        return Owner.AGENT, [f"{claim}: the agent programs those within a node's subnet, BIRD all others"]
    return Owner.BIRD, [f"{both}: neither claims the routes of pools without encapsulation: BIRD programs them, by default"]


def _ipip(agents: str, birds: str) -> list[str]:
    """BIRD 2 knows no tunnels: whatever the pair says, the agent does it. What gives it to BIRD is reported with it."""
    if agents in _IPIP or birds in _IPIP:
        return []
    return [f"{_pair(agents, birds)}: neither claims the routes of IPIP pools: the agent programs them, by default"]


def _pair(agents: str, birds: str) -> str:
    return f"FelixConfiguration spec.programClusterRoutes ({agents}) and BGPConfiguration spec.programClusterRoutes ({birds})"


def _choice(text: str, default: str) -> str:
    return next((each for each in _CHOICES if each.lower() == text.strip().lower()), default)


def _boolean(texts: Mapping[str, str], name: str) -> bool | None:
    text = texts.get(name, "").strip().lower()
    return True if text in _TRUE else False if text in _FALSE else None


def _protocol(text: str) -> int:
    """That of hand-made routes (3) is taken for workloads alone, for routes to other nodes could not be told from such."""
    number = number_up_to(text, 255)
    return number if number and number not in _TAKEN_PROTOCOLS else AGENT_PROTOCOL


def _port(texts: Mapping[str, str], name: str, default: int) -> int:
    return number_up_to(texts.get(name, "").strip(), 65535) or default
