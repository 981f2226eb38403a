"""Bandwidth limits follow the endpoint, through changes, restarts and devices that are made anew."""

from collections.abc import Iterator

import pytest
from tests.kernel import dataplane_stage
from tests.kernel.dataplane_node import endpoint, endpoint_id, node
from tests.kernel.dataplane_stage import Pod, Stage

from tortie.intent.endpoint import Bandwidth
from tortie.intent.messages import EndpointUpdate
from tortie.kernel import netns
from tortie.kernel.link import Links
from tortie.kernel.qdisc import Shaper

pytestmark = pytest.mark.kernel


@pytest.fixture
def stage() -> Iterator[Stage]:
    with dataplane_stage.stage() as made:
        yield made


SLOW = Bandwidth(rate_bits=8_000_000, burst_bits=800_000)
FAST = Bandwidth(rate_bits=80_000_000, burst_bits=8_000_000)


def rates(made: Stage, pod: Pod) -> tuple[int, int]:
    """What the device is limited to, received and sent, in bytes; 0 is unlimited."""
    with netns.opened(made.node) as fd, Shaper(fd) as shaper:
        found = shaper.read(pod.interface)
        return (found.received.rate if found.received else 0, found.sent.rate if found.sent else 0)


def detours(made: Stage) -> int:
    with netns.opened(made.node) as fd, Shaper(fd) as shaper:
        return len(shaper.detours())


def test_limits_come_change_and_go_with_the_endpoint(stage: Stage) -> None:
    pod = stage.pod(1)
    with node(stage) as made:
        made.start(endpoint(pod, ingress_bandwidth=SLOW, egress_bandwidth=FAST))
        assert rates(stage, pod) == (1_000_000, 10_000_000)
        made.tell(endpoint(pod, ingress_bandwidth=FAST))
        assert (rates(stage, pod), detours(stage)) == ((10_000_000, 0), 0)
        made.tell(endpoint(pod, egress_bandwidth=SLOW))
        assert (rates(stage, pod), detours(stage)) == ((0, 1_000_000), 1)
        made.tell(EndpointUpdate(endpoint_id(pod), None))
        assert (rates(stage, pod), detours(stage)) == ((0, 0), 0)


def test_a_new_life_takes_away_what_the_last_one_left(stage: Stage) -> None:
    kept, freed = stage.pod(1), stage.pod(2)
    with node(stage) as made:
        made.start(endpoint(kept, egress_bandwidth=SLOW), endpoint(freed, ingress_bandwidth=SLOW, egress_bandwidth=SLOW))
    with node(stage) as made:
        made.start(endpoint(kept, egress_bandwidth=SLOW), endpoint(freed))
        assert rates(stage, kept) == (0, 1_000_000)
        assert rates(stage, freed) == (0, 0)
        assert detours(stage) == 1


def remake(made: Stage, pod: Pod) -> None:
    """Another device of the same name."""
    with netns.opened(made.node) as fd, Links(fd) as links:
        links.delete(pod.interface)
        links.create_veth(pod.interface, "other")
        links.set_up(pod.interface)


def test_a_device_that_is_made_anew_is_limited_anew(stage: Stage) -> None:
    pod = stage.pod(1)
    with node(stage) as made:
        made.start(endpoint(pod, ingress_bandwidth=SLOW, egress_bandwidth=SLOW))
        remake(stage, pod)
        assert made.dataplane.links_changed({pod.interface})
        made.run(made.dataplane.apply)
        assert rates(stage, pod) == (1_000_000, 1_000_000)


def test_a_device_that_is_gone_leaves_no_detour_once_its_endpoint_is(stage: Stage) -> None:
    pod = stage.pod(1)
    with node(stage) as made:
        made.start(endpoint(pod, egress_bandwidth=SLOW))
        with netns.opened(stage.node) as fd, Links(fd) as links:
            links.delete(pod.interface)
        made.tell(EndpointUpdate(endpoint_id(pod), None))
        assert detours(stage) == 0


def test_limits_that_another_hand_took_away_come_back_when_the_dataplane_is_read_back(stage: Stage) -> None:
    pod = stage.pod(1)
    with node(stage) as made:
        made.start(endpoint(pod, ingress_bandwidth=SLOW, egress_bandwidth=SLOW))
        for damage in ("qdisc del dev {} root", "qdisc del dev {} ingress", "filter del dev {} ingress"):
            stage.show(stage.node, "tc", *damage.format(pod.interface).split())
            made.dataplane.invalidate("test")
            made.run(made.dataplane.apply)
            assert rates(stage, pod) == (1_000_000, 1_000_000)
            assert "mirred (Egress Redirect" in stage.show(stage.node, "tc", "filter", "show", "dev", pod.interface, "ingress")
