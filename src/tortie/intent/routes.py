"""How this node reaches the cluster's addresses, and who programs it: routes, ends of tunnels, encrypted peers.

`calc` decides for every destination, once; `dataplane` and `bgp` carry out and never decide again. Encryption lies on top: the
main table holds the way without WireGuard, a rule before it leads what is encrypted into WireGuard's own table.
"""

from dataclasses import dataclass
from enum import StrEnum

from tortie.base.net import Address, Family, Interface, Prefix


class Way(StrEnum):
    """How a packet gets to a destination from here."""

    LOCAL = "local"
    """It is on this node: a block of ours, or an address that we borrowed."""
    DIRECT = "direct"
    """By the node that has it, in our subnet, as it is."""
    IPIP = "ipip"
    VXLAN = "vxlan"
    BGP = "bgp"
    """As it is, to whatever next hop BGP has learned."""
    NONE = "none"
    """Not at all for the time being; `reason` says why."""


class Owner(StrEnum):
    """Who programs the route. Never both; where it changes hands, the new one comes before the old one goes."""

    AGENT = "agent"
    BIRD = "bird"
    NOBODY = "nobody"


@dataclass(frozen=True, slots=True)
class ClusterRoute:
    """The way to one destination: a block, or a single address (borrowed, or of a tunnel).

    A LOCAL block is a blackhole beneath its pods' own routes; a LOCAL single address is no route of this kind.
    """

    dst: Prefix
    way: Way
    owner: Owner
    node: str
    """Who has the destination."""
    next_hop: Address | None = None
    """DIRECT and IPIP: that node's address. VXLAN: the address of its tunnel's end."""
    encrypted: bool = False
    """WireGuard takes it before the main table is asked."""
    reason: str = ""
    """Why this way: for people, and never empty for NONE."""


@dataclass(frozen=True, slots=True)
class Vtep:
    """Another node's end of the VXLAN of one family, complete."""

    node: str
    family: Family
    address: Address
    """Inside: the next hop of routes."""
    mac: str
    underlay: Address
    """Outside: the node itself."""


@dataclass(frozen=True, slots=True)
class WireguardPeer:
    """Another node as WireGuard of one family knows it. Without a key, or with a `problem`, it is no peer: its networks are
    passed on to the main table, or nowhere (strict)."""

    node: str
    family: Family
    public_key: str
    endpoint: Address
    port: int
    allowed: tuple[Prefix, ...]
    """Its blocks, borrowed and tunnel addresses, and with host encryption the node's own; sorted."""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class TunnelEnd:
    """This node's end of one overlay that is in use. IPIP is of IPv4 alone."""

    way: Way
    family: Family
    address: Address | None
    """None until one is assigned; then it is no end yet."""
    pools: tuple[Prefix, ...]
    """Where its address must come from."""
    mac: str = ""
    """VXLAN only."""
    keeps: tuple[Prefix, ...] = ()
    """Where no pool gives one any more (disabled, say): an address from here stays, for what is still reached by it."""


@dataclass(frozen=True, slots=True)
class WireguardEnd:
    """This node's end of WireGuard of one family."""

    family: Family
    address: Address | None
    port: int
    pools: tuple[Prefix, ...] = ()
    host_encryption: bool = False
    strict: bool = False
    """Networks of nodes that should have a key and have none are unreachable, not reached in clear (`tortie.io/`)."""
    keeps: tuple[Prefix, ...] = ()
    """As for other tunnels."""


@dataclass(frozen=True, slots=True)
class Overlay:
    """What this node itself is in the overlays: one whole value."""

    node: str
    ipv4: Interface | None
    ipv6: Interface | None
    tunnels: tuple[TunnelEnd, ...] = ()
    wireguard: tuple[WireguardEnd, ...] = ()

    def underlay(self, family: Family) -> Interface | None:
        """The node's own address and subnet."""
        return self.ipv4 if family is Family.V4 else self.ipv6

    def tunnel(self, way: Way, family: Family) -> TunnelEnd | None:
        """Our end of this overlay; None where it is not in use."""
        return next((each for each in self.tunnels if each.way is way and each.family is family), None)
