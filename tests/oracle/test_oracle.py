"""The oracle against cases whose answers stand in the Kubernetes and Calico documentation, worked out by hand."""

from typing import Any

import pytest
import yaml
from tests.oracle.cluster import Sent
from tests.oracle.judge import Oracle
from tests.oracle.selector import matches

CLUSTER = """
apiVersion: v1
kind: Namespace
metadata: {name: prod, labels: {stage: prod}}
---
apiVersion: v1
kind: Namespace
metadata: {name: dev}
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: prod, labels: {app: web}}
spec: {containers: [{ports: [{name: http, containerPort: 8080}]}]}
status: {podIPs: [{ip: 10.0.0.1}, {ip: "fd00::1"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: prod, labels: {app: client}}
spec: {serviceAccountName: clients}
status: {podIPs: [{ip: 10.0.0.2}, {ip: "fd00::2"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: dev, labels: {app: client}}
status: {podIPs: [{ip: 10.0.0.3}, {ip: "fd00::3"}]}
"""
WEB, CLIENT, DEV = "10.0.0.1", "10.0.0.2", "10.0.0.3"


def allows(policies: str, source: str = CLIENT, destination: str = WEB, port: int = 8080, protocol: int = 6) -> bool:
    documents: list[dict[str, Any]] = list(yaml.safe_load_all(CLUSTER)) + list(yaml.safe_load_all(policies))
    return Oracle([d for d in documents if d]).allows(
        Sent(source, destination, protocol, source_port=40000, destination_port=port)
    )


def kubernetes(spec: str, namespace: str = "prod") -> str:
    return (
        f"apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: k, namespace: {namespace}}}\nspec: {spec}\n"
    )


def calico(spec: str, kind: str = "GlobalNetworkPolicy", name: str = "c") -> str:
    namespace = ", namespace: prod" if kind == "NetworkPolicy" else ""
    return f"---\napiVersion: projectcalico.org/v3\nkind: {kind}\nmetadata: {{name: {name}{namespace}}}\nspec: {spec}\n"


def test_pods_talk_freely_without_policy() -> None:
    assert allows("")


def test_a_policy_isolates_only_what_it_selects() -> None:
    policy = kubernetes("{podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress]}")
    assert not allows(policy)
    assert allows(policy, WEB, CLIENT)


def test_a_peer_without_namespace_selector_means_the_policys_own_namespace() -> None:
    policy = kubernetes("{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: client}}}]}]}")
    assert allows(policy)
    assert not allows(policy, DEV)


def test_an_empty_namespace_selector_means_every_namespace() -> None:
    policy = kubernetes("{podSelector: {}, ingress: [{from: [{namespaceSelector: {}}]}]}")
    assert allows(policy, DEV)
    assert not allows(policy, "192.0.2.1")


def test_every_namespace_carries_its_name() -> None:
    selector = "{matchLabels: {kubernetes.io/metadata.name: dev}}"
    policy = kubernetes(f"{{podSelector: {{}}, ingress: [{{from: [{{namespaceSelector: {selector}}}]}}]}}")
    assert allows(policy, DEV)
    assert not allows(policy)


def test_an_empty_from_means_everybody_and_an_empty_list_of_rules_nobody() -> None:
    assert allows(kubernetes("{podSelector: {}, ingress: [{}]}"), "192.0.2.1")
    assert not allows(kubernetes("{podSelector: {}, ingress: []}"), "192.0.2.1")


def test_except_is_carved_out_of_a_block() -> None:
    policy = kubernetes("{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.0.0.3/32]}}]}]}")
    assert allows(policy)
    assert not allows(policy, DEV)


def test_ports_are_numbers_ranges_and_names() -> None:
    named = kubernetes("{podSelector: {}, ingress: [{ports: [{port: http}]}]}")
    assert allows(named)
    assert not allows(named, port=80)
    ranged = kubernetes("{podSelector: {}, ingress: [{ports: [{port: 8000, endPort: 8080}]}]}")
    assert allows(ranged)
    assert not allows(ranged, port=8081)
    assert not allows(ranged, protocol=17)


