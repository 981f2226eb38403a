"""The third judge: the kernel itself, programmed by our dataplane, asked by sending packets."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace

from tests.fuzz.frames import can_begin_a_connection, flow, frame
from tests.fuzz.probes import Probe
from tests.fuzz.product import Product
from tests.fuzz.stage import OUTSIDE, Stage, interface

from tortie.dataplane.linux import LinuxDataplane
from tortie.insight.world import Workload
from tortie.intent.messages import ConfigUpdate, EndpointUpdate, InSync, Message, PolicyUpdate, ProfileUpdate, SetUpdate
from tortie.kernel import netns
from tortie.kernel.conntrack import Conntrack
from tortie.kernel.nft.table import NftTable
from tortie.kernel.route import Routes, RouteTable

_VXLAN_PORT = 4789


def can_be_asked(probe: Probe) -> bool:
    """False where the kernel answers by other rules than policy: what no connection begins with, VXLAN from a workload."""
    return can_begin_a_connection(probe.sent) and probe.sent.destination_port != _VXLAN_PORT


class KernelJudge:
    """Programs one cluster after the other into the same node, each time as an agent without memory would."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def allows(self, product: Product, probes: Sequence[Probe]) -> list[bool]:
        """Whether each probe arrives at its destination. One that arrives anywhere else raises AssertionError."""
        workloads = product.world.workloads
        interfaces = {key: _interface(workload) for key, workload in workloads.items() if workload.addresses}
        asyncio.run(self._program(product, interfaces))
        by_address = {str(address): interfaces[key] for key in interfaces for address in workloads[key].addresses}
        verdicts = [False] * len(probes)
        for numbers in _rounds(probes):
            self._stage.forget_connections()
            arrived = self._stage.exchange(self._frames(probes, numbers, interfaces))
            for number, device in arrived.items():
                expected = by_address.get(probes[number].sent.destination, OUTSIDE)
                assert device == expected, f"{probes[number]} arrived at {device} instead of {expected}"
                verdicts[number] = True
        return verdicts

    def _frames(
        self, probes: Sequence[Probe], numbers: Iterable[int], interfaces: dict[tuple[str, str], str]
    ) -> list[tuple[str, bytes]]:
        frames = []
        for number in numbers:
            probe = probes[number]
            device = OUTSIDE if probe.sender is None else interfaces[probe.sender]
            far_mac, near_mac = self._stage.macs[device]
            frames.append((device, frame(probe.sent, number, source_mac=far_mac, destination_mac=near_mac)))
        return frames

    async def _program(self, product: Product, interfaces: dict[tuple[str, str], str]) -> None:
        with netns.opened(self._stage.node) as fd, Routes(fd) as routes:
            table, conntrack = NftTable(netns_fd=fd), Conntrack(fd)
            dataplane = LinuxDataplane(table, RouteTable(routes, grace_seconds=0), conntrack=conntrack)
            try:
                dataplane.on_messages(_messages(product, interfaces))
                await dataplane.apply()
            finally:
                await table.close()
                conntrack.close()


def _interface(workload: Workload) -> str:
    """The stage's interface of a workload: its addresses carry the number."""
    return interface(workload.addresses[0].value & 0xFF)


def _messages(product: Product, interfaces: dict[tuple[str, str], str]) -> list[Message]:
    """The world's state as one flush, with endpoints moved to the stage's interfaces."""
    state = product.world.state
    messages: list[Message] = [
        SetUpdate(set_id, ipset, frozenset(state.members[set_id])) for set_id, ipset in state.sets.items()
    ]
    messages += [PolicyUpdate(policy_id, policy) for policy_id, policy in state.policies.items()]
    messages += [ProfileUpdate(profile_id, profile) for profile_id, profile in state.profiles.items()]
    for key, device in interfaces.items():
        endpoint_id = product.world.workloads[key].id
        messages.append(EndpointUpdate(endpoint_id, replace(state.endpoints[endpoint_id], interface=device)))
    return [ConfigUpdate(()), *messages, InSync()]


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
