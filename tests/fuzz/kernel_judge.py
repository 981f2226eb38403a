"""The third judge: the kernel itself, programmed by our dataplane, asked by sending packets."""

import asyncio
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from tests.fuzz.frames import frames, packets
from tests.fuzz.layout import LAYOUT
from tests.fuzz.probes import Probe, flow
from tests.fuzz.product import Product
from tests.fuzz.stage import HERE, Outgoing, Stage, interface
from tests.fuzz.tally import TALLY

from tortie.base.net import Address
from tortie.dataplane.linux import LinuxDataplane
from tortie.intent.messages import ConfigUpdate, EndpointUpdate, Message
from tortie.kernel import netns
from tortie.kernel.conntrack import Conntrack
from tortie.kernel.link import Links
from tortie.kernel.nft.table import NftTable
from tortie.kernel.route import Routes
from tortie.kernel.route_table import RouteTable


class LivingKernel:
    """A node's dataplane for as long as it lives; what it programmed stays when it ends, as a killed agent's does."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    async def __aenter__(self) -> "LivingKernel":
        with netns.opened(self._stage.node) as fd:
            self._table, self._routes, self._conntrack = NftTable(netns_fd=fd), Routes(fd), Conntrack(fd)
            self._links = Links(fd)
        self._dataplane = LinuxDataplane(
            self._table, RouteTable(self._routes, grace_seconds=0), conntrack=self._conntrack, links=self._links
        )
        self._dataplane.on_messages([ConfigUpdate(())])
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._table.close()
        self._routes.close()
        self._links.close()
        self._conntrack.close()

    async def apply(self, messages: Iterable[Message]) -> None:
        """Program one flush; endpoints are moved to the stage's interfaces."""
        self.tell(messages)
        await self._dataplane.apply()

    def tell(self, messages: Iterable[Message]) -> None:
        """What a flush says, to be programmed with the next."""
        self._dataplane.on_messages(_on_stage(message) for message in messages)

    def judge(self, product: Product, probes: Sequence[Probe]) -> list[bool]:
        """Whether each probe arrives at its destination. One that arrives anywhere else raises AssertionError."""
        workloads = product.world.workloads
        interfaces = {key: _interface(workload.addresses) for key, workload in workloads.items() if workload.addresses}
        by_address = {str(address): interfaces[key] for key in interfaces for address in workloads[key].addresses}
        verdicts = [False] * len(probes)
        for numbers in _rounds(probes):
            self._stage.forget_connections()
            arrived = self._stage.exchange(self._outgoing(probes, numbers, interfaces))
            for number, device in arrived.items():
                to = probes[number].sent.destination
                expected = HERE if LAYOUT.is_own(to) else by_address.get(to) or LAYOUT.way_to(to)
                assert device == expected, f"{probes[number]} arrived at {device} instead of {expected}"
                verdicts[number] = True
        return verdicts

    def _outgoing(
        self, probes: Sequence[Probe], numbers: Iterable[int], interfaces: dict[tuple[str, str], str]
    ) -> Iterator[Outgoing]:
        for number in numbers:
            probe = probes[number]
            device = probe.via if probe.sender is None else interfaces[probe.sender]
            if not device:
                yield from (Outgoing("", each, probe.sent.destination) for each in packets(probe.sent, number))
                continue
            for each in frames(probe.sent, number, macs=self._stage.macs[device], fragmented=probe.fragmented):
                yield Outgoing(device, each)


class KernelJudge:
    """Programs one cluster after the other into the same node, each time as an agent without memory would."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def allows(self, product: Product, probes: Sequence[Probe]) -> list[bool]:
        """Whether each probe arrives."""
        started = time.monotonic()
        try:
            return asyncio.run(self._asked(product, probes))
        finally:
            TALLY.kernel_packets += len(probes)
            TALLY.kernel_seconds += time.monotonic() - started

    async def _asked(self, product: Product, probes: Sequence[Probe]) -> list[bool]:
        async with LivingKernel(self._stage) as kernel:
            await kernel.apply(product.messages)
            return kernel.judge(product, probes)


def _on_stage(message: Message) -> Message:
    if not isinstance(message, EndpointUpdate) or message.endpoint is None:
        return message
    addresses = [prefix.network for prefix in message.endpoint.addresses]
    return EndpointUpdate(message.id, replace(message.endpoint, interface=_interface(addresses)))


def _interface(addresses: Sequence[Address]) -> str:
    """The stage's interface of a workload: its addresses carry the number. Number 0, which does not exist, if it has none."""
    return interface(addresses[0].value & 0xFF if addresses else 0)


def _rounds(probes: Sequence[Probe]) -> list[list[int]]:
    """Numbers of probes, so that no two of one round belong to the same connection for conntrack."""
    rounds: list[tuple[set[tuple[object, ...]], list[int]]] = []
    for number, probe in enumerate(probes):
        mine = flow(probe.sent)
        found = next((entry for entry in rounds if mine not in entry[0]), None)
        if found is None:
            found = (set(), [])
            rounds.append(found)
        found[0].add(mine)
        found[1].append(number)
    return [numbers for _, numbers in rounds]
