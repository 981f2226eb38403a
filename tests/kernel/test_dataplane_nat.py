"""Addresses and ports that packets have behind a translation: natOutgoing as configured, and floating addresses."""

import socket
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from tests.kernel.dataplane_node import Node, config, endpoint, endpoint_id, node, policy, pool, tier
from tests.kernel.dataplane_stage import (
    NODE,
    OUTSIDE,
    Pod,
    Stage,
    open_socket,
    ping,
    stage,
    tcp_passes,
    tcp_server,
    udp_arrives,
)
from tests.kernel.host_ground import gone, hep

from tortie.base.net import FAMILIES, Family, parse_address, single
from tortie.insight.ends import find
from tortie.insight.explain import explain_ends
from tortie.insight.question import parse_question
from tortie.insight.world import Workload, World
from tortie.intent.endpoint import FloatingAddress
from tortie.intent.messages import EndpointUpdate, Message
from tortie.intent.policy import Action, Match, PortRange
from tortie.intent.state import State

pytestmark = pytest.mark.kernel

PORTS = range(40000, 40008)
FIXED = "192.0.2.50"
FLOATING = {Family.V4: "203.0.113.7", Family.V6: "2001:db8:f::7"}
POOLS = {Family.V4: "10.77.0.0/24", Family.V6: "fd77::/64"}


@pytest.fixture
def built() -> Iterator[Stage]:
    with stage("h7") as made:
        made.batch(made.outside, f"route add default via {NODE[Family.V4]}", f"-6 route add default via {NODE[Family.V6]}")
        yield made


def seen(built: Stage, pod: Pod, family: Family, kind: socket.SocketKind) -> tuple[str, int]:
    """Address and port of the sender as a machine outside sees them."""
    receiver, sender = open_socket(built.outside, family, kind), open_socket(pod.netns, family, kind)
    with receiver, sender:
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        receiver.bind(("", 6000))
        if kind is socket.SOCK_DGRAM:
            sender.sendto(b"who am I", (OUTSIDE[family], 6000))
            told = receiver.recvfrom(64)[1]
        else:
            receiver.listen(1)
            sender.connect((OUTSIDE[family], 6000))
            accepted, told = receiver.accept()
            accepted.close()
        return str(told[0]), int(told[1])


def test_what_leaves_the_cluster_has_the_configured_ports_and_address(built: Stage) -> None:
    built.batch(built.node, f"addr add {FIXED}/32 dev uplink")
    pod = built.pod(1)
    with node(built) as made:
        made.start(endpoint(pod), *(pool(cidr, nat=True) for cidr in POOLS.values()), config(NATPortRange="40000:40007"))
        for family in FAMILIES:
            for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                told = [seen(built, pod, family, kind) for _ in range(4)]
                assert {address for address, _ in told} == {NODE[family]}
                assert all(port in PORTS for _, port in told), (told, family, kind)
                assert len({port for _, port in told}) > 1, "ports are drawn at random"
            assert ping(pod.netns, family, OUTSIDE[family]), "what has no ports is translated as well"
        made.tell(config(NATPortRange="40000:40007", NATOutgoingAddress=FIXED))
        address, port = seen(built, pod, Family.V4, socket.SOCK_STREAM)
        assert (address, port in PORTS) == (FIXED, True)
        assert ping(pod.netns, Family.V4, OUTSIDE[Family.V4])
        assert seen(built, pod, Family.V6, socket.SOCK_STREAM)[0] == NODE[Family.V6]
        made.tell(config(NATOutgoingAddress=FIXED, IptablesNATOutgoingInterfaceFilter="other"))
        assert seen(built, pod, Family.V4, socket.SOCK_DGRAM)[0] == pod.address(Family.V4), "not of that interface"
        made.tell(config(NATOutgoingAddress=FIXED, IptablesNATOutgoingInterfaceFilter="upl+"))
        assert seen(built, pod, Family.V4, socket.SOCK_DGRAM)[0] == FIXED


def floating(pod: Pod, **overrides: object) -> EndpointUpdate:
    """A pod's endpoint with a floating address of each family."""
    found = tuple(FloatingAddress(parse_address(FLOATING[each]), parse_address(pod.address(each))) for each in FAMILIES)
    return endpoint(pod, tier(ingress=("web",)), floating=found, **overrides)


WEB = policy("web", ingress=({"action": Action.ALLOW, "protocol": 6, "destination": Match(ports=(PortRange(8080, 8080),))},))
ENABLED = config(FloatingIPs="Enabled")


def reached(built: Stage, made: Node, pod: Pod, family: Family) -> str:
    """The pod whose server answers a machine outside at the floating address; "" if none does."""
    with tcp_server(pod.netns, family, 8080):
        return pod.netns if tcp_passes(built.outside, family, FLOATING[family], 8080) else ""


def test_a_floating_address_leads_to_its_workload_through_its_policy_from_everywhere(built: Stage) -> None:
    a, b = built.pod(1), built.pod(2)
    with node(built) as made:
        made.start(WEB, ENABLED, floating(a), endpoint(b))
        assert made.dataplane.floating_problems == {}
        for family in FAMILIES:
            with tcp_server(a.netns, family, 8080) as server, tcp_server(a.netns, family, 8081):
                for source in (built.outside, built.node, b.netns, a.netns):
                    assert tcp_passes(source, family, FLOATING[family], 8080), source
                    peer = server.accept()
                    peer[0].close()
                    expected = {
                        built.outside: OUTSIDE[family],
                        b.netns: b.address(family),
                        a.netns: FLOATING[family],
                    }.get(source)
                    assert expected in (None, peer[1][0]), "only a call to itself has another source"
                assert not tcp_passes(built.outside, family, FLOATING[family], 8081), "policy is the workload's"


