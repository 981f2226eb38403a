"""What a person means by create, apply, replace and delete, with the rules that need a look at other resources.

Resources come checked (`tortie.api.validation.check`): here stand only the rules that the datastore's contents decide.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import msgspec

from tortie.api.bgp import BGPConfiguration, BGPPeer
from tortie.api.endpoint import WorkloadEndpoint
from tortie.api.felix import FelixConfiguration
from tortie.api.hostendpoint import HostEndpoint
from tortie.api.ipam import IPAMBlock
from tortie.api.ippool import IPPool
from tortie.api.policy import DEFAULT_TIER, GlobalNetworkPolicy, NetworkPolicy
from tortie.api.resource import Key, Resource
from tortie.api.staged import StagedGlobalNetworkPolicy, StagedNetworkPolicy
from tortie.api.tier import PREDEFINED
from tortie.base import net
from tortie.base.aio import Backoff
from tortie.datastore.client import Client
from tortie.datastore.errors import (
    AlreadyExists,
    DoesNotExist,
    InvalidRequest,
    NotSupported,
    StaleVersion,
    UpdateConflict,
)

Outcome = Literal["created", "updated", "unchanged"]

_TRIES = 20
_TIERED = (NetworkPolicy, GlobalNetworkPolicy, StagedNetworkPolicy, StagedGlobalNetworkPolicy)
_FROM_KUBERNETES = "knp.default."
_ORDER = ("Namespace", "Tier", "IPPool", "BGPFilter")
"""Kinds that others refer to: created first, deleted last."""
NODE_KINDS = ("WorkloadEndpoint", "BGPPeer", "FelixConfiguration", "BGPConfiguration", "HostEndpoint")
"""Kinds whose resources may be of one node, in the order in which they go with it."""


async def create(client: Client, resource: Resource) -> Resource:
    """Store a new resource. Raises AlreadyExists, or InvalidRequest where other resources forbid it."""
    refuse_read_only("create", resource.key)
    await check_references(client, [resource])
    return await client.create(_without_revision(resource))


async def apply(client: Client, resource: Resource) -> tuple[Resource, Outcome]:
    """Make the stored resource be like this one; write only what differs. Others may do the same at the same time.

    A resource that carries a resourceVersion changes only that version. Raises UpdateConflict for a stale one.
    """
    refuse_read_only("apply", resource.key)
    backoff = Backoff(first=0.002, last=0.1)
    for _ in range(_TRIES):
        try:
            stored = await client.get(resource.key)
        except DoesNotExist:
            try:
                return await create(client, resource), "created"
            except AlreadyExists:
                pass
        else:
            wanted = _based_on(stored, resource)
            if wanted == stored:
                return stored, "unchanged"
            _refuse_stale(resource, stored)
            await _refuse_missing_filters(client, [wanted])
            try:
                return await client.update(wanted), "updated"
            except (UpdateConflict, DoesNotExist):
                pass
        await backoff.wait()
    raise UpdateConflict(resource.key)


async def replace(client: Client, resource: Resource) -> Resource:
    """Update what must be there. Raises DoesNotExist, and UpdateConflict for a stale resourceVersion."""
    refuse_read_only("replace", resource.key)
    backoff = Backoff(first=0.002, last=0.1)
    for _ in range(_TRIES):
        stored = await client.get(resource.key)
        wanted = _based_on(stored, resource)
        _refuse_stale(resource, stored)
        await _refuse_missing_filters(client, [wanted])
        try:
            return await client.update(wanted)
        except UpdateConflict:
            await backoff.wait()
    raise UpdateConflict(resource.key)


async def modify(client: Client, key: Key, change: Callable[[Resource], Resource]) -> Resource:
    """Write `change(stored)`, computed again from the newest version when somebody else writes in between.

    What `change` raises ends it. Raises DoesNotExist, and StaleVersion when `change` itself asks for another resourceVersion.
    """
    refuse_read_only("patch", key)
    backoff = Backoff(first=0.002, last=0.1)
    for _ in range(_TRIES):
        stored = await client.get(key)
        wanted = change(stored)
        _refuse_stale(wanted, stored)
        wanted = _based_on(stored, wanted)
        if wanted == stored:
            return stored
        await _refuse_missing_filters(client, [wanted])
        try:
            return await client.update(wanted)
        except UpdateConflict:
            await backoff.wait()
    raise UpdateConflict(key)


async def delete(client: Client, key: Key, *, revision: str = "") -> Resource:
    """Remove and return what was there. A tier in use and a predefined one are refused with InvalidRequest."""
    refuse_read_only("delete", key)
    if key.kind == "Tier":
        await _refuse_needed_tier(client, key.name)
    return await client.delete(key, revision=revision)


async def of_node(client: Client, node: str, kinds: Sequence[str]) -> list[Resource]:
    """The resources of some of the NODE_KINDS that mean nothing without this node."""
    return [item for item in (await client.list_many(kinds)).whole() if _is_of_node(item, node)]


def _is_of_node(resource: Resource, node: str) -> bool:
    match resource:
        case WorkloadEndpoint() | BGPPeer() | HostEndpoint():
            return resource.spec.node == node
        case FelixConfiguration() | BGPConfiguration():
            return resource.metadata.name == f"node.{node}"
    return False


async def check_references(client: Client, resources: Sequence[Resource]) -> None:
    """Refuse what these resources, written together, would be refused for: a missing tier or filter, a pool over another pool.

    For tiers and pools only resources that are not stored yet are looked at. Raises the first problem, before anything is
    written.
    """
    tiers = {item.metadata.name for item in resources if item.kind == "Tier"}
    for resource in resources:
        tier = _tier_of(resource)
        if tier is not None and tier not in tiers and not await _is_stored(client, resource.key):
            await client.get(Key("Tier", "", tier))
            tiers.add(tier)
    await _refuse_missing_filters(client, resources)
    pools = [item for item in resources if isinstance(item, IPPool)]
    if pools:
        _refuse_overlaps(pools, (await client.list_many(["IPPool", "IPAMBlock"])).whole())


def in_order(resources: Iterable[Resource], *, deleting: bool = False) -> list[Resource]:
    """The order to write in: what others refer to comes first, or last when deleting; otherwise as given."""
    ranks = {kind: rank for rank, kind in enumerate(_ORDER)}
    return sorted(resources, key=lambda resource: ranks.get(resource.kind, len(_ORDER)) * (-1 if deleting else 1))


def refuse_read_only(operation: str, key: Key) -> None:
    """Raise NotSupported for what nobody writes by hand."""
    if key.kind == "ClusterInformation":
        raise NotSupported(operation, key, "resource is readonly")
    if key.kind in ("NetworkPolicy", "StagedNetworkPolicy") and key.name.startswith(_FROM_KUBERNETES):
        raise NotSupported(operation, key, "it stands for a Kubernetes NetworkPolicy: change that one")


def _based_on(stored: Resource, wanted: Resource) -> Resource:
    """`wanted` as an update of `stored`: identity stays, and so does a status that `wanted` does not speak of."""
    metadata = msgspec.structs.replace(
        wanted.metadata,
        uid=stored.metadata.uid,
        creation_timestamp=stored.metadata.creation_timestamp,
        resource_version=stored.metadata.resource_version,
        generation=stored.metadata.generation,
        managed_fields=None,
        self_link="",
    )
    wanted = msgspec.structs.replace(wanted, metadata=metadata)
    for field in msgspec.structs.fields(wanted):
        if field.name == "status" and _status(wanted) == field.default:
            wanted = msgspec.structs.replace(wanted, status=_status(stored))
    _refuse_changed_pool(stored, wanted)
    return wanted


def _refuse_stale(resource: Resource, stored: Resource) -> None:
    given, latest = resource.metadata.resource_version, stored.metadata.resource_version
    if given and given != latest:
        raise StaleVersion(resource.key, given, latest)


def _status(resource: Any) -> Any:
    """The status of a kind that has one; not all kinds do."""
    return resource.status


def _refuse_changed_pool(stored: Resource, wanted: Resource) -> None:
    if not isinstance(stored, IPPool) or not isinstance(wanted, IPPool):
        return
    for field, before, after in (
        ("spec.cidr", _pool_net(stored), _pool_net(wanted)),
        ("spec.blockSize", stored.spec.block_size, wanted.spec.block_size),
    ):
        if before != after:
            raise InvalidRequest(
                f"{field} of {wanted.key} cannot be changed from {before} to {after}: make a new pool and disable this one"
            )
    if "LoadBalancer" in stored.spec.allowed_uses and "LoadBalancer" not in wanted.spec.allowed_uses:
        uses = ", ".join(wanted.spec.allowed_uses)
        raise InvalidRequest(
            f"spec.allowedUses of {wanted.key} cannot be changed from LoadBalancer to {uses}: make a new pool, disable this one"
        )


def _pool_net(pool: IPPool) -> net.Prefix:
    return net.parse_prefix(pool.spec.cidr, strict=False)


def _refuse_overlaps(pools: Sequence[IPPool], stored: Sequence[Resource]) -> None:
    """A new pool shares no address with a stored or another new one, and fits the blocks that are there."""
    known = {item.key: item for item in stored if isinstance(item, IPPool)}
    blocks = [net.parse_prefix(item.spec.cidr, strict=False) for item in stored if isinstance(item, IPAMBlock)]
    for pool in pools:
        cidr = _pool_net(pool)
        if pool.key not in known:
            for other in known.values():
                if cidr.overlaps(_pool_net(other)):
                    what = f"spec.cidr {cidr} of {pool.key} overlaps {other.spec.cidr} of {other.key}"
                    raise InvalidRequest(f"{what}: choose another range")
            for block in blocks:
                if cidr.overlaps(block) and pool.spec.block_size not in (0, block.length):
                    what = f"spec.blockSize {pool.spec.block_size} of {pool.key} does not fit the existing block {block}"
                    raise InvalidRequest(f"{what}: release it, or use {block.length}")
        known[pool.key] = pool


async def _refuse_needed_tier(client: Client, name: str) -> None:
    key = Key("Tier", "", name)
    if name in PREDEFINED:
        raise NotSupported("delete", key, "it is predefined")
    policies = (await client.list_many([kind.__name__ for kind in _TIERED])).whole()
    users = [policy.key for policy in policies if _tier_of(policy) == name]
    if users:
        more = f" and {len(users) - 1} more" if len(users) > 1 else ""
        raise InvalidRequest(f"{key} is in use by {users[0]}{more}: delete its policies first")


def _tier_of(resource: Resource) -> str | None:
    """The tier of a tiered policy; None for other kinds."""
    return resource.spec.tier or DEFAULT_TIER if isinstance(resource, _TIERED) else None


async def _refuse_missing_filters(client: Client, resources: Sequence[Resource]) -> None:
    """A peer names filters that are stored, or that come with it. Raises DoesNotExist, which names the filter."""
    given = {item.metadata.name for item in resources if item.kind == "BGPFilter"}
    wanted = {name for item in resources if isinstance(item, BGPPeer) for name in item.spec.filters}
    for name in sorted(wanted - given):
        await client.get(Key("BGPFilter", "", name))


async def _is_stored(client: Client, key: Key) -> bool:
    try:
        await client.get(key)
    except DoesNotExist:
        return False
    return True


def _without_revision(resource: Resource) -> Resource:
    return msgspec.structs.replace(resource, metadata=msgspec.structs.replace(resource.metadata, resource_version=""))
