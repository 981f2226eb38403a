"""IPAM as its callers see it: CNI, tunnel addresses, load balancers, the command line."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from tortie.api.ipam import AllocationAttribute, IPAMBlock, IPAMConfigurationSpec
from tortie.api.ippool import IPPool
from tortie.base.net import Address, Family, Interface, Prefix, masked, parse_prefix
from tortie.datastore.client import Client
from tortie.datastore.errors import DoesNotExist, UpdateConflict
from tortie.ipam.affinities import Affinities
from tortie.ipam.assignment import Assignment, Context
from tortie.ipam.blocks import ReleaseRequest, assign_address, holder
from tortie.ipam.errors import ClaimConflict, IpamError, NoQualifiedPool, NotInPool, StaleAffinity, StrictAffinity
from tortie.ipam.handles import Handles
from tortie.ipam.pools import DEFAULT_USES, block_length, determine_pools, enabled_pools, pool_of, selects
from tortie.ipam.release import Releaser
from tortie.ipam.store import Store

DEFAULT_BLOCK_LIMIT = 20
"""How many blocks one node may have where neither the request nor IPAMConfiguration says."""


@dataclass(frozen=True, slots=True)
class AssignRequest:
    """Addresses for one owner on one node. `pools_v4` and `pools_v6` are CIDRs of enabled pools; empty means automatic."""

    node: str
    handle: str
    num_v4: int
    num_v6: int
    attributes: Mapping[str, str] = field(default_factory=dict)
    namespace: str = ""
    pools_v4: Sequence[Prefix] = ()
    pools_v6: Sequence[Prefix] = ()
    use: str = "Workload"
    max_blocks: int = 0


@dataclass(frozen=True, slots=True)
class Assigned:
    """What was assigned, as interfaces with the length of their block; fewer than asked for is explained in `messages`."""

    v4: tuple[Interface, ...] = ()
    v6: tuple[Interface, ...] = ()
    messages: tuple[str, ...] = ()


class Ipam:
    """All requests may run in many processes at once: every decision is a compare-and-swap in the datastore.

    After an error or a cancellation in the middle of a request, `release_by_handle` gives back what it may have taken.
    """

    def __init__(self, client: Client, *, now: Callable[[], float] = time.time) -> None:
        self._store = Store(client, now)
        self._handles = Handles(self._store)
        self._releaser = Releaser(self._store, self._handles)

    @property
    def conflicts(self) -> int:
        """Races lost to other writers so far; every one was tried again."""
        return self._store.conflicts

    async def auto_assign(self, request: AssignRequest) -> Assigned:
        """Assign any addresses, IPv4 first.

        Raises NoQualifiedPool, BlockLimit or NoBlock when nothing at all could be assigned; an error of the second family
        keeps the first one's addresses and becomes a message.
        """
        configuration = await self._store.configuration()
        pools = tuple(await self._store.pools())
        messages: list[str] = []
        found: dict[Family, tuple[Interface, ...]] = {}
        for family, count in ((Family.V4, request.num_v4), (Family.V6, request.num_v6)):
            if count <= 0:
                continue
            try:
                found[family] = await self._assign_family(request, family, configuration, pools, messages)
            except IpamError as error:
                if not any(found.values()):
                    raise
                messages.append(str(error))
        return Assigned(found.get(Family.V4, ()), found.get(Family.V6, ()), tuple(messages))

    async def assign_ip(
        self, address: Address, handle: str, *, attributes: Mapping[str, str], node: str, use: str = ""
    ) -> Interface:
        """Assign one address by name; reservations and block limits do not apply.

        Raises NotInPool, NoQualifiedPool (the pool forbids the use), AlreadyAssigned, StrictAffinity.
        """
        configuration = await self._store.configuration()
        pool = pool_of(enabled_pools(await self._store.pools(), address.family), address)
        if pool is None:
            raise NotInPool(address)
        if use and use not in (pool.spec.allowed_uses or DEFAULT_USES):
            raise NoQualifiedPool(f"spec.allowedUses of pool {pool.metadata.name} does not contain {use}")
        cidr = masked(address, block_length(pool))
        affinities = Affinities(self._store, node, kind=_kind(use))
        owner = AllocationAttribute(handle_id=handle, secondary=dict(attributes))
        async for _ in self._store.attempts(f"assignment of {address}"):
            try:
                block = await self._block_for(cidr, affinities, configuration)
            except (ClaimConflict, StaleAffinity, UpdateConflict, DoesNotExist):
                continue
            if configuration.strict_affinity and block.spec.affinity != affinities.owner:
                raise StrictAffinity(address, block.spec.affinity or "")
            spec = assign_address(block.spec, address, owner=owner)
            await self._handles.increment(handle, str(cidr), 1)
            try:
                await self._store.write_block(msgspec.structs.replace(block, spec=spec))
                return Interface(address, cidr.length)
            except (UpdateConflict, DoesNotExist):
                await self._handles.decrement(handle, str(cidr), 1)
        raise AssertionError("attempts end with an error")

    async def release(self, addresses: Sequence[Address | ReleaseRequest]) -> tuple[Address, ...]:
        """Give addresses back; return those that were not assigned. Raises ReleaseConflict for another's allocation."""
        requests = [item if isinstance(item, ReleaseRequest) else ReleaseRequest(item) for item in addresses]
        return await self._releaser.addresses(requests)

    async def release_by_handle(self, handle: str) -> tuple[Address, ...]:
        """Give back all that a handle has, and return it. An unknown handle has nothing; repeating is fine."""
        return await self._releaser.handle(handle)

    async def release_node(self, node: str) -> tuple[Prefix, ...]:
        """The node is gone: give up its blocks, and return them. Addresses in use stay assigned."""
        return await self._releaser.node(node)

    async def release_pool(self, cidr: Prefix) -> None:
        """The pool is going: give up all blocks in it."""
        await self._releaser.pool(cidr)

    async def addresses_of(self, handle: str) -> tuple[Address, ...]:
        """The addresses of a handle. Raises DoesNotExist for an unknown one."""
        current = await self._store.handle(handle)
        found: list[Address] = []
        for cidr in sorted(current.spec.block):
            try:
                block = await self._store.block(cidr, cooldown_seconds=0)
            except DoesNotExist:
                continue
            base = parse_prefix(cidr)
            for ordinal in range(base.size):
                address = Address(base.family, base.value + ordinal)
                attribute = holder(block.spec, address)
                if attribute is not None and attribute.handle_id == handle and attribute.released_at is None:
                    found.append(address)
        return tuple(found)

    async def assignment(self, address: Address) -> AllocationAttribute | None:
        """Who has an address; None if nobody."""
        for block in await self._store.blocks():
            if parse_prefix(block.spec.cidr).contains(address):
                return holder(block.spec, address)
        return None

    async def _assign_family(
        self,
        request: AssignRequest,
        family: Family,
        configuration: IPAMConfigurationSpec,
        all_pools: tuple[IPPool, ...],
        messages: list[str],
    ) -> tuple[Interface, ...]:
        is_v4 = family is Family.V4
        count, requested = (request.num_v4, request.pools_v4) if is_v4 else (request.num_v6, request.pools_v6)
        enabled = enabled_pools(all_pools, family)
        labels = await self._store.node_labels(request.node) if _needs_node(enabled) else {}
        chosen = determine_pools(
            enabled,
            requested=tuple(requested),
            node=request.node,
            node_labels=labels,
            namespace_labels=await self._namespace_labels(request, enabled),
            use=request.use,
        )
        affinities = Affinities(self._store, request.node, kind=_kind(request.use))
        own = await self._own_blocks(affinities, request, family, chosen, enabled, labels)
        context = Context(
            node=request.node,
            handle=request.handle,
            owner=AllocationAttribute(handle_id=request.handle, secondary=dict(request.attributes)),
            family=family,
            pools=tuple(chosen),
            configuration=configuration,
            reservations=await self._store.reservations(),
            block_limit=_block_limit(request.max_blocks, configuration.max_blocks_per_host),
        )
        assignment = Assignment(self._store, self._handles, affinities, context)
        await assignment.run(count, own_blocks=own)
        if len(assignment.addresses) < count:
            reasons = ", ".join(assignment.messages)
            messages.append(
                f"Assigned {len(assignment.addresses)} out of {count} requested IPv{family.value} addresses; {reasons}"
            )
        return tuple(assignment.addresses)

    async def _namespace_labels(self, request: AssignRequest, enabled: list[IPPool]) -> Mapping[str, str]:
        """Read only where a selector asks."""
        asked = any(pool.spec.namespace_selector.strip() not in _SELECTS_ALL for pool in enabled)
        return await self._store.namespace_labels(request.namespace) if asked else {}

    async def _own_blocks(
        self,
        affinities: Affinities,
        request: AssignRequest,
        family: Family,
        chosen: list[IPPool],
        enabled: list[IPPool],
        labels: Mapping[str, str],
    ) -> list[Prefix]:
        """The node's blocks in the pools of this request. Empty ones in pools that no longer select the node are given up."""
        own: list[Prefix] = []
        for affinity in await self._store.affinities(request.node, kind=_kind(request.use), family=family):
            cidr = parse_prefix(affinity.spec.cidr)
            if pool_of(chosen, cidr) is not None:
                own.append(cidr)
                continue
            pool = pool_of(enabled, cidr)
            if pool is not None and not selects(pool.spec.node_selector, labels):
                await affinities.release_insistently(cidr, require_empty=True)
        return own

    async def _block_for(self, cidr: Prefix, affinities: Affinities, configuration: IPAMConfigurationSpec) -> IPAMBlock:
        """The block, whoever has it; claimed for this node when nobody has made it yet."""
        cooldown = configuration.ip_cooldown_seconds
        try:
            return await self._store.block(cidr, cooldown_seconds=cooldown)
        except DoesNotExist:
            return await affinities.block_of(await affinities.claim(cidr), cooldown_seconds=cooldown)


_SELECTS_ALL = ("", "all()")


def _needs_node(enabled: list[IPPool]) -> bool:
    """Whether any pool selects by labels; the common cluster has none, and saves the reading."""
    return any(pool.spec.node_selector.strip() not in _SELECTS_ALL for pool in enabled)


def _kind(use: str) -> str:
    return "virtual" if use == "LoadBalancer" else "host"


def _block_limit(requested: int, configured: int) -> int:
    """The smaller of the two that are set."""
    return min((limit for limit in (requested, configured) if limit > 0), default=DEFAULT_BLOCK_LIMIT)
