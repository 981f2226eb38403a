"""The graph as its users see it: resources in, intent out."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from tests.graph import states
from tests.graph.states import EMPTY, NODE, OTHER, State, updates

from tortie.api.cluster_policy import ClusterNetworkPolicy
from tortie.api.endpoint import EndpointPort, QoSControls
from tortie.api.kubernetes import KubernetesNetworkPolicy
from tortie.api.resource import Key, Metadata, Resource, Update
from tortie.base.net import parse_address
from tortie.calc.graph import KINDS, Graph
from tortie.convert.feed import convert_update
from tortie.intent.endpoint import Endpoint, PacketRate
from tortie.intent.keys import HostEndpointId, PolicyId, ProfileId
from tortie.intent.policy import Action, StagedAction, enforced_twin
from tortie.intent.sets import PortMember, SetKind
from tortie.intent.state import State as Intent


class Cluster:
    """A graph, the intent that it made so far, and the state that it was shown."""

    def __init__(self, *resources: Resource, is_local: Callable[[str], bool] | None = None, staged: bool = False) -> None:
        self.graph = Graph(NODE, is_local=is_local, staged=staged)
        self.intent = Intent()
        self.state: State = EMPTY
        self.graph.on_in_sync()
        self.show(*resources)

    def show(self, *resources: Resource) -> None:
        """Now the cluster holds exactly these."""
        after = states.state(*resources)
        self.graph.on_updates(updates(self.state, after))
        self.intent.apply_all(self.graph.flush())
        self.state = after

    def endpoint(self, workload: str) -> Endpoint:
        (found,) = (each for each in self.intent.endpoints.values() if each.workload == workload)
        return found


WEB = states.pod("web", "10.0.0.1/32", labels={"app": "web"})
FAR = states.pod("far", "10.0.1.1/32", node=OTHER, labels={"app": "far"})
NAMESPACE = states.namespace("ns")


def gnp(name: str) -> PolicyId:
    return PolicyId("GlobalNetworkPolicy", "", name)


def test_every_kind_that_the_graph_wants_is_listed() -> None:
    assert {"NetworkPolicy", "Namespace", "WorkloadEndpoint", "FelixConfiguration", "BlockAffinity"} <= set(KINDS)
    assert len(set(KINDS)) == len(KINDS)


def test_only_local_endpoints_get_policy_but_all_are_members() -> None:
    deny = [{"action": "Deny", "source": {"selector": "has(app)"}}]
    cluster = Cluster(NAMESPACE, WEB, FAR, states.global_policy("g", types=["Ingress"], ingress=deny))
    assert [each.workload for each in cluster.intent.endpoints.values()] == ["ns/web"]
    assert [len(members) for members in cluster.intent.members.values()] == [2]


def test_a_predicate_decides_what_is_local() -> None:
    cluster = Cluster(NAMESPACE, WEB, FAR, is_local=lambda _node: True)
    assert {each.workload for each in cluster.intent.endpoints.values()} == {"ns/web", "ns/far"}


def test_a_policy_that_selects_no_local_endpoint_is_not_sent_nor_are_its_sets() -> None:
    deny = [{"action": "Deny", "source": {"selector": "has(app)"}}]
    policy = states.global_policy("g", selector="app == 'far'", ingress=deny)
    cluster = Cluster(NAMESPACE, WEB, FAR, policy)
    assert not cluster.intent.policies
    assert not cluster.intent.sets
    moved = states.pod("web", "10.0.0.1/32", labels={"app": "far"})
    cluster.show(NAMESPACE, moved, FAR, policy)
    assert set(cluster.intent.policies) == {gnp("g")}


@pytest.mark.shows("PS-5.28")
def test_a_missing_profile_stays_named_and_unknown() -> None:
    cluster = Cluster(WEB)
    assert cluster.endpoint("ns/web").profiles == (ProfileId("kns.ns"),)
    assert not cluster.intent.profiles
    cluster.show(WEB, NAMESPACE)
    assert set(cluster.intent.profiles) == {ProfileId("kns.ns")}


@pytest.mark.shows("PS-5.33")
def test_the_built_in_profile_exists_and_cannot_be_replaced() -> None:
    name = "projectcalico-default-allow"
    pod = states.pod("a", "10.0.0.1/32", profiles=(name,))
    cluster = Cluster(pod, states.profile(name))
    assert [rule.action for rule in cluster.intent.profiles[ProfileId(name)].ingress] == [Action.ALLOW]


@pytest.mark.shows("PS-5.19")
def test_policies_without_types_govern_both_directions() -> None:
    cluster = Cluster(WEB, states.global_policy("g"), states.global_policy("i", types=["Ingress"]))
    (tier,) = cluster.endpoint("ns/web").tiers
    assert (tier.ingress, tier.egress) == ((gnp("g"), gnp("i")), (gnp("g"),))


@pytest.mark.shows("PS-6.11")
def test_policies_for_hosts_only_do_not_concern_workloads() -> None:
    cluster = Cluster(
        WEB,
        states.global_policy("raw", doNotTrack=True, applyOnForward=True),
        states.global_policy("early", preDNAT=True, applyOnForward=True, types=["Ingress"]),
        states.global_policy("forward", applyOnForward=True),
    )
    assert set(cluster.intent.policies) == {gnp("forward")}


@pytest.mark.shows("PS-5.8", "PS-5.9", "PS-5.10")
def test_predefined_tiers_need_not_be_stored() -> None:
    cluster = Cluster(WEB, states.global_policy("base", tier="kube-baseline"), states.global_policy("g"), states.tier("own", 5))
    assert [(tier.name, tier.default_pass) for tier in cluster.endpoint("ns/web").tiers] == [
        ("default", False),
        ("kube-baseline", True),
    ]


def test_a_kubernetes_policy_applies_to_the_pods_of_its_namespace() -> None:
    policy = KubernetesNetworkPolicy(metadata=Metadata(name="p", namespace="ns"))
    stranger = states.pod("x", "10.0.0.9/32", ns="other")
    cluster = Cluster(WEB, stranger, policy)
    (tier,) = cluster.endpoint("ns/web").tiers
    assert tier.ingress == (PolicyId("KubernetesNetworkPolicy", "ns", "p"),)
    assert tier.egress == ()
    assert cluster.endpoint("other/x").tiers == ()


def test_a_policy_with_a_bad_selector_denies_all_that_it_could_apply_to() -> None:
    allow = [{"action": "Allow"}]
    bad = states.policy("p", selector="app = 'web'", types=["Egress"], egress=allow)
    stranger = states.pod("x", "10.0.0.9/32", ns="other")
    cluster = Cluster(WEB, stranger, bad)
    policy_id = PolicyId("NetworkPolicy", "ns", "p")
    policy = cluster.intent.policies[policy_id]
    assert [rule.action for rule in policy.egress] == [Action.DENY]
    assert policy.ingress == ()
    assert cluster.endpoint("ns/web").tiers[0].egress == (policy_id,)
    assert cluster.endpoint("other/x").tiers == ()
    assert "denies every endpoint" in cluster.graph.problems[Key(*policy_id)]
    cluster.show(WEB, stranger, states.policy("p", selector="app == 'web'", types=["Egress"], egress=allow))
    assert [rule.action for rule in cluster.intent.policies[policy_id].egress] == [Action.ALLOW]
    assert not cluster.graph.problems


def test_a_bad_global_policy_denies_every_endpoint_in_both_directions() -> None:
    cluster = Cluster(WEB, states.pod("x", "10.0.0.9/32", ns="other"), states.global_policy("g", namespaceSelector="(("))
    policy = cluster.intent.policies[gnp("g")]
    assert [rule.action for rule in policy.ingress + policy.egress] == [Action.DENY, Action.DENY]
    assert all(each.tiers for each in cluster.intent.endpoints.values())


def test_a_bad_rule_is_unenforceable_and_reported_while_the_policy_is_active() -> None:
    broken = [{"action": "Allow"}, {"action": "Deny", "destination": {"nets": ["x"]}}]
    policy = states.global_policy("g", selector="app == 'web'", egress=broken)
    cluster = Cluster(WEB, policy)
    fine, bad = cluster.intent.policies[gnp("g")].egress
    assert fine.unenforceable is None
    assert bad.unenforceable
    assert cluster.graph.problems[policy.key] == "egress[1]: destination.nets: 'x' is not a CIDR"
    cluster.show(FAR, policy)
    assert not cluster.graph.problems


def test_what_conversion_left_out_is_a_problem_until_it_is_repaired() -> None:
    graph = Graph(NODE)

    def show(peer: dict[str, Any]) -> None:
        document = {
            "metadata": {"name": "p"},
            "spec": {
                "tier": "Admin",
                "priority": 1,
                "subject": {"namespaces": {}},
                "egress": [{"action": "Accept", "to": [peer]}],
            },
        }
        policy = msgspec.convert(document, ClusterNetworkPolicy)
        graph.on_updates([convert_update(Update(policy.key, policy))])

    show({"nodes": {}})
    assert graph.problems == {
        Key("KubernetesClusterNetworkPolicy", "", "p"): "spec.egress[0].to[0]: nodes cannot be matched; the rule is left out"
    }
    show({"namespaces": {}})
    assert not graph.problems


def test_a_pod_cannot_claim_labels_of_namespaces_and_accounts() -> None:
    forged = {"pcns.team": "x", "pcsa.role": "x", "projectcalico.org/namespace": "admin", "app": "web"}
    pod = states.pod("web", "10.0.0.1/32", labels=forged)
    cluster = Cluster(
        pod,
        states.global_policy("team", namespaceSelector="team == 'x'"),
        states.global_policy("role", serviceAccountSelector="role == 'x'"),
        states.policy("admin", ns="admin"),
        states.policy("own"),
    )
    assert set(cluster.intent.policies) == {PolicyId("NetworkPolicy", "ns", "own")}


@pytest.mark.shows("PS-6.20")
def test_of_two_endpoints_on_one_device_the_smallest_id_is_real() -> None:
    first = states.pod("a", "10.0.0.1/32", interface="cali1")
    second = states.pod("b", "10.0.0.2/32", interface="cali1")
    remote = states.pod("0", "10.0.0.3/32", interface="cali1", node=OTHER)
    cluster = Cluster(second, remote)
    assert [each.workload for each in cluster.intent.endpoints.values()] == ["ns/b"]
    cluster.show(first, second, remote)
    assert [each.workload for each in cluster.intent.endpoints.values()] == ["ns/a"]
    cluster.show(second, remote)
    assert [each.workload for each in cluster.intent.endpoints.values()] == ["ns/b"]


def test_an_endpoint_without_a_proper_device_is_left_out_and_reported() -> None:
    pod = states.pod("a", "10.0.0.1/32", interface="cali 1")
    cluster = Cluster(pod)
    assert not cluster.intent.endpoints
    assert "spec.interfaceName" in cluster.graph.problems[pod.key]


def test_an_endpoint_that_moves_to_another_node_is_local_no_more() -> None:
    moved = states.pod("web", "10.0.0.1/32", node=OTHER, labels={"app": "web"})
    moved = type(WEB)(metadata=WEB.metadata, spec=moved.spec)
    cluster = Cluster(WEB, states.global_policy("g"))
    cluster.show(moved, states.global_policy("g"))
    assert not cluster.intent.endpoints
    assert not cluster.intent.policies


def test_an_endpoint_that_moves_between_local_nodes_leaves_no_double() -> None:
    far = states.pod("web", "10.0.0.1/32", node=OTHER)
    cluster = Cluster(WEB, is_local=lambda _node: True)
    cluster.show(type(WEB)(metadata=WEB.metadata, spec=far.spec))
    assert [each.node for each in cluster.intent.endpoints] == [OTHER]


@pytest.mark.shows("PS-5.30", "PS-5.31", "PS-6.3", "PS-6.4")
def test_policies_select_by_labels_of_namespaces_and_service_accounts() -> None:
    pod = states.pod("web", "10.0.0.1/32", sa="robot")
    policies = [
        states.global_policy("team", namespaceSelector="team == 'x'", types=["Ingress"]),
        states.global_policy("role", serviceAccountSelector="role == 'r'", types=["Ingress"]),
    ]
    cluster = Cluster(pod, *policies, states.namespace("ns", team="y"))
    assert not cluster.intent.policies
    cluster.show(pod, *policies, states.namespace("ns", team="x"), states.account("ns", "robot", role="r"))
    assert cluster.endpoint("ns/web").tiers[0].ingress == (gnp("role"), gnp("team"))


def test_a_network_set_inherits_the_labels_of_its_namespace() -> None:
    peer = [{"action": "Allow", "destination": {"namespaceSelector": "team == 'x'", "selector": "kind == 's'"}}]
    sets = [
        states.network_set("s", "10.9.0.0/16", ns="far", labels={"kind": "s"}),
        states.network_set("s", "10.8.0.0/16", labels={"kind": "s"}),
    ]
    cluster = Cluster(WEB, *sets, states.namespace("far", team="x"), states.global_policy("g", egress=peer))
    (members,) = cluster.intent.members.values()
    assert [str(each) for each in members] == ["10.9.0.0/16"]


def test_churn_of_pods_with_known_labels_costs_no_evaluation() -> None:
    ports = [EndpointPort(name="web", port=80)]
    allow = [{"action": "Allow", "protocol": "TCP", "source": {"selector": "app == 'web'"}, "destination": {"ports": ["web"]}}]
    policies = [states.policy(f"p{i}", selector=f"app == 'web' && x != '{i}'", ingress=allow) for i in range(20)]
    cluster = Cluster(NAMESPACE, *policies, states.pod("a", "10.0.0.1/32", labels={"app": "web"}, ports=ports))
    before = cluster.graph.evaluations
    assert before
    pod = states.pod("b", "10.0.0.2/32", labels={"app": "web"}, ports=ports)
    cluster.graph.on_updates([Update(pod.key, pod)])
    cluster.intent.apply_all(cluster.graph.flush())
    assert cluster.endpoint("ns/b").tiers == cluster.endpoint("ns/a").tiers
    assert cluster.graph.evaluations == before


def test_values_that_are_not_what_their_key_says_count_as_gone() -> None:
    cluster = Cluster(WEB, states.global_policy("g"))
    cluster.graph.on_updates([Update(Key("GlobalNetworkPolicy", "", "g"), WEB), Update(Key("Mystery", "", "m"), WEB)])
    cluster.intent.apply_all(cluster.graph.flush())
    assert not cluster.intent.policies


def gateway(name: str = "gw", node: str = NODE, **spec: Any) -> Resource:
    return states.host_endpoint(name, node, labels={"role": "gw"}, **spec)


def test_only_local_host_endpoints_get_policy_but_all_are_members() -> None:
    deny = [{"action": "Deny", "source": {"selector": "role == 'gw'"}}]
    policy = states.global_policy("g", selector="role == 'gw'", types=["Ingress"], ingress=deny)
    near = gateway(interfaceName="eth0", expectedIPs=["172.18.0.2", "fd00::2"])
    far = gateway("far", OTHER, interfaceName="*", expectedIPs=["172.18.0.3"])
    cluster = Cluster(near, far, policy)
    (found,) = cluster.intent.host_endpoints.values()
    assert (found.id, found.interface) == (HostEndpointId(NODE, "gw"), "eth0")
    assert [tier.ingress for tier in found.normal] == [(gnp("g"),)]
    assert found.forward == ()
    (members,) = cluster.intent.members.values()
    assert {str(each) for each in members} == {"172.18.0.2/32", "172.18.0.3/32", "fd00::2/128"}
    cluster.show(far, policy)
    assert not cluster.intent.host_endpoints
    assert not cluster.intent.policies


@pytest.mark.shows("PS-7.30")
def test_global_means_host_endpoints_and_global_network_sets() -> None:
    peer = [{"action": "Allow", "source": {"namespaceSelector": "global()"}}]
    others = [
        gateway(interfaceName="eth0", expectedIPs=["172.18.0.2"]),
        states.network_set("global", "10.9.0.0/16"),
        states.network_set("local", "10.8.0.0/16", ns="ns"),
    ]
    cluster = Cluster(WEB, FAR, *others, states.policy("p", types=["Ingress"], ingress=peer))
    (members,) = cluster.intent.members.values()
    assert {str(each) for each in members} == {"172.18.0.2/32", "10.9.0.0/16"}


@pytest.mark.shows("PS-7.18", "PS-7.19")
def test_ports_of_hosts_have_names_too() -> None:
    ports = [{"name": "api", "protocol": "TCP", "port": 6443}]
    allow = [{"action": "Allow", "protocol": "TCP", "destination": {"selector": "role == 'gw'", "ports": ["api"]}}]
    host = gateway(interfaceName="eth0", expectedIPs=["172.18.0.2"], ports=ports)
    other = states.host_endpoint("other", interfaceName="eth1", expectedIPs=["172.18.0.4"], ports=ports)
    cluster = Cluster(WEB, host, other, states.global_policy("g", types=["Egress"], egress=allow))
    (members,) = cluster.intent.members.values()
    assert members == {PortMember(parse_address("172.18.0.2"), 6, 6443)}


def test_a_host_endpoint_inherits_labels_and_keeps_a_missing_profile() -> None:
    host = states.host_endpoint("h", interfaceName="eth0", expectedIPs=["172.18.0.2"], profiles=["p", "missing"])
    policy = states.global_policy("g", selector="role == 'gw'", types=["Ingress"])
    cluster = Cluster(host, policy)
    assert not cluster.intent.policies
    cluster.show(host, policy, states.profile("p", allow=True, labels={"role": "gw"}))
    (found,) = cluster.intent.host_endpoints.values()
    assert found.profiles == (ProfileId("p"), ProfileId("missing"))
    assert set(cluster.intent.profiles) == {ProfileId("p")}
    assert [tier.ingress for tier in found.normal] == [(gnp("g"),)]


def test_a_policy_whose_selector_is_broken_denies_hosts_as_well() -> None:
    cluster = Cluster(gateway(interfaceName="eth0"), states.global_policy("g", selector="((", types=["Ingress"]))
    (policy,) = cluster.intent.policies.values()
    assert [rule.action for rule in policy.ingress] == [Action.DENY]
    (found,) = cluster.intent.host_endpoints.values()
    assert [tier.ingress for tier in found.normal] == [(gnp("g"),)]


def test_sets_of_a_service_stand_as_long_as_a_rule_names_it() -> None:
    to = [{"action": "Allow", "destination": {"services": {"name": "web"}}}]
    by = [{"action": "Allow", "source": {"services": {"name": "web"}}}]
    slices = [states.endpoint_slice("web-1", "web", "10.0.0.5", ports=[80]), states.endpoint_slice("web-2", "web", "10.0.0.6")]
    cluster = Cluster(WEB, *slices)
    assert not cluster.intent.sets
    policy = states.policy("p", types=["Ingress", "Egress"], ingress=by, egress=to)
    cluster.show(WEB, *slices, policy)
    kinds = {cluster.intent.sets[set_id].kind: members for set_id, members in cluster.intent.members.items()}
    assert {str(each) for each in kinds[SetKind.NET]} == {"10.0.0.5/32", "10.0.0.6/32"}
    assert kinds[SetKind.IP_PORT] == {PortMember(parse_address(f"10.0.0.{last}"), 6, 80) for last in (5, 6)}
    cluster.show(WEB, slices[0], policy)
    assert sorted(len(members) for members in cluster.intent.members.values()) == [1, 1]
    cluster.show(WEB, *slices)
    assert not cluster.intent.sets


def test_a_cluster_policy_keeps_its_kind_and_place() -> None:
    cluster = Cluster(
        WEB,
        states.cluster_policy("same", order=5, types=["Ingress"]),
        states.global_policy("same", tier="kube-admin", order=5, types=["Ingress"]),
        states.global_policy("later", types=["Ingress"]),
    )
    admin, default = cluster.endpoint("ns/web").tiers
    assert admin.ingress == (gnp("same"), PolicyId("KubernetesClusterNetworkPolicy", "", "same"))
    assert (admin.name, admin.default_pass, default.name) == ("kube-admin", True, "default")


@pytest.mark.shows("PS-13.1", "PS-13.4")
def test_staged_policies_stand_where_they_would_if_they_were_enforced() -> None:
    resources = [
        WEB,
        states.policy("p", order=2, types=["Ingress"]),
        states.staged_policy("p", order=1, types=["Ingress"]),
        states.staged_policy("k", kind="StagedKubernetesNetworkPolicy", order=1000, types=["Ingress"]),
        states.staged_policy("gone", stagedAction="Delete"),
        states.staged_policy("nobody", selector="nobody == 'here'"),
    ]
    cluster = Cluster(*resources, staged=True)
    (tier,) = cluster.endpoint("ns/web").tiers
    assert tier.ingress == (
        PolicyId("StagedNetworkPolicy", "ns", "p"),
        PolicyId("NetworkPolicy", "ns", "p"),
        PolicyId("StagedKubernetesNetworkPolicy", "ns", "k"),
    )
    held = {policy_id.name: policy for policy_id, policy in cluster.intent.policies.items() if policy.staged}
    assert {name: policy.staged_action for name, policy in held.items()} == {
        "p": StagedAction.SET,
        "k": StagedAction.SET,
        "gone": StagedAction.DELETE,
        "nobody": StagedAction.SET,
    }
    assert enforced_twin(held["gone"].id) == PolicyId("NetworkPolicy", "ns", "gone")
    assert {policy_id.kind for policy_id in Cluster(*resources).intent.policies} == {"NetworkPolicy"}


def test_service_networks_come_from_the_clusters_bgp_configuration() -> None:
    cluster = Cluster(states.bgp_configuration(serviceClusterIPs=[{"cidr": "10.96.0.0/12"}]))
    assert [str(net) for net in cluster.intent.service_nets] == ["10.96.0.0/12"]
    cluster.show()
    assert cluster.intent.service_nets == ()


def test_limits_reach_the_endpoint() -> None:
    limits = QoSControls(ingress_packet_rate=100, egress_max_connections=5, dscp="EF")
    found = Cluster(states.pod("web", "10.0.0.1/32", qos=limits)).endpoint("ns/web")
    assert (found.ingress_packet_rate, found.egress_max_connections, found.dscp) == (PacketRate(100), 5, 46)


@pytest.mark.shows("PS-5.11")
def test_a_predefined_tier_that_is_stored_with_other_values_is_reported() -> None:
    tier = states.tier("default", 1, "Pass")
    cluster = Cluster(WEB, states.global_policy("g", types=["Ingress"]), tier)
    assert [each.default_pass for each in cluster.endpoint("ns/web").tiers] == [False]
    assert "default" in cluster.graph.problems[tier.key]
    cluster.show(WEB)
    assert not cluster.graph.problems
