"""The product as a judge: raw documents through decoding, validation, conversion and calculation, then the evaluator."""

from collections.abc import Sequence

from tests.fuzz.layout import LAYOUT, NODE
from tests.fuzz.probes import Probe
from tests.oracle.cluster import Document

from tortie.api.documents import decode
from tortie.api.profile import DEFAULT_ALLOW
from tortie.api.resource import Metadata, Update
from tortie.api.tier import PREDEFINED, Tier
from tortie.api.validation import check
from tortie.base.net import Family, parse_address
from tortie.calc.graph import Graph
from tortie.insight.world import World
from tortie.intent.host_endpoints import EVERY_INTERFACE, resolve
from tortie.intent.messages import Message
from tortie.intent.state import State
from tortie.verdict.journey import AtInterface, AtNode, AtWorkload, Crossing, Judge, Side, ThoroughJudge, journey
from tortie.verdict.packet import Packet
from tortie.verdict.quick import QuickJudge
from tortie.verdict.staged import in_force


class Product:
    """One cluster, calculated once: as insight sees it (`world`), and as the agent of the one node does."""

    def __init__(self, documents: Sequence[Document]) -> None:
        self.world = World.from_resources([check(decode(document)) for document in documents])
        self.messages = self._flush(staged=False)
        self.state = State()
        self.state.apply_all(self.messages)
        self._by_address = {address: workload for workload in self.world.workloads.values() for address in workload.addresses}
        self._thorough = _Bench(ThoroughJudge(self.state), self.state)
        self._quick = _Bench(QuickJudge(self.state), self.state)
        self._pending: _Bench | None = None

    def _flush(self, *, staged: bool) -> list[Message]:
        """All that the node's agent is told, in one flush."""
        listed = {update.key for update in self.world.updates}
        built_in = [*(Tier(metadata=Metadata(name=name), spec=spec) for name, spec in PREDEFINED.items()), DEFAULT_ALLOW]
        graph = Graph(NODE, staged=staged)
        graph.on_updates([Update(each.key, each) for each in built_in if each.key not in listed])
        graph.on_updates(self.world.updates)
        graph.on_in_sync()
        return list(graph.flush())

    def allows(self, probe: Probe) -> bool:
        """The whole way through the node. A sender that is not there raises KeyError."""
        return self._passes(probe, self._thorough)

    def allows_quickly(self, probe: Probe) -> bool:
        """The same question to the evaluator that keeps no reasons."""
        return self._passes(probe, self._quick)

    def would_allow(self, probe: Probe) -> bool:
        """If all staged policies were enforced."""
        if self._pending is None:
            state = State()
            state.apply_all(self._flush(staged=True))
            pending = in_force(state)
            self._pending = _Bench(ThoroughJudge(pending), pending)
        return self._passes(probe, self._pending)

    def _passes(self, probe: Probe, bench: "_Bench") -> bool:
        to, workload = probe.sent.destination, self._by_address.get(parse_address(probe.sent.destination))
        enters: Side = bench.interface(probe.via) if probe.via else AtNode()
        leaves: Side = AtNode() if LAYOUT.is_own(to) else bench.interface(LAYOUT.way_to(to))
        if probe.sender is not None:
            enters = AtWorkload(self.world.workloads[probe.sender].id)
        if workload is not None:
            leaves = AtWorkload(workload.id)
        crossing = Crossing(node=NODE, enters=enters, leaves=leaves, packet=packet_of(probe), wildcard=bench.wildcard)
        return journey((crossing,), lambda _: bench.judge).allowed


class _Bench:
    """A judge, and whose interfaces are whose in the state that it judges by."""

    def __init__(self, judge: Judge, state: State) -> None:
        self.judge = judge
        interfaces = {name: {parse_address(text) for text in own} for name, own in LAYOUT.interfaces.items()}
        self._hosts = resolve(state.host_endpoints.values(), interfaces)
        self.wildcard = self._hosts.get(EVERY_INTERFACE)

    def interface(self, name: str) -> AtInterface:
        return AtInterface(self._hosts.get(name, self.wildcard))


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
