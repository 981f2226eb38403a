"""What a node that leaves the cluster gives back: addresses of its workloads and tunnels, and its blocks.

`plan_leaving` decides, purely, and only on what is still there: a run that died is finished by the next one. An address that
anything of another node uses stays, and so does one that IPAM has booked for another node.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from tortie.base.net import Address, parse_prefix
from tortie.datastore.client import Client
from tortie.ipam.allocator import Ipam
from tortie.ipam.blocks import RESERVED_HANDLE, ReleaseRequest, address_of, plain_handle
from tortie.ipam.check import Snapshot, read_snapshot, users_of
from tortie.ipam.errors import Contention, ReleaseConflict

_TRIES = 10
_TUNNELS = (
    "wireguard-tunnel-addr",
    "wireguard-v6-tunnel-addr",
    "ipip-tunnel-addr",
    "vxlan-tunnel-addr",
    "vxlan-v6-tunnel-addr",
)


@dataclass(frozen=True, slots=True)
class Leaving:
    """What is to be released: each address only from the very allocation that was seen, and handles that count in vain."""

    requests: tuple[ReleaseRequest, ...]
    handles: tuple[str, ...]


def plan_leaving(snapshot: Snapshot, node: str) -> Leaving:
    """What of all addresses is this node's alone."""
    held = _Held(snapshot, node)
    requests = tuple(held.requests())
    return Leaving(requests, tuple(held.idle_handles()))


class _Held:
    """How IPAM's data and a node belong together."""

    def __init__(self, snapshot: Snapshot, node: str) -> None:
        self._snapshot = snapshot
        self._node = node
        self._tunnels = {f"{kind}-{node}" for kind in _TUNNELS}
        own, others = _split(snapshot, node)
        self._used = set(users_of(own))
        self._used_elsewhere = set(users_of(others))
        self._containers = tuple(f".{each.spec.container_id}" for each in own.endpoints if each.spec.container_id)
        self._live: set[str] = set()

    def requests(self) -> Iterator[ReleaseRequest]:
        """Its allocations."""
        for block in self._snapshot.blocks:
            cidr, spec = parse_prefix(block.spec.cidr), block.spec
            for ordinal, index in enumerate(spec.allocations):
                attribute = spec.attributes[index] if index is not None and index < len(spec.attributes) else None
                if attribute is None or attribute.released_at is not None or attribute.handle_id == RESERVED_HANDLE:
                    continue
                self._live.add(plain_handle(attribute.handle_id))
                address = address_of(cidr, ordinal)
                if self._is_own(address, attribute.handle_id, attribute.secondary.get("node", "")):
                    number = spec.sequence_number_for_allocation.get(str(ordinal))
                    yield ReleaseRequest(address, handle=attribute.handle_id, sequence_number=number)

    def _is_own(self, address: Address, handle: str, booked_for: str) -> bool:
        if address in self._used_elsewhere or booked_for not in ("", self._node):
            return False
        return bool(booked_for) or address in self._used or self._is_own_handle(handle)

    def _is_own_handle(self, handle: str) -> bool:
        return handle in self._tunnels or handle.endswith(self._containers)

    def idle_handles(self) -> Iterator[str]:
        """Handles of this node without addresses: a release that died between block and handle left them. After `requests`."""
        owner = f"host:{self._node}"
        blocks = {block.spec.cidr for block in self._snapshot.blocks if block.spec.affinity == owner}
        for handle in self._snapshot.handles:
            name, counted = handle.spec.handle_id, set(handle.spec.block)
            if name not in self._live and (self._is_own_handle(name) or (counted and counted <= blocks)):
                yield name


def _split(snapshot: Snapshot, node: str) -> tuple[Snapshot, Snapshot]:
    """The same addresses with this node's users, and with everybody else's."""

    def users(*, own: bool) -> Snapshot:
        return replace(
            snapshot,
            endpoints=tuple(each for each in snapshot.endpoints if (each.spec.node == node) is own),
            nodes=tuple(each for each in snapshot.nodes if (each.metadata.name == node) is own),
        )

    return users(own=True), users(own=False)


async def release_addresses(client: Client, node: str) -> tuple[Address, ...]:
    """Release what `plan_leaving` names, again where others wrote in between, until nothing is left; return the addresses."""
    ipam = Ipam(client)
    released: list[Address] = []
    for _ in range(_TRIES):
        plan = plan_leaving(await read_snapshot(client), node)
        if not plan.requests and not plan.handles:
            return tuple(released)
        try:
            gone = set(await ipam.release(plan.requests))
        except ReleaseConflict:
            continue  # somebody else has one of them by now: look again
        released += [request.address for request in plan.requests if request.address not in gone]
        for handle in plan.handles:
            await ipam.release_by_handle(handle)
    raise Contention(f"release of the addresses of node {node}", _TRIES)
