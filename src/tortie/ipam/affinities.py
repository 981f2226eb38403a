"""Claims: how a node comes to own a block, and how it gives it up, so that two nodes never own one.

A claim is written as pending, then the block is created or rewritten, then the claim is confirmed. A claim to be given up is
marked, then the block is freed or deleted, then the claim is deleted. Whoever finds a half-done change finishes it.
"""

import msgspec

from tortie.api.ipam import AffinityState, BlockAffinity, BlockAffinitySpec, IPAMBlock, affinity_name, block_name
from tortie.api.resource import Key
from tortie.base.net import Prefix, parse_prefix
from tortie.datastore.errors import AlreadyExists, DoesNotExist, UpdateConflict
from tortie.ipam.blocks import is_empty, new_block
from tortie.ipam.errors import ClaimConflict, NotEmpty, StaleAffinity
from tortie.ipam.store import Store, named


class Affinities:
    """Claims of one owner: a host, or the virtual owner of load balancer addresses."""

    def __init__(self, store: Store, node: str, *, kind: str = "host") -> None:
        self._store = store
        self._node = node
        self._kind = kind
        self.owner = f"{kind}:{node}"

    async def get(self, cidr: Prefix) -> BlockAffinity:
        """The claim of a block. Raises DoesNotExist."""
        resource = await self._store.client.get(Key("BlockAffinity", "", affinity_name(self._node, str(cidr))))
        assert isinstance(resource, BlockAffinity)
        return resource

    async def claim(self, cidr: Prefix) -> BlockAffinity:
        """Announce a claim: pending, unless it is confirmed already."""
        spec = BlockAffinitySpec(state="pending", node=self._node, cidr=str(cidr), type=self._kind)
        async for _ in self._store.attempts(f"affinity of {self._node} for block {cidr}"):
            try:
                created = await self._store.client.create(
                    BlockAffinity(metadata=named(affinity_name(self._node, str(cidr))), spec=spec)
                )
                assert isinstance(created, BlockAffinity)
                return created
            except AlreadyExists:
                pass
            try:
                current = await self.get(cidr)
                return current if _is_confirmed(current) else await self._set_state(current, "pending")
            except (DoesNotExist, UpdateConflict):
                continue
        raise AssertionError("attempts end with an error")

    async def block_of(self, affinity: BlockAffinity, *, cooldown_seconds: float) -> IPAMBlock:
        """The block of a claim, claimed for good. Raises ClaimConflict, StaleAffinity, UpdateConflict (try again)."""
        cidr = affinity.spec.cidr
        try:
            block = await self._store.block(cidr, cooldown_seconds=cooldown_seconds)
        except DoesNotExist:
            return await self._create_block(affinity, cooldown_seconds)
        if block.spec.affinity != self.owner:
            await self._store.remove(affinity)
            raise StaleAffinity(parse_prefix(cidr))
        if _is_confirmed(affinity):
            return block
        pending = affinity if affinity.spec.state == "pending" else await self._set_state(affinity, "pending")
        block = await self._store.write_block(block)  # whoever looked at the block before must look again
        await self._confirm(pending)
        return block

    async def release(self, cidr: Prefix, *, require_empty: bool, sequence_number: int | None = None) -> None:
        """Give up a block: delete it when empty, else leave it without an owner.

        Raises ClaimConflict when it is another's (our stale claim is removed), NotEmpty, DoesNotExist, UpdateConflict.
        """
        affinity = await self.get(cidr)
        try:
            block = await self._store.block(cidr, cooldown_seconds=await self._cooldown())
        except DoesNotExist:
            await self._store.remove(affinity)
            return
        if sequence_number is not None and block.spec.sequence_number != sequence_number:
            raise NotEmpty(cidr)
        if block.spec.affinity != self.owner:
            await self._store.remove(affinity)
            raise ClaimConflict(cidr)
        empty = is_empty(block.spec)
        if require_empty and not empty:
            raise NotEmpty(cidr)
        leaving = await self._set_state(affinity, "pendingDeletion")
        try:
            await self._give_up(block, empty=empty)
        except UpdateConflict:
            await self._set_state(leaving, "confirmed")  # the block is in use after all, and its route must stay
            raise
        await self._store.remove(leaving)

    async def release_insistently(self, cidr: Prefix, *, require_empty: bool) -> bool:
        """`release`, retried on conflicts. False when the block is in use or another's."""
        async for _ in self._store.attempts(f"release of block {cidr} by {self._node}"):
            try:
                await self.release(cidr, require_empty=require_empty)
                return True
            except UpdateConflict:
                continue
            except DoesNotExist:
                return True
            except (ClaimConflict, NotEmpty):
                return False
        return False

    async def _give_up(self, block: IPAMBlock, *, empty: bool) -> None:
        if empty:
            await self._store.remove(block)
            return
        spec = msgspec.structs.replace(block.spec, affinity=None, affinity_claim_time=None)
        try:
            await self._store.write_block(msgspec.structs.replace(block, spec=spec))
        except DoesNotExist:
            return

    async def _cooldown(self) -> float:
        return (await self._store.configuration()).ip_cooldown_seconds

    async def _create_block(self, affinity: BlockAffinity, cooldown_seconds: float) -> IPAMBlock:
        cidr = parse_prefix(affinity.spec.cidr)
        pending = affinity if affinity.spec.state == "pending" else await self._set_state(affinity, "pending")
        block = IPAMBlock(
            metadata=named(block_name(str(cidr))), spec=new_block(cidr, affinity=self.owner, now=self._store.now())
        )
        try:
            created = await self._store.client.create(block)
            assert isinstance(created, IPAMBlock)
        except AlreadyExists:
            try:
                created = await self._store.block(cidr, cooldown_seconds=cooldown_seconds)
            except DoesNotExist:
                raise ClaimConflict(cidr) from None
            if created.spec.affinity != self.owner:
                await self._store.remove(pending)
                raise ClaimConflict(cidr) from None
        await self._confirm(pending)
        return created

    async def _confirm(self, affinity: BlockAffinity) -> None:
        """Confirm a claim; that somebody of the same node did it first is success."""
        try:
            await self._set_state(affinity, "confirmed")
        except (UpdateConflict, DoesNotExist):
            if not _is_confirmed(await self.get(parse_prefix(affinity.spec.cidr))):
                raise

    async def _set_state(self, affinity: BlockAffinity, state: AffinityState) -> BlockAffinity:
        spec = msgspec.structs.replace(affinity.spec, state=state)
        updated = await self._store.client.update(msgspec.structs.replace(affinity, spec=spec))
        assert isinstance(updated, BlockAffinity)
        return updated


def _is_confirmed(affinity: BlockAffinity) -> bool:
    return affinity.spec.state in ("", "confirmed")
