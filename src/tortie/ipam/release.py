"""Giving addresses back: by address, by handle, and all that a node or a pool had."""

from collections.abc import Iterable

import msgspec

from tortie.api.ipam import BlockAffinity, IPAMBlock
from tortie.base.net import Address, Prefix, parse_prefix
from tortie.datastore.errors import DoesNotExist, UpdateConflict
from tortie.ipam.affinities import Affinities
from tortie.ipam.blocks import Released, ReleaseRequest, collect, is_empty, release, release_handle
from tortie.ipam.handles import Handles
from tortie.ipam.pools import block_length, pool_of, selects
from tortie.ipam.store import Store


class Releaser:
    """Releases are idempotent: what is not assigned (any more) is reported, and no error."""

    def __init__(self, store: Store, handles: Handles) -> None:
        self._store = store
        self._handles = handles

    async def addresses(self, requests: Iterable[ReleaseRequest]) -> tuple[Address, ...]:
        """Release addresses; return those that were not assigned. Raises ReleaseConflict (per block nothing is half-done)."""
        pools = await self._store.pools()
        blocks: dict[Prefix, list[ReleaseRequest]] = {}
        missing: list[Address] = []
        existing: list[Prefix] | None = None
        for request in requests:
            pool = pool_of(pools, request.address)
            if pool is not None:
                bits = request.address.family.bits - block_length(pool)
                cidr = Prefix(request.address.family, request.address.value >> bits << bits, block_length(pool))
                blocks.setdefault(cidr, []).append(request)
                continue
            if existing is None:
                existing = [parse_prefix(block.spec.cidr) for block in await self._store.blocks()]
            found = next((cidr for cidr in existing if cidr.contains(request.address)), None)
            if found is None:
                missing.append(request.address)
            else:
                blocks.setdefault(found, []).append(request)
        for cidr, wanted in blocks.items():
            missing += await self._from_block(cidr, wanted)
        return tuple(missing)

    async def handle(self, handle: str) -> tuple[Address, ...]:
        """Release all that a handle has; return it. Repeats what an earlier attempt left undone.

        Every block is written, even one that holds nothing for the handle: an assignment in flight that has counted, but not
        yet written its block, then meets a conflict. Only after that the handle goes, if it is still as it was read.
        """
        released: list[Address] = []
        cooldown = (await self._store.configuration()).ip_cooldown_seconds
        async for _ in self._store.attempts(f"release of handle {handle}"):
            try:
                current = await self._store.handle(handle)
            except DoesNotExist:
                return tuple(released)
            for cidr in sorted(current.spec.block):
                released += await self._handle_from_block(handle, cidr, cooldown)
            try:
                await self._store.remove(current)
                return tuple(released)
            except UpdateConflict:
                continue
        return tuple(released)

    async def node(self, node: str) -> tuple[Prefix, ...]:
        """Give up all blocks of a node; return them. Addresses in use stay assigned, in blocks without an owner."""
        claims = await self._store.affinities(node, kind="host")
        for affinity in claims:
            await self._give_up(affinity)
        return tuple(parse_prefix(affinity.spec.cidr) for affinity in claims)

    async def pool(self, cidr: Prefix) -> None:
        """Give up all blocks inside a pool that is being deleted."""
        listing = await self._store.client.list("BlockAffinity")
        for affinity in listing.items:
            if isinstance(affinity, BlockAffinity) and cidr.contains(parse_prefix(affinity.spec.cidr)):
                await self._give_up(affinity)

    async def _give_up(self, affinity: BlockAffinity) -> None:
        owner = Affinities(self._store, affinity.spec.node, kind=affinity.spec.type)
        await owner.release_insistently(parse_prefix(affinity.spec.cidr), require_empty=False)

    async def _from_block(self, cidr: Prefix, requests: list[ReleaseRequest]) -> tuple[Address, ...]:
        cooldown = (await self._store.configuration()).ip_cooldown_seconds
        async for _ in self._store.attempts(f"release from block {cidr}"):
            try:
                block = await self._store.block(cidr, cooldown_seconds=cooldown)
            except DoesNotExist:
                return tuple(request.address for request in requests)
            result = release(block.spec, requests, now=self._store.now())
            if not result.addresses:
                return result.unallocated
            try:
                kept = await self._write(block, result, cooldown)
            except UpdateConflict:
                continue
            for handle, count in result.counts.items():
                await self._handles.decrement(handle, str(cidr), count)
            await self._settle(kept)
            return result.unallocated
        return ()

    async def _handle_from_block(self, handle: str, cidr: str, cooldown: float) -> tuple[Address, ...]:
        async for _ in self._store.attempts(f"release of handle {handle} from block {cidr}"):
            try:
                block = await self._store.block(cidr, cooldown_seconds=cooldown)
                result = release_handle(block.spec, handle, now=self._store.now())
                kept = await self._write(block, result, cooldown)
            except DoesNotExist:
                return ()
            except UpdateConflict:
                continue
            if result.addresses:
                await self._settle(kept)
            return result.addresses
        return ()

    async def _write(self, block: IPAMBlock, result: Released, cooldown: float) -> IPAMBlock | None:
        """Write a block after a release. None when it was deleted: without an owner, or of load balancers, and empty."""
        spec = collect(result.spec, now=self._store.now(), cooldown_seconds=cooldown)
        ownerless = spec.affinity is None
        if ownerless and is_empty(spec):
            await self._store.remove(block)
            return None
        return await self._store.write_block(msgspec.structs.replace(block, spec=spec))

    async def _settle(self, block: IPAMBlock | None) -> None:
        """An empty block is given up at once by load balancers, and by a node that its pool does not select any more."""
        if block is None or block.spec.affinity is None or not is_empty(block.spec):
            return
        kind, _, node = block.spec.affinity.partition(":")
        cidr = parse_prefix(block.spec.cidr)
        if kind == "host":
            pool = pool_of(await self._store.pools(), cidr)
            if pool is None or pool.spec.node_selector.strip() in ("", "all()"):
                return
            try:
                if selects(pool.spec.node_selector, await self._store.node_labels(node)):
                    return
            except DoesNotExist:
                return
        try:
            await Affinities(self._store, node, kind=kind).release(cidr, require_empty=True)
        except (UpdateConflict, DoesNotExist):
            return
