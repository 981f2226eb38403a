"""Local host endpoints in the form that the graph needs."""

from typing import Any

import pytest
from tests.graph.states import NODE, OTHER, host_endpoint

from tortie.api.hostendpoint import HostEndpoint
from tortie.calc.endpoint_resolver import LocalHostEndpoint
from tortie.calc.labelled import Labelled, labelled_host_endpoint
from tortie.calc.local_host_endpoints import LocalHostEndpoints
from tortie.calc.problems import Problems
from tortie.intent.keys import HostEndpointId


class Recorder:
    def __init__(self) -> None:
        self.problems = Problems()
        self.local: dict[HostEndpointId, LocalHostEndpoint] = {}
        self.stage = LocalHostEndpoints(lambda name: name == NODE, self.hear, self.problems)

    def hear(self, endpoint_id: HostEndpointId, endpoint: LocalHostEndpoint | None, labelled: Labelled | None) -> None:
        assert (endpoint is None) == (labelled is None)
        if endpoint is None:
            del self.local[endpoint_id]
        else:
            self.local[endpoint_id] = endpoint

    def show(self, endpoint: HostEndpoint) -> LocalHostEndpoint | None:
        self.stage.on_endpoint(endpoint.key, endpoint, labelled_host_endpoint(endpoint)[0])
        return self.local.get(HostEndpointId(NODE, endpoint.metadata.name))


def test_a_host_endpoint_keeps_its_interface_addresses_and_profiles() -> None:
    found = Recorder().show(
        host_endpoint("h", interfaceName="eth0", expectedIPs=["10.0.0.1", "fd00::1"], profiles=["a", "b"], dscp="EF")
    )
    assert found is not None
    assert (found.interface, found.profiles, found.dscp) == ("eth0", ("a", "b"), 46)
    assert [str(each) for each in found.expected_addresses] == ["10.0.0.1", "fd00::1"]


@pytest.mark.parametrize("spec", [{"interfaceName": "*"}, {"expectedIPs": ["10.0.0.1"]}])
def test_all_interfaces_and_addresses_alone_are_enough(spec: dict[str, Any]) -> None:
    assert Recorder().show(host_endpoint("h", **spec)) is not None


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"interfaceName": "eth 0"}, "interfaceName"),
        ({"interfaceName": "e" * 16}, "interfaceName"),
        ({}, "expectedIPs"),
        ({"expectedIPs": ["nonsense"]}, "expectedIPs"),
    ],
)
def test_one_that_can_be_of_no_interface_is_left_out_and_reported(spec: dict[str, Any], field: str) -> None:
    recorder = Recorder()
    endpoint = host_endpoint("h", **spec)
    assert recorder.show(endpoint) is None
    assert field in recorder.problems.by_key()[endpoint.key]
    recorder.show(host_endpoint("h", node=OTHER, **spec))
    assert recorder.problems.is_empty()


@pytest.mark.parametrize(("dscp", "number"), [("", None), ("0", 0), ("63", 63), ("64", None), ("af41", 34), ("x", None)])
def test_dscp_is_a_number_or_a_name(dscp: str, number: int | None) -> None:
    found = Recorder().show(host_endpoint("h", interfaceName="eth0", dscp=dscp))
    assert found is not None
    assert found.dscp == number


def test_one_that_moves_to_another_node_is_local_no_more() -> None:
    recorder = Recorder()
    assert recorder.show(host_endpoint("h", interfaceName="eth0")) is not None
    assert recorder.show(host_endpoint("h", node=OTHER, interfaceName="eth0")) is None
    assert recorder.stage.is_empty()
