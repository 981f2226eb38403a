"""What is believed of values that cannot be read."""

import json
from typing import Any

import pytest

from tortie.api.cluster_policy import ClusterNetworkPolicy
from tortie.api.endpoint import WorkloadEndpoint, WorkloadEndpointSpec
from tortie.api.hostendpoint import HostEndpoint
from tortie.api.kinds import KINDS
from tortie.api.networkset import GlobalNetworkSet
from tortie.api.policy import GlobalNetworkPolicy, NetworkPolicy, Rule
from tortie.api.profile import Profile, ProfileSpec
from tortie.api.resource import Key, Metadata, Update
from tortie.api.services import EndpointSlice
from tortie.calc.graph import Graph
from tortie.convert.cluster_policies import cluster_policy
from tortie.convert.feed import convert_update
from tortie.datastore.codec import read
from tortie.datastore.unreadable import Unreadable, stand_in
from tortie.intent.keys import PolicyId
from tortie.intent.messages import EndpointUpdate, PolicyUpdate
from tortie.intent.policy import Action

DENY = (Rule(action="Deny"),)


def broken(kind: str, document: dict[str, Any] | bytes, *, namespace: str = "") -> Unreadable:
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    key = Key(kind, namespace, "p")
    found = read(key, "/a/path", data, revision="7")
    assert isinstance(found, Unreadable)
    return found


def test_a_policy_keeps_what_can_be_read_and_denies() -> None:
    spec = {"tier": "security", "order": 5, "selector": "app == 'x'", "types": ["Ingress"], "ingress": [{"action": "Alow"}]}
    policy = stand_in(broken("NetworkPolicy", {"spec": spec}, namespace="shop"))
    assert isinstance(policy, NetworkPolicy)
    assert policy.key == Key("NetworkPolicy", "shop", "p")
    assert (policy.spec.tier, policy.spec.order, policy.spec.selector) == ("security", 5, "app == 'x'")
    assert (policy.spec.types, policy.spec.ingress, policy.spec.egress) == (("Ingress",), DENY, ())


@pytest.mark.parametrize("data", [b"", b"{", b"null", b"[1]", b'{"spec": 5}', b"\xff\xfe", b'{"spec": {"selector": 5}}'])
def test_a_policy_of_which_nothing_can_be_read_denies_its_whole_scope_first(data: bytes) -> None:
    policy = stand_in(broken("GlobalNetworkPolicy", data))
    assert isinstance(policy, GlobalNetworkPolicy)
    assert (policy.spec.selector, policy.spec.types) == ("", ("Ingress", "Egress"))
    assert policy.spec.ingress == policy.spec.egress == DENY
    assert policy.spec.order is not None
    assert policy.spec.order < -1e300
    assert policy.spec.apply_on_forward == (b"selector" not in data)


def test_a_policy_for_hosts_only_stays_one() -> None:
    policy = stand_in(broken("GlobalNetworkPolicy", {"spec": {"order": "x", "preDNAT": True, "selector": 5}}))
    assert isinstance(policy, GlobalNetworkPolicy)
    assert policy.spec.pre_dnat


def test_a_network_set_keeps_the_labels_and_nets_that_can_be_read() -> None:
    document = {"metadata": {"labels": {"bad": "yes", "x": 5}}, "spec": {"nets": ["192.0.2.0/24", 5]}}
    kept = stand_in(broken("GlobalNetworkSet", document))
    assert isinstance(kept, GlobalNetworkSet)
    assert (kept.metadata.labels, kept.spec.nets) == ({"bad": "yes"}, ("192.0.2.0/24",))


def test_a_host_endpoint_that_tells_whose_it_is_stays_and_denies() -> None:
    document = {
        "metadata": {"labels": {"role": "db", "x": 5}},
        "spec": {"node": "n1", "interfaceName": "eth0", "profiles": ["open"], "ports": 5},
    }
    kept = stand_in(broken("HostEndpoint", document))
    assert isinstance(kept, HostEndpoint)
    assert (kept.metadata.labels, kept.spec.node, kept.spec.interface_name) == ({"role": "db"}, "n1", "eth0")
    assert kept.spec.profiles == ()
    assert stand_in(broken("HostEndpoint", {"spec": {"node": "n1", "ports": 5}})) is None


