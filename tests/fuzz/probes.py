"""Random packets, biased towards the addresses and ports that the cluster's documents speak of."""

from dataclasses import dataclass
from random import Random

from tests.fuzz.rules import PORTS
from tests.oracle.cluster import Cluster, Entity, Sent

STRANGERS = {
    4: ("192.0.2.7", "192.0.2.8", "198.51.100.1"),
    6: ("2001:db8:9::7", "2001:db8:9::8", "2001:db8:a::1"),
}
_PROTOCOLS = (6, 6, 6, 6, 17, 17, 132, "icmp", "icmp", 89, 136, 47)


@dataclass(frozen=True)
class Probe:
    """A packet and who sends it: (namespace, name) of an endpoint, or None for a stranger."""

    sender: tuple[str, str] | None
    sent: Sent


def random_probes(rng: Random, cluster: Cluster, count: int, *, strangers: bool = True) -> list[Probe]:
    """Probes between endpoints, and with `strangers` also from and to addresses outside."""
    endpoints = [entity for entity in cluster.entities if entity.is_endpoint and entity.nets]
    probes: list[Probe] = []
    families = [f for f in (4, 6) if sum(_address(e, f) is not None for e in endpoints) >= 2]
    while families and len(probes) < count:
        family = rng.choice(families)
        there = [entity for entity in endpoints if _address(entity, family) is not None]
        source, destination = rng.sample(there, 2)
        probes.append(_probe(rng, family, source, destination, strangers=strangers))
    return probes


def _probe(rng: Random, family: int, source: Entity, destination: Entity, *, strangers: bool) -> Probe:
    sender: tuple[str, str] | None = (source.namespace, source.name)
    from_address, to_address = _address(source, family), _address(destination, family)
    assert from_address is not None
    assert to_address is not None
    chance = rng.random()
    if chance < 0.03:  # spoofed: a stranger's address, or another endpoint's
        from_address = rng.choice((*STRANGERS[family], to_address))
    elif strangers and chance < 0.22:
        sender, from_address = None, rng.choice(STRANGERS[family])
    elif strangers and chance < 0.4:
        to_address = rng.choice(STRANGERS[family])
    return Probe(sender, _packet(rng, family, from_address, to_address, destination))


def _packet(rng: Random, family: int, source: str, destination: str, receiver: Entity) -> Sent:
    protocol: int | str = rng.choice(_PROTOCOLS)
    if receiver.ports and rng.random() < 0.3:
        _, of, named = rng.choice(receiver.ports)
        return Sent(source, destination, of, source_port=rng.choice((*PORTS, 40000)), destination_port=named)
    if isinstance(protocol, str):
        kind = rng.choice((8, 8, 13, 3) if family == 4 else (128, 128, 139, 1))
        return Sent(source, destination, 1 if family == 4 else 58, icmp_type=kind, icmp_code=rng.choice((0, 0, 1)))
    if protocol not in (6, 17, 132):
        return Sent(source, destination, protocol)
    near = rng.choice(PORTS) + rng.choice((-1, 1, 50, 101, 390, 400))
    port = rng.choice((*PORTS, near, near, near, rng.randint(1, 65535)))
    own = rng.choice((*PORTS, 40000, 40000, 40000, rng.randint(1, 65535)))
    return Sent(source, destination, protocol, source_port=own, destination_port=port)


def _address(entity: Entity, family: int) -> str | None:
    return next((text for text in entity.addresses if (":" in text) is (family == 6)), None)
