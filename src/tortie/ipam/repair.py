"""Mending what `check` finds, where the data itself says how. `plan_repairs` decides, purely; `Repairer` writes.

Each repair is a compare-and-swap against what the plan was made from, so that one which comes too late does nothing. What
needs a person's judgement (two users of one address, addresses outside pools) is named with what to do, and left alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from tortie.api.ipam import BlockAffinity, IPAMBlock, IPAMBlockSpec, IPAMHandle, IPAMHandleSpec
from tortie.base.errors import TortieError
from tortie.base.net import Address, parse_prefix
from tortie.datastore.client import Client
from tortie.datastore.errors import AlreadyExists
from tortie.ipam.allocator import Ipam
from tortie.ipam.blocks import RESERVED_HANDLE, ReleaseRequest, address_of, format_time, next_revision, parse_time
from tortie.ipam.check import Finding, Snapshot, allocations, check_data, check_use, users_of
from tortie.ipam.store import named

YOUNG_SECONDS = 120.0
"""An address of a pod that is being made has no endpoint yet: only older ones are nobody's."""

ADVICE: Mapping[str, str] = {
    "unallocated": "restart its pod: it gets an address that IPAM knows",
    "outside": "make a pool for it, or restart its pod",
    "twice": "restart all but one of these pods",
    "block": "if check still names it, restore it from a backup, or move its pods to another pool (tortie ipam pool migrate)",
}
"""What a person can do about findings that are not mended here."""


@dataclass(frozen=True, slots=True)
class ReleaseAddress:
    """An address that nobody uses."""

    address: Address
    handle: str
    sequence_number: int | None

    def __str__(self) -> str:
        return f"release {self.address} of handle {self.handle or '<none>'}"


@dataclass(frozen=True, slots=True)
class RemoveHandle:
    """A handle that leads nowhere."""

    handle: IPAMHandle

    def __str__(self) -> str:
        return f"remove handle {self.handle.spec.handle_id}"


@dataclass(frozen=True, slots=True)
class CountHandle:
    """Addresses that their handle does not count. `stored` None: there is no such handle."""

    handle: str
    stored: IPAMHandle | None
    blocks: Mapping[str, int]

    def __str__(self) -> str:
        return f"count {sum(self.blocks.values())} addresses for handle {self.handle}"


@dataclass(frozen=True, slots=True)
class RemoveAffinity:
    """A claim of a block that belongs to somebody else, or is not there."""

    affinity: BlockAffinity

    def __str__(self) -> str:
        return f"remove the claim of {self.affinity.spec.cidr} by {self.affinity.spec.node}"


@dataclass(frozen=True, slots=True)
class RebuildBlock:
    """A block whose lists of free addresses and of owners contradict its allocations, which are what counts."""

    block: IPAMBlock
    spec: IPAMBlockSpec

    def __str__(self) -> str:
        return f"rebuild the free list of block {self.spec.cidr}"


Repair = ReleaseAddress | RemoveHandle | CountHandle | RemoveAffinity | RebuildBlock


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be done, and what is left to a person."""

    repairs: tuple[Repair, ...]
    left: tuple[str, ...]


def plan_repairs(snapshot: Snapshot, *, now: float) -> Plan:
    """How to mend what is wrong."""
    unused, young = _unused(snapshot, now)
    repairs: list[Repair] = list(_rebuilt(snapshot, now))
    broken = {repair.spec.cidr for repair in repairs if isinstance(repair, RebuildBlock)}
    repairs += [release for release in unused if not any(parse_prefix(cidr).contains(release.address) for cidr in broken)]
    repairs += _handles(snapshot)
    repairs += _claims(snapshot)
    findings: Sequence[Finding] = (*check_use(snapshot), *check_data(snapshot, now=now))
    left = [f"{item.text}: {ADVICE[item.kind]}" for item in findings if item.kind in ADVICE and item.kind != "block"]
    left += [f"{item.text}: {ADVICE['block']}" for item in findings if item.kind == "block" and not _is_mended(item, broken)]
    left += [f"{address} was assigned less than {YOUNG_SECONDS:g} s ago: its pod may still be on its way" for address in young]
    return Plan(tuple(repairs), tuple(left))


class Repairer:
    """Carries repairs out."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._ipam = Ipam(client)

    async def mend(self, repair: Repair) -> str:
        """Do one; "" when done, else why it was left alone: somebody changed what it is about, which is no error."""
        try:
            match repair:
                case ReleaseAddress(address=address, handle=handle, sequence_number=number):
                    await self._ipam.release([ReleaseRequest(address, handle=handle, sequence_number=number)])
                case RemoveHandle(handle=stored):
                    await self._client.delete(stored.key, revision=stored.metadata.resource_version)
                case RemoveAffinity(affinity=claim):
                    await self._client.delete(claim.key, revision=claim.metadata.resource_version)
                case RebuildBlock(block=block, spec=spec):
                    await self._client.update(msgspec.structs.replace(block, spec=next_revision(spec)))
                case CountHandle():
                    await self._count(repair)
        except TortieError as error:
            return str(error)
        return ""

    async def _count(self, repair: CountHandle) -> None:
        if repair.stored is None:
            spec = IPAMHandleSpec(handle_id=repair.handle, block=dict(repair.blocks))
            try:
                await self._client.create(IPAMHandle(metadata=named(repair.handle), spec=spec))
            except AlreadyExists:
                return  # whoever made it counts for himself; the next check tells
            return
        spec = msgspec.structs.replace(repair.stored.spec, block=dict(repair.blocks))
        await self._client.update(msgspec.structs.replace(repair.stored, spec=spec))


