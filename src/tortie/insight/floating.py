"""Floating addresses: which workload one leads to, or why it leads nowhere."""

from dataclasses import dataclass
from typing import NamedTuple

from tortie.base.net import Address
from tortie.insight.world import Workload, World


class Owner(NamedTuple):
    """A workload that its node translates a floating address to, and its own address."""

    workload: Workload
    own: Address


@dataclass(frozen=True, slots=True)
class Floating:
    """A floating address. Nodes do not agree on one owner: each translates what it gets to the one that it has.

    Without any owner, `refused` says why.
    """

    address: Address
    owners: tuple[Owner, ...]
    """By node, at most one each."""
    refused: str = ""

    def leads_to(self, node: str) -> Owner:
        """Where a packet goes that was sent on a node, or outside (""): to the sender's own node, if that translates it."""
        return next((owner for owner in self.owners if owner.workload.node == node), self.owners[0])


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
    owners: dict[str, Owner] = {}
    idle: list[str] = []
    for endpoint_id, internal in claims:
        workload = workloads.get(endpoint_id)
        if workload is None:
            continue
        if world.settings(workload.node).floating:
            owners.setdefault(workload.node, Owner(workload, internal))
        else:
            idle.append(f"{workload.namespace}/{workload.name} on node/{workload.node}")
    if owners or not idle:
        return Floating(address, tuple(owners[node] for node in sorted(owners))) if owners else None
    refused = (
        f"{address} is a floating address of {' and '.join(idle)} that is not in force, and leads nowhere:"
        " FloatingIPs is Disabled; set floatingIPs: Enabled in FelixConfiguration"
    )
    return Floating(address, (), refused)
