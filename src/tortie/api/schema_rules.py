"""Rules between fields, in CEL, for API servers that keep our resources as custom resources (api.md, sections 2 to 6).

They say again what `validation` says, as far as CEL can: it knows neither our selectors nor regular expressions at a price that
an API server accepts for long lists.
"""

from collections.abc import Mapping

import msgspec

from tortie.api.bgp import BGPConfiguration, BGPConfigurationSpec, BGPPeerSpec
from tortie.api.bgp_filter import BGPFilterRuleV4, BGPFilterRuleV6, PrefixLengthV4, PrefixLengthV6
from tortie.api.cel import CelRule, exclude, filled, given, one_of
from tortie.api.cluster import ClusterInformation
from tortie.api.controllers import HostEndpointTemplate, KubeControllersConfiguration
from tortie.api.felix import FelixConfiguration, FelixConfigurationSpec, RouteTableRange
from tortie.api.hostendpoint import HostEndpointPort, HostEndpointSpec
from tortie.api.ipam import BlockAffinitySpec, IPAMConfiguration, IPAMConfigurationSpec
from tortie.api.ippool import IPPoolSpec
from tortie.api.schema_rules_policy import POLICY_RULES, WITH_PORTS

_SINGLETON = CelRule("self.metadata.name == 'default'", "metadata.name: the only name allowed is default", field=".metadata")
_CLUSTER_WIDE = {
    "nodeToNodeMeshEnabled": "has({})",
    "asNumber": "has({})",
    "serviceLoadBalancerIPs": "(has({}) && {}.size() > 0)",
    "serviceExternalIPs": "(has({}) && {}.size() > 0)",
    "serviceClusterIPs": "(has({}) && {}.size() > 0)",
    "nodeMeshPassword": "has({})",
    "nodeMeshMaxRestartTime": "has({})",
}
_BGP_CONFIGURATION = (
    CelRule(
        "self.metadata.name == 'default' || self.metadata.name.startsWith('node.')",
        "metadata.name: must be default or node.NAME",
        field=".metadata",
    ),
    *(
        CelRule(
            f"self.metadata.name == 'default' || !has(self.spec) || !{text.replace('{}', f'self.spec.{field}')}",
            "can only be set in the configuration named default",
            field=f".spec.{field}",
        )
        for field, text in _CLUSTER_WIDE.items()
    ),
)
_MESH_OFF = "!(has(self.nodeToNodeMeshEnabled) && !self.nodeToNodeMeshEnabled)"
_IPIP = "(has(self.ipipMode) && self.ipipMode != '' && self.ipipMode != 'Never')"
_VXLAN = "(has(self.vxlanMode) && self.vxlanMode != '' && self.vxlanMode != 'Never')"
_IS_V6 = "self.cidr.contains(':')"
_NO_BLOCK_SIZE = "!has(self.blockSize) || self.blockSize == 0"
_BALANCES = "(has(self.allowedUses) && self.allowedUses.exists(use, use == 'LoadBalancer'))"
_LENGTH = "(isCIDR(self.cidr) ? cidr(self.cidr).prefixLength() : 0)"
_IP_POOL = (
    CelRule(
        "self.cidr == oldSelf.cidr || (isCIDR(oldSelf.cidr) && isCIDR(self.cidr)"
        " && cidr(oldSelf.cidr).masked() == cidr(self.cidr).masked())",
        "cannot be changed: make a new pool and disable this one",
        field=".cidr",
    ),
    CelRule(
        "!has(oldSelf.blockSize) || oldSelf.blockSize == 0 || (has(self.blockSize) && self.blockSize == oldSelf.blockSize)",
        "cannot be changed: make a new pool and disable this one",
        field=".blockSize",
    ),
    CelRule(
        f"{_NO_BLOCK_SIZE} || ({_IS_V6} ? (self.blockSize >= 116 && self.blockSize <= 128)"
        " : (self.blockSize >= 20 && self.blockSize <= 32))",
        "must be from 20 to 32 for IPv4 and from 116 to 128 for IPv6",
        field=".blockSize",
    ),
    CelRule(
        f"(has(self.disabled) && self.disabled) || {_LENGTH} <= (has(self.blockSize) && self.blockSize != 0 ? self.blockSize"
        f" : ({_IS_V6} ? 122 : 26))",
        "is smaller than one block; a pool holds at least one",
        field=".cidr",
    ),
    CelRule(
        "!isCIDR(self.cidr) || (!cidr('169.254.0.0/16').containsCIDR(self.cidr)"
        " && !cidr(self.cidr).containsCIDR('169.254.0.0/16')"
        " && !cidr('fe80::/10').containsCIDR(self.cidr) && !cidr(self.cidr).containsCIDR('fe80::/10'))",
        "overlaps the link-local addresses",
        field=".cidr",
    ),
    CelRule(
        f"!has(oldSelf.allowedUses) || !oldSelf.allowedUses.exists(use, use == 'LoadBalancer') || {_BALANCES}",
        "a LoadBalancer pool cannot be put to other uses",
        field=".allowedUses",
    ),
    CelRule(f"!({_IPIP} && {_VXLAN})", "must be Never while ipipMode is not", field=".vxlanMode"),
    CelRule(f"!({_IPIP} && {_IS_V6})", "must be Never: IPIP is not available for IPv6", field=".ipipMode"),
    CelRule(
        f"!{_BALANCES} || self.allowedUses.size() == 1", "LoadBalancer cannot be combined with other uses", field=".allowedUses"
    ),
    CelRule(f"!{_BALANCES} || (!{_IPIP} && !{_VXLAN})", "a LoadBalancer pool cannot use IPIP or VXLAN", field=".allowedUses"),
    CelRule(
        f"!{_BALANCES} || !(has(self.disableBGPExport) && self.disableBGPExport)",
        "cannot be true in a LoadBalancer pool",
        field=".disableBGPExport",
    ),
    CelRule(
        f"!{_BALANCES} || !has(self.nodeSelector) || self.nodeSelector == 'all()' || self.nodeSelector == ''",
        "must be all() in a LoadBalancer pool",
        field=".nodeSelector",
    ),
    CelRule(
        f"!{given('self.namespaceSelector')} || ({filled('self.allowedUses')}"
        " && !self.allowedUses.exists(use, use == 'Tunnel'))",
        "cannot be set while allowedUses contains Tunnel; set allowedUses to [Workload]",
        field=".namespaceSelector",
    ),
)
_FELIX = (
    CelRule(
        "!(self.metadata.name == 'default' || self.metadata.name.startsWith('node.')) || !has(self.spec)"
        " || !has(self.spec.nodeSelector) || self.spec.nodeSelector == ''",
        "cannot be set in default and node.NAME; use another name for nodes by selector",
        field=".spec.nodeSelector",
    ),
)
_BGP_PEER = (
    exclude("node", "nodeSelector"),
    exclude("peerIP", "peerSelector"),
    exclude("localWorkloadSelector", "peerIP"),
    exclude("localWorkloadSelector", "peerSelector"),
    CelRule(f"!({given('self.peerSelector')} && has(self.asNumber))", "must be empty with peerSelector", field=".asNumber"),
    CelRule(
        f"!{given('self.localWorkloadSelector')} || has(self.asNumber)",
        "is required with localWorkloadSelector",
        field=".asNumber",
    ),
    CelRule(
        " || ".join(given(f"self.{field}") for field in ("peerIP", "peerSelector", "localWorkloadSelector")),
        "peerIP or peerSelector is required",
        field=".peerIP",
    ),
    CelRule(f"!{given('self.reachableBy')} || {given('self.peerIP')}", "needs peerIP", field=".reachableBy"),
    CelRule(
        f"!{given('self.reachableBy')} || !{given('self.peerIP')}"
        " || self.reachableBy.contains('.') == self.peerIP.contains('.')",
        "must be of the same IP version as peerIP",
        field=".reachableBy",
    ),
    CelRule(
        "!(has(self.keepOriginalNextHop) && self.keepOriginalNextHop && has(self.nextHopMode))",
        "cannot be set while keepOriginalNextHop is true",
        field=".nextHopMode",
    ),
)
_LENGTHS = (CelRule("!has(self.min) || !has(self.max) || self.min <= self.max", "must not be below min", field=".max"),)
_FILTER_RULE = (
    CelRule(
        f"{given('self.cidr')} == has(self.matchOperator)",
        "cidr and matchOperator must be set together or not at all",
        field=".matchOperator",
    ),
    CelRule(f"!has(self.prefixLength) || {given('self.cidr')}", "needs cidr", field=".prefixLength"),
    CelRule(
        f"!{filled('self.operations')} || self.action == 'Accept'",
        "needs action Accept: a rejected route is not changed",
        field=".operations",
    ),
)

