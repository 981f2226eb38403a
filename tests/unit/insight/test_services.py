"""Services as ends, and slices for those that have none."""

import pytest
from tests.unit.insight.asking import ask, global_policy, host_endpoint, node, pod, world_of

from tortie.base.net import Family
from tortie.insight.document import explanation_document
from tortie.insight.ends import find
from tortie.insight.errors import InsightError, NoAddress, UnknownEnd
from tortie.insight.matrix import matrix
from tortie.insight.question import parse_question

PODS = (
    pod("web-1", "10.0.0.1", labels="{app: web}"),
    pod("web-2", "10.0.0.2", labels="{app: web, canary: x}"),
    pod("client", "10.0.0.9", namespace="dev"),
    node("n1", "192.0.2.1"),
)


def service(spec: str, name: str = "web") -> str:
    return f"""\
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: prod}}
spec: {{{spec}}}
"""


WEB = service("clusterIP: 10.96.0.7, selector: {app: web}, ports: [{name: www, port: 80, targetPort: http}]")
SLICE = """\
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-x, namespace: prod, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: www, port: 9090, protocol: TCP}]
endpoints:
- {addresses: [10.0.0.1], conditions: {ready: true}}
- {addresses: [10.0.0.2], conditions: {ready: false}}
"""
NO_CANARY = """\
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: shut, namespace: prod}
spec: {selector: has(canary), types: [Ingress]}
"""


@pytest.mark.parametrize("asked", ["svc/prod/web", "10.96.0.7"])
@pytest.mark.parametrize("port", ["tcp/80", "tcp/www"])
def test_a_service_is_answered_for_each_of_its_backends(asked: str, port: str) -> None:
    answer = ask(world_of(*PODS, WEB), "dev/client", asked, port)
    assert answer.allowed
    assert [(backend.destination.text, backend.packet.destination_port) for backend in answer.backends] == [
        ("prod/web-1", 8080),
        ("prod/web-2", 8080),
    ]
    document = explanation_document(answer)["service"]
    assert document["syntheticEndpoints"] is True
    assert [backend["verdict"] for backend in document["backends"]] == ["allow", "allow"]


def test_one_backend_that_is_denied_denies() -> None:
    answer = ask(world_of(*PODS, WEB, NO_CANARY), "dev/client", "svc/prod/web", "tcp/80")
    assert not answer.allowed
    assert answer.destination.text == "prod/web-2"
    assert [backend.allowed for backend in answer.backends] == [True, False]


def test_slices_of_the_input_count_and_only_their_ready_endpoints() -> None:
    answer = ask(world_of(*PODS, WEB, SLICE), "dev/client", "svc/prod/web", "tcp/80")
    assert [(backend.destination.text, backend.packet.destination_port) for backend in answer.backends] == [
        ("prod/web-1", 9090)
    ]
    assert "syntheticEndpoints" not in explanation_document(answer)["service"]


@pytest.mark.shows("PS-1.8")
def test_policy_before_translation_sees_the_services_address() -> None:
    shut = global_policy(
        "shut",
        "has(host)",
        "types: [Ingress]\ningress: [{action: Deny, destination: {nets: [10.96.0.7/32]}}]",
        more="preDNAT: true\napplyOnForward: true",
    )
    world = world_of(*PODS, WEB, host_endpoint("all", "n1", "*"), shut)
    assert not ask(world, "dev/client", "svc/prod/web", "tcp/80").allowed
    assert ask(world, "dev/client", "prod/web-1", "tcp/8080").allowed


def test_rules_about_services_work_without_slices_in_the_input() -> None:
    only_to_web = """\
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: out, namespace: dev}
spec:
  types: [Egress]
  egress: [{action: Allow, destination: {services: {name: web, namespace: prod}}}]
"""
    world = world_of(*PODS, WEB, only_to_web)
    assert ask(world, "dev/client", "svc/prod/web", "tcp/80").allowed
    assert ask(world, "dev/client", "prod/web-2", "tcp/8080").allowed
    assert not ask(world, "dev/client", "prod/web-2", "tcp/8081").allowed


def test_deployments_stand_behind_services_too() -> None:
    deployment = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: api, namespace: prod}
spec:
  template:
    metadata: {labels: {app: api}}
    spec: {containers: [{name: c, image: i}]}