def world_of(messages: Sequence[Message], *pods: Pod) -> World:
    """What `tortie explain` answers from, of these messages."""
    state = State()
    state.apply_all(messages)
    workloads = {}
    for pod in pods:
        addresses = tuple(prefix.network for prefix in pod.addresses)
        workloads["shop", pod.netns] = Workload(endpoint_id(pod), "shop", pod.netns, "node1", addresses)
    return World(state, workloads)


def denied(port: int, *, source: str = "", destination: str = "") -> dict[str, object]:
    """A rule about one port that denies what comes from, or goes to, one address."""
    near, far = ((single(parse_address(text)),) if text else () for text in (source, destination))
    return {
        "action": Action.DENY,
        "protocol": 6,
        "source": Match(nets=near),
        "destination": Match(nets=far, ports=(PortRange(port, port),)),
    }


def test_explain_says_of_a_floating_address_what_the_kernel_does(built: Stage) -> None:
    a, b = built.pod(1), built.pod(2)
    own, external, allow = a.address(Family.V4), FLOATING[Family.V4], {"action": Action.ALLOW}
    asked = (denied(8080, destination=external), denied(8081, destination=own), denied(8082, source=OUTSIDE[Family.V4]))
    tiers = (tier(ingress=("in",), egress=("out",)),)
    claim = floating(a).endpoint
    assert claim is not None
    messages = (
        policy("in", ingress=(*asked, denied(8083, source=own), allow)),
        policy("out", egress=(denied(8084, destination=external), denied(8085, destination=own), allow)),
        EndpointUpdate(endpoint_id(a), replace(claim, tiers=tiers)),
        endpoint(b, *tiers),
        ENABLED,
    )
    world = world_of(messages, a, b)
    sources = {name: find(world, f"shop/{name}") for name in (a.netns, b.netns)} | {
        built.outside: find(world, OUTSIDE[Family.V4])
    }
    verdicts = []
    with node(built) as made:
        made.start(*messages)
        for port in range(8080, 8086):
            with tcp_server(a.netns, Family.V4, port):
                for name, source in sources.items():
                    said = explain_ends(world, source, find(world, external), question=parse_question(f"tcp/{port}"))
                    assert tcp_passes(name, Family.V4, external, port) == said.allowed, (name, port, said.deciding.reason)
                    verdicts.append(said.allowed)
    assert verdicts.count(False) == 7, "three for 8081, one each for 8082 and 8083, two for 8085"


def test_what_untracked_policy_lets_pass_is_not_translated_as_explain_says(built: Stage) -> None:
    pod, external = built.pod(1), FLOATING[Family.V4]
    fast = policy("fast", ingress=({"action": Action.ALLOW, "protocol": 17},))
    open_pod = policy("open", ingress=({"action": Action.ALLOW},))
    claim = floating(pod).endpoint
    assert claim is not None
    update = EndpointUpdate(endpoint_id(pod), replace(claim, tiers=(tier(ingress=("open",)),)))
    messages = (open_pod, fast, ENABLED, update, hep(untracked=(tier(ingress=("fast",), default_pass=True),)))
    with node(built) as made:
        made.start(*messages)
        for told, arrives in (((), False), ((gone(),), True)):
            made.tell(*told)
            world = world_of((*messages, *told), pod)
            question = parse_question("udp/8080")
            said = explain_ends(world, find(world, OUTSIDE[Family.V4]), find(world, external), question=question)
            assert udp_arrives(built.outside, Family.V4, pod.netns, external, 8080) == arrives
            assert said.allowed == arrives, said.deciding.reason


def test_floating_addresses_come_and_go_with_the_configuration_and_have_one_owner(built: Stage) -> None:
    a, b = built.pod(1), built.pod(2)
    with node(built) as made:
        made.start(WEB, floating(a))
        assert "FloatingIPs is Disabled" in made.dataplane.floating_problems[endpoint_id(a)]
        assert not reached(built, made, a, Family.V4)
        assert "fip" not in built.show(built.node, "nft", "list", "table", "inet", "tortie")
        made.tell(ENABLED, floating(b))
        assert [reached(built, made, a, family) for family in FAMILIES] == [a.netns, a.netns]
        assert list(made.dataplane.floating_problems) == [endpoint_id(b)]
        assert f"{FLOATING[Family.V4]} is that of node1-k8s-pod1-eth0" in made.dataplane.floating_problems[endpoint_id(b)]
        update = floating(a)
        assert update.endpoint is not None
        made.tell(replace(update, endpoint=replace(update.endpoint, floating=())))
        assert [reached(built, made, b, family) for family in FAMILIES] == [b.netns, b.netns]
        assert made.dataplane.floating_problems == {}
        made.tell(config())
        assert "fip" not in built.show(built.node, "nft", "list", "table", "inet", "tortie")
        for family in FAMILIES:
            assert FLOATING[family] not in built.show(built.node, "ip", f"-{family.value}", "route")