def test_an_egress_policy_without_types_governs_both_directions() -> None:
    policy = kubernetes("{podSelector: {matchLabels: {app: web}}, egress: [{to: [{podSelector: {}}]}]}")
    assert allows(policy, WEB, CLIENT)
    assert not allows(policy, WEB, DEV)
    assert not allows(policy, CLIENT, WEB)


def test_order_decides_between_calico_and_kubernetes_policies() -> None:
    opened = kubernetes("{podSelector: {}, ingress: [{}]}")
    assert not allows(opened + calico("{order: 10, selector: all(), ingress: [{action: Deny}]}"))
    assert allows(opened + calico("{order: 2000, selector: all(), ingress: [{action: Deny}]}"))
    assert allows(opened + calico("{selector: all(), ingress: [{action: Deny}]}"))


def test_tiers_pass_on_and_a_tier_that_does_not_exist_comes_last() -> None:
    tier = "---\napiVersion: projectcalico.org/v3\nkind: Tier\nmetadata: {name: sec}\nspec: {order: 10}\n"
    denied = calico("{tier: sec, selector: all(), ingress: [{action: Deny}]}")
    opened = calico("{selector: all(), ingress: [{action: Allow}]}", name="d")
    assert not allows(tier + denied + opened)
    assert allows(denied + opened)
    assert allows(tier + calico("{tier: sec, selector: all(), ingress: [{action: Pass}]}") + opened)


def test_a_lone_not_selector_of_a_global_policy_also_means_strangers() -> None:
    policy = "{selector: all(), ingress: [{action: Allow, source: {notSelector: app == 'client'}}]}"
    assert allows(calico(policy), "192.0.2.1")
    assert not allows(calico(policy))
    # In a namespaced policy it means the namespace's own endpoints, so strangers are out.
    assert not allows(calico(policy, kind="NetworkPolicy"), "192.0.2.1")


@pytest.mark.parametrize(("operator", "allowed"), [("DoesNotExist", False), ("Exists", True)])
def test_a_cluster_policys_named_port_is_that_of_whom_the_peer_selects(operator: str, allowed: bool) -> None:
    """The set holds the address and is in no namespace; who calls the port so is in one."""
    policies = f"""
apiVersion: projectcalico.org/v3
kind: GlobalNetworkSet
metadata: {{name: set}}
spec: {{nets: [10.0.0.0/30]}}
---
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {{name: named}}
spec:
  tier: Admin
  priority: 1
  subject: {{namespaces: {{}}}}
  egress:
  - action: Accept
    to: [{{namespaces: {{matchExpressions: [{{key: kubernetes.io/metadata.name, operator: {operator}}}]}}}}]
    protocols: [{{destinationNamedPort: http}}]
  - action: Deny
    to: [{{networks: [0.0.0.0/0]}}]
"""
    assert allows(policies) is allowed


def test_service_accounts_select() -> None:
    policy = calico("{selector: all(), ingress: [{action: Allow, source: {serviceAccounts: {names: [clients]}}}]}")
    assert allows(policy)
    assert not allows(policy, DEV)


def test_a_rule_for_one_family_says_nothing_about_the_other() -> None:
    policy = calico("{selector: all(), ingress: [{action: Deny, source: {notNets: [192.0.2.0/24]}}, {action: Allow}]}")
    assert not allows(policy)
    assert allows(policy, "fd00::2", "fd00::1")


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("", True),
        ("a == 'x'", True),
        ("a != 'x'", False),
        ("b != 'x'", True),
        ("a in {'x','y'}", True),
        ("b not in {'x',}", True),
        ("a notin {}", True),
        ("has(a) && !has(b)", True),
        ("a starts with 'x' && a ends with 'x' && a contains ''", True),
        ("!(a == 'x' || b == 'y')", False),
        ("!!has(a)", True),
        ("all() && c == 'in'", True),
        ("a == 'n' || a == 'm' && has(c) || has(in)", False),
    ],
)
def test_selectors(text: str, holds: bool) -> None:
    assert matches(text, {"a": "x", "c": "in"}) is holds
