"""What endpoints and network sets bring."""

import msgspec
from tests.graph.states import host_endpoint, network_set, pod

from tortie.api.endpoint import EndpointPort, WorkloadEndpoint
from tortie.api.networkset import GlobalNetworkSet, NetworkSet
from tortie.calc.labelled import NamedPort, labelled_endpoint, labelled_host_endpoint, labelled_network_set


def test_an_endpoint_carries_its_namespace_orchestrator_and_service_account() -> None:
    long = "r" * 100
    found, problems = labelled_endpoint(pod("a", "10.0.0.1/32", labels={"app": "x", "pcns.a": "b"}, sa=long))
    assert dict(found.labels) == {
        "app": "x",
        "projectcalico.org/namespace": "ns",
        "projectcalico.org/orchestrator": "k8s",
        "projectcalico.org/serviceaccount": long,
    }
    assert found.profiles == ("kns.ns", f"ksa.ns.{long}")
    assert not problems


def test_ports_without_a_name_cannot_be_named() -> None:
    ports = [
        EndpointPort(name="web", protocol="tcp", port=80),
        EndpointPort(port=81, host_port=81),
        EndpointPort(name="nothing", port=0),
        EndpointPort(name="ping", protocol="ICMP", port=1),
    ]
    found, problems = labelled_endpoint(pod("a", ports=ports))
    assert found.ports == (NamedPort("web", 6, 80),)
    assert not problems


def test_what_cannot_be_parsed_is_left_out_and_reported() -> None:
    broken = pod("a", "10.0.0.1/32", "10.0.0", ports=[EndpointPort(name="web", protocol="IPX", port=80)])
    found, problems = labelled_endpoint(broken)
    assert [str(net) for net in found.nets] == ["10.0.0.1/32"]
    assert len(problems) == 2


def test_network_sets_keep_their_own_labels_and_clear_host_bits() -> None:
    of_namespace = network_set("s", "10.1.2.3/16", ns="ns", labels={"pcns.x": "y"})
    assert isinstance(of_namespace, NetworkSet)
    found, _ = labelled_network_set(of_namespace)
    assert dict(found.labels) == {"pcns.x": "y", "projectcalico.org/namespace": "ns"}
    assert found.profiles == ("kns.ns",)
    assert [str(net) for net in found.nets] == ["10.1.0.0/16"]
    of_cluster = network_set("s", "10.1.2.3")
    assert isinstance(of_cluster, GlobalNetworkSet)
    found, _ = labelled_network_set(of_cluster)
    assert (dict(found.labels), found.profiles) == ({}, ())


def test_an_endpoint_outside_kubernetes_has_no_orchestrator_label_of_its_own() -> None:
    endpoint = msgspec.convert({"metadata": {"name": "e", "namespace": "ns"}}, WorkloadEndpoint)
    assert dict(labelled_endpoint(endpoint)[0].labels) == {"projectcalico.org/namespace": "ns"}


def test_a_host_endpoint_brings_its_own_labels_addresses_and_ports() -> None:
    ports = [{"name": "ssh", "protocol": "TCP", "port": 22}, {"name": "ping", "protocol": "ICMP", "port": 1}]
    found, problems = labelled_host_endpoint(
        host_endpoint(
            "h", labels={"role": "gw"}, expectedIPs=["10.0.0.1", "fd00::1", "10.1.0.0/16"], profiles=["p"], ports=ports
        )
    )
    assert (dict(found.labels), found.profiles) == ({"role": "gw"}, ("p",))
    assert [str(net) for net in found.nets] == ["10.0.0.1/32", "fd00::1/128"]
    assert found.ports == (NamedPort("ssh", 6, 22),)
    assert len(problems) == 1
    assert "10.1.0.0/16" in problems[0]
