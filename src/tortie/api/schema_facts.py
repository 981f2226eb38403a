"""What the schemas of our fields say beyond their types: lengths, formats, kinds of lists (api.md, sections 2 to 6).

`FACTS[struct, field]` is merged into the schema of that field; a struct that extends another has the other's facts too.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from tortie.api import bgp_filter as filters
from tortie.api.bgp import (
    BGPConfigurationSpec,
    BGPPeerSpec,
    Community,
    PrefixAdvertisement,
    SecretKeyRef,
    ServiceCIDR,
)
from tortie.api.conditions import Condition, ConditionedStatus
from tortie.api.controllers import (
    HostEndpointTemplate,
    KubeControllersConfigurationSpec,
    LoadBalancerController,
    MigrationController,
)
from tortie.api.felix import FelixConfigurationSpec, ProtoPort, RouteTableRange
from tortie.api.hostendpoint import HostEndpointPort, HostEndpointSpec
from tortie.api.ipam import (
    AllocationAttribute,
    BlockAffinitySpec,
    IPAMBlockSpec,
    IPAMConfigurationSpec,
    IPAMHandleSpec,
)
from tortie.api.ippool import IPPoolSpec, IPReservationSpec
from tortie.api.kubernetes import IPBlock, LabelSelector, NetworkPolicyPort
from tortie.api.networkset import NetworkSetSpec
from tortie.api.node_status import CalicoNodeStatusSpec, CalicoNodeStatusStatus
from tortie.api.policy import (
    EntityRule,
    GlobalNetworkPolicySpec,
    HTTPMatch,
    HTTPPath,
    ICMPFields,
    NetworkPolicySpec,
    ServiceAccountMatch,
    ServiceMatch,
)
from tortie.api.staged import StagedKubernetesNetworkPolicySpec

Fact = Mapping[str, Any]
Field = tuple[type[msgspec.Struct], str]

MAX_CIDR = 43
"""The longest CIDR, of IPv6."""

SELECTOR: Fact = {"maxLength": 1024}
LIST_SET: Fact = {"x-kubernetes-list-type": "set"}
INT32: Fact = {"format": "int32"}
INT64: Fact = {"format": "int64"}
DATE_TIME: Fact = {"format": "date-time"}
CIDR: Fact = {"format": "cidr", "maxLength": MAX_CIDR + 5}


def between(lowest: int | None = None, highest: int | None = None) -> Fact:
    """A number with bounds."""
    bounds = {"minimum": lowest, "maximum": highest}
    return {name: bound for name, bound in bounds.items() if bound is not None}


def rule(text: str, message: str) -> Fact:
    """A CEL rule of one value, which is `self`."""
    return {"x-kubernetes-validations": [{"rule": text, "message": message}]}


_RULES: Fact = {"maxItems": 1024}
_TYPES: Fact = {**LIST_SET, "minItems": 1, "maxItems": 2}
_HINTS: Fact = {**LIST_SET, "maxItems": 1, "items": {"enum": ["AssumeNeededOnEveryNode"]}}
_PATH: Fact = {"maxLength": 1024, "pattern": "^(/[^?# ]*)?$"}
_PORTS: Fact = {"maxItems": 50}
_STRICT = rule("[cidr(self)].all(net, net == net.masked())", "must be a CIDR without host bits")
_NET: Fact = {"format": "cidr", "maxLength": MAX_CIDR, **_STRICT}
_NETS: Fact = {**LIST_SET, "maxItems": 256, "items": _NET}
# Excluding every address leaves nothing that could match.
_NOT_NETS: Fact = {**LIST_SET, "maxItems": 256, "items": {**_NET, "pattern": "/[1-9][0-9]*$"}}
_ADDRESS_OR_CIDR: Fact = {"maxLength": MAX_CIDR, **rule("isCIDR(self) || isIP(self)", "must be an IP address or a CIDR")}
_GLOBAL_FREE = {**SELECTOR, **rule("!self.contains('global(')", "global() can only be used in a rule's namespaceSelector")}
_COMMUNITY: Fact = {
    "maxLength": 32,
    "pattern": r"^(0|[1-9]\d{0,4}):(0|[1-9]\d{0,4})$|^(0|[1-9]\d{0,9}):(0|[1-9]\d{0,9}):(0|[1-9]\d{0,9})$",
}
_SEVERITY: Fact = {"pattern": r"^(?i)(Trace|Debug|Info|Warning|Error|Fatal)?$"}
_AS_NUMBER: Fact = rule("type(self) != int || (self >= 0 && self <= 4294967295)", "must be an AS number from 0 to 4294967295")
_PRIORITY = between(1, 2**31 - 2)

_POLICY_FIELDS: Mapping[str, Fact] = {
    "ingress": _RULES,
    "egress": _RULES,
    "types": _TYPES,
    "performance_hints": _HINTS,
    "selector": _GLOBAL_FREE,
    "service_account_selector": _GLOBAL_FREE,
    "tier": {"maxLength": 63, "pattern": r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"},
}

FACTS: Mapping[Field, Fact] = {
    **{(NetworkPolicySpec, name): fact for name, fact in _POLICY_FIELDS.items()},
    **{(GlobalNetworkPolicySpec, name): fact for name, fact in _POLICY_FIELDS.items()},
    (GlobalNetworkPolicySpec, "namespace_selector"): _GLOBAL_FREE,
    # Rules
    (EntityRule, "nets"): _NETS,
    (EntityRule, "not_nets"): _NOT_NETS,
    (EntityRule, "ports"): _PORTS,
    (EntityRule, "not_ports"): _PORTS,
    (EntityRule, "selector"): _GLOBAL_FREE,
    (EntityRule, "not_selector"): SELECTOR,
    (EntityRule, "namespace_selector"): SELECTOR,
    (ServiceAccountMatch, "names"): LIST_SET,
    (ServiceMatch, "name"): {"maxLength": 253},
    (ServiceMatch, "namespace"): {"maxLength": 253},
    (ICMPFields, "type"): between(0, 254),
    (ICMPFields, "code"): between(0, 255),
    (HTTPMatch, "methods"): {"maxItems": 20, **LIST_SET, "items": {"maxLength": 253}},
    (HTTPMatch, "paths"): {"maxItems": 20},
    (HTTPPath, "exact"): _PATH,
    (HTTPPath, "prefix"): _PATH,
    # Kubernetes' own shapes, staged
    (StagedKubernetesNetworkPolicySpec, "policy_types"): {
        **LIST_SET,
        "minItems": 1,
        "maxItems": 2,
        "items": {"enum": ["Ingress", "Egress"]},
    },
    (NetworkPolicyPort, "end_port"): INT32,
    (LabelSelector, "match_expressions"): {"x-kubernetes-list-type": "atomic"},
    (IPBlock, "cidr"): {"maxLength": MAX_CIDR},
    # Sets and endpoints
    (NetworkSetSpec, "nets"): {**LIST_SET, "items": {"maxLength": MAX_CIDR + 5}},
    (HostEndpointSpec, "interface_name"): {"maxLength": 15},
    (HostEndpointSpec, "node"): {"maxLength": 253},
    (HostEndpointSpec, "expected_ips"): {
        **LIST_SET,
        "items": {"maxLength": 45, "pattern": "^[0-9a-fA-F:.]+$"},
    },
    (HostEndpointSpec, "profiles"): LIST_SET,
    (HostEndpointPort, "port"): between(1, 65535),
    # Tiers, pools, reservations
    (ConditionedStatus, "conditions"): {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    (Condition, "type"): {
        "maxLength": 316,
        "minLength": 1,
        "pattern": r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?"
        r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$",
    },
    (Condition, "status"): {"enum": ["True", "False", "Unknown"]},
    (Condition, "reason"): {"minLength": 1, "maxLength": 1024, "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"},
    (Condition, "message"): {"maxLength": 32768},
    (Condition, "last_transition_time"): DATE_TIME,
    (Condition, "observed_generation"): {**INT64, "minimum": 0},
    (IPPoolSpec, "allowed_uses"): {**LIST_SET, "maxItems": 10},
    (IPPoolSpec, "block_size"): between(0, 128),
    (IPPoolSpec, "cidr"): {**CIDR, **_STRICT},
    (IPPoolSpec, "namespace_selector"): _GLOBAL_FREE,
    (IPPoolSpec, "node_selector"): _GLOBAL_FREE,
    (IPReservationSpec, "reserved_cidrs"): {**LIST_SET, "items": {"maxLength": MAX_CIDR + 5}},
    # IPAM
    (IPAMBlockSpec, "affinity"): {"pattern": r"^(host|virtual):[a-zA-Z0-9\.\-_]+$"},
    (IPAMBlockSpec, "affinity_claim_time"): DATE_TIME,
    (IPAMBlockSpec, "cidr"): CIDR,
    (IPAMBlockSpec, "sequence_number"): {**INT64, "default": 0},
    (AllocationAttribute, "released_at"): DATE_TIME,
    (BlockAffinitySpec, "cidr"): CIDR,
    (BlockAffinitySpec, "deleted"): {"default": False},
    (IPAMConfigurationSpec, "auto_allocate_blocks"): {"default": True},
    (IPAMConfigurationSpec, "strict_affinity"): {"default": False},
    (IPAMConfigurationSpec, "ip_cooldown_seconds"): {**INT32, **between(0, 1200)},
    (IPAMConfigurationSpec, "max_blocks_per_host"): {**INT32, **between(0, 1_000_000), "default": 0},
    # BGP
    (BGPConfigurationSpec, "as_number"): _AS_NUMBER,
    (BGPConfigurationSpec, "communities"): {"maxItems": 500},
    (BGPConfigurationSpec, "ignored_interfaces"): {
        **LIST_SET,
        "items": {"pattern": r"^([a-zA-Z0-9_.-]|\*[a-zA-Z0-9_.*-])[a-zA-Z0-9_.*-]*$", "maxLength": 15},
    },
    (BGPConfigurationSpec, "ipv4_normal_route_priority"): _PRIORITY,
    (BGPConfigurationSpec, "ipv6_normal_route_priority"): _PRIORITY,
    (BGPConfigurationSpec, "listen_port"): between(1, 65535),
    (BGPConfigurationSpec, "log_severity_screen"): _SEVERITY,
    (BGPConfigurationSpec, "prefix_advertisements"): {"maxItems": 500},
    (BGPConfigurationSpec, "service_load_balancer_aggregation"): {"default": "Enabled"},
    (Community, "name"): {"maxLength": 253},
    (Community, "value"): {"maxLength": 40, "pattern": r"^(\d+):(\d+)$|^(\d+):(\d+):(\d+)$"},
    (PrefixAdvertisement, "cidr"): CIDR,
    (PrefixAdvertisement, "communities"): {"maxItems": 50},
    (ServiceCIDR, "cidr"): CIDR,
    (SecretKeyRef, "name"): {"default": ""},
    (SecretKeyRef, "key"): {"minLength": 1},
    (BGPPeerSpec, "as_number"): _AS_NUMBER,
    (BGPPeerSpec, "local_as_number"): _AS_NUMBER,
    (BGPPeerSpec, "local_workload_selector"): SELECTOR,
    (BGPPeerSpec, "node"): {"maxLength": 253},
    (BGPPeerSpec, "node_selector"): SELECTOR,
    (BGPPeerSpec, "num_allowed_local_as_numbers"): {**INT32, "minimum": 0},
    (BGPPeerSpec, "peer_ip"): {"maxLength": 64},
    (BGPPeerSpec, "peer_selector"): SELECTOR,
    (BGPPeerSpec, "reachable_by"): {
        "maxLength": 64,
        **rule("self == '' || isIP(self)", "must be an IP address"),
    },
    (BGPPeerSpec, "ttl_security"): between(0, 255),
    (filters.BGPFilterRuleV4, "cidr"): {**CIDR, "maxLength": 18, "pattern": "^[0-9./]+$"},
    (filters.BGPFilterRuleV6, "cidr"): {**CIDR, "maxLength": MAX_CIDR, "pattern": "^[^/]*:"},
    (filters.BGPFilterRule, "interface"): {"maxLength": 15, "pattern": r"^[a-zA-Z0-9_.*-]*$"},
    (filters.BGPFilterRule, "operations"): {"maxItems": 10, "items": {"minProperties": 1, "maxProperties": 1}},
    (filters.CommunityMatch, "values"): {"minItems": 1, "maxItems": 1, "items": _COMMUNITY},
    (filters.AddCommunity, "value"): _COMMUNITY,
    (filters.PrependASPath, "prefix"): {"minItems": 1, "maxItems": 10},
    # Cluster
    (CalicoNodeStatusSpec, "classes"): {**LIST_SET, "minItems": 1, "maxItems": 3},
    (CalicoNodeStatusSpec, "node"): {"minLength": 1},
    (CalicoNodeStatusSpec, "update_period_seconds"): {**INT32, **between(0, 86400)},
    (CalicoNodeStatusStatus, "last_updated"): DATE_TIME,
    (KubeControllersConfigurationSpec, "health_checks"): {"default": "Enabled"},
    (LoadBalancerController, "assign_ips"): {"default": "AllServices"},
    (MigrationController, "policy_name_migrator"): {"default": "Enabled"},
    (HostEndpointTemplate, "generate_name"): {"maxLength": 253, "minLength": 1},
    (HostEndpointTemplate, "interface_cidrs"): LIST_SET,
    # Configuration of the agents; the many patterns and enums stand in the struct itself
    (FelixConfigurationSpec, "node_selector"): SELECTOR,
    (FelixConfigurationSpec, "device_route_source_address"): {"maxLength": 45},
    (FelixConfigurationSpec, "device_route_source_address_ipv6"): {"maxLength": 45},
    (FelixConfigurationSpec, "nat_outgoing_address"): {"maxLength": 45},
    (FelixConfigurationSpec, "iptables_mark_mask"): INT64,
    (FelixConfigurationSpec, "nftables_mark_mask"): INT64,
    (FelixConfigurationSpec, "kube_node_port_ranges"): {"maxItems": 7},
    (FelixConfigurationSpec, "external_nodes_list"): {"items": {"maxLength": 18, "pattern": "^[0-9./]+$"}},
    (FelixConfigurationSpec, "nftables_mode"): {"default": "Auto"},
    (FelixConfigurationSpec, "nftables_flow_table_offload"): {"default": "Disabled"},
    (ProtoPort, "protocol"): {"pattern": "(?i)^(TCP|UDP|SCTP)?$"},
    (ProtoPort, "port"): between(0, 65535),
    (RouteTableRange, "min"): {"minimum": 1},
    (RouteTableRange, "max"): {"minimum": 1, "maximum": 4294967295},
}
"""By struct and Python name of the field."""

REQUIRED: Mapping[type[msgspec.Struct], frozenset[str]] = {
    Condition: frozenset(("type", "status", "reason", "last_transition_time")),
    IPPoolSpec: frozenset(("cidr",)),
    IPAMBlockSpec: frozenset(("allocations", "attributes", "strict_affinity", "unallocated")),
    IPAMHandleSpec: frozenset(("block",)),
    BlockAffinitySpec: frozenset(("deleted",)),
    IPAMConfigurationSpec: frozenset(("auto_allocate_blocks", "strict_affinity")),
    KubeControllersConfigurationSpec: frozenset(("controllers",)),
    CalicoNodeStatusSpec: frozenset(("node", "classes", "update_period_seconds")),
    HostEndpointSpec: frozenset(("node",)),
    HostEndpointTemplate: frozenset(("generate_name",)),
    ServiceMatch: frozenset(("name",)),
    filters.CommunityMatch: frozenset(("values",)),
}
"""Fields that have a value here when nothing is given, and must be given all the same."""

NO_DEFAULT: frozenset[Field] = frozenset(
    (
        # Absence means the same, and Calico's schemas do not write it down.
        (NetworkPolicyPort, "protocol"),
        (BlockAffinitySpec, "type"),
    )
)
