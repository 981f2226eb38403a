"""IPPool and IPReservation (api.md, section 4)."""

from typing import Literal

import msgspec

from tortie.api.conditions import ConditionedStatus
from tortie.api.resource import V3, Metadata, Resource, Value

EncapMode = Literal["", "Never", "Always", "CrossSubnet"]
AllowedUse = Literal["Workload", "Tunnel", "LoadBalancer"]


class IPPoolSpec(Value, frozen=True, kw_only=True):
    """Defaults as materialised on write: block size 26 or 122, uses Workload and Tunnel, no encapsulation."""

    cidr: str = ""
    block_size: int = 0
    node_selector: str = "all()"
    namespace_selector: str = ""
    allowed_uses: tuple[AllowedUse, ...] = ()
    assignment_mode: Literal["Automatic", "Manual"] = "Automatic"
    ipip_mode: EncapMode = ""
    vxlan_mode: EncapMode = ""
    nat_outgoing: bool = False
    disabled: bool = False
    disable_bgp_export: bool = msgspec.field(default=False, name="disableBGPExport")


class IPPool(Resource, frozen=True, kw_only=True):
    """A range that addresses are taken from."""

    api_version: str = V3
    kind: str = "IPPool"
    metadata: Metadata = Metadata()
    spec: IPPoolSpec = IPPoolSpec()
    status: ConditionedStatus | None = None


class IPReservationSpec(Value, frozen=True, kw_only=True):
    """CIDRs that automatic assignment leaves alone."""

    reserved_cidrs: tuple[str, ...] = msgspec.field(default=(), name="reservedCIDRs")


class IPReservation(Resource, frozen=True, kw_only=True):
    """A reservation."""

    api_version: str = V3
    kind: str = "IPReservation"
    metadata: Metadata = Metadata()
    spec: IPReservationSpec = IPReservationSpec()
