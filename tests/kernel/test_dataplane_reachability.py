"""Workloads with addresses of the node's own subnet: a machine there finds them without any route, by what its kernel asks."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import pytest
from tests.kernel.dataplane_node import Node, config, endpoint, node, pool
from tests.kernel.dataplane_stage import Pod, Stage, ping, stage, tcp_passes, tcp_server

from tortie.base.net import FAMILIES, Family, parse_address, parse_interface, parse_prefix
from tortie.intent.messages import BalancerUpdate, HostUpdate, OverlayUpdate, PoolUpdate
from tortie.intent.routes import Overlay
from tortie.intent.routing import Balancer, Host, Pool

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
    end = time.monotonic() + 30.0
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


VIPS = {Family.V4: "192.0.2.100", Family.V6: "2001:db8::4064"}


def test_one_node_answers_for_the_address_of_a_load_balancer(built: Stage) -> None:
    """What translates is kube-proxy's table; here it is one rule."""
    a = near(built, 1)
    built.show(built.node, "nft", "add table inet proxy")
    built.show(built.node, "nft", "add chain inet proxy in { type nat hook prerouting priority -100; }")
    for family, ip in ((Family.V4, "ip"), (Family.V6, "ip6")):
        built.show(built.node, "nft", f"add rule inet proxy in {ip} daddr {VIPS[family]} dnat {ip} to {a.address(family)}")
    with node(built) as made:
        balancers = [BalancerUpdate(parse_address(text), Balancer(parse_address(text), None)) for text in VIPS.values()]
        made.start(ON, *POOLS, endpoint(a), host("node1", 1), overlay(), *balancers)
        for family in FAMILIES:
            with tcp_server(a.netns, family, 8080):
                call = partial(asyncio.to_thread, tcp_passes, built.outside, family, VIPS[family], 8080)
                assert made.run(call)
        # Only nodes with an endpoint may take it, and this one has none.
        made.tell(*(replace(each, balancer=Balancer(each.address, frozenset(("other",)))) for each in balancers))
        built.batch(built.outside, "neigh flush all", "-6 neigh flush all")
        for family in FAMILIES:
            with tcp_server(a.netns, family, 8080):
                assert not made.run(partial(asyncio.to_thread, tcp_passes, built.outside, family, VIPS[family], 8080))


def test_of_many_nodes_exactly_one_answers_for_each_address_and_the_load_is_shared(built: Stage) -> None:
    addresses = [parse_address(f"192.0.2.{number}") for number in range(65, 127)]
    hosts = [host(f"node{number}", number) for number in range(1, 4)]
    balancers = [BalancerUpdate(address, Balancer(address, None)) for address in addresses]
    shares = []
    for name in ("node1", "node2", "node3"):
        with node(built) as made:
            made.start(ON, *POOLS, *hosts, overlay(name), *balancers)
            shares.append({str(each) for each in made.responder.addresses})
            made.tell(config())
            assert made.responder.addresses == frozenset()
    assert sum(map(len, shares)) == len(set().union(*shares)) == len(addresses)
    assert min(map(len, shares)) > len(addresses) // 10


def host(name: str, number: int) -> HostUpdate:
    """A node in the subnet."""
    interfaces = parse_interface(f"192.0.2.{number}/24"), parse_interface(f"2001:db8::{number}/64")
    return HostUpdate(name, Host(name, *interfaces))


def overlay(name: str = "node1") -> OverlayUpdate:
    """Who this node is."""
    return OverlayUpdate(Overlay(name, None, None))
