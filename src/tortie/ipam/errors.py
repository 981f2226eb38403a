"""Errors of the IPAM boundary, with Calico's texts where a user may search for them."""

from tortie.base.errors import TortieError
from tortie.base.net import Address, Prefix


class IpamError(TortieError):
    """Root of this boundary."""


class NoQualifiedPool(IpamError):
    """No pool may be used for this request."""


class NotInPool(IpamError):
    """An address outside every enabled pool."""

    def __init__(self, address: Address) -> None:
        super().__init__(f"the provided IP address is not in a configured pool: {address}")
        self.address = address


class AlreadyAssigned(IpamError):
    """An address that somebody has, or that has not cooled down yet."""

    def __init__(self, address: Address) -> None:
        super().__init__(f"IP address {address} is already assigned in block")
        self.address = address


class BlockLimit(IpamError):
    """The node has as many blocks as it may have."""

    def __init__(self, node: str, limit: int) -> None:
        super().__init__(f"cannot allocate new block for node {node} due to per host block limit ({limit})")


class NoBlock(IpamError):
    """IPAMConfiguration forbids new blocks, and the node has none with a free address."""

    def __init__(self, node: str) -> None:
        super().__init__(
            f"failed to find or claim a block for node {node}: spec.autoAllocateBlocks of IPAMConfiguration is false"
        )


class StrictAffinity(IpamError):
    """The block belongs to another node, and IPAMConfiguration forbids to borrow from it."""

    def __init__(self, address: Address, owner: str) -> None:
        super().__init__(
            f"IP address {address} is in a block of {owner or 'no node'} and spec.strictAffinity of IPAMConfiguration is true"
        )


class ReleaseConflict(IpamError):
    """The address is held by another handle, or was given away again since the caller saw it."""


class Contention(IpamError):
    """Others wrote faster than we did, too many times in a row."""

    def __init__(self, what: str, attempts: int) -> None:
        super().__init__(f"{what}: gave up after {attempts} conflicts with other writers; try again")


class ClaimConflict(IpamError):
    """The block was claimed by somebody else in the meantime."""

    def __init__(self, cidr: Prefix) -> None:
        super().__init__(f"block {cidr} is claimed by another owner")


class StaleAffinity(IpamError):
    """The affinity named a block that is not its owner's; it has been removed."""

    def __init__(self, cidr: Prefix) -> None:
        super().__init__(f"the affinity for block {cidr} was stale and has been removed")


class NotEmpty(IpamError):
    """A block with addresses in use, or one that changed while it was looked at, cannot be given up."""

    def __init__(self, cidr: Prefix) -> None:
        super().__init__(f"block {cidr} is in use")
