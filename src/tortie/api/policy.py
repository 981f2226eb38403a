"""NetworkPolicy, GlobalNetworkPolicy and the rule that all policies and profiles share (api.md, section 2)."""

from typing import Literal

import msgspec

from tortie.api.resource import V3, Metadata, Resource, Value

Action = Literal["Allow", "Deny", "Log", "Pass"]
Direction = Literal["Ingress", "Egress"]
DIRECTIONS: tuple[Direction, Direction] = ("Ingress", "Egress")
DEFAULT_TIER = "default"

PortText = int | str
"""A port as written: 80, "80", "8000:8080" (inclusive range) or a named port."""

ProtocolText = int | str
"""A protocol as written: a number 1-255, or TCP, UDP, ICMP, ICMPv6, SCTP, UDPLite."""


class ServiceAccountMatch(Value, frozen=True, kw_only=True):
    """Matches workloads by service account; both fields are ANDed."""

    names: tuple[str, ...] = ()
    selector: str = ""


class ServiceMatch(Value, frozen=True, kw_only=True):
    """Matches the endpoints of one Kubernetes Service."""

    name: str = ""
    namespace: str = ""


class EntityRule(Value, frozen=True, kw_only=True):
    """One side of a rule. Fields are ANDed, entries of a list ORed, `not_*` lists mean "none of"."""

    nets: tuple[str, ...] = ()
    not_nets: tuple[str, ...] = ()
    selector: str = ""
    not_selector: str = ""
    namespace_selector: str = ""
    ports: tuple[PortText, ...] = ()
    not_ports: tuple[PortText, ...] = ()
    service_accounts: ServiceAccountMatch | None = None
    services: ServiceMatch | None = None


class ICMPFields(Value, frozen=True, kw_only=True):
    """ICMP type, and code when given."""

    type: int | None = None
    code: int | None = None


class HTTPPath(Value, frozen=True, kw_only=True):
    """One path of an HTTP match: exactly one of the two is set."""

    exact: str = ""
    prefix: str = ""


class HTTPMatch(Value, frozen=True, kw_only=True):
    """Layer 7 match. Not enforced by the netfilter dataplanes."""

    methods: tuple[str, ...] = ()
    paths: tuple[HTTPPath, ...] = ()


class RuleMetadata(Value, frozen=True, kw_only=True):
    """Annotations of one rule; they appear as rule comments."""

    annotations: dict[str, str] = {}


class Rule(
    Value, frozen=True, kw_only=True, rename={"ip_version": "ipVersion", "not_protocol": "notProtocol", "not_icmp": "notICMP"}
):
    """One rule. The first rule that matches decides, except that Log goes on to the next."""

    action: Action
    ip_version: Literal[4, 6] | None = None
    protocol: ProtocolText | None = None
    not_protocol: ProtocolText | None = None
    icmp: ICMPFields | None = None
    not_icmp: ICMPFields | None = None
    source: EntityRule = EntityRule()
    destination: EntityRule = EntityRule()
    http: HTTPMatch | None = None
    metadata: RuleMetadata | None = None


class NetworkPolicySpec(Value, frozen=True, kw_only=True):
    """Spec of a namespaced policy. `order` None sorts last."""

    tier: str = DEFAULT_TIER
    order: float | None = None
    selector: str = ""
    service_account_selector: str = ""
    types: tuple[Direction, ...] = ()
    ingress: tuple[Rule, ...] = ()
    egress: tuple[Rule, ...] = ()
    performance_hints: tuple[str, ...] = ()


class NetworkPolicy(Resource, frozen=True, kw_only=True):
    """A policy for the workloads of one namespace."""

    api_version: str = V3
    kind: str = "NetworkPolicy"
    metadata: Metadata = Metadata()
    spec: NetworkPolicySpec = NetworkPolicySpec()


class GlobalNetworkPolicySpec(Value, frozen=True, kw_only=True):
    """Spec of a cluster-wide policy. `do_not_track`, `pre_dnat` and `apply_on_forward` concern host endpoints only."""

    tier: str = DEFAULT_TIER
    order: float | None = None
    selector: str = ""
    namespace_selector: str = ""
    service_account_selector: str = ""
    types: tuple[Direction, ...] = ()
    ingress: tuple[Rule, ...] = ()
    egress: tuple[Rule, ...] = ()
    do_not_track: bool = False
    pre_dnat: bool = msgspec.field(default=False, name="preDNAT")
    apply_on_forward: bool = False
    performance_hints: tuple[str, ...] = ()


class GlobalNetworkPolicy(Resource, frozen=True, kw_only=True):
    """A policy for workloads of all namespaces and for hosts."""

    api_version: str = V3
    kind: str = "GlobalNetworkPolicy"
    metadata: Metadata = Metadata()
    spec: GlobalNetworkPolicySpec = GlobalNetworkPolicySpec()