def _unused(snapshot: Snapshot, now: float) -> tuple[list[ReleaseAddress], list[Address]]:
    """Addresses in no use, and those that are too young to tell."""
    users = users_of(snapshot)
    found: list[ReleaseAddress] = []
    young: list[Address] = []
    for block in snapshot.blocks:
        cidr = parse_prefix(block.spec.cidr)
        for ordinal, index in enumerate(block.spec.allocations):
            if index is None or index >= len(block.spec.attributes):
                continue
            attribute = block.spec.attributes[index]
            address = address_of(cidr, ordinal)
            if attribute.released_at is not None or attribute.handle_id == RESERVED_HANDLE or address in users:
                continue
            if parse_time(attribute.secondary.get("timestamp")) > now - YOUNG_SECONDS:
                young.append(address)
                continue
            number = block.spec.sequence_number_for_allocation.get(str(ordinal))
            found.append(ReleaseAddress(address, attribute.handle_id, number))
    return found, young


def _rebuilt(snapshot: Snapshot, now: float) -> Iterator[RebuildBlock]:
    for block in snapshot.blocks:
        spec = block.spec
        size = parse_prefix(spec.cidr).size
        indexes = {index for index in spec.allocations if index is not None}
        if len(spec.allocations) != size or any(not 0 <= index < len(spec.attributes) for index in indexes):
            continue  # who has which address cannot be known
        free = [ordinal for ordinal, index in enumerate(spec.allocations) if index is None]
        in_order = [ordinal for ordinal in dict.fromkeys(spec.unallocated) if ordinal in set(free)]
        kept = sorted(indexes)
        numbers = {old: new for new, old in enumerate(kept)}
        attributes = tuple(
            msgspec.structs.replace(one, released_at=format_time(now)) if parse_time(one.released_at) > now + 1 else one
            for one in (spec.attributes[index] for index in kept)
        )
        fixed = msgspec.structs.replace(
            spec,
            allocations=tuple(None if index is None else numbers[index] for index in spec.allocations),
            unallocated=(*in_order, *(ordinal for ordinal in free if ordinal not in set(in_order))),
            attributes=attributes,
        )
        if fixed != spec:
            yield RebuildBlock(block, fixed)


def _is_mended(finding: Finding, broken: set[str]) -> bool:
    return any(finding.text.startswith(f"block {cidr} is invalid") for cidr in broken)


def _handles(snapshot: Snapshot) -> Iterator[Repair]:
    held: dict[str, dict[str, int]] = {}
    for item in allocations(snapshot):
        if item.handle and not item.cooling:
            counts = held.setdefault(item.handle, {})
            counts[str(item.block)] = counts.get(str(item.block), 0) + 1
    stored = {handle.spec.handle_id: handle for handle in snapshot.handles}
    for name in sorted(stored.keys() - held.keys()):
        yield RemoveHandle(stored[name])
    for name in sorted(held):
        known = stored[name].spec.block if name in stored else {}
        if any(known.get(cidr, 0) < count for cidr, count in held[name].items()):
            blocks = {cidr: max(known.get(cidr, 0), held[name].get(cidr, 0)) for cidr in sorted({*known, *held[name]})}
            yield CountHandle(name, stored.get(name), blocks)


def _claims(snapshot: Snapshot) -> Iterator[RemoveAffinity]:
    owners = {block.spec.cidr: block.spec.affinity for block in snapshot.blocks}
    for claim in snapshot.affinities:
        spec = claim.spec
        if spec.state in ("", "confirmed") and not spec.deleted and owners.get(spec.cidr) != f"{spec.type}:{spec.node}":
            yield RemoveAffinity(claim)
