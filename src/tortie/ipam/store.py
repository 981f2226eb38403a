"""What every part of IPAM reads, and what it does when somebody else wrote first: after a pause it reads and decides again."""

import asyncio
import random
from collections.abc import Callable

import msgspec

from tortie.api.ipam import BlockAffinity, IPAMBlock, IPAMConfiguration, IPAMConfigurationSpec, IPAMHandle, block_name
from tortie.api.ippool import IPPool, IPReservation
from tortie.api.kubernetes import Namespace
from tortie.api.node import Node
from tortie.api.resource import Key, Metadata, Resource
from tortie.base.net import Family, Prefix, parse_prefix
from tortie.datastore.client import Client
from tortie.datastore.errors import DoesNotExist
from tortie.ipam.blocks import collect, next_revision
from tortie.ipam.errors import Contention
from tortie.ipam.pools import Reservations

ATTEMPTS = 100
"""How often one step is tried against conflicts before the caller is told."""

_LONGEST_PAUSE = 0.05
_LOAD_BALANCER = "load-balancer"


class Store:
    """The datastore as IPAM sees it. `conflicts` counts lost races, for a metric and for tests of fairness."""

    def __init__(self, client: Client, now: Callable[[], float]) -> None:
        self.client = client
        self.now = now
        self.conflicts = 0

    def attempts(self, what: str) -> "Attempts":
        """Numbers of tries for `async for`; every try after the first is a conflict, and waits."""
        return Attempts(self, what)

    async def configuration(self) -> IPAMConfigurationSpec:
        """Cluster-wide behaviour; reading never creates the object."""
        try:
            resource = await self.client.get(Key("IPAMConfiguration", "", "default"))
        except DoesNotExist:
            return IPAMConfigurationSpec()
        assert isinstance(resource, IPAMConfiguration)
        return resource.spec

    async def pools(self) -> list[IPPool]:
        """All pools, by name."""
        listing = await self.client.list("IPPool")
        return [pool for pool in listing.items if isinstance(pool, IPPool)]

    async def reservations(self) -> Reservations:
        """All reserved addresses; a CIDR that cannot be read reserves nothing."""
        listing = await self.client.list("IPReservation")
        cidrs = []
        for resource in listing.items:
            assert isinstance(resource, IPReservation)
            for text in resource.spec.reserved_cidrs:
                try:
                    cidrs.append(parse_prefix(text, strict=False))
                except ValueError:
                    continue
        return Reservations(cidrs)

    async def node_labels(self, node: str) -> dict[str, str]:
        """Labels of a node. Load balancer addresses have a node of their own, without labels. Raises DoesNotExist."""
        if node == _LOAD_BALANCER:
            return {}
        resource = await self.client.get(Key("Node", "", node))
        assert isinstance(resource, Node)
        return resource.metadata.labels

    async def namespace_labels(self, namespace: str) -> dict[str, str]:
        """Labels of a namespace; none for one that the datastore does not know."""
        if not namespace:
            return {}
        name = {"kubernetes.io/metadata.name": namespace}
        try:
            resource = await self.client.get(Key("Namespace", "", namespace))
        except DoesNotExist:
            return name
        assert isinstance(resource, Namespace)
        return name | resource.metadata.labels

    async def affinities(self, node: str, *, kind: str, family: Family | None = None) -> list[BlockAffinity]:
        """Claims of one owner in any state, by name. `kind` is host or virtual."""
        # A long node name is cut in the names of its affinities (`affinity_name`), so only its beginning is common to all.
        listing = await self.client.list("BlockAffinity", name_prefix=f"{node}-" if len(node) < 180 else node[:180])
        return [
            item
            for item in listing.items
            if isinstance(item, BlockAffinity)
            and item.spec.node == node
            and item.spec.type == kind
            and not item.spec.deleted
            and (family is None or (":" in item.spec.cidr) == (family is Family.V6))
        ]

    async def blocks(self) -> list[IPAMBlock]:
        """All blocks, by name."""
        listing = await self.client.list("IPAMBlock")
        return [block for block in listing.items if isinstance(block, IPAMBlock) and not block.spec.deleted]

    async def block(self, cidr: Prefix | str, *, cooldown_seconds: float) -> IPAMBlock:
        """One block as it is now, cooled-down ordinals freed (that is kept when the block is next written)."""
        resource = await self.client.get(Key("IPAMBlock", "", block_name(str(cidr))))
        assert isinstance(resource, IPAMBlock)
        return msgspec.structs.replace(resource, spec=collect(resource.spec, now=self.now(), cooldown_seconds=cooldown_seconds))

    async def write_block(self, block: IPAMBlock) -> IPAMBlock:
        """Write a block that was read before; every write counts. Raises UpdateConflict, DoesNotExist."""
        written = await self.client.update(msgspec.structs.replace(block, spec=next_revision(block.spec)))
        assert isinstance(written, IPAMBlock)
        return written

    async def remove(self, resource: Resource) -> None:
        """Delete exactly what was read. Raises UpdateConflict; what is gone is fine."""
        try:
            await self.client.delete(resource.key, revision=resource.metadata.resource_version)
        except DoesNotExist:
            return

    async def handle(self, handle: str) -> IPAMHandle:
        """One handle. Raises DoesNotExist."""
        resource = await self.client.get(Key("IPAMHandle", "", handle))
        assert isinstance(resource, IPAMHandle)
        return resource


class Attempts:
    """The pause before each further try grows, with jitter. Raises Contention after the last."""

    def __init__(self, store: Store, what: str) -> None:
        self._store = store
        self._what = what
        self._next = 0

    def __aiter__(self) -> "Attempts":
        return self

    async def __anext__(self) -> int:
        attempt = self._next
        self._next += 1
        if attempt == ATTEMPTS:
            raise Contention(self._what, ATTEMPTS)
        if attempt:
            self._store.conflicts += 1
            await asyncio.sleep(random.uniform(0, min(0.001 * 2**attempt, _LONGEST_PAUSE)))
        return attempt


def named(name: str) -> Metadata:
    """Metadata of a new resource."""
    return Metadata(name=name)
