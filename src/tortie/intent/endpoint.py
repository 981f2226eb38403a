"""Workload endpoints of this node, with the policies that apply to each, in order."""

from dataclasses import dataclass

from tortie.base.net import Prefix
from tortie.intent.keys import EndpointId, PolicyId, ProfileId
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
