"""Workloads with addresses of the node's own subnet: a machine there finds them without any route, by what its kernel asks."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import pytest
from tests.kernel.dataplane_node import Node, config, endpoint, node, pool
from tests.kernel.dataplane_stage import Pod, Stage, ping, stage, tcp_passes, tcp_server

from tortie.base.net import FAMILIES, Family, parse_prefix
from tortie.intent.messages import PoolUpdate
from tortie.intent.routing import Pool

pytestmark = pytest.mark.kernel

ON = config(LocalSubnetL2Reachability="PodsAndLoadBalancers")
POOLS = (pool("192.0.2.64/26", nat=False), pool("2001:db8::4000/120", nat=False))


@dataclass(frozen=True)
class Near(Pod):
    """A workload with addresses out of the node's subnets."""

    def address(self, family: Family) -> str:
        return f"192.0.2.{64 + self.number}" if family is Family.V4 else f"2001:db8::40{self.number:02x}"


@pytest.fixture
def built() -> Iterator[Stage]:
    with stage("h7") as made:
        yield made


def near(built: Stage, number: int) -> Near:
    """A pod that has these addresses besides its own."""
    made = built.pod(number)
    found = Near(made.netns, made.interface, number)
    built.batch(
        made.netns, *(f"addr add {each} dev eth0 {'nodad' if each.family is Family.V6 else ''}" for each in found.addresses)
    )
    return found


def known(built: Stage, pod: Pod, family: Family) -> str:
    """What the machine outside believes the pod's MAC address to be; "" if nothing."""
    words = built.show(built.outside, "ip", "neigh", "show", pod.address(family)).split()
    return words[words.index("lladdr") + 1] if "lladdr" in words else ""


def believed(built: Stage, made: Node, pod: Pod) -> bool:
    """True once the machine outside has heard that both addresses are here; the node says it when it is due."""
    mac = built.show(built.node, "cat", "/sys/class/net/uplink/address").strip()
    end = time.monotonic() + 5.0
    while time.monotonic() < end:
        if all(known(built, pod, family) == mac for family in FAMILIES):
            return True
        due = made.dataplane.due_in()
        assert due is not None
        made.run(partial(asyncio.sleep, due))
        made.run(made.dataplane.apply)
    return False


def proxies(built: Stage) -> set[str]:
    """Addresses that the node answers for."""
    return {line.split()[0] for line in built.show(built.node, "ip", "neigh", "show", "proxy").splitlines()}


def test_a_machine_in_the_nodes_subnet_reaches_a_workload_by_its_address_alone(built: Stage) -> None:
    a, far = near(built, 1), built.pod(2)
    with node(built) as made:
        made.start(*POOLS, endpoint(a), endpoint(far))
        assert not any(ping(built.outside, family, a.address(family)) for family in FAMILIES)
        built.batch(built.outside, "neigh flush all", "-6 neigh flush all")
        made.tell(ON)
        assert proxies(built) == {a.address(family) for family in FAMILIES}, "not the one of another subnet"
        for family in FAMILIES:
            with tcp_server(a.netns, family, 8080):
                assert tcp_passes(built.outside, family, a.address(family), 8080)
        made.tell(config())
        assert proxies(built) == set()


def test_it_is_announced_and_announced_again(built: Stage) -> None:
    a = near(built, 1)
    with node(built) as made:
        made.start(*POOLS, endpoint(a))
        # Somebody else had the address before: who believes that must be told.
        for family in FAMILIES:
            built.batch(built.outside, f"neigh replace {a.address(family)} lladdr 02:00:00:00:00:99 dev eth0 nud stale")
        made.tell(config(LocalSubnetL2Reachability="PodsAndLoadBalancers", LocalSubnetL2ReachabilityRefreshInterval="0.05"))
        assert believed(built, made, a)
        for family in FAMILIES:
            built.batch(built.outside, f"neigh replace {a.address(family)} lladdr 02:00:00:00:00:99 dev eth0 nud stale")
        assert believed(built, made, a)


def test_what_is_not_to_be_answered_for_is_forgotten_whoever_began_it(built: Stage) -> None:
    a, b = near(built, 1), near(built, 2)
    built.batch(built.node, "neigh add proxy 192.0.2.200 dev uplink")
    with node(built) as made:
        made.start(ON, *POOLS, endpoint(a), endpoint(b))
        assert proxies(built) == {each.address(family) for each in (a, b) for family in FAMILIES} | {"192.0.2.200"}
    with node(built) as made:  # a new agent that knows of one workload only
        made.start(ON, *POOLS, endpoint(a))
        assert proxies(built) == {a.address(family) for family in FAMILIES} | {"192.0.2.200"}, "others' entries stay"
        wrapped = Pool(parse_prefix("192.0.2.64/26"), False, "Never", "Always", disabled=False, disable_bgp_export=False)
        made.tell(PoolUpdate(wrapped.cidr, wrapped))
        assert proxies(built) == {a.address(Family.V6), "192.0.2.200"}, "its packets are to stay inside a tunnel"
    with node(built) as made:
        made.start(*POOLS, endpoint(a))
        assert proxies(built) == {"192.0.2.200"}
