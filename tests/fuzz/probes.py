"""Random packets, biased towards the addresses and ports that the cluster's documents speak of."""

from dataclasses import dataclass
from random import Random

from tests.fuzz.layout import FAILSAFE_PORTS, NOBODY, STRANGERS, is_strange, own
from tests.fuzz.rules import PORTS
from tests.oracle.cluster import Cluster, Entity, Sent, protocol_number

_PROTOCOLS = (6, 6, 6, 6, 17, 17, 132, "icmp", "icmp", 89, 136, 47, 4)
_TO_HOST_ICMPV6 = (128, 130, 131, 132, 133, 134, 135, 136, 139)


@dataclass(frozen=True)
class Probe:
    """A packet and where it begins: `sender`, (namespace, name) of a workload, or outside behind the interface `via`, or, if
    `via` is "", on the node itself."""

    sender: tuple[str, str] | None
    sent: Sent
    via: str = "ext0"
    fragmented: bool = False
    """Sent in two pieces. Tracking puts them together before any policy, so the verdict is that of the whole."""


def random_probes(rng: Random, cluster: Cluster, count: int) -> list[Probe]:
    """Probes of which no two are of one connection: from and to workloads, the node itself, and strangers on all its sides."""
    ground = _Ground(rng, cluster)
    probes: list[Probe] = []
    flows: set[tuple[object, ...]] = set()
    for _ in range(20 * count):
        probe = ground.probe()
        if probe is not None and can_begin_a_connection(probe.sent) and flow(probe.sent) not in flows:
            flows.add(flow(probe.sent))
            probes.append(probe)
        if len(probes) == count:
            break
    return probes


def flow(sent: Sent) -> tuple[object, ...]:
    """What conntrack tells connections apart by, without direction: two probes of one flow must not meet in one round."""
    ends = sorted([(sent.source, sent.source_port), (sent.destination, sent.destination_port)], key=str)
    return (sent.protocol, *ends, sent.icmp_type)


def can_begin_a_connection(sent: Sent) -> bool:
    """False for ICMP messages that only answer others: conntrack calls them invalid, and no policy is asked."""
    if sent.protocol == 1:
        return sent.icmp_type in (8, 13, 17)
    return sent.protocol != 58 or sent.icmp_type in _TO_HOST_ICMPV6


