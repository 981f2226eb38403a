"""Local endpoints in the form that the graph needs."""

import msgspec
import pytest
from tests.graph.states import NODE, OTHER, pod

from tortie.api.endpoint import IPNAT, QoSControls, WorkloadEndpoint
from tortie.calc.endpoint_resolver import LocalEndpoint
from tortie.calc.labelled import Labelled, labelled_endpoint
from tortie.calc.local_endpoints import LocalEndpoints
from tortie.calc.problems import Problems
from tortie.intent.endpoint import Bandwidth, PacketRate
from tortie.intent.keys import EndpointId


class Recorder:
    def __init__(self) -> None:
        self.problems = Problems()
        self.local: dict[EndpointId, LocalEndpoint] = {}
        self.stage = LocalEndpoints(lambda name: name == NODE, self.hear, self.problems)

    def hear(self, endpoint_id: EndpointId, endpoint: LocalEndpoint | None, labelled: Labelled | None) -> None:
        assert (endpoint is None) == (labelled is None)
        if endpoint is None:
            del self.local[endpoint_id]
        else:
            self.local[endpoint_id] = endpoint

    def show(self, endpoint: WorkloadEndpoint) -> LocalEndpoint | None:
        self.stage.on_endpoint(endpoint.key, endpoint, labelled_endpoint(endpoint)[0])
        return next(iter(self.local.values()), None)


def with_spec(endpoint: WorkloadEndpoint, **spec: object) -> WorkloadEndpoint:
    return msgspec.structs.replace(endpoint, spec=msgspec.structs.replace(endpoint.spec, **spec))


@pytest.mark.parametrize(
    ("mac", "expected", "is_reported"),
    [("EE-EE-EE-EE-EE-EE", "ee:ee:ee:ee:ee:ee", False), ("", "", False), ("ee:ee", "", True)],
)
def test_a_mac_address_is_canonical_or_left_out(mac: str, expected: str, is_reported: bool) -> None:
    recorder = Recorder()
    found = recorder.show(with_spec(pod("a"), mac=mac))
    assert found is not None
    assert found.mac == expected
    assert recorder.problems.is_empty() != is_reported


def test_bandwidth_comes_with_the_default_burst_where_none_is_given() -> None:
    controls = QoSControls(ingress_bandwidth=8_000, egress_bandwidth=9_000, egress_burst=10_000, egress_peakrate=11_000)
    found = Recorder().show(with_spec(pod("a"), qos_controls=controls))
    assert found is not None
    assert found.ingress_bandwidth == Bandwidth(rate_bits=8_000, burst_bits=4 << 30)
    assert found.egress_bandwidth == Bandwidth(rate_bits=9_000, burst_bits=10_000, peak_rate_bits=11_000)
    free = Recorder().show(with_spec(pod("a"), qos_controls=QoSControls(ingress_burst=1, egress_packet_rate=1)))
    assert free is not None
    assert (free.ingress_bandwidth, free.egress_bandwidth) == (None, None)


def test_source_prefixes_that_cannot_be_parsed_are_left_out() -> None:
    recorder = Recorder()
    found = recorder.show(with_spec(pod("a"), allow_spoofed_source_prefixes=("10.0.0.0/8", "x")))
    assert found is not None
    assert [str(each) for each in found.allowed_source_prefixes] == ["10.0.0.0/8"]
    assert not recorder.problems.is_empty()


@pytest.mark.parametrize(
    ("spec", "workload"),
    [
        ({}, "ns/a"),
        ({"pod": "", "workload": "vm"}, "ns/vm"),
        ({"pod": "", "container_id": "c"}, "ns/c"),
        ({"pod": ""}, "ns/node-a-k8s-a-eth0"),
    ],
)
def test_a_workload_has_a_name_for_people(spec: dict[str, str], workload: str) -> None:
    found = Recorder().show(with_spec(pod("a"), **spec))
    assert found is not None
    assert found.workload == workload


def test_what_is_not_local_any_more_is_taken_back() -> None:
    recorder = Recorder()
    endpoint = pod("a")
    assert recorder.show(endpoint) is not None
    assert recorder.show(with_spec(endpoint, node=OTHER)) is None
    assert recorder.show(endpoint) is not None
    assert recorder.show(with_spec(endpoint, interface_name="")) is None
    recorder.stage.on_endpoint(endpoint.key, None, None)
    assert recorder.stage.is_empty()
    assert recorder.problems.is_empty()


def test_packet_rates_and_connection_limits_are_those_that_are_set() -> None:
    controls = QoSControls(
        ingress_packet_rate=100,
        egress_packet_rate=200,
        egress_packet_burst=7,
        ingress_packet_burst=-1,
        ingress_max_connections=9,
        egress_max_connections=1 << 40,
    )
    found = Recorder().show(with_spec(pod("a"), qos_controls=controls))
    assert found is not None
    assert (found.ingress_packet_rate, found.egress_packet_rate) == (PacketRate(100, 5), PacketRate(200, 7))
    assert (found.ingress_max_connections, found.egress_max_connections) == (9, (1 << 32) - 1)
    free = Recorder().show(with_spec(pod("a"), qos_controls=QoSControls(ingress_packet_rate=-5, egress_max_connections=-1)))
    assert free is not None
    assert (free.ingress_packet_rate, free.egress_packet_rate) == (None, None)
    assert (free.ingress_max_connections, free.egress_max_connections) == (None, None)


@pytest.mark.parametrize(
    ("dscp", "number"), [(None, None), (0, 0), ("46", 46), ("cs1", 8), (64, None), ("x", None), (-1, None), ("9" * 5000, None)]
)
def test_dscp_is_a_number_or_a_name_and_anything_else_is_reported(dscp: int | str | None, number: int | None) -> None:
    recorder = Recorder()
    found = recorder.show(with_spec(pod("a"), qos_controls=QoSControls(ingress_packet_rate=1, dscp=dscp)))
    assert found is not None
    assert found.dscp == number
    assert recorder.problems.is_empty() == (number is not None or dscp is None)


def test_floating_addresses_lead_to_addresses_of_the_endpoint_alone() -> None:
    recorder = Recorder()
    own = with_spec(pod("a"), ip_networks=("10.0.0.1/32", "fd00::1/128"))
    good = (IPNAT(external_ip="192.0.2.9", internal_ip="10.0.0.1"), IPNAT(external_ip="2001:db8::9", internal_ip="fd00::1"))
    found = recorder.show(with_spec(own, ip_nats=(*good, good[0])))
    assert found is not None
    assert [(str(each.external), str(each.internal)) for each in found.floating] == [
        ("192.0.2.9", "10.0.0.1"),
        ("2001:db8::9", "fd00::1"),
    ]
    assert recorder.problems.is_empty()
    bad = (IPNAT(external_ip="192.0.2.9", internal_ip="10.0.0.2"), IPNAT(external_ip="192.0.2.9", internal_ip="fd00::1"))
    found = recorder.show(with_spec(own, ip_nats=(*bad, IPNAT(external_ip="x", internal_ip="10.0.0.1"), good[1])))
    assert found is not None
    assert [str(each.external) for each in found.floating] == ["2001:db8::9"], "what is wrong takes nothing else along"
    assert not recorder.problems.is_empty()
