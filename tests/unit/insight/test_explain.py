"""Explanations from files: who is asked, what decides, where it is written."""

import pytest

from tortie.api.errors import ApiError
from tortie.base.errors import TortieError
from tortie.base.net import Family
from tortie.insight.document import explanation_document
from tortie.insight.errors import InsightError, NoAddress, UnknownEnd
from tortie.insight.explain import Explanation, explain
from tortie.insight.files import Text, load
from tortie.insight.question import parse_question

PODS = """\
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: prod, labels: {app: web}}
spec:
  nodeName: n1
  containers: [{name: c, image: i, ports: [{name: http, containerPort: 8080}]}]
status: {podIPs: [{ip: 10.0.0.1}, {ip: "fd00::1"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: dev, labels: {app: client}}
spec: {nodeName: n1, containers: [{name: c, image: i}]}
status: {podIPs: [{ip: 10.0.0.2}]}
---
apiVersion: projectcalico.org/v3
kind: Node
metadata: {name: n1}
spec: {bgp: {ipv4Address: 192.0.2.1/24}}
---
"""
KUBERNETES = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: prod}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress:
  - from: [{podSelector: {}}, {ipBlock: {cidr: 192.0.2.0/24}}]
    ports: [{port: 80}, {protocol: UDP, port: 53}]
  - from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: dev}}}]
    ports: [{port: http}]
"""
TIERED = """\
apiVersion: projectcalico.org/v3
kind: Tier
metadata: {name: platform}
spec: {order: 10}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: guard}
spec:
  tier: platform
  selector: all()
  types: [Egress]
  egress:
  - action: Log
  - action: Deny
    protocol: UDP
  - action: Pass
"""


def ask(text: str, source: str, destination: str, question: str, family: Family | None = None) -> Explanation:
    world = load([Text("policy.yaml", text)]).world()
    return explain(world, source, destination, question=parse_question(question, family=family))


def test_without_policy_the_namespaces_profiles_let_everything_pass() -> None:
    answer = ask(PODS, "dev/client", "prod/web", "tcp/80")
    assert answer.allowed
    assert "Replies pass" in answer.replies


def test_a_kubernetes_rule_keeps_the_number_and_the_line_that_its_author_gave_it() -> None:
    answer = ask(PODS + KUBERNETES, "dev/client", "prod/web", "tcp/8080")
    assert answer.allowed
    ingress = explanation_document(answer)["ingress"]
    assert (ingress["policy"], ingress["rule"]) == ("KubernetesNetworkPolicy prod/web", 1)
    line = (PODS + KUBERNETES).splitlines().index(
        "  - from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: dev}}}]"
    ) + 1
    assert ingress["location"] == f"policy.yaml:{line}"


def test_a_named_port_of_the_destination_can_be_asked_by_name() -> None:
    answer = ask(PODS + KUBERNETES, "dev/client", "prod/web", "tcp/http")
    assert answer.packet.destination_port == 8080
    with pytest.raises(InsightError, match="named ports: tcp/http"):
        ask(PODS, "dev/client", "prod/web", "tcp/https")


def test_the_document_names_tier_policy_rule_and_reason_of_both_directions() -> None:
    answer = ask(PODS + TIERED, "dev/client", "prod/web", "udp/53")
    document = explanation_document(answer)
    assert (document["apiVersion"], document["kind"], document["verdict"]) == ("tortie.io/v1", "Explanation", "deny")
    egress = document["egress"]
    assert egress["verdict"] == "deny"
    assert (egress["tier"], egress["policy"], egress["rule"]) == ("platform", "GlobalNetworkPolicy guard", 1)
    assert "says Deny" in egress["reason"]
    asked = egress["trace"][0]["policies"][0]["rules"]
    assert [(rule["action"], rule["matched"]) for rule in asked] == [("Log", True), ("Deny", True)]
    ingress = document["ingress"]
    assert (ingress["verdict"], ingress["policy"], ingress["profile"]) == ("allow", None, "kns.prod")
    assert answer.deciding is answer.egress


def test_a_tier_default_is_named_where_no_rule_decided() -> None:
    ingress = explanation_document(ask(PODS + KUBERNETES, "dev/client", "prod/web", "tcp/1"))["ingress"]
    assert (ingress["decidedBy"], ingress["tier"], ingress["rule"]) == ("tier default", "default", None)


def test_policies_that_were_not_asked_are_named_with_the_reason() -> None:
    document = explanation_document(ask(PODS + KUBERNETES + "---\n" + TIERED, "prod/web", "dev/client", "tcp/1"))
    assert document["egress"]["notAsked"] == [
        {"policy": "KubernetesNetworkPolicy prod/web", "reason": "is not about egress"},
    ]
    assert document["ingress"]["notAsked"] == [{"policy": "GlobalNetworkPolicy guard", "reason": "is not about ingress"}]
    other = explanation_document(
        ask(PODS + DEPLOYMENT + KUBERNETES.replace("app: web", "app: x"), "dev/client", "prod/web", "tcp/1")
    )
    assert other["ingress"]["notAsked"] == [{"policy": "KubernetesNetworkPolicy prod/web", "reason": "does not select it"}]


def test_ends_may_be_nodes_and_addresses() -> None:
    policy = PODS + KUBERNETES
    assert not ask(policy, "192.0.2.99", "prod/web", "tcp/8080").allowed
    assert ask(policy, "192.0.2.99", "prod/web", "tcp/80").allowed
    assert ask(policy, "node/n1", "prod/web", "tcp/1").allowed, "a node reaches its own pods"
    assert ask(policy, "10.0.0.2", "prod/web", "tcp/8080").source.text == "dev/client"
    to_host = ask(policy, "dev/client", "node/n1", "tcp/22")
    assert not to_host.allowed
    assert "DefaultEndpointToHostAction is Drop" in to_host.ingress.reason


def test_the_family_is_one_that_both_ends_have() -> None:
    assert ask(PODS, "dev/client", "prod/web", "icmp").packet.icmp_type == 8
    assert ask(PODS, "fd00::9", "prod/web", "icmp").packet.icmp_type == 128
    with pytest.raises(NoAddress, match="ask with --family 4"):
        ask(PODS, "dev/client", "prod/web", "icmp", Family.V6)
    with pytest.raises(NoAddress, match="no address of the same family"):
        ask(PODS, "fd00::9", "dev/client", "icmp")


def test_a_name_that_is_not_there_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownEnd, match=r"did you mean prod/web\?"):
        ask(PODS, "dev/client", "prod/wep", "tcp/80")


DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: api, namespace: prod}
spec:
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: i, ports: [{name: http, containerPort: 9000}]}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: api, namespace: prod}
---
"""


