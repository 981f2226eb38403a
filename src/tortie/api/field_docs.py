"""What each field means, in one sentence: `kubectl explain`, CRDs, OpenAPI and docs/reference/ show it.

describe(NetworkPolicySpec, "order")   # "Policies of a tier are asked in ascending order; ..."
"""

from collections.abc import Mapping
from functools import cache

import msgspec

from tortie.api import conditions, endpoint, felix, hostendpoint, kubernetes, networkset, node, policy, profile, staged, tier
from tortie.api.felix_params import BY_FIELD
from tortie.api.field_docs_cluster import CLUSTER_TEXTS

_POLICY = """
tier: The tier in which the policy stands.
order: Policies of a tier are asked in ascending order; one without an order is asked last.
selector: Which endpoints the policy is for, by their labels; empty selects all.
namespace_selector: Narrows the selection to endpoints of these namespaces, by the labels of the namespaces.
service_account_selector: Narrows the selection to pods of these service accounts, by the labels of the accounts.
types: The directions that the policy decides on; by default those that it has rules for, and Ingress where it has none.
ingress: Rules for what comes to the endpoint, in the order in which they are asked.
egress: Rules for what the endpoint sends, in the order in which they are asked.
performance_hints: AssumeNeededOnEveryNode has every node prepare the policy before an endpoint needs it.
do_not_track: Decides before connection tracking; only for host endpoints.
pre_dnat: Decides before destination addresses are translated; only for host endpoints.
apply_on_forward: Also decides on packets that only pass through the host.
staged_action: What would become of the policy if it were enforced.
"""

