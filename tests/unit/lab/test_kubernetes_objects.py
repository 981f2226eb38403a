"""Documents that the lab writes to an API server, and what it reads out of others' pods."""

from typing import Any

from tortie.lab import kubernetes_objects as objects
from tortie.lab.spec import PodSpec


def test_a_pod_of_lab_yaml_says_where_it_runs_and_serves_what_lab_yaml_says_only() -> None:
    spec = PodSpec(name="prod/db", labels={"app": "db"}, serve=("tcp:5432",), ports={"metrics": "udp:9100"})
    document = objects.pod_document(spec, "n1")
    assert (objects.namespace_of(document), objects.name_of(document), objects.node_of(document)) == ("prod", "db", "n1")
    assert document["metadata"]["labels"] == {"app": "db"}
    assert document["spec"]["containers"][0]["ports"] == [{"name": "metrics", "containerPort": 9100, "protocol": "UDP"}]
    assert objects.served_ports(document) == ("tcp:5432",)
    assert "nodeName" not in objects.pod_document(spec, "")["spec"]


def test_a_pod_made_by_kubectl_serves_every_port_that_its_containers_declare() -> None:
    ports = [{"containerPort": 80}, {"containerPort": 53, "protocol": "UDP"}, {"containerPort": 7, "protocol": "SCTP"}]
    containers: list[dict[str, Any]] = [
        {"name": "a", "ports": ports},
        {"name": "b", "ports": [{"containerPort": 80}]},
        {"name": "c"},
    ]
    assert objects.served_ports({"metadata": {}, "spec": {"containers": containers}}) == ("tcp:80", "udp:53")


def test_a_running_pods_status_has_all_addresses_the_first_one_alone_too_and_every_container_ready() -> None:
    document: dict[str, Any] = {"metadata": {}, "spec": {"containers": [{"name": "a", "image": "i"}, {"name": "b"}]}}
    status = objects.running_status(document, addresses=("10.0.0.1", "fd00::1"), host_addresses=("172.18.0.2",), now="now")
    assert status["podIP"] == "10.0.0.1"
    assert status["podIPs"] == [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]
    assert status["hostIP"] == "172.18.0.2"
    assert [(entry["name"], entry["ready"]) for entry in status["containerStatuses"]] == [("a", True), ("b", True)]
    assert {entry["type"] for entry in status["conditions"] if entry["status"] == "True"} >= {"Ready", "Initialized"}


def test_only_this_pod_is_removed_and_bound_never_a_later_one_of_its_name() -> None:
    document = {"metadata": {"name": "p", "namespace": "x", "uid": "u1"}, "spec": {}}
    assert objects.removal(document)["preconditions"] == {"uid": "u1"}
    assert objects.binding_document(document, "n1")["metadata"]["uid"] == "u1"