class _Ground:
    """Who is there."""

    def __init__(self, rng: Random, cluster: Cluster) -> None:
        self.rng = rng
        self.workloads = [each for each in cluster.entities if each.is_endpoint and not each.is_host and each.nets]
        with_hosts = any(each.is_host for each in cluster.entities)
        self.served = [
            (address, protocol_number(port.get("protocol", "TCP")), port["port"])
            for document in cluster.of_kind("EndpointSlice")
            for endpoint in document["endpoints"]
            for address in endpoint["addresses"]
            for port in document["ports"]
            if "port" in port and (cluster.endpoint_with(address) is not None or is_strange(address))
        ]
        self.kinds = [self._between_pods] * 6 + [self._outward, self._inward] * 2 + [self._pod_to_node, self._node_to_pod]
        self.kinds += [self._to_node, self._from_node, self._through] * (5 if with_hosts else 1)
        self.kinds += [self._pod_to_node] * (2 if with_hosts else 0) + [self._to_service] * (3 if self.served else 0)

    def probe(self) -> Probe | None:
        family = self.rng.choice((4, 6))
        found = self.rng.choice(self.kinds)(family)
        if found is not None and found.via and found.sent.protocol in (6, 17) and self.rng.random() < 0.04:
            return Probe(found.sender, found.sent, found.via, fragmented=True)
        return found

    def _pods(self, family: int, count: int) -> list[Entity]:
        there = [each for each in self.workloads if _address(each, family)]
        return self.rng.sample(there, count) if len(there) >= count else []

    def _stranger(self, family: int, via: str = "") -> str:
        return self.rng.choice(STRANGERS[via or self.rng.choice(("ext0", "ext1"))][family])

    def _between_pods(self, family: int) -> Probe | None:
        pair = self._pods(family, 2)
        if not pair:
            return None
        to = _address(pair[1], family)
        return Probe(_id(pair[0]), self._packet(family, self._claimed(pair[0], family, to), to, pair[1]))

    def _claimed(self, source: Entity, family: int, to: str) -> str:
        """Mostly the sender's own address, sometimes a stranger's, another endpoint's, or what some pod may spoof."""
        if self.rng.random() < 0.93:
            return _address(source, family)
        return self.rng.choice((self._stranger(family), to, "172.16.0.9" if family == 4 else "2001:db8:9::8"))

    def _outward(self, family: int) -> Probe | None:
        pods = self._pods(family, 1)
        if not pods:
            return None
        to = self.rng.choice((self._stranger(family), self._stranger(family), self.rng.choice(NOBODY[family])))
        return Probe(_id(pods[0]), self._packet(family, self._claimed(pods[0], family, to), to))

    def _inward(self, family: int) -> Probe | None:
        pods, via = self._pods(family, 1), self.rng.choice(("ext0", "ext0", "ext1"))
        if not pods:
            return None
        return Probe(None, self._packet(family, self._stranger(family, via), _address(pods[0], family), pods[0]), via)

    def _to_service(self, family: int) -> Probe | None:
        """From a pod to where a slice says that a service is, mostly with the right protocol."""
        to, protocol, port = self.rng.choice(self.served)
        pods = self._pods(family, 1)
        if family != (6 if ":" in to else 4) or not pods or pods[0].has_address(to):
            return None
        protocol = self.rng.choice((protocol, protocol, 6, 17))
        return Probe(_id(pods[0]), Sent(_address(pods[0], family), to, protocol, 40000, port))

    def _through(self, family: int) -> Probe:
        via = self.rng.choice(("ext0", "ext1"))
        other = "ext1" if via == "ext0" or self.rng.random() < 0.1 else "ext0"
        to = self.rng.choice((self._stranger(family, other),) * 4 + NOBODY[family])
        source = next(each for each in iter(lambda: self._stranger(family, via), None) if each != to)
        return Probe(None, self._packet(family, source, to), via)

    def _to_node(self, family: int) -> Probe:
        via = self.rng.choice(("ext0", "ext1"))
        return Probe(None, self._packet(family, self._stranger(family, via), self.rng.choice(own(family)), node=True), via)

    def _from_node(self, family: int) -> Probe:
        return Probe(
            None, self._packet(family, self.rng.choice(own(family)), self._stranger(family), node=True), "", fragmented=False
        )

    def _pod_to_node(self, family: int) -> Probe | None:
        pods = self._pods(family, 1)
        if not pods:
            return None
        to = self.rng.choice(own(family))
        source = self._claimed(pods[0], family, to)
        if source == to:  # the kernel itself refuses packets that seem to come from it
            source = _address(pods[0], family)
        if family == 6 and self.rng.random() < 0.15:
            source = "fe80::77"
        return Probe(_id(pods[0]), self._packet(family, source, to, node=True))

    def _node_to_pod(self, family: int) -> Probe | None:
        pods = self._pods(family, 1)
        if not pods:
            return None
        sent = self._packet(family, self.rng.choice(own(family)), _address(pods[0], family), pods[0])
        return Probe(None, sent, "")

    def _packet(
        self, family: int, source: str, destination: str, receiver: Entity | None = None, *, node: bool = False
    ) -> Sent:
        rng = self.rng
        protocol: int | str = rng.choice(_PROTOCOLS)
        if receiver is not None and receiver.ports and rng.random() < 0.3:
            _, of, named = rng.choice(receiver.ports)
            return Sent(source, destination, of, source_port=rng.choice((*PORTS, 40000)), destination_port=named)
        if node and rng.random() < 0.12:  # what nodes alone may send each other, wrapped up
            return rng.choice((Sent(source, destination, 4), Sent(source, destination, 17, 40000, 4789)))
        if isinstance(protocol, str):
            of, kinds = (1, (8, 8, 13)) if family == 4 else (58, _TO_HOST_ICMPV6 if node else (128, 128, 139))
            return Sent(source, destination, of, icmp_type=rng.choice(kinds), icmp_code=rng.choice((0, 0, 1)))
        if protocol not in (6, 17, 132):
            return Sent(source, destination, protocol)
        near = rng.choice(PORTS) + rng.choice((-1, 1, 50, 101, 390, 400))
        special = (*FAILSAFE_PORTS, 4789, 4789) if node or rng.random() < 0.1 else (4789,)
        port = rng.choice((*PORTS, near, near, near, rng.randint(1, 65535), rng.choice(special)))
        mine = rng.choice((*PORTS, 40000, 40000, 40000, rng.randint(1, 65535), rng.choice(special)))
        return Sent(source, destination, protocol, source_port=mine, destination_port=port)


def _id(entity: Entity) -> tuple[str, str]:
    return entity.namespace, entity.name


def _address(entity: Entity, family: int) -> str:
    """The entity's address of a family, "" if it has none."""
    return next((text for text in entity.addresses if (":" in text) is (family == 6)), "")
