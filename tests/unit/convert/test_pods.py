"""Pods become workload endpoints."""

from typing import Any

import msgspec
import pytest

from tortie.api.endpoint import QoSControls
from tortie.api.kubernetes import Pod
from tortie.base.net import parse_address
from tortie.convert.errors import ConversionError
from tortie.convert.pods import is_networked, pod_addresses, workload_endpoint
from tortie.convert.qos import dscp

CNI = "cni.projectcalico.org/"


def pod(
    *,
    annotations: dict[str, str] | None = None,
    status: dict[str, Any] | None = None,
    meta: dict[str, Any] | None = None,
    **spec: Any,
) -> Pod:
    document = {
        "metadata": {"name": "web-1", "namespace": "shop", "labels": {"app": "web"}, "annotations": annotations or {}}
        | (meta or {}),
        "spec": {"nodeName": "node-a", "serviceAccountName": "robot"} | spec,
        "status": status if status is not None else {"podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]},
    }
    return msgspec.convert(document, Pod)


def test_a_pod_becomes_an_endpoint_with_every_field_of_the_table() -> None:
    endpoint = workload_endpoint(pod(annotations={CNI + "containerID": "abc", "other": "x"}, meta={"uid": "u-1"}))
    assert endpoint.metadata.name == "node--a-k8s-web--1-eth0"
    assert endpoint.metadata.uid == "u-1"
    assert endpoint.metadata.annotations == {}
    assert endpoint.metadata.labels == {
        "app": "web",
        "projectcalico.org/namespace": "shop",
        "projectcalico.org/orchestrator": "k8s",
        "projectcalico.org/serviceaccount": "robot",
    }
    spec = endpoint.spec
    assert spec.profiles == ("kns.shop", "ksa.shop.robot")
    assert spec.ip_networks == ("10.0.0.1/32", "fd00::1/128")
    assert spec.interface_name == "cali751425ce827"
    assert (spec.container_id, spec.orchestrator, spec.endpoint, spec.pod, spec.node) == (
        "abc",
        "k8s",
        "eth0",
        "web-1",
        "node-a",
    )


def test_the_first_interface_prefix_of_a_list_counts() -> None:
    assert workload_endpoint(pod(), prefix="tap,cali").spec.interface_name == "tap751425ce827"


def test_given_addresses_stand_in_for_the_status() -> None:
    endpoint = workload_endpoint(pod(), addresses=[parse_address("198.18.0.1")])
    assert endpoint.spec.ip_networks == ("198.18.0.1/32",)


def test_a_pod_on_the_host_network_or_on_no_node_has_no_endpoint() -> None:
    assert is_networked(pod())
    assert not is_networked(pod(hostNetwork=True))
    assert not is_networked(pod(nodeName=""))


def test_a_long_service_account_gives_a_profile_but_no_label() -> None:
    endpoint = workload_endpoint(pod(serviceAccountName="a" * 63))
    assert "projectcalico.org/serviceaccount" not in endpoint.metadata.labels
    assert endpoint.spec.profiles[1] == "ksa.shop." + "a" * 63


@pytest.mark.parametrize(
    ("status", "annotations", "expected"),
    [
        ({"podIPs": [{"ip": "10.0.0.1"}], "podIP": "10.0.0.2"}, {}, "10.0.0.1"),
        ({"podIP": "10.0.0.2"}, {CNI + "podIPs": "10.0.0.3"}, "10.0.0.2"),
        ({}, {CNI + "podIPs": "10.0.0.3/32,fd00::3/128", CNI + "podIP": "10.0.0.4"}, "10.0.0.3 fd00::3"),
        ({}, {CNI + "podIP": "10.0.0.4/32"}, "10.0.0.4"),
        ({}, {"vpc.amazonaws.com/pod-ips": "10.0.0.5, 10.0.0.6"}, "10.0.0.5 10.0.0.6"),
        ({}, {}, ""),
    ],
)
def test_the_first_source_of_addresses_wins(status: dict[str, Any], annotations: dict[str, str], expected: str) -> None:
    assert " ".join(str(each) for each in pod_addresses(pod(status=status, annotations=annotations))) == expected


@pytest.mark.parametrize("phase", ["Failed", "Succeeded", "Completed"])
def test_a_finished_pod_has_no_address(phase: str) -> None:
    assert pod_addresses(pod(status={"phase": phase, "podIP": "10.0.0.1"})) == ()


def test_a_terminating_pod_keeps_its_address_until_the_plugin_blanks_it() -> None:
    going = {"deletionTimestamp": "2026-01-01T00:00:00Z"}
    assert len(pod_addresses(pod(meta=going))) == 2
    assert pod_addresses(pod(annotations={CNI + "podIP": ""}, meta=going)) == ()
    assert len(pod_addresses(pod(annotations={CNI + "podIP": ""}))) == 2


def test_a_bad_address_is_an_error_that_names_its_field() -> None:
    with pytest.raises(ConversionError, match=r"status\.podIP: '10\.0\.0'"):
        pod_addresses(pod(status={"podIP": "10.0.0"}))


def test_ports_need_a_name_or_a_host_port_and_a_protocol_that_has_ports() -> None:
    containers = [
        {
            "ports": [
                {"name": "web", "containerPort": 80},
                {"containerPort": 81},
                {"containerPort": 82, "hostPort": 8082, "hostIP": "1.2.3.4", "protocol": "UDP"},
                {"name": "none"},
                {"name": "ping", "containerPort": 1, "protocol": "ICMP"},
            ]
        }
    ]
    first = [{"ports": [{"name": "init", "containerPort": 90, "protocol": "SCTP"}]}]
    ports = workload_endpoint(pod(containers=containers, initContainers=first)).spec.ports
    assert [(each.name, each.protocol, each.port, each.host_port, each.host_ip) for each in ports] == [
        ("web", "TCP", 80, 0, ""),
        ("", "UDP", 82, 8082, "1.2.3.4"),
        ("init", "SCTP", 90, 0, ""),
    ]


def test_floating_addresses_map_to_the_pod_address_of_their_family() -> None:
    annotations = {CNI + "floatingIPs": '["1.1.1.1", "2001:db8::1"]'}
    nats = workload_endpoint(pod(annotations=annotations)).spec.ip_nats
    assert [(each.external_ip, each.internal_ip) for each in nats] == [("1.1.1.1", "10.0.0.1"), ("2001:db8::1", "fd00::1")]
    only4 = workload_endpoint(pod(annotations=annotations, status={"podIP": "10.0.0.1"})).spec.ip_nats
    assert [each.external_ip for each in only4] == ["1.1.1.1"]
    assert workload_endpoint(pod(annotations={CNI + "floatingIPs": "no json"}, status={})).spec.ip_nats == ()


@pytest.mark.parametrize(
    "annotations",
    [
        {CNI + "floatingIPs": "no json"},
        {CNI + "floatingIPs": '["x"]'},
        {CNI + "allowedSourcePrefixes": '["10.0.0.1"]'},
        {CNI + "allowedSourcePrefixes": "{}"},
    ],
)
def test_a_bad_annotation_is_an_error_that_names_it(annotations: dict[str, str]) -> None:
    with pytest.raises(ConversionError, match=next(iter(annotations))):
        workload_endpoint(pod(annotations=annotations))


def test_source_prefixes_are_made_canonical() -> None:
    endpoint = workload_endpoint(pod(annotations={CNI + "allowedSourcePrefixes": '["10.9.8.7/16"]'}))
    assert endpoint.spec.allow_spoofed_source_prefixes == ("10.9.0.0/16",)


def test_limits_are_clamped_and_completed() -> None:
    annotations = {
        "kubernetes.io/ingress-bandwidth": "1",
        "qos.projectcalico.org/egressBandwidth": "10M",
        "qos.projectcalico.org/egressPeakrate": "1M",
        "qos.projectcalico.org/ingressPacketRate": "500000",
        "qos.projectcalico.org/egressPacketBurst": "7",
        "qos.projectcalico.org/dscp": "ef",
    }
    assert workload_endpoint(pod(annotations=annotations)).spec.qos_controls == QoSControls(
        ingress_bandwidth=1000,
        ingress_burst=4 << 30,
        egress_bandwidth=10_000_000,
        egress_burst=4 << 30,
        ingress_packet_rate=10_000,
        ingress_packet_burst=5,
        dscp="EF",
    )


def test_limits_that_make_no_sense_are_no_limits() -> None:
    annotations = {"qos.projectcalico.org/ingressBandwidth": "fast", "qos.projectcalico.org/dscp": "64"}
    assert workload_endpoint(pod(annotations=annotations)).spec.qos_controls is None


QOS = "qos.projectcalico.org/"


@pytest.mark.parametrize("way", ["ingress", "egress"])
@pytest.mark.parametrize(
    ("annotations", "wanted"),
    [
        ({"PacketRate": "100"}, {"packet_rate": 100, "packet_burst": 5}),
        ({"PacketRate": "0.5", "PacketBurst": "50"}, {"packet_rate": 1, "packet_burst": 50}),
        ({"PacketRate": "1k", "PacketBurst": "1M"}, {"packet_rate": 1000, "packet_burst": 10_000}),
        ({"PacketRate": "20k"}, {"packet_rate": 10_000, "packet_burst": 5}),
        ({"PacketBurst": "50"}, {}),
        ({"MaxConnections": "0"}, {"max_connections": 1}),
        ({"MaxConnections": "2k"}, {"max_connections": 2000}),
        ({"MaxConnections": "1E"}, {"max_connections": 4_294_967_295}),
        ({"MaxConnections": "many", "PacketRate": "-"}, {}),
        ({"Burst": "4k"}, {}),
        ({"Bandwidth": "1M", "Burst": "1"}, {"bandwidth": 10**6, "burst": 1000}),
        ({"Bandwidth": "1M", "Burst": "1E"}, {"bandwidth": 10**6, "burst": 34_359_738_360}),
        ({"Bandwidth": "2P"}, {"bandwidth": 10**15, "burst": 4 << 30}),
        (
            {"Bandwidth": "1M", "Peakrate": "2M", "Minburst": "5k"},
            {"bandwidth": 10**6, "burst": 4 << 30, "peakrate": 2 * 10**6, "minburst": 5000},
        ),
        ({"Bandwidth": "1M", "Peakrate": "1M", "Minburst": "5k"}, {"bandwidth": 10**6, "burst": 4 << 30}),
        ({"Bandwidth": "1M", "Minburst": "5k"}, {"bandwidth": 10**6, "burst": 4 << 30}),
    ],
)
def test_each_limit_has_its_bounds_its_default_and_what_it_needs(
    way: str, annotations: dict[str, str], wanted: dict[str, int]
) -> None:
    given = pod(annotations={f"{QOS}{way}{name}": text for name, text in annotations.items()})
    expected = QoSControls(**{f"{way}_{name}": value for name, value in wanted.items()}) if wanted else None
    assert workload_endpoint(given).spec.qos_controls == expected


def test_calicos_bandwidth_comes_before_kubernetes() -> None:
    annotations = {"kubernetes.io/egress-bandwidth": "1M", QOS + "egressBandwidth": "2M"}
    limits = workload_endpoint(pod(annotations=annotations)).spec.qos_controls
    assert limits is not None
    assert limits.egress_bandwidth == 2 * 10**6


@pytest.mark.parametrize(
    ("text", "mark"),
    [("0", 0), ("63", 63), ("EF", 46), ("af11", 10), ("CS6", 48), ("CS7", None), ("64", None), ("x", None), ("9" * 5000, None)],
)
def test_the_mark_of_a_pod_or_host_endpoint_is_a_number_or_absent(text: str, mark: int | None) -> None:
    assert dscp({QOS + "dscp": text}) == mark
    assert dscp({}) is None


def test_a_node_whose_name_would_be_ambiguous_is_refused() -> None:
    with pytest.raises(ConversionError, match="pod 'web-1': "):
        workload_endpoint(pod(nodeName="-n"))
