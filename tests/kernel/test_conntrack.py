"""Connections are forgotten by address, and by no more than that."""

from collections.abc import Iterator

import pytest
from tests.kernel.dataplane_node import endpoint, node, pool
from tests.kernel.dataplane_stage import OUTSIDE, Stage, ping, stage

from tortie.base.net import FAMILIES, Family, parse_address
from tortie.kernel import netns
from tortie.kernel.conntrack import Conntrack

pytestmark = pytest.mark.kernel


@pytest.fixture
def built() -> Iterator[Stage]:
    with stage() as made:
        yield made


@pytest.fixture
def conntrack(built: Stage) -> Iterator[Conntrack]:
    with netns.opened(built.node) as fd:
        made = Conntrack(fd)
    yield made
    made.close()


def test_connections_are_forgotten_by_any_of_their_ends(built: Stage, conntrack: Conntrack) -> None:
    a, b = built.pod(1), built.pod(2)
    with node(built) as made:
        # Masqueraded: the reply's ends are not those of the original.
        made.start(endpoint(a), endpoint(b), pool("10.77.0.0/24", nat=True))
        for pod in (a, b):
            for family in FAMILIES:
                assert ping(pod.netns, family, OUTSIDE[family])
        assert ping(a.netns, Family.V4, b.address(Family.V4))
        assert conntrack.forget([parse_address("203.0.113.1")]) == 0
        assert conntrack.forget([parse_address(a.address(Family.V4))]) == 2, "to the outside, and to the other pod"
        assert conntrack.forget([parse_address(a.address(Family.V4))]) == 0
        both = [parse_address(OUTSIDE[Family.V6]), parse_address(b.address(Family.V4))]
        assert conntrack.forget(both) >= 3
        assert conntrack.forget([]) == 0
