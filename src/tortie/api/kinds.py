"""The registry of kinds: which struct carries which document, where it lives, how people call it, what a table shows.

kind_for("networking.k8s.io/v1", "NetworkPolicy").struct   # KubernetesNetworkPolicy
kind_by_alias("gnp").plural                                 # globalnetworkpolicies
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from tortie.api import columns
from tortie.api.agent import AgentStatus
from tortie.api.bgp import BGPConfiguration, BGPPeer
from tortie.api.bgp_filter import BGPFilter
from tortie.api.cluster import ClusterInformation
from tortie.api.cluster_policy import ClusterNetworkPolicy
from tortie.api.columns import Column, nets, spec
from tortie.api.controllers import KubeControllersConfiguration
from tortie.api.endpoint import WorkloadEndpoint
from tortie.api.errors import UnknownKindError
from tortie.api.felix import FelixConfiguration
from tortie.api.hostendpoint import HostEndpoint
from tortie.api.ipam import BlockAffinity, IPAMBlock, IPAMConfiguration, IPAMHandle
from tortie.api.ippool import IPPool, IPReservation
from tortie.api.kubernetes import KubernetesNetworkPolicy, Namespace, Pod, ServiceAccount
from tortie.api.networkset import GlobalNetworkSet, NetworkSet
from tortie.api.node import Node
from tortie.api.node_status import CalicoNodeStatus
from tortie.api.policy import GlobalNetworkPolicy, NetworkPolicy
from tortie.api.profile import Profile
from tortie.api.resource import V3, Resource
from tortie.api.services import EndpointSlice, Service
from tortie.api.staged import StagedGlobalNetworkPolicy, StagedKubernetesNetworkPolicy, StagedNetworkPolicy
from tortie.api.tier import Tier


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of resource.

    `kind` is what `Key.kind` holds; `document_kind` is what its documents say. They differ only where Kubernetes and Calico
    share a name. `aliases` are lower case and include the plural.
    """

    kind: str
    document_kind: str
    api_version: str
    plural: str
    namespaced: bool
    struct: type[Resource]
    aliases: tuple[str, ...]
    columns: tuple[Column, ...]
    wide_columns: tuple[Column, ...]

    @property
    def is_ours(self) -> bool:
        """True for Calico's kinds; False for those that Kubernetes owns."""
        return self.api_version == V3


_NAME = Column("NAME", columns.name)
_TIER = Column("TIER", spec("tier"))
_POLICY_WIDE = (_NAME, _TIER, Column("ORDER", spec("order", unset="<nil>")), Column("SELECTOR", spec("selector")))


def _kind(
    struct: type[Resource],
    plural: str,
    *aliases: str,
    namespaced: bool = False,
    shown: tuple[Column, ...] = (_NAME,),
    wide: tuple[Column, ...] = (),
    document_kind: str = "",
) -> Kind:
    # Resource declares these two first, so every kind has them first.
    api_version, kind = (str(default) for default in struct.__struct_defaults__[:2])
    group = api_version.partition("/")[0] if "/" in api_version else ""
    names = [kind.lower(), plural, *aliases, *([f"{plural}.{group}"] if group else [])]
    return Kind(
        kind=kind,
        document_kind=document_kind or kind,
        api_version=api_version,
        plural=plural,
        namespaced=namespaced,
        struct=struct,
        aliases=tuple(dict.fromkeys(names)),
        columns=shown,
        wide_columns=wide or shown,
    )


