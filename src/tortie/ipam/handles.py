"""Handles: which blocks hold addresses of one owner, and how many. An index, written around the blocks that it points to."""

import msgspec

from tortie.api.ipam import IPAMHandle, IPAMHandleSpec
from tortie.datastore.errors import AlreadyExists, DoesNotExist, UpdateConflict
from tortie.ipam.store import Store, named


class Handles:
    """Counts, changed by compare-and-swap. An empty handle id means that nobody keeps count."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def increment(self, handle: str, cidr: str, count: int) -> None:
        """Count addresses in a block; before the block is written."""
        if not handle:
            return
        fresh = IPAMHandle(metadata=named(handle), spec=IPAMHandleSpec(handle_id=handle, block={cidr: count}))
        async for _ in self._store.attempts(f"handle {handle}"):
            try:
                await self._store.client.create(fresh)  # nearly every handle is new
                return
            except AlreadyExists:
                pass
            try:
                current = await self._store.handle(handle)
                await self._write(current, cidr, current.spec.block.get(cidr, 0) + count)
                return
            except (UpdateConflict, DoesNotExist):
                continue

    async def decrement(self, handle: str, cidr: str, count: int) -> None:
        """Count fewer; after the block was written. A handle that is gone, or never counted so many, is fine."""
        if not handle:
            return
        async for _ in self._store.attempts(f"handle {handle}"):
            try:
                current = await self._store.handle(handle)
                if cidr in current.spec.block:
                    await self._write(current, cidr, current.spec.block[cidr] - count)
                return
            except DoesNotExist:
                return
            except UpdateConflict:
                continue

    async def _write(self, current: IPAMHandle, cidr: str, count: int) -> None:
        blocks = {key: value for key, value in current.spec.block.items() if key != cidr}
        if count > 0:
            blocks[cidr] = count
        if not blocks:
            await self._store.remove(current)
            return
        spec = msgspec.structs.replace(current.spec, block=blocks)
        await self._store.client.update(msgspec.structs.replace(current, spec=spec))
