"""Sequences of states, and the ways of delivering them that must make no difference.

An expander turns a sequence of states into batches of updates. All expanders of one sequence end in the same state, so the
graph must end in the same intent, whatever it was shown on the way.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tests.graph import states
from tests.graph.states import EMPTY, State, updates

from tortie.api.endpoint import EndpointPort, QoSControls
from tortie.api.resource import Update

Batches = list[list[Update]]
Expander = Callable[[Sequence[State]], Batches]


@dataclass(frozen=True, slots=True)
class Step:
    """A batch boundary is a flush."""

    before: State
    after: State


def _steps(sequence: Sequence[State]) -> Iterator[Step]:
    before = EMPTY
    for after in sequence:
        yield Step(before, after)
        before = after


def plain(sequence: Sequence[State]) -> Batches:
    """State after state, a flush after each."""
    return [updates(step.before, step.after) for step in _steps(sequence)]


def reversed_order(sequence: Sequence[State]) -> Batches:
    """The updates of each state in reverse order of their keys."""
    return [list(reversed(batch)) for batch in plain(sequence)]


def reversed_states(sequence: Sequence[State]) -> Batches:
    """Through the states backwards first, then straight to the last one."""
    return plain([*reversed(sequence), sequence[-1]])


def with_empties(sequence: Sequence[State]) -> Batches:
    """Everything is deleted between any two states."""
    return plain([each for wanted in sequence for each in (EMPTY, wanted)])


def split(sequence: Sequence[State]) -> Batches:
    """A flush after every single update."""
    return [[update] for batch in plain(sequence) for update in batch]


def split_reversed(sequence: Sequence[State]) -> Batches:
    """A flush after every single update, keys in reverse order."""
    return [[update] for batch in reversed_order(sequence) for update in batch]


def squashed(sequence: Sequence[State]) -> Batches:
    """All states in one batch: one flush at the end."""
    return [[update for batch in plain(sequence) for update in batch]]


def duplicated(sequence: Sequence[State]) -> Batches:
    """Every update twice, and the whole last state once more at the end."""
    doubled = [[update for each in batch for update in (each, each)] for batch in plain(sequence)]
    return [*doubled, updates(EMPTY, sequence[-1])]


def with_strange_deletions(sequence: Sequence[State]) -> Batches:
    """Keys of later states are deleted before they ever existed."""
    strange = [Update(key, None) for each in sequence for key in each]
    return [strange, *plain(sequence)]


def walk(seed: int) -> Expander:
    """Random single updates between the values that the keys have in any of the states, then the last state."""

    def expand(sequence: Sequence[State]) -> Batches:
        chance = random.Random(seed)
        keys = sorted({key for each in sequence for key in each})
        held = dict(EMPTY)
        batches: Batches = []
        for _ in range(4 * len(keys)):
            key = chance.choice(keys)
            value = chance.choice([each.get(key) for each in sequence] + [None])
            if value is None:
                held.pop(key, None)
            else:
                held[key] = value
            if chance.random() < 0.3 or not batches:
                batches.append([])
            batches[-1].append(Update(key, value))
        final = updates(held, sequence[-1])
        chance.shuffle(final)
        return [*batches, final]

    expand.__name__ = f"walk_{seed}"
    return expand


EXPANDERS: tuple[Expander, ...] = (
    plain,
    reversed_order,
    reversed_states,
    with_empties,
    split,
    split_reversed,
    squashed,
    duplicated,
    with_strange_deletions,
    *(walk(seed) for seed in range(6)),
)


def _basic() -> list[State]:
    allow = [
        {"action": "Allow", "protocol": "TCP", "source": {"selector": "app == 'b'"}, "destination": {"ports": [80, "web"]}}
    ]
    first = [
        states.namespace("ns", team="x"),
        states.pod("a", "10.0.0.1/32", labels={"app": "a"}, ports=[EndpointPort(name="web", port=8080)]),
        states.pod("b", "10.0.0.2/32", "fd00::2/128", node=states.OTHER, labels={"app": "b"}),
    ]
    web = states.policy("web", selector="app == 'a'", types=["Ingress"], ingress=allow)
    late = states.policy("web", selector="app == 'a'", types=["Ingress", "Egress"], order=10, ingress=allow)
    return [
        states.state(*first),
        states.state(*first, web),
        states.state(*first, late, states.policy("other", selector="all()", order=5, types=["Egress"])),
        states.state(*first[:2], late),
        states.state(*first, web),
    ]


def _profiles_and_labels() -> list[State]:
    peer = [{"action": "Allow", "source": {"namespaceSelector": "team == 'x'", "notSelector": "bad"}}]
    peer_ok = [{"action": "Allow", "source": {"namespaceSelector": "team == 'x'", "notSelector": "has(bad)"}}]
    accounts = [{"action": "Deny", "destination": {"serviceAccounts": {"names": ["robot"], "selector": "r == '1'"}}}]
    local = states.pod("a", "10.0.0.1/32", labels={"app": "a"})
    remotes = [
        states.pod("b", "10.0.1.1/32", ns="far", node=states.OTHER, labels={"app": "b"}, sa="robot"),
        states.pod("c", "10.0.1.2/32", ns="far", node=states.OTHER, labels={"app": "c", "bad": ""}, sa="human"),
    ]
    gnp = states.global_policy("g", namespaceSelector="all()", types=["Ingress"], ingress=peer_ok)
    broken = states.global_policy("g", namespaceSelector="all()", types=["Ingress"], ingress=peer)
    sa = states.policy("sa", serviceAccountSelector="r == '1'", types=["Egress"], egress=accounts)
    return [
        states.state(local, gnp, *remotes),
        states.state(local, gnp, *remotes, states.namespace("far", team="x"), states.namespace("ns")),
        states.state(local, broken, *remotes, states.namespace("far", team="x"), sa),
        states.state(
            states.pod("a", "10.0.0.1/32", labels={"app": "a"}, sa="robot"),
            gnp,
            sa,
            *remotes,
            states.namespace("far", team="y"),
            states.account("ns", "robot", r="1"),
            states.account("far", "robot", r="1"),
        ),
    ]


def _tiers() -> list[State]:
    pods = [states.pod("a", "10.0.0.1/32"), states.pod("b", "10.0.0.2/32", interface="calinsa")]
    policies = [
        states.global_policy("one", tier="first", order=1),
        states.global_policy("two", tier="first", order=0, types=["Egress"]),
        states.global_policy("three", tier="unknown"),
        states.policy("one", order=7),
        states.global_policy("raw", doNotTrack=True, applyOnForward=True),
    ]
    return [
        states.state(*pods, *policies),
        states.state(*pods, *policies, states.tier("first", 5, "Pass")),
        states.state(*pods[1:], *policies, states.tier("first", None), states.tier("unknown", 1)),
        states.state(*pods, *policies[:3], states.tier("first", 2_000_000)),
    ]


def _overlaps() -> list[State]:
    nets = [{"action": "Deny", "destination": {"selector": "kind == 'bad'"}}]
    gnp = states.global_policy("bad", types=["Egress"], egress=nets)
    pod = states.pod("a", "10.0.0.1/32", labels={"kind": "bad"})
    twin = states.pod("t", "10.0.0.1/32", node=states.OTHER, labels={"kind": "bad"})
    bad = {"kind": "bad"}
    return [
        states.state(gnp, pod, states.network_set("s", "10.0.0.1/32", "10.9.0.0/16", labels=bad)),
        states.state(gnp, pod, twin, states.network_set("s", "10.9.0.0/16", "nonsense", labels=bad)),
        states.state(gnp, twin, pod, states.network_set("s", "10.8.0.0/16", ns="ns", labels=bad)),
        states.state(
            gnp, pod, states.network_set("s", "10.9.0.0/16", labels=bad), states.network_set("u", "10.9.0.0/16", labels=bad)
        ),
    ]


def _broken() -> list[State]:
    pods = [states.pod("a", "10.0.0.1/32", labels={"app": "a"}), states.pod("b", "10.0.0.x", ns="other")]
    return [
        states.state(*pods, states.policy("p", selector="app == ", types=["Egress"], egress=[{"action": "Allow"}])),
        states.state(*pods, states.global_policy("p", selector="((", types=["Ingress"])),
        states.state(*pods, states.policy("p", selector="app == 'a'", ingress=[{"action": "Deny", "source": {"nets": ["x"]}}])),
        states.state(*pods, states.policy("p", selector="app == 'a') || (has(app)"), states.pool("bad", "x")),
    ]


def _routing() -> list[State]:
    nodes = [states.node(states.NODE, "172.18.0.2/24", {"rack": "1"}), states.node(states.OTHER, "172.18.0.3/24")]
    rack = states.felix("rack", nodeSelector="rack == '1'", logSeverityScreen="Warning")
    default = states.felix("default", logSeverityScreen="Debug", chainInsertMode="Append")
    own = states.felix(f"node.{states.NODE}", logSeverityScreen="Info")
    return [
        states.state(*nodes, states.pool("b", "10.0.0.0/16", nat_outgoing=True), default),
        states.state(
            *nodes, states.pool("b", "10.0.0.0/16"), states.pool("a", "10.0.0.0/16", ipip_mode="Always"), rack, default
        ),
        states.state(*nodes[:1], states.pool("b", "fd00::/64"), states.pool("a", "10.0.0.0/16"), rack, default, own),
        states.state(*nodes[1:], states.pool("b", "fd00::/64"), rack),
    ]


def _tunnels() -> list[State]:
    key, twin = "YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE=", "YmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmI="
    here = states.tunnel_node(states.NODE, "172.18.0.2/24", "fd00:18::2/64", vxlan="10.0.0.1", vxlan6="fd00:10::1", key=key)
    there = states.tunnel_node(states.OTHER, "172.18.1.3/24", "fd00:18::3/64", vxlan="10.0.0.9", vxlan6="fd00:10::41", key=twin)
    bare = states.tunnel_node(states.OTHER, "172.18.0.3/24", key=key)
    third = states.tunnel_node("node-c", "172.18.1.4/24", key=twin)
    blocks = [
        states.affinity(states.NODE, "10.0.0.0/26"),
        states.affinity(states.OTHER, "10.0.1.0/26"),
        states.affinity(states.OTHER, "fd00:10::40/122"),
    ]
    pods = [states.pod("p", "10.0.1.5/32", node="node-c"), states.pod("q", "10.0.0.7/32", "fd00:10::9/128", node=states.OTHER)]
    pools = [
        states.pool("four", "10.0.0.0/16", vxlan_mode="CrossSubnet"),
        states.pool("six", "fd00:10::/64", vxlan_mode="Always"),
    ]
    encrypted = states.felix("default", wireguardEnabled=True)
    return [
        states.state(here, there, *blocks, *pods, *pools),
        states.state(here, bare, third, *blocks, *pods, *pools, encrypted),
        states.state(
            *(here, there, third, *blocks[1:], states.affinity("node-c", "10.0.1.0/26"), *pods[:1], *pools, encrypted),
            *(states.felix(f"node.{states.NODE}", programClusterRoutes="Enabled"), states.pool("a", "10.0.1.0/24")),
        ),
        states.state(there, *blocks, *pods, states.pool("four", "10.0.0.0/16", ipip_mode="Always")),
        states.state(
            *(here, bare, third, *blocks, *pods, states.bgp_configuration(programClusterRoutes="Disabled")),
            *(states.pool("four", "10.0.0.0/16", ipip_mode="CrossSubnet"), states.felix("default", ipipEnabled=True)),
        ),
    ]


def _hosts() -> list[State]:
    ssh = [{"name": "ssh", "protocol": "TCP", "port": 22}]
    eth0 = states.host_endpoint(
        "eth0", interfaceName="eth0", expectedIPs=["10.0.0.9", "fd00::9"], labels={"role": "gw"}, ports=ssh
    )
    far = states.host_endpoint("far", states.OTHER, interfaceName="*", expectedIPs=["10.0.1.9"], labels={"role": "gw"})
    named = [
        {"action": "Allow", "protocol": "TCP", "source": {"namespaceSelector": "global()"}, "destination": {"ports": ["ssh"]}}
    ]
    roles = [{"action": "Deny", "source": {"selector": "role == 'gw'"}}]
    policies = [
        states.global_policy("plain", selector="role == 'gw'", types=["Ingress"], ingress=named),
        states.global_policy("raw", order=1, doNotTrack=True, applyOnForward=True, ingress=roles, egress=roles),
        states.global_policy("early", order=1, preDNAT=True, applyOnForward=True, types=["Ingress"], ingress=roles),
        states.global_policy("forward", tier="first", applyOnForward=True, types=["Egress"], egress=roles),
        states.policy("own", types=["Ingress"], ingress=roles),
    ]
    pod = states.pod("a", "10.0.0.1/32")
    every = states.host_endpoint("every", interfaceName="*", labels={"role": "gw"}, profiles=["p"], dscp="EF")
    both = [states.profile("p", allow=True, labels={"role": "other"}), states.tier("first", 1, "Pass")]
    moved = states.host_endpoint("far", expectedIPs=["10.0.0.8", "nonsense"], labels={"role": "gw"}, profiles=["p"])
    plain_raw = states.global_policy("raw", order=1, ingress=roles)
    return [
        states.state(eth0, far, pod, *policies),
        states.state(eth0, every, moved, pod, *policies, *both),
        states.state(every, far, pod, plain_raw, *policies[2:], *both[1:]),
        states.state(eth0, moved, *policies[:1], states.host_endpoint("broken", interfaceName="eth 0")),
        states.state(eth0, far, every, pod, *policies, *both),
    ]


def _services() -> list[State]:
    pod = states.pod("a", "10.0.0.1/32")
    to = [{"action": "Allow", "destination": {"services": {"name": "web"}}}]
    far = [{"action": "Deny", "source": {"services": {"name": "web", "namespace": "far"}}}]
    web = states.policy("p", types=["Egress"], egress=to)
    both = states.policy("p", types=["Ingress", "Egress"], ingress=far, egress=to)
    slices = [
        states.endpoint_slice("a", "web", "10.0.0.1", "10.0.0.2", ports=[80, {"port": 53, "protocol": "UDP"}]),
        states.endpoint_slice("b", "web", "10.0.0.1", "fd00::1"),
        states.endpoint_slice("c", "web", "10.0.9.1", ns="far"),
    ]
    return [
        states.state(pod, web),
        states.state(pod, both, *slices),
        states.state(pod, web, states.endpoint_slice("a", "db", "10.0.0.1"), slices[1]),
        states.state(pod, states.global_policy("g", egress=to), *slices),
        states.state(pod, both, slices[2], states.endpoint_slice("b", "web", "10.0.0.7", "name", ports=[{"name": "x"}, 81])),
    ]


def _staged() -> list[State]:
    pods = [states.pod("a", "10.0.0.1/32", labels={"app": "a"}), states.pod("b", "10.0.0.2/32")]
    deny = [{"action": "Deny", "source": {"selector": "has(x)"}}]
    enforced = states.policy("p", selector="app == 'a'", types=["Ingress"], ingress=deny)
    return [
        states.state(*pods, enforced, states.staged_policy("p", stagedAction="Delete")),
        states.state(*pods, enforced, states.staged_policy("p", order=3, types=["Egress"], egress=deny)),
        states.state(*pods, states.staged_policy("p", selector="nobody == 'x'", ingress=deny)),
        states.state(
            *pods,
            enforced,
            states.staged_policy("k", kind="StagedKubernetesNetworkPolicy", order=1000, types=["Ingress"]),
            states.staged_global_policy("g", tier="new", doNotTrack=True, applyOnForward=True, ingress=deny),
            states.staged_global_policy("h", stagedAction="Learn", ingress=deny),
            states.host_endpoint("h", interfaceName="eth0"),
        ),
        states.state(*pods, enforced, states.staged_policy("p", selector="((", stagedAction="Set", ingress=deny)),
    ]


def _cluster_policies() -> list[State]:
    pod = states.pod("a", "10.0.0.1/32")
    web = [{"action": "Pass", "source": {"namespaceSelector": "all()"}}]
    return [
        states.state(pod, states.cluster_policy("same", order=5, types=["Ingress"], ingress=web)),
        states.state(pod, states.cluster_policy("same", order=5), states.global_policy("same", tier="kube-admin", order=5)),
        states.state(pod, states.cluster_policy("same", order=4, tier="kube-baseline"), states.tier("kube-admin", 1)),
    ]


def _service_networks() -> list[State]:
    nets = [{"cidr": "10.96.0.0/12"}, {"cidr": "fd00:10::/112"}]
    own = states.bgp_configuration(f"node.{states.NODE}", serviceClusterIPs=[{"cidr": "10.0.0.0/8"}])
    return [
        states.state(states.bgp_configuration(serviceClusterIPs=nets)),
        states.state(states.bgp_configuration(serviceExternalIPs=nets[:1], serviceLoadBalancerIPs=[*nets, {"cidr": "x"}]), own),
        states.state(own),
        states.state(states.bgp_configuration(serviceClusterIPs=nets[1:]), own),
    ]


def _limits() -> list[State]:
    limits = QoSControls(ingress_packet_rate=100, egress_max_connections=5, dscp="EF")
    return [
        states.state(states.pod("a", "10.0.0.1/32", qos=limits)),
        states.state(states.pod("a", "10.0.0.1/32", qos=QoSControls(egress_packet_rate=7, egress_packet_burst=8, dscp=99))),
        states.state(states.pod("a", "10.0.0.1/32")),
        states.state(states.pod("a", "10.0.0.1/32", qos=limits)),
    ]


SEQUENCES: dict[str, list[State]] = {
    "basic": _basic(),
    "profiles and labels": _profiles_and_labels(),
    "tiers": _tiers(),
    "overlaps": _overlaps(),
    "broken": _broken(),
    "routing": _routing(),
    "tunnels": _tunnels(),
    "hosts": _hosts(),
    "services": _services(),
    "staged": _staged(),
    "cluster policies": _cluster_policies(),
    "service networks": _service_networks(),
    "limits": _limits(),
}
