"""IPAM's own kinds: block, affinity, handle, configuration (api.md, section 4; datastore.md, section 1.2)."""

import hashlib
from typing import Literal

import msgspec

from tortie.api.resource import V3, Metadata, Resource, Value


class AllocationAttribute(Value, frozen=True, kw_only=True):
    """Who holds an address. `secondary` are the active owner's attributes: pod, namespace, node, timestamp."""

    handle_id: str = msgspec.field(default="", name="handle_id")
    secondary: dict[str, str] = {}
    alternate_owner_attrs: dict[str, str] = {}
    released_at: str | None = None


class IPAMBlockSpec(Value, frozen=True, kw_only=True):
    """`allocations[i]` indexes `attributes`, None when free; `unallocated` lists free ordinals, first out first."""

    cidr: str
    affinity: str | None = None
    affinity_claim_time: str | None = None
    allocations: tuple[int | None, ...] = ()
    unallocated: tuple[int, ...] = ()
    attributes: tuple[AllocationAttribute, ...] = ()
    sequence_number: int = 0
    sequence_number_for_allocation: dict[str, int] = {}
    strict_affinity: bool = False
    deleted: bool = False


class IPAMBlock(Resource, frozen=True, kw_only=True):
    """The unit of compare-and-swap. metadata.name is `block_name(cidr)`."""

    api_version: str = V3
    kind: str = "IPAMBlock"
    metadata: Metadata = Metadata()
    spec: IPAMBlockSpec


class IPAMHandleSpec(Value, frozen=True, kw_only=True):
    """How many addresses the handle has in which block."""

    handle_id: str = msgspec.field(name="handleID")
    block: dict[str, int] = {}
    deleted: bool = False


class IPAMHandle(Resource, frozen=True, kw_only=True):
    """Index from a handle to blocks. metadata.name is the handle id."""

    api_version: str = V3
    kind: str = "IPAMHandle"
    metadata: Metadata = Metadata()
    spec: IPAMHandleSpec


AffinityState = Literal["", "confirmed", "pending", "pendingDeletion"]


class BlockAffinitySpec(Value, frozen=True, kw_only=True):
    """A claim of block `cidr` by `node`; empty state means confirmed; type is host or virtual."""

    state: AffinityState
    node: str
    cidr: str
    type: str = "host"
    deleted: bool = False


class BlockAffinity(Resource, frozen=True, kw_only=True):
    """A claim. metadata.name is `affinity_name(node, cidr)`."""

    api_version: str = V3
    kind: str = "BlockAffinity"
    metadata: Metadata = Metadata()
    spec: BlockAffinitySpec


class IPAMConfigurationSpec(Value, frozen=True, kw_only=True):
    """Cluster-wide IPAM behaviour; these are the defaults when the object is missing."""

    strict_affinity: bool = False
    auto_allocate_blocks: bool = True
    max_blocks_per_host: int = 0
    ip_cooldown_seconds: int = 0
    kube_virt_vm_address_persistence: Literal["Enabled", "Disabled"] | None = msgspec.field(
        default=None, name="kubeVirtVMAddressPersistence"
    )


class IPAMConfiguration(Resource, frozen=True, kw_only=True):
    """A singleton named `default`."""

    api_version: str = V3
    kind: str = "IPAMConfiguration"
    metadata: Metadata = Metadata()
    spec: IPAMConfigurationSpec = IPAMConfigurationSpec()


def block_name(cidr: str) -> str:
    """Object name of a block: `10.0.0.0/26` is `10-0-0-0-26`, `fd00::/122` is `fd00---122` (datastore.md, section 3.5)."""
    return cidr.replace(".", "-").replace(":", "-").replace("/", "-")


def affinity_name(node: str, cidr: str) -> str:
    """Object name of a claim: `node-1-10-0-0-0-26`. A node name too long for that is cut, and a hash keeps it unique."""
    block = block_name(cidr)
    name = f"{node}-{block}"
    if len(name) < 253:
        return name
    digest = hashlib.sha256(f"{node}+{block}".encode()).hexdigest()[:11]
    return f"{node[: 252 - len(block) - len(digest) - 2]}-{block}-{digest}"
