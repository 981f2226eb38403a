"""Networks of service addresses."""

import pytest
from tests.graph.states import bgp_configuration

from tortie.base.net import Prefix
from tortie.calc.problems import Problems
from tortie.calc.service_nets import ServiceNets


class Recorder:
    def __init__(self) -> None:
        self.nets: tuple[Prefix, ...] = ()
        self.problems = Problems()
        self.stage = ServiceNets(self.hear, self.problems)

    def hear(self, nets: tuple[Prefix, ...]) -> None:
        self.nets = nets


@pytest.mark.shows("PS-11.4")
def test_all_three_lists_count_sorted_and_once() -> None:
    recorder = Recorder()
    value = bgp_configuration(
        serviceClusterIPs=[{"cidr": "10.96.0.0/12"}, {"cidr": "fd00:10::/112"}],
        serviceExternalIPs=[{"cidr": "10.1.2.3/24"}, {"cidr": "10.96.0.0/12"}],
        serviceLoadBalancerIPs=[{"cidr": "10.2.0.1/32"}],
    )
    recorder.stage.on_configuration(value.key, value)
    assert [str(net) for net in recorder.nets] == ["10.1.2.0/24", "10.2.0.1/32", "10.96.0.0/12", "fd00:10::/112"]
    recorder.stage.on_configuration(value.key, None)
    assert recorder.nets == ()


def test_a_nodes_own_configuration_says_nothing_about_services() -> None:
    recorder = Recorder()
    own = bgp_configuration("node.n", serviceClusterIPs=[{"cidr": "10.96.0.0/12"}])
    recorder.stage.on_configuration(own.key, own)
    assert recorder.nets == ()


def test_what_is_no_network_is_left_out_and_reported() -> None:
    recorder = Recorder()
    value = bgp_configuration(serviceExternalIPs=[{"cidr": "nonsense"}, {"cidr": "10.0.0.0/8"}])
    recorder.stage.on_configuration(value.key, value)
    assert [str(net) for net in recorder.nets] == ["10.0.0.0/8"]
    assert "spec.serviceExternalIPs" in recorder.problems.by_key()[value.key]
    recorder.stage.on_configuration(value.key, None)
    assert recorder.problems.is_empty()