_ALL = (
    _kind(
        NetworkPolicy,
        "networkpolicies",
        *("np", "policy", "policies", "pol", "pols", "cnp", "caliconetworkpolicy", "caliconetworkpolicies"),
        namespaced=True,
        shown=(_NAME, _TIER),
        wide=_POLICY_WIDE,
    ),
    _kind(
        GlobalNetworkPolicy,
        "globalnetworkpolicies",
        *("gnp", "gnps", "cgnp"),
        shown=(_NAME, _TIER),
        wide=_POLICY_WIDE,
    ),
    _kind(
        StagedNetworkPolicy,
        "stagednetworkpolicies",
        *("snp", "snps", "scnp", "spol", "spols", "stagedpolicy", "stagedpolicies"),
        namespaced=True,
        shown=(_NAME, _TIER),
        wide=_POLICY_WIDE,
    ),
    _kind(
        StagedGlobalNetworkPolicy,
        "stagedglobalnetworkpolicies",
        *("sgnp", "sgnps"),
        shown=(_NAME, _TIER),
        wide=_POLICY_WIDE,
    ),
    _kind(
        StagedKubernetesNetworkPolicy,
        "stagedkubernetesnetworkpolicies",
        *("sknp", "sknps", "skpol", "skpols", "stagedkubernetespolicy", "stagedkubernetespolicies"),
        namespaced=True,
        wide=(_NAME, Column("PODSELECTOR", columns.label_selector("pod_selector"))),
    ),
    _kind(Tier, "tiers", shown=(_NAME, Column("ORDER", spec("order", unset="<nil>")))),
    _kind(Profile, "profiles", *("pro", "pros"), wide=(_NAME, Column("LABELS", columns.profile_labels))),
    _kind(NetworkSet, "networksets", "netsets", namespaced=True, wide=(_NAME, Column("NETS", nets("nets")))),
    _kind(GlobalNetworkSet, "globalnetworksets", *("gnetsets", "gns"), wide=(_NAME, Column("NETS", nets("nets")))),
    _kind(
        WorkloadEndpoint,
        "workloadendpoints",
        *("wep", "weps"),
        namespaced=True,
        shown=(
            Column("WORKLOAD", columns.workload),
            Column("NODE", spec("node")),
            Column("NETWORKS", spec("ip_networks")),
            Column("INTERFACE", spec("interface_name")),
        ),
        wide=(
            _NAME,
            Column("WORKLOAD", columns.workload),
            Column("NODE", spec("node")),
            Column("NETWORKS", spec("ip_networks")),
            Column("INTERFACE", spec("interface_name")),
            Column("PROFILES", spec("profiles")),
            Column("NATS", columns.endpoint_nats),
        ),
    ),
    _kind(
        HostEndpoint,
        "hostendpoints",
        *("hep", "heps"),
        shown=(_NAME, Column("NODE", spec("node"))),
        wide=(
            _NAME,
            Column("NODE", spec("node")),
            Column("INTERFACE", spec("interface_name")),
            Column("IPS", spec("expected_ips")),
            Column("PROFILES", spec("profiles")),
        ),
    ),
    _kind(
        Node,
        "nodes",
        *("no", "nos"),
        wide=(
            _NAME,
            Column("ASN", columns.node_as_number),
            Column("IPV4", columns.node_bgp("ipv4_address")),
            Column("IPV6", columns.node_bgp("ipv6_address")),
        ),
    ),
    _kind(
        IPPool,
        "ippools",
        *("ipp", "ipps", "pool", "pools"),
        shown=(_NAME, Column("CIDR", spec("cidr")), Column("SELECTOR", spec("node_selector"))),
        wide=(
            _NAME,
            Column("CIDR", spec("cidr")),
            Column("NAT", spec("nat_outgoing")),
            Column("IPIPMODE", spec("ipip_mode")),
            Column("VXLANMODE", spec("vxlan_mode")),
            Column("DISABLED", spec("disabled")),
            Column("DISABLEBGPEXPORT", spec("disable_bgp_export")),
            Column("SELECTOR", spec("node_selector")),
            Column("ASSIGNMENTMODE", spec("assignment_mode")),
        ),
    ),
    _kind(
        IPReservation,
        "ipreservations",
        *("reservation", "reservations"),
        wide=(_NAME, Column("CIDRS", nets("reserved_cidrs"))),
    ),
    _kind(
        IPAMBlock,
        "ipamblocks",
        shown=(_NAME, Column("CIDR", spec("cidr")), Column("AFFINITY", spec("affinity", unset="<none>"))),
    ),
    _kind(IPAMHandle, "ipamhandles", shown=(_NAME, Column("ID", spec("handle_id")))),
    _kind(
        BlockAffinity,
        "blockaffinities",
        *("affinity", "affinities"),
        shown=(
            _NAME,
            Column("CIDR", spec("cidr")),
            Column("NODE", spec("node")),
            Column("STATE", spec("state", unset="confirmed")),
        ),
    ),
    _kind(
        IPAMConfiguration,
        "ipamconfigurations",
        *("ipamconfig", "ipamconfigs"),
        shown=(
            _NAME,
            Column("STRICTAFFINITY", spec("strict_affinity")),
            Column("AUTOALLOCATEBLOCKS", spec("auto_allocate_blocks")),
        ),
        wide=(
            _NAME,
            Column("STRICTAFFINITY", spec("strict_affinity")),
            Column("AUTOALLOCATEBLOCKS", spec("auto_allocate_blocks")),
            Column("MAXBLOCKSPERHOST", spec("max_blocks_per_host")),
        ),
    ),
    _kind(
        BGPConfiguration,
        "bgpconfigurations",
        *("bgpconfig", "bgpconfigs"),
        shown=(
            _NAME,
            Column("LOGSEVERITY", spec("log_severity_screen")),
            Column("MESHENABLED", spec("node_to_node_mesh_enabled", unset="-")),
            Column("ASNUMBER", spec("as_number", unset="-")),
        ),
    ),
    _kind(
        BGPPeer,
        "bgppeers",
        *("bgpp", "bgpps", "bp", "bps"),
        shown=(
            _NAME,
            Column("PEERIP", spec("peer_ip")),
            Column("NODE", columns.peer_node),
            Column("ASN", spec("as_number")),
        ),
    ),
    _kind(
        BGPFilter,
        "bgpfilters",
        *("bgpf", "bgpfs", "bf", "bfs"),
        shown=(
            _NAME,
            Column("NUMEXPORTV4", columns.count("export_v4")),
            Column("NUMIMPORTV4", columns.count("import_v4")),
            Column("NUMEXPORTV6", columns.count("export_v6")),
            Column("NUMIMPORTV6", columns.count("import_v6")),
        ),
    ),
    _kind(
        CalicoNodeStatus,
        "caliconodestatuses",
        *("nodestatus", "nodestatuses"),
        shown=(_NAME, Column("NODE", spec("node"))),
        wide=(_NAME, Column("NODE", spec("node")), Column("CLASSES", spec("classes"))),
    ),
    _kind(
        KubeControllersConfiguration,
        "kubecontrollersconfigurations",
        *("kubecontrollersconfig", "kubecontrollersconfigs", "kcc", "kccs"),
    ),
    _kind(FelixConfiguration, "felixconfigurations", *("felixconfig", "felixconfigs")),
    _kind(
        ClusterInformation,
        "clusterinformations",
        *("clusterinfo", "clusterinfos"),
        shown=(
            _NAME,
            Column("CLUSTERGUID", spec("cluster_guid")),
            Column("CLUSTERTYPE", spec("cluster_type")),
            Column("CALICOVERSION", spec("calico_version")),
            Column("DATASTOREREADY", spec("datastore_ready")),
        ),
    ),
    _kind(
        AgentStatus,
        "agentstatuses",
        "agents",
        shown=(
            _NAME,
            Column("READY", spec("ready")),
            Column("REPORTED", spec("reported_at")),
            Column("ENDPOINTS", spec("local_endpoints")),
            Column("REASONS", spec("reasons")),
        ),
        wide=(
            _NAME,
            Column("READY", spec("ready")),
            Column("REPORTED", spec("reported_at")),
            Column("ENDPOINTS", spec("local_endpoints")),
            Column("REASONS", spec("reasons")),
            Column("PROBLEMS", spec("problems")),
        ),
    ),
    _kind(Namespace, "namespaces", "ns"),
    _kind(ServiceAccount, "serviceaccounts", "sa", namespaced=True),
    _kind(
        Pod,
        "pods",
        "po",
        namespaced=True,
        shown=(_NAME, Column("STATUS", columns.pod_status("phase")), Column("IP", columns.pod_status("pod_ip"))),
        wide=(
            _NAME,
            Column("STATUS", columns.pod_status("phase")),
            Column("IP", columns.pod_status("pod_ip")),
            Column("NODE", spec("node_name", unset="<none>")),
        ),
    ),
    _kind(
        KubernetesNetworkPolicy,
        # `networkpolicies` alone means Calico's: the names below, and this plural with its group, are unambiguous.
        "networkpolicies",
        *("networkpolicy.networking.k8s.io", "kubernetesnetworkpolicies", "knp", "knps", "netpol", "netpols"),
        namespaced=True,
        shown=(_NAME, Column("POD-SELECTOR", columns.label_selector("pod_selector"))),
        document_kind="NetworkPolicy",
    ),
    _kind(
        ClusterNetworkPolicy,
        # Its own short name, cnp, means Calico's NetworkPolicy here.
        "clusternetworkpolicies",
        *("clusternetworkpolicy", "kcnp", "kcnps"),
        shown=(_NAME, _TIER, Column("PRIORITY", spec("priority"))),
        document_kind="ClusterNetworkPolicy",
    ),
    _kind(
        Service,
        "services",
        *("service", "svc"),
        namespaced=True,
        shown=(
            _NAME,
            Column("TYPE", spec("type")),
            Column("CLUSTER-IP", spec("cluster_ip", unset="<none>")),
            Column("PORT(S)", columns.service_ports),
        ),
        document_kind="Service",
    ),
    _kind(
        EndpointSlice,
        "endpointslices",
        "endpointslice",
        namespaced=True,
        shown=(
            _NAME,
            Column("ADDRESSTYPE", columns.address_type),
            Column("PORTS", columns.slice_ports),
            Column("ENDPOINTS", columns.slice_endpoints),
        ),
        document_kind="EndpointSlice",
    ),
)

