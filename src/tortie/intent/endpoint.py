"""Endpoints of this node, its workloads' and its own, with the policies that apply to each, in order."""

from dataclasses import dataclass

from tortie.base.net import Address, Prefix
from tortie.intent.keys import EndpointId, HostEndpointId, PolicyId, ProfileId
from tortie.intent.policy import Direction


@dataclass(frozen=True, slots=True)
class Tier:
    """One tier as it applies to one endpoint: policies in order, per direction, staged ones included.

    `default_pass` True means that a packet which no policy decided goes on to the next tier instead of being denied. It
    matters per direction, only where that direction has at least one policy that is not staged.
    """

    name: str
    default_pass: bool
    ingress: tuple[PolicyId, ...]
    egress: tuple[PolicyId, ...]

    def policies(self, direction: Direction) -> tuple[PolicyId, ...]:
        """The policies of one direction, in order."""
        return self.ingress if direction is Direction.INGRESS else self.egress


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """A limit in one direction: bit/s, and bits that may pass at once; if not 0, at no more than a peak rate."""

    rate_bits: int
    burst_bits: int
    peak_rate_bits: int = 0
    peak_burst_bytes: int = 0


@dataclass(frozen=True, slots=True)
class PacketRate:
    """No more packets than this in one direction: packets a second, and packets that may pass at once."""

    packets_per_second: int
    burst: int = 5


@dataclass(frozen=True, slots=True)
class FloatingAddress:
    """An address that leads to a workload besides its own: `external` is translated to `internal`, of the same family."""

    external: Address
    internal: Address


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A local workload endpoint. `addresses` are /32 and /128. `mac` may be empty."""

    id: EndpointId
    workload: str
    """`namespace/pod`, for people."""
    interface: str
    addresses: tuple[Prefix, ...]
    tiers: tuple[Tier, ...]
    profiles: tuple[ProfileId, ...]
    mac: str = ""
    allowed_source_prefixes: tuple[Prefix, ...] = ()
    ingress_bandwidth: Bandwidth | None = None
    egress_bandwidth: Bandwidth | None = None
    ingress_packet_rate: PacketRate | None = None
    egress_packet_rate: PacketRate | None = None
    ingress_max_connections: int | None = None
    """More connections than this at a time are reset (TCP) or refused."""
    egress_max_connections: int | None = None
    dscp: int | None = None
    """Written into packets that leave the node, 0 to 63."""
    floating: tuple[FloatingAddress, ...] = ()
    """In force only where FloatingIPs is Enabled."""


@dataclass(frozen=True, slots=True)
class HostEndpoint:
    """An interface of a node itself. One list of tiers for each kind of policy, in the order in which packets meet them.

    `interface` is a name, "*" for all interfaces of the node that nothing more exact claims, or "" when
    `expected_addresses` say which one it is (see `host_endpoints.resolve`). In `untracked` and `pre_dnat` every tier has
    `default_pass`: a packet that no policy there decided goes on. `normal` and `profiles` are for traffic of the node itself,
    `forward` for what it forwards, which an empty `forward` lets pass.
    """

    id: HostEndpointId
    interface: str
    expected_addresses: tuple[Address, ...] = ()
    untracked: tuple[Tier, ...] = ()
    pre_dnat: tuple[Tier, ...] = ()
    forward: tuple[Tier, ...] = ()
    normal: tuple[Tier, ...] = ()
    profiles: tuple[ProfileId, ...] = ()
    dscp: int | None = None