RULES: Mapping[type[msgspec.Struct], tuple[CelRule, ...]] = {
    **POLICY_RULES,
    HostEndpointSpec: (
        CelRule("self.node != ''", "is required", field=".node"),
        CelRule(
            f"{given('self.interfaceName')} || {filled('self.expectedIPs')}",
            "interfaceName or expectedIPs is required",
            field=".interfaceName",
        ),
    ),
    HostEndpointPort: (CelRule(one_of("self.protocol", WITH_PORTS), "must be TCP, UDP or SCTP", field=".protocol"),),
    IPPoolSpec: _IP_POOL,
    IPAMConfiguration: (_SINGLETON,),
    IPAMConfigurationSpec: (
        CelRule(
            "self.strictAffinity || self.autoAllocateBlocks",
            "must be true unless strictAffinity is true",
            ".autoAllocateBlocks",
        ),
        CelRule(
            "self.strictAffinity || !has(self.maxBlocksPerHost) || self.maxBlocksPerHost == 0",
            "needs strictAffinity to be true",
            field=".maxBlocksPerHost",
        ),
    ),
    BlockAffinitySpec: (
        CelRule("self.node != ''", "is required", field=".node"),
        CelRule("!has(self.type) || self.type in ['', 'host', 'virtual']", "must be host or virtual", field=".type"),
    ),
    BGPConfiguration: _BGP_CONFIGURATION,
    BGPConfigurationSpec: (
        CelRule(
            f"{_MESH_OFF} || !has(self.nodeMeshPassword)",
            "cannot be set while nodeToNodeMeshEnabled is false",
            ".nodeMeshPassword",
        ),
        CelRule(
            f"{_MESH_OFF} || !has(self.nodeMeshMaxRestartTime)",
            "cannot be set while nodeToNodeMeshEnabled is false",
            field=".nodeMeshMaxRestartTime",
        ),
        CelRule(
            f"!{filled('self.communities')} || {filled('self.prefixAdvertisements')}",
            "needs prefixAdvertisements that use them",
            field=".communities",
        ),
    ),
    BGPPeerSpec: _BGP_PEER,
    BGPFilterRuleV4: _FILTER_RULE,
    BGPFilterRuleV6: _FILTER_RULE,
    PrefixLengthV4: _LENGTHS,
    PrefixLengthV6: _LENGTHS,
    ClusterInformation: (_SINGLETON,),
    KubeControllersConfiguration: (_SINGLETON,),
    HostEndpointTemplate: (
        CelRule(
            f"{filled('self.interfaceCIDRs')} || {given('self.interfacePattern')}",
            "needs interfaceCIDRs or interfacePattern",
        ),
    ),
    FelixConfiguration: _FELIX,
    FelixConfigurationSpec: (
        CelRule(
            "!(has(self.routeTableRange) && has(self.routeTableRanges))",
            "cannot be combined with routeTableRanges; leave it out",
            field=".routeTableRange",
        ),
        CelRule(
            "!has(self.routeTableRange) || self.routeTableRange.max <= 250",
            "must be from 1 to 250",
            field=".routeTableRange.max",
        ),
    ),
    RouteTableRange: (CelRule("self.min <= self.max", "must not be below min", field=".max"),),
}
"""By the struct at which a rule stands; what extends it has rules of its own."""