def test_a_deployment_counts_as_one_pod_with_an_address_that_is_marked_as_made_up() -> None:
    answer = ask(PODS + DEPLOYMENT + KUBERNETES, "dev/client", "prod/api", "tcp/http")
    assert answer.allowed
    assert answer.packet.destination_port == 9000
    assert explanation_document(answer)["destination"]["syntheticAddress"] is True
    assert "syntheticAddress" not in explanation_document(answer)["source"]


def test_made_up_addresses_keep_clear_of_the_inputs_networks() -> None:
    block = KUBERNETES.replace("192.0.2.0/24", "198.18.0.0/24")
    answer = ask(PODS + DEPLOYMENT + block, "prod/api", "prod/web", "tcp/80")
    assert str(answer.packet.source) == "198.18.1.0"


def test_what_policy_does_not_look_at_is_left_out_and_counted() -> None:
    assert load([Text("a.yaml", DEPLOYMENT)]).ignored == {"ConfigMap": 1}


@pytest.mark.parametrize(
    "text",
    [
        KUBERNETES + "---\n" + KUBERNETES,
        KUBERNETES.replace("podSelector: {matchLabels", "podSelectr: {matchLabels"),
        KUBERNETES.replace("kind: NetworkPolicy", "kind: NetworkPolice"),
        "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: a}\nspec: {selector: 'a =='}\n",
        DEPLOYMENT.replace("template:", "tmplate:"),
        DEPLOYMENT.replace("metadata: {labels: {app: web}}", "metadata: web"),
        DEPLOYMENT.replace("metadata: {name: api, namespace: prod}", "metadata: api", 1),
        DEPLOYMENT.replace("kind: Deployment", "kind: [Deployment]"),
    ],
)
def test_what_cannot_be_meant_is_refused_rather_than_guessed(text: str) -> None:
    with pytest.raises(TortieError):
        load([Text("a.yaml", text)])


def test_errors_name_the_file_and_the_line() -> None:
    with pytest.raises(ApiError, match=r"broken\.yaml:5"):
        load([Text("broken.yaml", KUBERNETES.replace("podSelector: {matchLabels", "podSelectr: {matchLabels"))])


@pytest.mark.parametrize("text", ["tcp", "tcp/", "tcp/99999", "tpc/80", "300", "89/1", "icmp/256", "icmp/x"])
def test_questions_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(InsightError):
        parse_question(text)
