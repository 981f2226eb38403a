"""What the fields of addresses, BGP and the cluster's own kinds mean; `field_docs` serves them."""

from collections.abc import Mapping

import msgspec

from tortie.api import agent, bgp, bgp_filter, cluster, controllers, ipam, ippool, node_status

_LENGTHS = """
min: The shortest prefix that matches.
max: The longest prefix that matches.
"""

CLUSTER_TEXTS: Mapping[type[msgspec.Struct], str] = {
    ippool.IPPoolSpec: """
cidr: The range.
block_size: Length of the prefix of the blocks in which nodes take addresses.
node_selector: Nodes that may take addresses from the pool, by their labels.
namespace_selector: Namespaces whose pods may have addresses from the pool, by their labels.
allowed_uses: What addresses of the pool are for.
assignment_mode: Manual pools give addresses only to who asks for the pool by name.
ipip_mode: Whether packets between nodes are wrapped in IPIP.
vxlan_mode: Whether packets between nodes are wrapped in VXLAN.
nat_outgoing: Whether packets that leave the cluster take the node's address as source.
disabled: Nothing new is given from a disabled pool; what was given stays.
disable_bgp_export: Whether routes of the pool are kept from BGP peers.
""",
    ippool.IPReservationSpec: """
reserved_cidrs: Addresses that are never given out by themselves.
""",
    ipam.IPAMBlockSpec: """
cidr: The range of the block.
affinity: Who owns the block: host:NAME or virtual:NAME.
affinity_claim_time: When the block was claimed.
allocations: For each address the number of the attributes of its holder, null when it is free.
unallocated: Numbers of the free addresses, in the order in which they will be given.
attributes: Who holds addresses of the block.
sequence_number: Grows with every change of the block.
sequence_number_for_allocation: The sequence number at which each address was given, by the number of the address.
strict_affinity: Not used any more.
deleted: The first of the two steps in which a block is deleted.
""",
    ipam.AllocationAttribute: """
handle_id: The handle that holds the address.
secondary: What is known of the holder.
alternate_owner_attrs: What is known of the one who will hold the address next.
released_at: When the address was given back, while it rests.
""",
    ipam.IPAMHandleSpec: """
handle_id: The handle as it was given.
block: How many addresses the handle holds, by block.
deleted: The first of the two steps in which a handle is deleted.
""",
    ipam.BlockAffinitySpec: """
state: How far the claim is; empty means confirmed.
node: Who claims: a node, or another owner of type virtual.
cidr: The range of the block.
type: host or virtual; host when empty.
deleted: The first of the two steps in which a claim is deleted.
""",
    ipam.IPAMConfigurationSpec: """
strict_affinity: Nodes take addresses from their own blocks only.
auto_allocate_blocks: Nodes claim blocks when they need addresses.
max_blocks_per_host: Most blocks of one node; 0 sets no limit.
ip_cooldown_seconds: How long an address rests before it is given again.
kube_virt_vm_address_persistence: Whether a virtual machine keeps its address when it moves or starts anew.
""",
    bgp.BGPConfigurationSpec: """
as_number: The AS number of nodes that have none of their own.
bind_mode: Where BIRD listens: NodeIP for the node's address only, None for all.
communities: Names of communities for prefixAdvertisements.
ignored_interfaces: Interfaces whose networks are not looked at; * may stand for any letters.
ipv4_normal_route_priority: Metric of IPv4 routes to workloads.
ipv6_normal_route_priority: Metric of IPv6 routes to workloads.
listen_port: The port at which BIRD listens.
local_workload_peering_ipv4: The node's IPv4 address towards workloads that speak BGP.
local_workload_peering_ipv6: The node's IPv6 address towards workloads that speak BGP.
log_severity_screen: How much BIRD writes.
node_mesh_max_restart_time: How long nodes keep the routes of a node that restarts.
node_mesh_password: The password between nodes.
node_to_node_mesh_enabled: Whether every node speaks with every other.
prefix_advertisements: Communities for advertised routes.
program_cluster_routes: Which routes to other nodes' blocks BIRD writes into the kernel.
service_cluster_ips: Ranges of cluster addresses of services to advertise.
service_external_ips: Ranges of external addresses of services to advertise.
service_load_balancer_aggregation: Whether load balancer addresses are advertised as whole ranges.
service_load_balancer_ips: Ranges of load balancer addresses of services to advertise.
""",
    bgp.Community: """
name: What prefixAdvertisements call it.
value: The community, a:b or a:b:c.
""",
    bgp.PrefixAdvertisement: """
cidr: Routes inside this range.
communities: Communities that they carry, by value or by name.
""",
    bgp.ServiceCIDR: """
cidr: The range.
""",
    bgp.BGPPassword: """
secret_key_ref: Where the password lies.
""",
    bgp.SecretKeyRef: """
key: The key inside the secret.
name: The name of the secret.
optional: Whether the session is set up without a password when the secret is missing.
""",
    bgp.BGPPeerSpec: """
as_number: The peer's AS number.
filters: Filters for its routes, asked in this order.
keep_original_next_hop: Whether the peer is told the next hop that the route came with; nextHopMode Keep says the same.
keepalive_time: How often either side says that it is alive.
local_as_number: The AS number that this node shows to the peer.
local_workload_selector: Peers are workloads of the node, by their labels.
max_restart_time: How long the peer keeps our routes when BIRD restarts.
next_hop_mode: Which next hop the peer is told.
node: The node that peers.
node_selector: The nodes that peer, by their labels; all when node is empty too.
num_allowed_local_as_numbers: How often our own AS number may occur in a route from the peer.
password: The password of the session.
peer_ip: The peer's address, with a port if it is not 179.
peer_selector: Peers are nodes, by their labels.
reachable_by: The gateway on the way to the peer.
reverse_peering: Whether the nodes that peerSelector selects peer back by themselves.
source_address: Whether the session comes from the node's address.
ttl_security: Most hops to the peer; what comes from further away is dropped.
""",
    bgp_filter.BGPFilterSpec: """
export_v4: Rules for IPv4 routes given to the peer.
import_v4: Rules for IPv4 routes taken from the peer.
export_v6: Rules for IPv6 routes given to the peer.
import_v6: Rules for IPv6 routes taken from the peer.
""",
    bgp_filter.BGPFilterRule: """
action: Whether a matching route is taken or left.
as_path_prefix: The route's AS path begins with these numbers.
cidr: The range that matchOperator compares with.
communities: The route carries this community.
interface: The interface that the route leads through; * may stand for any letters.
match_operator: How the route's prefix relates to cidr.
operations: Changes of an accepted route, in this order.
peer_type: Only routes of peers of this type match.
priority: The route has this metric.
source: RemotePeers matches routes learned from other peers.
prefix_length: How long the route's prefix is.
""",
    bgp_filter.CommunityMatch: """
values: The community, a:b or a:b:c.
""",
    bgp_filter.FilterOperation: """
add_community: Adds a community.
prepend_as_path: Makes the AS path longer.
set_priority: Sets the metric.
""",
    bgp_filter.AddCommunity: """
value: The community, a:b or a:b:c.
""",
    bgp_filter.PrependASPath: """
prefix: The AS numbers.
""",
    bgp_filter.SetPriority: """
value: The metric.
""",
    bgp_filter.PrefixLengthV4: _LENGTHS,
    bgp_filter.PrefixLengthV6: _LENGTHS,
    node_status.CalicoNodeStatusSpec: """
node: The node that is asked.
classes: What it is asked for.
update_period_seconds: How often it reports; 0 asks once.
""",
    node_status.CalicoNodeStatusStatus: """
last_updated: When the report was made.
agent: The BGP daemons.
bgp: The BGP sessions.
routes: The routes.
""",
    node_status.NodeAgentStatus: """
bird_v4: The daemon for IPv4.
bird_v6: The daemon for IPv6.
""",
    node_status.BIRDStatus: """
state: Whether it works.
version: Its version.
router_id: Its router id.
last_boot_time: When it started.
last_reconfiguration_time: When it last read its configuration.
""",
    node_status.NodeBGPStatus: """
number_established_v4: IPv4 sessions that are established.
number_established_v6: IPv6 sessions that are established.
number_not_established_v4: IPv4 sessions that are not.
number_not_established_v6: IPv6 sessions that are not.
peers_v4: The IPv4 sessions.
peers_v6: The IPv6 sessions.
""",
    node_status.NodePeerStatus: """
peer_ip: The peer's address.
type: Why there is a session.
state: The state of the session.
since: Since when it is in that state.
""",
    node_status.NodeRouteStatus: """
routes_v4: The IPv4 routes.
routes_v6: The IPv6 routes.
""",
    node_status.NodeRoute: """
type: FIB for routes of the kernel, RIB for those that only BIRD knows.
destination: Where it leads.
gateway: The next hop.
interface: The interface.
learned_from: Where it came from.
""",
    node_status.RouteSource: """
source_type: What kind of source.
peer_ip: The peer, if it came from one.
""",
    controllers.KubeControllersConfigurationSpec: """
controllers: Which controllers run, and how.
log_severity_screen: How much the controllers write.
health_checks: Whether they report their health.
prometheus_metrics_port: The port of their metrics; 0 serves none.
etcd_v3_compaction_period: How often old revisions are removed from etcd; 0 is never.
debug_profile_port: The port of their profiler; 0 or unset serves none.
""",
    controllers.Controllers: """
node: Cleans up after nodes and pods that are gone.
policy: Copies Kubernetes' policies into etcd.
workload_endpoint: Copies labels of pods into etcd.
service_account: Copies service accounts into etcd.
namespace: Copies namespaces into etcd.
load_balancer: Gives addresses to services of type LoadBalancer.
migration: Rewrites what earlier releases have stored.
""",
    controllers.NodeController: """
reconciler_period: How often everything is compared; 0 is never.
sync_labels: Whether labels of Kubernetes' nodes become those of Calico's.
host_endpoint: Host endpoints that are made for nodes.
leak_grace_period: How long an address without a pod is kept.
""",
    controllers.AutoHostEndpoints: """
auto_create: Whether host endpoints are made for nodes.
create_default_host_endpoint: Whether each node gets one for all its interfaces.
templates: Host endpoints that nodes get besides.
""",
    controllers.HostEndpointTemplate: """
generate_name: Stands in the names of the host endpoints.
interface_cidrs: Addresses of the node inside these ranges are expected.
interface_pattern: A regular expression for the names of interfaces; each gets a host endpoint.
labels: Labels of the host endpoints.
annotations: Annotations of the host endpoints.
node_selector: Nodes that get them, by their labels; all when empty.
""",
    controllers.ReconciledController: """
reconciler_period: How often everything is compared; 0 is never.
""",
    controllers.LoadBalancerController: """
assign_ips: Whether every service gets an address, or those that ask for one.
""",
    controllers.MigrationController: """
policy_name_migrator: Whether policies get the names that they have since 3.32.
""",
    controllers.KubeControllersConfigurationStatus: """
running_config: What the controllers run with.
environment_vars: The environment that had its say in it.
""",
    cluster.ClusterInformationSpec: """
calico_version: The version that has written the datastore.
cluster_guid: The identity of the cluster.
cluster_type: What the cluster is made of, words with commas between.
datastore_ready: False locks the datastore: agents wait, and no pod is added.
variant: Which product has written the datastore.
""",
    agent.AgentStatusSpec: """
node: The node.
ready: Whether its kernel does what the datastore says.
in_sync: Whether the agent has read the whole datastore.
reported_at: When the report was made.
uptime_seconds: How long the agent runs.
ttl_seconds: How long the report holds.
reasons: Why the agent is not ready.
problems: What is not enforced as it is written, at most the first hundred.
local_endpoints: How many endpoints the node has.
endpoints: Whether each endpoint is up or down, where that is asked for.
""",
}