"""
    world = world_of(*PODS, deployment, service("selector: {app: api}, ports: [{port: 5000}]", "api"))
    answer = ask(world, "dev/client", "svc/prod/api", "tcp/5000")
    assert [(backend.destination.text, backend.packet.destination_port) for backend in answer.backends] == [("prod/api", 5000)]


def test_pods_that_give_one_port_name_two_numbers_are_asked_at_their_own() -> None:
    other = pod("web-3", "10.0.0.3", labels="{app: web}").replace("8080", "7070")
    answer = ask(world_of(*PODS, other, WEB), "dev/client", "svc/prod/web", "tcp/80")
    ports = {backend.destination.text: backend.packet.destination_port for backend in answer.backends}
    assert ports == {"prod/web-1": 8080, "prod/web-2": 8080, "prod/web-3": 7070}


@pytest.mark.parametrize(
    ("source", "destination", "question", "message"),
    [
        ("dev/client", "svc/prod/web", "tcp/81", r"no TCP port 81; its ports: tcp/80"),
        ("dev/client", "svc/prod/web", "udp/80", r"no UDP port 80"),
        ("dev/client", "svc/prod/wep", "tcp/80", r"did you mean svc/prod/web or"),
        ("dev/client", "svc/prod/empty", "tcp/80", r"no ready backend"),
        ("svc/prod/web", "dev/client", "tcp/80", r"sends nothing"),
    ],
)
def test_questions_about_services_that_have_no_answer(source: str, destination: str, question: str, message: str) -> None:
    world = world_of(*PODS, WEB, service("selector: {app: nobody}, ports: [{port: 80}]", "empty"))
    with pytest.raises((InsightError, NoAddress, UnknownEnd), match=message):
        ask(world, source, destination, question)


def test_a_family_that_no_backend_has_is_refused() -> None:
    with pytest.raises(InsightError, match="no ready IPv6 backend"):
        ask(world_of(*PODS, WEB), "fd00::9", "svc/prod/web", "tcp/80", Family.V6)


BALANCED = (
    WEB.replace("clusterIP: 10.96.0.7", "type: LoadBalancer, clusterIP: 10.96.0.7, externalIPs: [192.0.2.200]")
    + "status: {loadBalancer: {ingress: [{ip: 203.0.113.80}, {hostname: lb.example}]}}\n"
)


@pytest.mark.parametrize("asked", ["10.96.0.7", "192.0.2.200", "203.0.113.80"])
@pytest.mark.parametrize("source", ["dev/client", "198.51.100.9"])
def test_every_address_of_a_service_is_the_services(asked: str, source: str) -> None:
    answer = ask(world_of(*PODS, BALANCED, NO_CANARY), source, asked, "tcp/80")
    assert [backend.allowed for backend in answer.backends] == [True, False]
    assert explanation_document(answer)["service"]["port"] == {"port": 80, "protocol": "TCP", "name": "www"}
    assert any("198.51.100.9 is assumed to come in by the node of each backend" in note for note in answer.notes) == (
        source == "198.51.100.9"
    )


def test_a_pod_that_is_led_to_itself_by_its_service_is_asked_both_ways() -> None:
    shut = global_policy("shut", "app == 'web'", "types: [Egress]\negress: [{action: Deny}]")
    answer = ask(world_of(PODS[0], PODS[3], WEB, shut), "prod/web-1", "svc/prod/web", "tcp/80")
    assert not answer.allowed, "it leaves its network namespace and comes back"
    assert ask(world_of(PODS[0], PODS[3], WEB, shut), "prod/web-1", "10.0.0.1", "tcp/8080").allowed


def test_internal_traffic_policy_local_keeps_to_backends_of_the_senders_node() -> None:
    local = WEB.replace("clusterIP", "internalTrafficPolicy: Local, clusterIP")
    world = world_of(*PODS, pod("web-3", "10.0.1.3", node="n2", labels="{app: web}"), pod("far", "10.0.2.1", node="n3"), local)
    assert [each.destination.text for each in ask(world, "dev/client", "svc/prod/web", "tcp/80").backends] == [
        "prod/web-1",
        "prod/web-2",
    ]
    with pytest.raises(InsightError, match="internalTrafficPolicy is Local, and no ready backend is on node/n3"):
        ask(world, "prod/far", "svc/prod/web", "tcp/80")
    questions, sources = [parse_question("tcp/80")], [find(world, name) for name in ("dev/client", "prod/far")]
    table = matrix(world, sources, [find(world, "svc/prod/web")], questions=questions)
    assert [table.answer(i, 0, 0) is not None for i in range(2)] == [True, False]


NETS = """\
apiVersion: projectcalico.org/v3
kind: BGPConfiguration
metadata: {name: default}
spec: {serviceClusterIPs: [{cidr: 10.96.0.0/16}]}
"""


@pytest.mark.parametrize("source", ["dev/client", "node/n1", "198.51.100.9"])
def test_an_address_of_the_service_network_that_no_service_has_leads_nowhere(source: str) -> None:
    world = world_of(*PODS, WEB, NETS)
    answer = ask(world, source, "10.96.0.8", "tcp/80")
    assert not answer.allowed
    assert "10.96.0.8 lies in serviceClusterIPs 10.96.0.0/16 and no service of the input has it" in answer.ingress.reason
    assert ("ServiceLoopPrevention is Drop" in answer.deciding.reason) == (source == "dev/client"), (
        "only what is forwarded is dropped"
    )
    assert ask(world, source, "10.96.0.7", "tcp/80").allowed
    assert ask(world_of(*PODS, WEB), source, "10.96.0.8", "tcp/80").allowed, "nobody says that it is a service's"


TAKEN = BALANCED.replace("{name: www,", "{name: www, nodePort: 30080,").replace("192.0.2.200", "192.0.2.1")
FAR = (pod("web-3", "10.0.1.3", node="n2", labels="{app: web}"), node("n2", "192.0.2.2"))
STRANGER = "198.51.100.9"


def test_a_port_of_a_node_that_a_service_takes_leads_to_its_backends() -> None:
    world = world_of(*PODS, *FAR, TAKEN, NO_CANARY)
    for destination, port, what in (
        ("node/n2", "tcp/30080", "TCP port 30080 of 192.0.2.2 is the node port"),
        ("192.0.2.1", "tcp/80", "TCP port 80 of 192.0.2.1 is the external address"),
    ):
        answer = ask(world, STRANGER, destination, port)
        name = destination if destination.startswith("node/") else "node/n1"
        assert answer.meaning == f"{what} of svc/prod/web: {name} translates it"
        assert [backend.allowed for backend in answer.backends] == [True, False, True]
    assert ask(world, STRANGER, "node/n1", "tcp/81").service is None
    assert ask(world, STRANGER, "node/n2", "tcp/80").service is None


def test_a_backend_behind_another_node_than_that_of_the_port_sees_that_nodes_address() -> None:
    rules = f"types: [Ingress]\ningress: [{{action: Allow, source: {{nets: [{STRANGER}/32]}}}}]"
    only_true_source = global_policy("true-source", "app == 'web'", rules)
    world = world_of(*PODS, *FAR, TAKEN, only_true_source)
    answer = ask(world, STRANGER, "node/n1", "tcp/30080")
    assert {backend.destination.text: backend.allowed for backend in answer.backends} == {
        "prod/web-1": True,
        "prod/web-2": True,
        "prod/web-3": False,
    }
    assert "behind node/n1 the packet comes from 192.0.2.1 (kube-proxy)" in answer.notes


def test_with_external_traffic_policy_local_the_node_of_the_port_answers_with_its_own_backends_only() -> None:
    local = TAKEN.replace("type:", "externalTrafficPolicy: Local, type:")
    world = world_of(*PODS, *FAR, node("n3", "192.0.2.3"), local)
    (backend,) = ask(world, STRANGER, "node/n2", "tcp/30080").backends
    assert backend.destination.text == "prod/web-3"
    with pytest.raises(InsightError, match="externalTrafficPolicy is Local, and no ready backend is on node/n3"):
        ask(world, STRANGER, "node/n3", "tcp/30080")
    assert len(ask(world, "dev/client", "node/n1", "tcp/30080").backends) == 3, "a sender on the node itself is led to all"


def test_pre_dnat_policy_of_the_ports_node_sees_the_node_port_and_both_nodes_forward() -> None:
    endpoints = (host_endpoint("one", "n1", "eth0"), host_endpoint("two", "n2", "eth0"))
    deny = "types: [Ingress]\ningress: [{action: Deny, protocol: TCP, destination: {nets: [192.0.2.2/32], ports: [30080]}}]"
    guard = global_policy("guard", "has(host)", deny, more="preDNAT: true\napplyOnForward: true")
    world = world_of(*PODS, *FAR, *endpoints, TAKEN, guard)
    answer = ask(world, STRANGER, "node/n2", "tcp/30080")
    assert [backend.allowed for backend in answer.backends] == [False, False, False]
    assert all("pre-DNAT policy of host endpoint two" in backend.deciding.hook for backend in answer.backends)
    assert ask(world, STRANGER, "node/n1", "tcp/30080").allowed
    nodes = [
        (step.node, step.direction.value) for step in answer.backends[0].journey.steps if step.hook.value == "filter forward"
    ]
    assert nodes == [("n2", "Ingress"), ("n2", "Egress"), ("n1", "Ingress"), ("n1", "Ingress")]