KINDS: Mapping[str, Kind] = MappingProxyType({kind.kind: kind for kind in _ALL})
"""Every kind by `Key.kind`."""

_BY_DOCUMENT = {(kind.api_version, kind.document_kind): kind for kind in _ALL}
_BY_ALIAS = {alias: kind for kind in reversed(_ALL) for alias in kind.aliases}


def kind_for(api_version: str, document_kind: str) -> Kind:
    """The kind of a document. Raises UnknownKindError, which says what to write instead where we know."""
    found = _BY_DOCUMENT.get((api_version, document_kind))
    if found is not None:
        return found
    hint = ""
    if (api_version, document_kind) == ("v1", "Node"):
        hint = f"; nodes are stored as {V3} Node: give its addresses in spec.bgp"
    elif elsewhere := [kind.api_version for kind in _ALL if kind.document_kind == document_kind]:
        hint = f"; {document_kind} is known as {' and '.join(elsewhere)}"
    raise UnknownKindError(f"unknown resource type ({document_kind}) and/or version ({api_version}){hint}")


def kind_by_alias(text: str) -> Kind:
    """The kind that a user means: singular, plural or short name, in any case. Raises UnknownKindError."""
    found = _BY_ALIAS.get(text.lower())
    if found is None:
        raise UnknownKindError(f"resource type '{text}' is not supported")
    return found
