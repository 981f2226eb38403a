"""Floating addresses: which workload one leads to, or why it leads nowhere."""

from collections.abc import Mapping
from dataclasses import dataclass

from tortie.base.net import Address
from tortie.insight.world import Workload, World


@dataclass(frozen=True, slots=True)
class Floating:
    """A floating address. `owners`: the workload that each node translates it to, by node, and that workload's own address.

    Nodes do not agree on one owner: each translates what it gets. Without any, `refused` says why.
    """

    address: Address
    owners: Mapping[str, tuple[Workload, Address]]
    refused: str = ""

    def leads_to(self, node: str) -> tuple[Workload, Address]:
        """Where a packet goes that was sent on a node, or outside (""): to the sender's own node, if that translates it."""
        return self.owners.get(node) or self.owners[min(self.owners)]


def floating_at(world: World, address: Address) -> Floating | None:
    """None if the address is no workload's floating address. Of a node's endpoints that claim it the lowest id has it."""
    claims = [
        (endpoint_id, each.internal)
        for endpoint_id in sorted(world.state.endpoints)
        for each in world.state.endpoints[endpoint_id].floating
        if each.external == address
    ]
    if not claims:
        return None
    workloads = {each.id: each for each in world.workloads.values()}
    owners: dict[str, tuple[Workload, Address]] = {}
    idle: list[str] = []
    for endpoint_id, internal in claims:
        workload = workloads.get(endpoint_id)
        if workload is None:
            continue
        if world.settings(workload.node).floating:
            owners.setdefault(workload.node, (workload, internal))
        else:
            idle.append(f"{workload.namespace}/{workload.name} on node/{workload.node}")
    if owners or not idle:
        return Floating(address, owners) if owners else None
    refused = (
        f"{address} is a floating address of {' and '.join(idle)} that is not in force, and leads nowhere:"
        " FloatingIPs is Disabled; set floatingIPs: Enabled in FelixConfiguration"
    )
    return Floating(address, {}, refused)
