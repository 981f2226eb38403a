"""The product as a judge: raw documents through decoding, validation, conversion and calculation, then the evaluator."""

from collections.abc import Sequence

from tests.fuzz.probes import Probe
from tests.oracle.cluster import Document

from tortie.api.documents import decode
from tortie.api.validation import check
from tortie.base.net import Family, parse_address
from tortie.insight.world import Workload, World
from tortie.intent.policy import Direction
from tortie.verdict.evaluate import judge
from tortie.verdict.packet import Packet


class Product:
    """One cluster, calculated once."""

    def __init__(self, documents: Sequence[Document]) -> None:
        self.world = World.from_resources([check(decode(document)) for document in documents])
        self._by_address = {address: workload for workload in self.world.workloads.values() for address in workload.addresses}

    def allows(self, probe: Probe) -> bool:
        """Both ends, as far as they are endpoints. A sender that is not there raises KeyError."""
        packet = packet_of(probe)
        if probe.sender is not None and not self._at(self.world.workloads[probe.sender], Direction.EGRESS, packet):
            return False
        receiver = self._by_address.get(packet.destination)
        return receiver is None or self._at(receiver, Direction.INGRESS, packet)

    def _at(self, workload: Workload, direction: Direction, packet: Packet) -> bool:
        return judge(self.world.state, workload.id, direction=direction, packet=packet).allowed


def packet_of(probe: Probe) -> Packet:
    """The packet as the evaluator sees it."""
    sent = probe.sent
    return Packet(
        family=Family(sent.family),
        source=parse_address(sent.source),
        destination=parse_address(sent.destination),
        protocol=sent.protocol,
        source_port=sent.source_port,
        destination_port=sent.destination_port,
        icmp_type=sent.icmp_type,
        icmp_code=sent.icmp_code,
    )