def test_an_endpoint_slice_keeps_what_can_be_read() -> None:
    document = {
        "metadata": {"labels": {"kubernetes.io/service-name": "web"}},
        "addressType": 4,
        "endpoints": [{"addresses": ["10.0.0.1"]}, {"addresses": "10.0.0.2"}],
        "ports": [{"port": 80}, {"port": "http"}],
    }
    kept = stand_in(broken("KubernetesEndpointSlice", document, namespace="shop"))
    assert isinstance(kept, EndpointSlice)
    assert [endpoint.addresses for endpoint in kept.endpoints] == [("10.0.0.1",)]
    assert [port.port for port in kept.ports] == [80]
    assert kept.metadata.labels == {"kubernetes.io/service-name": "web"}


def test_a_cluster_policy_keeps_its_subject_and_its_directions_and_denies() -> None:
    spec = {
        "tier": "Baseline",
        "priority": "low",
        "subject": {"namespaces": {"matchLabels": {"a": "b"}}},
        "egress": [{"action": "Accept"}],
        "ingress": 0,
    }
    kept = stand_in(broken("KubernetesClusterNetworkPolicy", {"spec": spec}))
    assert isinstance(kept, ClusterNetworkPolicy)
    converted = cluster_policy(kept)
    assert converted is not None
    assert (converted.spec.tier, converted.spec.namespace_selector) == ("kube-baseline", "a == 'b'")
    assert converted.spec.order is not None
    assert converted.spec.order < 0
    assert (converted.spec.types, converted.spec.ingress) == (("Egress",), ())
    assert [rule.action for rule in converted.spec.egress] == ["Deny"]


def test_what_closes_by_being_absent_is_absent() -> None:
    for kind in ("Profile", "WorkloadEndpoint", "Tier", "FelixConfiguration", "IPPool"):
        assert stand_in(broken(kind, b"{", namespace="shop" if kind == "WorkloadEndpoint" else "")) is None


@pytest.mark.parametrize(
    "kind", ["NetworkPolicy", "GlobalNetworkPolicy", "KubernetesNetworkPolicy", "KubernetesClusterNetworkPolicy"]
)
def test_an_endpoint_in_the_scope_of_a_broken_policy_is_denied_in_both_directions(kind: str) -> None:
    graph = Graph("n1")
    spec = WorkloadEndpointSpec(
        orchestrator="k8s",
        node="n1",
        pod="w",
        endpoint="eth0",
        ip_networks=("10.0.0.1/32",),
        interface_name="cali1",
        profiles=("kns.shop",),
    )
    labels = {"projectcalico.org/namespace": "shop", "projectcalico.org/orchestrator": "k8s"}
    endpoint = WorkloadEndpoint(metadata=Metadata(name="n1-k8s-w-eth0", namespace="shop", labels=labels), spec=spec)
    stored = broken(kind, b"{", namespace="shop" if KINDS[kind].namespaced else "")
    profile = Profile(metadata=Metadata(name="kns.shop"), spec=ProfileSpec(labels_to_apply={"pcns.a": "b"}))
    graph.on_updates(
        [Update(endpoint.key, endpoint), Update(profile.key, profile), convert_update(Update(stored.key, stand_in(stored)))]
    )
    graph.on_in_sync()
    messages = graph.flush()
    (told,) = [message.endpoint for message in messages if isinstance(message, EndpointUpdate)]
    assert told is not None
    (tier,) = told.tiers
    assert tier.ingress == tier.egress == (PolicyId(*stored.key),)
    (policy,) = [message.policy for message in messages if isinstance(message, PolicyUpdate)]
    assert policy is not None
    assert all(rule.action is Action.DENY for rule in (*policy.ingress, *policy.egress))