_TEXTS: Mapping[type[msgspec.Struct], str] = {
    **CLUSTER_TEXTS,
    policy.NetworkPolicySpec: _POLICY,
    policy.GlobalNetworkPolicySpec: _POLICY,
    staged.StagedNetworkPolicySpec: _POLICY,
    staged.StagedGlobalNetworkPolicySpec: _POLICY,
    policy.Rule: """
action: What becomes of packets that match; Pass leaves it to the next tier or the profiles, Log goes on to the next rule.
ip_version: Only packets of this IP version match.
protocol: Only packets of this protocol match, a name or a number.
not_protocol: Packets of this protocol do not match.
icmp: Only ICMP messages of this type and code match.
not_icmp: ICMP messages of this type and code do not match.
source: What the sender must be.
destination: What the receiver must be.
http: What an HTTP request must be.
metadata: Notes on the rule.
""",
    policy.ICMPFields: """
type: The type of the message.
code: The code of the message.
""",
    policy.EntityRule: """
nets: The address lies in one of these networks.
not_nets: The address lies in none of these networks.
selector: The endpoint or network set has labels that this selects.
not_selector: The endpoint or network set has no labels that this selects.
namespace_selector: The endpoint is in a namespace with labels that this selects; global() means those in no namespace.
ports: The port is one of these: a number, a range first:last, or the name of a port.
not_ports: The port is none of these.
service_accounts: The pod runs as one of these service accounts.
services: The endpoint stands behind this service.
""",
    policy.ServiceAccountMatch: """
names: The account has one of these names.
selector: The account has labels that this selects.
""",
    policy.ServiceMatch: """
name: The name of the service.
namespace: The namespace of the service; that of the policy when empty.
""",
    policy.HTTPMatch: """
methods: The request has one of these methods.
paths: The request is for one of these paths.
""",
    policy.HTTPPath: """
exact: The path is exactly this.
prefix: The path begins with this.
""",
    policy.RuleMetadata: """
annotations: Free texts by key; they are shown beside the rule.
""",
    staged.StagedKubernetesNetworkPolicySpec: """
pod_selector: Which pods of the namespace the policy is for; an empty one selects all.
policy_types: The directions that the policy decides on.
ingress: What may come to the pods.
egress: What the pods may send.
staged_action: What would become of the policy if it were enforced.
""",
    kubernetes.LabelSelector: """
match_labels: Labels that must be there with these values.
match_expressions: Expressions that must all hold.
""",
    kubernetes.LabelSelectorRequirement: """
key: The label that the expression is about.
operator: In, NotIn, Exists or DoesNotExist.
values: The values for In and NotIn.
""",
    kubernetes.NetworkPolicyIngressRule: """
from_: Who may send; anybody when empty.
ports: To which ports; to all when empty.
""",
    kubernetes.NetworkPolicyEgressRule: """
to: Who may receive; anybody when empty.
ports: At which ports; at all when empty.
""",
    kubernetes.NetworkPolicyPeer: """
pod_selector: Pods with these labels, of the policy's namespace or of those that namespaceSelector selects.
namespace_selector: All pods, or those that podSelector selects, of namespaces with these labels.
ip_block: Addresses of this block; excludes the other fields.
""",
    kubernetes.IPBlock: """
cidr: The block.
except_: Parts of the block that do not belong to it.
""",
    kubernetes.NetworkPolicyPort: """
protocol: TCP, UDP or SCTP; TCP when empty.
port: The number or the name of the port; all ports of the protocol when empty.
end_port: The last port of a range that begins at port.
""",
    tier.TierSpec: """
order: Tiers are asked in ascending order; one without an order is asked last.
default_action: What happens when policies of the tier select an endpoint and none of their rules matches.
""",
    conditions.ConditionedStatus: """
conditions: What controllers say of the resource, by type.
""",
    conditions.Condition: """
type: What the condition is about.
status: Whether it holds.
reason: Why, in one word for programs.
message: Why, in a sentence for people.
last_transition_time: Since when it is so.
observed_generation: The generation of the resource that was looked at.
""",
    profile.ProfileSpec: """
ingress: Rules for what comes to the endpoint.
egress: Rules for what the endpoint sends.
labels_to_apply: Labels that endpoints with this profile inherit; their own win.
""",
    networkset.NetworkSetSpec: """
nets: The addresses and networks of the set.
""",
    endpoint.WorkloadEndpointSpec: """
orchestrator: Who made the workload: k8s, cni, libnetwork or another name.
workload: The name of the workload, for orchestrators without pods.
node: The node on which it runs.
container_id: The container whose network namespace the interface leads to.
pod: The pod.
endpoint: The name of the interface inside the workload.
service_account_name: The service account that the pod runs as.
ip_networks: The addresses of the endpoint, as /32 and /128.
ip_nats: Floating addresses that lead to this endpoint.
ipv4_gateway: The workload's next hop for IPv4.
ipv6_gateway: The workload's next hop for IPv6.
profiles: Profiles that are asked after all tiers, and whose labels are inherited.
interface_name: The interface on the host.
mac: The MAC address inside the workload.
ports: Ports that rules can name.
allow_spoofed_source_prefixes: Networks that the workload may use as sources besides its own addresses.
qos_controls: Limits of bandwidth, packets and connections.
""",
    endpoint.IPNAT: """
internal_ip: The address of the endpoint.
external_ip: The floating address.
""",
    endpoint.EndpointPort: """
name: The name by which rules call the port.
protocol: TCP, UDP or SCTP.
port: The number of the port.
host_port: The port of the host that leads to it.
host_ip: The address of the host at which hostPort listens.
""",
    endpoint.QoSControls: """
ingress_bandwidth: Most bits per second towards the workload.
egress_bandwidth: Most bits per second from the workload.
ingress_burst: Bits that may come at once beyond ingressBandwidth.
egress_burst: Bits that may be sent at once beyond egressBandwidth.
ingress_peakrate: Bits per second during a burst towards the workload.
egress_peakrate: Bits per second during a burst from the workload.
ingress_minburst: Bytes of the smallest burst at ingressPeakrate.
egress_minburst: Bytes of the smallest burst at egressPeakrate.
ingress_packet_rate: Most packets per second towards the workload.
egress_packet_rate: Most packets per second from the workload.
ingress_packet_burst: Packets that may come at once beyond ingressPacketRate.
egress_packet_burst: Packets that may be sent at once beyond egressPacketRate.
ingress_max_connections: Most connections towards the workload at a time.
egress_max_connections: Most connections from the workload at a time.
dscp: The mark, 0 to 63 or a name such as EF, of packets that leave the cluster.
""",
    hostendpoint.HostEndpointSpec: """
node: The node whose interface it is.
interface_name: The interface, or * for all of the node.
expected_ips: Addresses by which the interface is found when it is not named, and by which others' rules match it.
profiles: Profiles that are asked after all tiers, and whose labels are inherited.
ports: Ports that rules can name.
""",
    hostendpoint.HostEndpointPort: """
name: The name by which rules call the port.
protocol: TCP, UDP or SCTP.
port: The number of the port.
""",
    node.NodeSpec: """
bgp: How the node speaks BGP; a node without it has no part in the mesh.
ipv4_vxlan_tunnel_addr: The address of the node's VXLAN device.
ipv6_vxlan_tunnel_addr: The address of the node's VXLAN device for IPv6.
vxlan_tunnel_mac_addr: The MAC address of the node's VXLAN device.
vxlan_tunnel_mac_addr_v6: The MAC address of the node's VXLAN device for IPv6.
orch_refs: What orchestrators call this node.
wireguard: The addresses of the node's WireGuard devices.
addresses: The addresses by which the node is known.
interfaces: The node's interfaces.
""",
    node.NodeBGP: """
as_number: The node's AS number; the cluster's when unset.
ipv4_address: The address at which the node is reached, with the length of its subnet.
ipv6_address: The IPv6 address at which the node is reached, with the length of its subnet.
ipv4_ipip_tunnel_addr: The address of the node's IPIP device.
route_reflector_cluster_id: Makes the node a route reflector, of this cluster of reflectors.
""",
    node.OrchRef: """
node_name: The orchestrator's name of the node.
orchestrator: Which orchestrator.
""",
    node.NodeWireguard: """
interface_ipv4_address: The IPv4 address of the WireGuard device.
interface_ipv6_address: The IPv6 address of the WireGuard device.
""",
    node.NodeAddress: """
address: The address, with or without the length of its subnet.
type: CalicoNodeIP, InternalIP or ExternalIP.
""",
    node.NodeInterface: """
name: The name of the interface.
addresses: Its addresses.
""",
    node.NodeStatus: """
wireguard_public_key: The public key of the node's WireGuard device.
wireguard_public_key_v6: The public key of the node's WireGuard device for IPv6.
pod_cidrs: The ranges that Kubernetes has given the node for its pods.
""",
    felix.ProtoPort: """
port: The number of the port.
protocol: TCP, UDP or SCTP; TCP when empty.
net: The other side's network; any when empty.
""",
    felix.RouteTableRange: """
min: The first table.
max: The last table.
""",
    felix.BPFConntrackTimeouts: """
creation_grace_period: How long a new entry is left alone.
generic_timeout: For protocols that are none of the others.
icmp_timeout: For ICMP.
tcp_established: For TCP connections that carry data.
tcp_fins_seen: For TCP connections that both sides have closed.
tcp_reset_seen: For TCP connections that were reset.
tcp_syn_sent: For TCP connections that are not answered yet.
udp_timeout: For UDP.
""",
    felix.HealthTimeoutOverride: """
name: The component.
timeout: How long it may be silent.
""",
}


def describe(struct: type[msgspec.Struct], field: str) -> str:
    """What a field, by its Python name, means; "" where nobody has written it down."""
    for cls in struct.__mro__:
        if cls in _TEXTS and field in (texts := _parsed(cls)):
            return texts[field]
    return _parameter(field) if struct is felix.FelixConfigurationSpec else ""


@cache
def _parsed(struct: type[msgspec.Struct]) -> dict[str, str]:
    lines = (line.partition(": ") for line in _TEXTS[struct].strip().splitlines())
    return {name: text for name, _, text in lines}


def _parameter(field: str) -> str:
    if field == "node_selector":
        return "Which nodes the configuration is for, by their labels; only where its name is neither default nor node.NAME."
    written = {known.name: known.encode_name for known in msgspec.structs.fields(felix.FelixConfigurationSpec)}[field]
    parameter = BY_FIELD[written]
    return f"Sets the agents' parameter {parameter.name}."
