"""Moving from one pool to another: look before, stop giving out of the old, see who is left, go back.

Addresses of running pods cannot change. So the old pool is disabled, whoever starts anew gets an address of the new one, and
the old pool is empty in the end. What is under way stands in an annotation of the old pool, so that any later call knows.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from tortie.api.ippool import IPPool
from tortie.api.kubernetes import Namespace, Pod
from tortie.api.resource import Key, Resource
from tortie.base.net import Prefix, parse_prefix
from tortie.datastore import operations
from tortie.datastore.client import Client
from tortie.datastore.errors import DoesNotExist
from tortie.ipam.blocks import RESERVED_HANDLE, address_of
from tortie.ipam.check import Snapshot, read_snapshot
from tortie.ipam.errors import IpamError
from tortie.ipam.pools import DEFAULT_USES, Reservations, block_length, cidr_of, is_enabled, selects
from tortie.ipam.usage import usage

TARGET = "tortie.io/migrating-to"
"""Annotation of a pool that is being left: the name of the pool that takes its place."""

WAS_DISABLED = "tortie.io/was-disabled"


class MoveError(IpamError):
    """The move cannot be made like this; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Review:
    """What stands against a move, and what will be different after it."""

    blockers: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Holder:
    """Who still has an address of the old pool."""

    address: str
    node: str
    name: str
    is_pod: bool


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything that a review looks at."""

    old: IPPool
    new: IPPool
    snapshot: Snapshot
    reservations: Reservations
    owners: tuple[Resource, ...]


async def read_scene(client: Client, old: str, new: str, *, reservations: Reservations) -> Scene:
    """Both pools and all that uses them. Raises MoveError for a pool that is not there."""
    pools = []
    for name in (old, new):
        try:
            found = await client.get(Key("IPPool", "", name))
        except DoesNotExist:
            raise MoveError(f"there is no IP pool {name}") from None
        assert isinstance(found, IPPool)
        pools.append(found)
    owners = (await client.list_many(["Pod", "Namespace"])).items
    return Scene(pools[0], pools[1], await read_snapshot(client), reservations, owners)


def review(scene: Scene) -> Review:
    """Whether the new pool can take what the old one has."""
    return Review(tuple(_blockers(scene)), tuple(_notes(scene)))


def holders(scene: Scene) -> tuple[Holder, ...]:
    """Who has an address of the old pool; addresses that are cooling down have nobody."""
    cidr = _cidr(scene.old)
    found = []
    for block in scene.snapshot.blocks:
        place = parse_prefix(block.spec.cidr)
        if not cidr.contains(place):
            continue
        for ordinal, index in enumerate(block.spec.allocations):
            if index is None or index >= len(block.spec.attributes):
                continue
            attribute = block.spec.attributes[index]
            if attribute.released_at is not None or attribute.handle_id == RESERVED_HANDLE:
                continue
            said = attribute.secondary
            pod = said.get("pod", "")
            name = f"{said.get('namespace', '')}/{pod}" if pod else said.get("type", "") or attribute.handle_id
            found.append(Holder(str(address_of(place, ordinal)), said.get("node", ""), name, bool(pod)))
    return tuple(found)


async def begin(client: Client, old: str, new: str) -> None:
    """Take nothing more out of the old pool. Raises MoveError if it is on its way to another one."""

    def change(stored: Resource) -> Resource:
        assert isinstance(stored, IPPool)
        annotations = stored.metadata.annotations
        under_way = annotations.get(TARGET, "")
        if under_way not in ("", new):
            raise MoveError(f"IP pool {old} is being migrated to {under_way}: roll that back first (--rollback)")
        if not under_way:
            annotations = annotations | {TARGET: new, WAS_DISABLED: str(stored.spec.disabled).lower()}
        return _with(stored, disabled=True, annotations=annotations)

    await operations.modify(client, Key("IPPool", "", old), change)


async def roll_back(client: Client, old: str) -> None:
    """Let the old pool give addresses again, as it did before. Raises MoveError where no move is under way."""

    def change(stored: Resource) -> Resource:
        assert isinstance(stored, IPPool)
        annotations = dict(stored.metadata.annotations)
        if annotations.pop(TARGET, None) is None:
            raise MoveError(f"IP pool {old} is not being migrated: there is nothing to roll back")
        return _with(stored, disabled=annotations.pop(WAS_DISABLED, "") == "true", annotations=annotations)

    await operations.modify(client, Key("IPPool", "", old), change)


def _with(pool: IPPool, *, disabled: bool, annotations: dict[str, str]) -> IPPool:
    return msgspec.structs.replace(
        pool,
        metadata=msgspec.structs.replace(pool.metadata, annotations=annotations),
        spec=msgspec.structs.replace(pool.spec, disabled=disabled),
    )


def _cidr(pool: IPPool) -> Prefix:
    cidr = cidr_of(pool)
    if cidr is None:
        raise MoveError(f"spec.cidr {pool.spec.cidr!r} of {pool.key} is not a network")
    return cidr


def _blockers(scene: Scene) -> Iterator[str]:
    old, new = scene.old, scene.new
    if old.key == new.key:
        yield "old and new pool are the same"
        return
    if _cidr(old).family is not _cidr(new).family:
        yield f"{_cidr(old)} and {_cidr(new)} are not of one family"
        return
    if not is_enabled(new):
        yield f"IP pool {new.metadata.name} gives no addresses (spec.disabled): enable it first"
    if new.metadata.annotations.get(TARGET):
        yield f"IP pool {new.metadata.name} is itself being migrated to {new.metadata.annotations[TARGET]}"
    missing = set(old.spec.allowed_uses or DEFAULT_USES) - set(new.spec.allowed_uses or DEFAULT_USES)
    if missing:
        yield f"spec.allowedUses of {new.metadata.name} lacks {', '.join(sorted(missing))}"
    if new.spec.assignment_mode != old.spec.assignment_mode:
        yield f"spec.assignmentMode of {new.metadata.name} is {new.spec.assignment_mode}, not {old.spec.assignment_mode}"
    held = holders(scene)
    free = next(
        (item.free for item in usage(scene.snapshot, scene.reservations, with_blocks=False) if item.cidr == _cidr(new)), 0
    )
    if free < len(held):
        yield f"{new.metadata.name} has {free} free addresses, and {len(held)} of {old.metadata.name} are in use"
    nodes = {holder.node for holder in held if holder.node}
    blocks = 1 << max(0, block_length(new) - _cidr(new).length)
    if len(nodes) > blocks:
        yield f"{len(nodes)} nodes have addresses of {old.metadata.name}, and {new.metadata.name} has only {blocks} blocks"
    labels = {node.metadata.name: node.metadata.labels for node in scene.snapshot.nodes}
    unselected = sorted(name for name in nodes & labels.keys() if not selects(new.spec.node_selector, labels[name]))
    if unselected:
        yield f"spec.nodeSelector of {new.metadata.name} does not select {', '.join(unselected[:5])}, which have such addresses"


def _notes(scene: Scene) -> Iterator[str]:
    old, new = scene.old.spec, scene.new.spec
    for field, before, after in (
        ("natOutgoing", old.nat_outgoing, new.nat_outgoing),
        ("ipipMode", old.ipip_mode or "Never", new.ipip_mode or "Never"),
        ("vxlanMode", old.vxlan_mode or "Never", new.vxlan_mode or "Never"),
        ("disableBGPExport", old.disable_bgp_export, new.disable_bgp_export),
        ("namespaceSelector", old.namespace_selector, new.namespace_selector),
    ):
        if before != after:
            yield f"spec.{field} is {after!r} in the new pool and was {before!r}"
    wanted = (str(_cidr(scene.old)), scene.old.metadata.name)
    for owner in scene.owners:
        if not isinstance(owner, Pod | Namespace):
            continue
        for name, text in sorted(owner.metadata.annotations.items()):
            if name in ("cni.projectcalico.org/ipv4pools", "cni.projectcalico.org/ipv6pools") and any(
                f'"{one}"' in text for one in wanted
            ):
                yield f"{owner.key} asks for the old pool by annotation {name}: change that, or it cannot start again"
