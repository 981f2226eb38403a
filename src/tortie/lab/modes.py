"""The modes that the demo shows: how packets cross in each, and how large. Written by hand, as the truth tables are."""

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from tortie.lab.capture import Cover
from tortie.lab.spec import ModeName


@dataclass(frozen=True, slots=True)
class Mode:
    """One mode. `across` is for racks that it has; an IP version that is not named is not in its lab."""

    name: ModeName
    title: str
    within: dict[int, Cover]
    """How a packet of an IP version crosses between nodes of one rack."""
    across: dict[int, Cover]
    mtu: int
    """Of a pod's interface, with uplinks of 1500: what the widest of the covers in use leaves."""

    @property
    def lab_file(self) -> Path:
        """Its lab.yaml, which `tortie lab up -f` takes as well."""
        return Path(str(resources.files("tortie.lab"))) / f"mode-{self.name}.yaml"


_ALL = (
    Mode("plain", "no encapsulation, BIRD on one subnet", {4: "plain", 6: "plain"}, {}, 1500),
    Mode("vxlan", "VXLAN everywhere, without BIRD", {4: "vxlan", 6: "vxlan"}, {4: "vxlan", 6: "vxlan"}, 1430),
    Mode("vxlan-cross-subnet", "VXLAN between racks", {4: "plain", 6: "plain"}, {4: "vxlan", 6: "vxlan"}, 1430),
    Mode("ipip", "IP in IP everywhere", {4: "ipip"}, {4: "ipip"}, 1480),
    Mode("wireguard", "WireGuard", {4: "wireguard", 6: "wireguard"}, {4: "wireguard", 6: "wireguard"}, 1420),
    Mode("dual-stack", "IPv4 in VXLAN, IPv6 as it is", {4: "vxlan", 6: "plain"}, {}, 1450),
    Mode("reflectors", "two route reflectors instead of a mesh", {4: "plain", 6: "plain"}, {}, 1500),
)
MODES: dict[str, Mode] = {mode.name: mode for mode in _ALL}
