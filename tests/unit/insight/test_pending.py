"""What explanations say of staged policies."""

import pytest
from tests.unit.insight.asking import ask, global_policy, pod, world_of

from tortie.insight.document import explanation_document

PODS = (pod("web", "10.0.0.1", labels="{app: web}"), pod("client", "10.0.0.2", labels="{app: client}"))
STAGED = "StagedGlobalNetworkPolicy"
ALLOW = global_policy("web", "app == 'web'", "types: [Ingress]\ningress: [{action: Allow}]")


def staged(rules: str, *, name: str = "web", selector: str = "app == 'web'", action: str = "Set") -> str:
    return global_policy(name, selector, f"types: [Ingress]\n{rules}", kind=STAGED, more=f"stagedAction: {action}")


def test_without_staged_policies_nothing_is_pending() -> None:
    answer = ask(world_of(*PODS, ALLOW), "prod/client", "prod/web", "tcp/80")
    assert answer.pending is None
    assert "pending" not in explanation_document(answer)


@pytest.mark.shows("PS-13.2", "PS-13.4")
def test_a_draft_that_denies_is_shown_beside_the_verdict_that_holds() -> None:
    world = world_of(*PODS, ALLOW, staged("ingress: [{action: Deny, source: {selector: app == 'client'}}]"))
    answer = ask(world, "prod/client", "prod/web", "tcp/80")
    assert answer.allowed
    document = explanation_document(answer)
    assert (document["verdict"], document["pending"]["verdict"], document["pending"]["differs"]) == ("allow", "deny", True)
    assert document["pending"]["ingress"]["policy"] == "StagedGlobalNetworkPolicy web"
    assert document["pending"]["ingress"]["location"].startswith("policy.yaml:")


@pytest.mark.shows("PS-13.1")
@pytest.mark.parametrize(("action", "pending"), [("Set", False), ("Delete", True), ("Learn", False), ("Ignore", False)])
def test_what_each_staged_action_would_do(action: str, pending: bool) -> None:
    deny = global_policy("web", "app == 'web'", "types: [Ingress]\ningress: [{action: Deny}]")
    bare = f"""\
apiVersion: projectcalico.org/v3
kind: {STAGED}
metadata: {{name: web}}
spec: {{stagedAction: {action}}}
"""
    draft = bare if action == "Delete" else staged("ingress: [{action: Deny}]", action=action)
    answer = ask(world_of(*PODS, deny, draft), "prod/client", "prod/web", "tcp/80")
    assert not answer.allowed
    assert answer.pending is not None
    assert answer.pending.allowed is pending


def test_a_draft_that_selects_fewer_takes_its_twin_from_the_others() -> None:
    deny = global_policy("web", "all()", "types: [Ingress]\ningress: [{action: Deny}]")
    world = world_of(*PODS, deny, staged("ingress: [{action: Deny}]", selector="app == 'client'"))
    answer = ask(world, "prod/client", "prod/web", "tcp/80")
    assert not answer.allowed
    assert answer.pending is not None
    assert answer.pending.allowed


def test_a_staged_kubernetes_policy_is_previewed_under_its_authors_rule_numbers() -> None:
    draft = """\
apiVersion: projectcalico.org/v3
kind: StagedKubernetesNetworkPolicy
metadata: {name: draft, namespace: prod}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress]
  ingress:
  - from: [{podSelector: {matchLabels: {app: nobody}}}]
    ports: [{port: 80}, {protocol: UDP, port: 80}]
  - from: [{podSelector: {matchLabels: {app: client}}}]
    ports: [{port: 80}]
"""
    world = world_of(*PODS, draft)
    document = explanation_document(ask(world, "prod/client", "prod/web", "tcp/80"))
    assert document["pending"]["verdict"] == "allow"
    assert (document["pending"]["ingress"]["policy"], document["pending"]["ingress"]["rule"]) == (
        "StagedKubernetesNetworkPolicy prod/draft",
        1,
    )
    assert explanation_document(ask(world, "prod/client", "prod/web", "tcp/81"))["pending"]["verdict"] == "deny"


def test_cluster_network_policies_are_explained_in_their_own_tier() -> None:
    admin = """\
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: guard}
spec:
  tier: Admin
  priority: 10
  subject: {namespaces: {}}
  ingress:
  - action: Pass
    from: [{namespaces: {matchLabels: {no: body}}}]
  - action: Deny
    from: [{pods: {namespaceSelector: {}, podSelector: {matchLabels: {app: client}}}}]
"""
    document = explanation_document(ask(world_of(*PODS, ALLOW, admin), "prod/client", "prod/web", "tcp/80"))
    ingress = document["ingress"]
    assert (document["verdict"], ingress["tier"], ingress["rule"]) == ("deny", "kube-admin", 1)
    assert ingress["policy"] == "KubernetesClusterNetworkPolicy guard"
    lines = ("\n---\n".join((*PODS, ALLOW, admin))).splitlines()
    assert ingress["location"] == f"policy.yaml:{lines.index('  - action: Deny') + 1}"
