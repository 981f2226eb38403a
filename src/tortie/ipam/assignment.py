"""One family of one automatic request: own blocks first, then new blocks, then (unless forbidden) borrowed addresses."""

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from tortie.api.ipam import AllocationAttribute, IPAMBlock, IPAMConfigurationSpec
from tortie.api.ippool import IPPool
from tortie.base.net import Family, Interface, Prefix, parse_prefix
from tortie.datastore.errors import DoesNotExist, UpdateConflict
from tortie.ipam.affinities import Affinities
from tortie.ipam.blocks import assign, free_ordinals, is_empty, parse_time
from tortie.ipam.errors import BlockLimit, ClaimConflict, IpamError, NoBlock, StaleAffinity
from tortie.ipam.handles import Handles
from tortie.ipam.pools import Reservations, block_length, cidr_of, search_blocks
from tortie.ipam.store import Store

RECLAIM_SECONDS = 60.0
"""A block claimed this long ago and empty may be taken from its owner when nothing else is left."""


@dataclass(frozen=True, slots=True)
class Context:
    """What one request has read and decided before the first block is looked at."""

    node: str
    handle: str
    owner: AllocationAttribute
    family: Family
    pools: tuple[IPPool, ...]
    configuration: IPAMConfigurationSpec
    reservations: Reservations
    block_limit: int


