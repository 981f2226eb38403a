"""IP sets: for each selector (and named port) that an active rule uses, the addresses of all that it selects.

Members are counted by source: two endpoints with one address, or a CIDR in two network sets, are one member until the last
source is gone.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from tortie.api.resource import Key
from tortie.api.selector import Selector, unique_id
from tortie.calc.label_index import LabelIndex
from tortie.calc.labelled import Labelled
from tortie.calc.multimap import discard
from tortie.calc.protocols import protocol_text
from tortie.intent.keys import SetId
from tortie.intent.sets import IPSet, Member, PortMember, SetKind

MemberListener = Callable[[SetId, Member, bool], None]


@dataclass(frozen=True, slots=True)
class SetSpec:
    """What a set stands for. `port` "" means the addresses themselves; `protocol` None any protocol of the named port."""

    selector: Selector
    protocol: int | None = None
    port: str = ""

    @property
    def ipset(self) -> IPSet:
        """The set as intent sees it. Its id depends on the canonical selector, so equal selectors share one set."""
        if not self.port:
            return IPSet(self.selector.id, SetKind.NET, self.selector.text)
        protocol = "any" if self.protocol is None else protocol_text(self.protocol).lower()
        set_id = unique_id("n", f"{self.selector.id},{protocol},{self.port}")
        return IPSet(set_id, SetKind.IP_PORT, f"{self.selector.text}, {protocol}, {self.port}")


@dataclass(slots=True)
class _Set:
    spec: SetSpec
    members: Counter[Member] = field(default_factory=Counter)


class IPSets:
    """Membership of every set in use. `listener(set, member, present)` hears changes of sets that already stand."""

    def __init__(self, listener: MemberListener) -> None:
        self._listener = listener
        self._index: LabelIndex[Key] = LabelIndex(self._on_selected)
        self._items: dict[Key, Labelled] = {}
        self._sets: dict[SetId, _Set] = {}
        self._by_selector: dict[str, set[SetId]] = {}

    def on_item(self, key: Key, item: Labelled | None) -> None:
        """An endpoint or network set of the cluster came, changed or went."""
        old = self._items.get(key)
        if item == old:
            return
        if item is None:
            self._index.remove_item(key)
            self._items.pop(key, None)
            return
        if old is not None and (old.nets, old.ports) != (item.nets, item.ports):
            for text in self._index.selectors_of(key):
                self._change(text, old, item)
        self._items[key] = item
        self._index.set_item(key, item.labels, item.profiles)

    def on_profile(self, name: str, labels: Mapping[str, str] | None) -> None:
        """Labels that a profile hands down."""
        self._index.set_profile(name, labels)

    def add(self, set_id: SetId, spec: SetSpec) -> None:
        """Begin to keep a set. It is silent about its first members: ask `members`."""
        text = spec.selector.text
        kept = _Set(spec)
        self._sets[set_id] = kept
        self._by_selector.setdefault(text, set()).add(set_id)
        self._index.add_selector(spec.selector)
        for key in self._index.items_of(text):
            kept.members.update(_members(spec, self._items[key]))

    def remove(self, set_id: SetId) -> None:
        """Stop keeping a set, silently."""
        text = self._sets.pop(set_id).spec.selector.text
        if discard(self._by_selector, text, set_id):
            self._index.remove_selector(text)

    def members(self, set_id: SetId) -> frozenset[Member]:
        """Members of a kept set."""
        return frozenset(self._sets[set_id].members)

    @property
    def evaluations(self) -> int:
        """How often a selector was evaluated, ever."""
        return self._index.evaluations

    def is_empty(self) -> bool:
        """True if nothing is known."""
        return not (self._items or self._sets or self._by_selector) and self._index.is_empty()

    def _on_selected(self, text: str, key: Key, selected: bool) -> None:
        item = self._items[key]
        for set_id in self._by_selector[text]:
            members = _members(self._sets[set_id].spec, item)
            if selected:
                self._count(set_id, members, ())
            else:
                self._count(set_id, (), members)

    def _change(self, text: str, old: Labelled, new: Labelled) -> None:
        for set_id in self._by_selector[text]:
            spec = self._sets[set_id].spec
            self._count(set_id, _members(spec, new), _members(spec, old))

    def _count(self, set_id: SetId, gained: Iterable[Member], lost: Iterable[Member]) -> None:
        """Gains first, so that a member which only changes its source is never reported as gone."""
        members = self._sets[set_id].members
        for member in gained:
            members[member] += 1
            if members[member] == 1:
                self._listener(set_id, member, True)
        for member in lost:
            members[member] -= 1
            if not members[member]:
                del members[member]
                self._listener(set_id, member, False)


def _members(spec: SetSpec, item: Labelled) -> list[Member]:
    if not spec.port:
        return list(item.nets)
    return [
        PortMember(net.network, port.protocol, port.port)
        for port in item.ports
        if port.name == spec.port and spec.protocol in (None, port.protocol)
        for net in item.nets
    ]
