"""Nodes' own ranges of pod addresses (USE_POD_CIDR), where no IPAM of ours hands out blocks: each counts as a block."""

from collections.abc import Callable

from tortie.api.ipam import BlockAffinity, BlockAffinitySpec, affinity_name
from tortie.api.node import Node
from tortie.api.resource import Metadata, Update


class PodCidrs:
    """Turns nodes into claims of blocks. Off, it says nothing: Kubernetes sets these ranges in any cluster."""

    def __init__(self, emit: Callable[[Update], None], *, is_used: bool) -> None:
        self._emit = emit
        self._is_used = is_used
        self._known: dict[str, tuple[str, ...]] = {}

    def on_node(self, name: str, node: Node | None) -> None:
        """A node came, changed or went."""
        if not self._is_used:
            return
        new = node.status.pod_cidrs if node is not None and node.status is not None else ()
        old = self._known.pop(name, ())
        if new:
            self._known[name] = new
        for cidr in old:
            if cidr not in new:
                self._tell(name, cidr, None)
        for cidr in new:
            if cidr not in old:
                self._tell(name, cidr, BlockAffinitySpec(state="confirmed", node=name, cidr=cidr))

    def _tell(self, node: str, cidr: str, spec: BlockAffinitySpec | None) -> None:
        metadata = Metadata(name=affinity_name(node, cidr))
        key = BlockAffinity(metadata=metadata, spec=BlockAffinitySpec(state="", node=node, cidr=cidr)).key
        self._emit(Update(key, None if spec is None else BlockAffinity(metadata=metadata, spec=spec)))

    def is_empty(self) -> bool:
        """True if no node has a range."""
        return not self._known