class Assignment:
    """Collects addresses until there are enough or nothing is left. `messages` say what stood in the way."""

    def __init__(self, store: Store, handles: Handles, affinities: Affinities, context: Context) -> None:
        self._store = store
        self._handles = handles
        self._affinities = affinities
        self._context = context
        self._cooldown = context.configuration.ip_cooldown_seconds
        self._own: list[Prefix] = []
        self._owned = 0
        self.addresses: list[Interface] = []
        self.messages: list[str] = []

    async def run(self, count: int, *, own_blocks: list[Prefix]) -> None:
        """Assign up to `count` addresses. `own_blocks` are the node's blocks in the pools of this request, in any state.

        Raises BlockLimit or NoBlock only when not one address could be assigned.
        """
        self._own, self._owned = list(own_blocks), len(own_blocks)
        try:
            while (missing := count - len(self.addresses)) > 0:
                block = await self._next_block()
                if block is None:
                    break
                self.addresses += await self._take(block, missing, check_owner=True)
        except (BlockLimit, NoBlock) as error:
            if not self.addresses:
                raise
            self.messages.append(str(error))
            return
        if len(self.addresses) < count:
            await self._fall_back(count)

    async def _fall_back(self, count: int) -> None:
        """All blocks are taken: borrow, or say why not."""
        if self._context.configuration.strict_affinity:
            self.messages.append("No more free affine blocks and strict affinity enabled")
            return
        await self._borrow(count)

    async def _next_block(self) -> IPAMBlock | None:
        """The node's next block with a free address, claimed anew if need be. None when no block is left to claim."""
        while self._own:
            cidr = self._own.pop(0)
            if self._context.reservations.covers(cidr):
                continue
            try:
                block = await self._affinities.block_of(await self._affinities.get(cidr), cooldown_seconds=self._cooldown)
            except (DoesNotExist, ClaimConflict, StaleAffinity, UpdateConflict):
                continue
            if self._free(block):
                return block
        if self._owned >= self._context.block_limit:
            raise BlockLimit(self._context.node, self._context.block_limit)
        if not self._context.configuration.auto_allocate_blocks:
            raise NoBlock(self._context.node)
        return await self._claim_block()

    async def _claim_block(self) -> IPAMBlock | None:
        async for _ in self._store.attempts(f"claim of a block for node {self._context.node}"):
            cidr = await self._find_usable_block()
            if cidr is None:
                return None
            try:
                block = await self._affinities.block_of(await self._affinities.claim(cidr), cooldown_seconds=self._cooldown)
            except (ClaimConflict, StaleAffinity, DoesNotExist, UpdateConflict):
                continue
            self._owned += 1
            if self._free(block):
                return block
        return None

    async def _find_usable_block(self) -> Prefix | None:
        """A block that nobody has, or one that is ours already, or one that another has claimed long ago and never used."""
        existing = {block.spec.cidr: block for block in await self._store.blocks()}
        idle: list[IPAMBlock] = []
        for pool in self._context.pools:
            for cidr in self._search(pool):
                block = existing.get(str(cidr))
                if block is None:
                    return cidr
                if self._free(block):
                    if block.spec.affinity == self._affinities.owner:
                        return cidr
                    if is_empty(block.spec):
                        idle.append(block)
        for block in idle:
            if self._store.now() - parse_time(block.spec.affinity_claim_time) >= RECLAIM_SECONDS and await self._reclaim(block):
                return parse_prefix(block.spec.cidr)
        return None

    async def _reclaim(self, block: IPAMBlock) -> bool:
        """Take an idle block from its owner, if it is still as idle as when we looked."""
        try:
            if block.spec.affinity is None:
                await self._store.remove(block)
                return True
            kind, _, node = block.spec.affinity.partition(":")
            await Affinities(self._store, node, kind=kind).release(
                parse_prefix(block.spec.cidr), require_empty=True, sequence_number=block.spec.sequence_number
            )
        except (UpdateConflict, DoesNotExist, IpamError):
            return False
        return True

    async def _borrow(self, count: int) -> None:
        """Take free addresses out of other nodes' blocks, in the order in which a new block would be searched."""
        existing = await self._store.blocks()
        for pool in self._context.pools:
            for block in self._in_search_order(pool, existing):
                if len(self.addresses) >= count:
                    return
                if self._free(block):
                    self.addresses += await self._take(block, count - len(self.addresses), check_owner=False)
        if len(self.addresses) < count:
            names = ", ".join(pool.metadata.name for pool in self._context.pools)
            self.messages.append(f"No more free addresses in pools {names}")

    def _in_search_order(self, pool: IPPool, existing: list[IPAMBlock]) -> list[IPAMBlock]:
        """The existing blocks of a pool, starting where a search of this host starts and going round once."""
        cidr = cidr_of(pool)
        first = next(self._search(pool), None)
        if cidr is None or first is None:
            return []
        placed = sorted(
            ((parse_prefix(block.spec.cidr), block) for block in existing),
            key=lambda item: (item[0].value < first.value, item[0].value),
        )
        length = block_length(pool)
        return [block for prefix, block in placed if cidr.contains(prefix) and prefix.length == length]

    def _search(self, pool: IPPool) -> Iterator[Prefix]:
        return search_blocks(pool, host=self._context.node, now=self._store.now(), reservations=self._context.reservations)

    def _free(self, block: IPAMBlock) -> bool:
        return bool(free_ordinals(block.spec, self._context.reservations.holds))

    async def _take(self, block: IPAMBlock, count: int, *, check_owner: bool) -> list[Interface]:
        """Assign from one block: the handle counts first, then the block is written; on a conflict all is read again."""
        cidr = block.spec.cidr
        async for attempt in self._store.attempts(f"assignment from block {cidr}"):
            if attempt:
                try:
                    block = await self._store.block(cidr, cooldown_seconds=self._cooldown)
                except DoesNotExist:
                    return []
            if check_owner and block.spec.affinity != self._affinities.owner:
                return []
            spec, taken = assign(block.spec, count, owner=self._context.owner, reserved=self._context.reservations.holds)
            if not taken:
                return []
            await self._handles.increment(self._context.handle, cidr, len(taken))
            try:
                await self._store.write_block(msgspec.structs.replace(block, spec=spec))
                return list(taken)
            except (UpdateConflict, DoesNotExist):
                await self._handles.decrement(self._context.handle, cidr, len(taken))
        return []
