"""Which node has which destination: blocks by their affinities, single addresses that a node has outside its own blocks.

Single addresses are those of workloads and of tunnels' ends. They are taken from WorkloadEndpoints and Nodes, which the graph
follows anyway, and not from IPAM blocks: every address that is taken or given back rewrites a block as a whole, and every node
would have to read all of them (docs/routing.md).
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from tortie.api.ipam import BlockAffinity
from tortie.api.resource import Key
from tortie.base.net import Address, Prefix, parse_prefix, single
from tortie.calc.prefix_index import AddressGrid, PrefixIndex


class _Claim(NamedTuple):
    """A node's claim of a block. Of several the confirmed one counts, then the first by the node's name."""

    waning: bool
    node: str
    cidr: Prefix


class _Held(NamedTuple):
    """Single addresses that one resource gives to a node."""

    node: str
    singles: tuple[Prefix, ...]


class RouteOwners:
    """`on_change` is told every destination whose owner may be another now."""

    def __init__(self, node: str, on_change: Callable[[Prefix], None]) -> None:
        self._node = node
        self._on_change = on_change
        self._claims: dict[str, _Claim] = {}
        self._claims_of: dict[Prefix, tuple[str, ...]] = {}
        self._blocks: PrefixIndex[str] = PrefixIndex()
        self._held: dict[Key, _Held] = {}
        self._holders: dict[Prefix, tuple[Key, ...]] = {}
        self._grid = AddressGrid()

    def on_affinity(self, name: str, value: BlockAffinity | None) -> None:
        """A claim came, changed or went. A pending one counts as absent; one about to go counts until it is gone."""
        new = None if value is None else _claim(value)
        old = self._claims.get(name)
        if new == old:
            return
        if old is not None:
            del self._claims[name]
            left = tuple(each for each in self._claims_of[old.cidr] if each != name)
            if left:
                self._claims_of[old.cidr] = left
            else:
                del self._claims_of[old.cidr]
        if new is not None:
            self._claims[name] = new
            self._claims_of[new.cidr] = (*self._claims_of.get(new.cidr, ()), name)
        for cidr in {each.cidr for each in (old, new) if each is not None}:
            self._decide_block(cidr)

    def _decide_block(self, cidr: Prefix) -> None:
        winner = min((self._claims[name] for name in self._claims_of.get(cidr, ())), default=None)
        if (winner.node if winner is not None else None) == self._blocks.get(cidr):
            return
        if winner is None:
            self._blocks.pop(cidr)
        else:
            self._blocks.put(cidr, winner.node)
        self._on_change(cidr)
        for each in self._grid.within(cidr):
            self._on_change(each)

    def on_singles(self, key: Key, node: str, nets: Iterable[Prefix]) -> None:
        """What a resource gives to a node; nothing, or no node, when it is gone."""
        singles = tuple(each for each in nets if each.is_single) if node else ()
        new = _Held(node, singles) if singles else None
        old = self._held.get(key)
        if new == old:
            return
        if old is not None:
            del self._held[key]
            for each in set(old.singles):
                left = tuple(holder for holder in self._holders[each] if holder != key)
                if left:
                    self._holders[each] = left
                else:
                    del self._holders[each]
                    self._grid.remove(each)
                self._on_change(each)
        if new is not None:
            self._held[key] = new
            for each in set(singles):
                self._holders[each] = (*self._holders.get(each, ()), key)
                self._grid.add(each)
                self._on_change(each)

    def owner(self, dst: Prefix) -> str | None:
        """The node that needs a route for exactly this destination; None if none does.

        An address of several nodes belongs to this one, else to the one whose block it is in, else to the first by name.
        """
        node = self.holder(dst)
        if node == self._node:
            return None
        return self._blocks.get(dst) if node is None or node == self._blocks.covering(dst) else node

    def holder(self, dst: Prefix) -> str | None:
        """The node that has a single address, by the same order; None if none does."""
        nodes = {self._held[key].node for key in self._holders.get(dst, ())}
        if not nodes or self._node in nodes:
            return self._node if nodes else None
        in_block_of = self._blocks.covering(dst)
        return in_block_of if in_block_of in nodes else min(nodes)

    def holders(self, dst: Prefix) -> tuple[Key, ...]:
        """The resources that say they have this address, sorted: several are one too many."""
        return tuple(sorted(self._holders.get(dst, ())))

    def has_in_vain(self, address: Address, node: str) -> bool:
        """True if another of the nodes that have this address as their tunnel's comes first, in the order of `owner`."""
        dst = single(address)
        nodes = {key.name for key in self._holders.get(dst, ()) if key.kind == "Node"} | {node}
        if self._node in nodes:
            return node != self._node
        in_block_of = self._blocks.covering(dst)
        return node != (in_block_of if in_block_of in nodes else min(nodes))

    def block_owner(self, dst: Prefix) -> str | None:
        """The node that has claimed exactly this."""
        return self._blocks.get(dst)

    def is_empty(self) -> bool:
        """True if nobody has anything."""
        indexes = (self._claims, self._claims_of, self._held, self._holders)
        return not any(indexes) and self._blocks.is_empty() and self._grid.is_empty()


def _claim(affinity: BlockAffinity) -> _Claim | None:
    """Claims of what is no node (load balancer addresses) lead nowhere."""
    spec = affinity.spec
    if spec.type != "host" or spec.deleted or spec.state == "pending" or not spec.node:
        return None
    try:
        return _Claim(spec.state == "pendingDeletion", spec.node, parse_prefix(spec.cidr, strict=False))
    except ValueError:
        return None
