"""The stored shapes of IPAM's objects (datastore.md, section 1.2). They carry no metadata: the path is their identity."""

import msgspec

from tortie.api.ipam import (
    AffinityState,
    AllocationAttribute,
    BlockAffinity,
    BlockAffinitySpec,
    IPAMBlock,
    IPAMBlockSpec,
    IPAMConfiguration,
    IPAMConfigurationSpec,
    IPAMHandle,
    IPAMHandleSpec,
)
from tortie.api.resource import Key, Metadata, Resource
from tortie.base.net import parse_prefix
from tortie.datastore.layout import affinity_of


class _Attribute(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    handle_id: str | None = msgspec.field(default=None, name="handle_id")
    secondary: dict[str, str] | None = None
    alternate_owner_attrs: dict[str, str] | None = None
    released_at: str | None = None


class _Block(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    cidr: str
    affinity: str | None = None
    affinity_claim_time: str | msgspec.UnsetType = msgspec.field(default=msgspec.UNSET, name="affinity_claim_time")
    allocations: tuple[int | None, ...] | None = None
    unallocated: tuple[int, ...] | None = None
    attributes: tuple[_Attribute, ...] | None = None
    deleted: bool = False
    sequence_number: int = 0
    sequence_number_for_allocation: dict[str, int] | None = None
    host_affinity: str | msgspec.UnsetType | None = msgspec.UNSET


class _Affinity(msgspec.Struct, frozen=True):
    state: AffinityState = "confirmed"
    deleted: bool = False


class _Handle(msgspec.Struct, frozen=True):
    block: dict[str, int] | None = None
    deleted: bool = False


class _Configuration(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    strict_affinity: bool = False
    auto_allocate_blocks: bool = False
    max_blocks_per_host: int = msgspec.field(default=0, name="maxBlocksPerHost")
    persistence: str | None = msgspec.field(default=None, name="kubeVirtVMAddressPersistence")
    ip_cooldown_seconds: int = msgspec.field(default=0, name="ipCooldownSeconds")


def encode(resource: Resource) -> bytes:
    """The stored bytes of one of the four IPAM kinds."""
    match resource:
        case IPAMBlock(spec=spec):
            return msgspec.json.encode(_block_out(spec))
        case BlockAffinity(spec=spec):
            return msgspec.json.encode(_Affinity(state=spec.state, deleted=spec.deleted))
        case IPAMHandle(spec=spec):
            return msgspec.json.encode(_Handle(block=spec.block, deleted=spec.deleted))
        case IPAMConfiguration(spec=spec):
            return msgspec.json.encode(
                _Configuration(
                    strict_affinity=spec.strict_affinity,
                    auto_allocate_blocks=spec.auto_allocate_blocks,
                    max_blocks_per_host=spec.max_blocks_per_host,
                    persistence=spec.kube_virt_vm_address_persistence,
                    ip_cooldown_seconds=spec.ip_cooldown_seconds,
                )
            )
    raise AssertionError(f"{resource.kind} is not a kind of IPAM")


def decode(key: Key, path: str, data: bytes) -> Resource:
    """The resource behind stored bytes. Raises msgspec.MsgspecError or ValueError for bytes of another shape."""
    metadata = Metadata(name=key.name)
    match key.kind:
        case "IPAMBlock":
            return IPAMBlock(metadata=metadata, spec=_block_in(msgspec.json.decode(data, type=_Block)))
        case "BlockAffinity":
            stored = msgspec.json.decode(data, type=_Affinity) if data else _Affinity()
            place = affinity_of(path)
            if place is None:
                raise ValueError(f"{path} is not the path of a block affinity")
            owner, node, cidr = place
            return BlockAffinity(
                metadata=metadata,
                spec=BlockAffinitySpec(state=stored.state, node=node, cidr=cidr, type=owner, deleted=stored.deleted),
            )
        case "IPAMHandle":
            handle = msgspec.json.decode(data, type=_Handle)
            spec = IPAMHandleSpec(handle_id=key.name, block=handle.block or {}, deleted=handle.deleted)
            return IPAMHandle(metadata=metadata, spec=spec)
        case "IPAMConfiguration":
            return IPAMConfiguration(metadata=metadata, spec=_configuration_in(data))
    raise AssertionError(f"{key.kind} is not a kind of IPAM")


def _block_out(spec: IPAMBlockSpec) -> _Block:
    return _Block(
        cidr=spec.cidr,
        affinity=spec.affinity,
        affinity_claim_time=spec.affinity_claim_time or msgspec.UNSET,
        allocations=spec.allocations,
        unallocated=spec.unallocated,
        attributes=tuple(
            _Attribute(
                handle_id=one.handle_id or None,
                secondary=one.secondary or None,
                alternate_owner_attrs=one.alternate_owner_attrs or None,
                released_at=one.released_at,
            )
            for one in spec.attributes
        ),
        deleted=spec.deleted,
        sequence_number=spec.sequence_number,
        sequence_number_for_allocation=spec.sequence_number_for_allocation,
    )


def _block_in(stored: _Block) -> IPAMBlockSpec:
    parse_prefix(stored.cidr)  # of a block that is nowhere nothing can be said
    affinity = stored.affinity
    if affinity is None and stored.host_affinity:
        affinity = f"host:{stored.host_affinity}"
    return IPAMBlockSpec(
        cidr=stored.cidr,
        affinity=affinity,
        affinity_claim_time=stored.affinity_claim_time or None,
        allocations=stored.allocations or (),
        unallocated=stored.unallocated or (),
        attributes=tuple(
            AllocationAttribute(
                handle_id=one.handle_id or "",
                secondary=one.secondary or {},
                alternate_owner_attrs=one.alternate_owner_attrs or {},
                released_at=one.released_at,
            )
            for one in stored.attributes or ()
        ),
        sequence_number=stored.sequence_number,
        sequence_number_for_allocation=stored.sequence_number_for_allocation or {},
        deleted=stored.deleted,
    )


def _configuration_in(data: bytes) -> IPAMConfigurationSpec:
    """An absent flag means false here: only a missing object stands for the defaults."""
    stored = msgspec.json.decode(data, type=_Configuration)
    return IPAMConfigurationSpec(
        strict_affinity=stored.strict_affinity,
        auto_allocate_blocks=stored.auto_allocate_blocks,
        max_blocks_per_host=stored.max_blocks_per_host,
        ip_cooldown_seconds=stored.ip_cooldown_seconds,
        kube_virt_vm_address_persistence="Disabled"
        if stored.persistence == "Disabled"
        else ("Enabled" if stored.persistence == "Enabled" else None),
    )
