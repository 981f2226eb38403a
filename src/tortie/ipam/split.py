"""Splitting a pool into equal parts, its blocks and addresses untouched: the parts take over where the pool ends.

`plan_split` decides, purely; `split_pool` writes. The datastore must be locked meanwhile, which keeps CNI from assigning. Every
step leaves each address in at least one pool, and a split that was interrupted is finished by asking for it again.
"""

import msgspec

from tortie.api.cluster import ClusterInformation
from tortie.api.ippool import IPPool
from tortie.api.resource import Key, Metadata
from tortie.base.net import Prefix
from tortie.datastore.client import Client
from tortie.datastore.errors import AlreadyExists, DoesNotExist
from tortie.ipam.errors import IpamError
from tortie.ipam.pools import block_length, cidr_of


class SplitError(IpamError):
    """The pool cannot be split like this; nothing was changed."""


def plan_split(pool: IPPool, parts: int) -> tuple[IPPool, ...]:
    """The pools `split-NAME-0` ... that together are `pool`. Raises SplitError."""
    name = pool.metadata.name
    cidr = cidr_of(pool)
    if parts < 2 or parts & (parts - 1):
        raise SplitError(f"number {parts}: a pool is split into a power of two of parts, at least 2")
    if cidr is None:
        raise SplitError(f"spec.cidr {pool.spec.cidr!r} of {pool.key} is not a network")
    length = cidr.length + parts.bit_length() - 1
    if length > block_length(pool):
        most = 1 << max(0, block_length(pool) - cidr.length)
        raise SplitError(
            f"{pool.key} ({cidr}) cannot be split into {parts}: its blocks are /{block_length(pool)}: at most {most} parts"
        )
    size = 1 << (cidr.family.bits - length)
    return tuple(
        IPPool(
            metadata=Metadata(name=f"split-{name}-{index}", labels=pool.metadata.labels, annotations=pool.metadata.annotations),
            spec=msgspec.structs.replace(pool.spec, cidr=str(Prefix(cidr.family, cidr.value + index * size, length))),
        )
        for index in range(parts)
    )


async def split_pool(client: Client, key: Key, parts: int) -> tuple[IPPool, ...]:
    """Replace a pool by its parts and return them. Raises SplitError, DoesNotExist, UpdateConflict."""
    pool = await client.get(key)
    assert isinstance(pool, IPPool)
    planned = plan_split(pool, parts)
    await _require_lock(client)
    # A part that an interrupted split left has the pool's settings from before the pool was disabled.
    left = await _existing(client, planned)
    disabled = next(iter(left.values())).spec.disabled if left else pool.spec.disabled
    wanted = [msgspec.structs.replace(p, spec=msgspec.structs.replace(p.spec, disabled=disabled)) for p in planned]
    for part in wanted:
        found = left.get(part.key)
        if found is not None and found.spec != part.spec:
            raise SplitError(f"{part.key} exists already and is not a part of {key}: rename or delete it first")
    for part in wanted:
        if part.key not in left:
            try:
                await client.create(part)
            except AlreadyExists as error:
                raise SplitError(f"{part.key} was created by somebody else just now: ask again") from error
    if not pool.spec.disabled:
        updated = await client.update(msgspec.structs.replace(pool, spec=msgspec.structs.replace(pool.spec, disabled=True)))
        assert isinstance(updated, IPPool)
        pool = updated
    await client.delete(key, revision=pool.metadata.resource_version)
    return tuple(wanted)


async def _require_lock(client: Client) -> None:
    key = Key("ClusterInformation", "", "default")
    try:
        information = await client.get(key)
    except DoesNotExist:
        information = ClusterInformation()
    assert isinstance(information, ClusterInformation)
    if information.spec.datastore_ready is not False:
        raise SplitError(
            "the datastore is not locked: `tortie datastore migrate lock` keeps nodes from assigning addresses meanwhile"
        )


async def _existing(client: Client, parts: tuple[IPPool, ...]) -> dict[Key, IPPool]:
    wanted = {part.key for part in parts}
    return {pool.key: pool for pool in (await client.list("IPPool")).items if isinstance(pool, IPPool) and pool.key in wanted}
