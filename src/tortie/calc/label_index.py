"""Which items each selector selects, kept up to date as labels come and go.

Items (endpoints, network sets) with the same own labels and the same profiles share one `_LabelSet`; a selector is evaluated
once for a label set, never once for an item. Two indexes keep evaluations few: label sets by label, asked when a selector is
new, and selectors by one label that they require, asked when a label set is new.

    own labels + profiles -> _LabelSet --(candidates, evaluate)--> selectors
         ^ shared by items
"""

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from tortie.api.selector import Demand, Selector
from tortie.calc.multimap import discard

ItemT = TypeVar("ItemT", bound=Hashable)
Labels = frozenset[tuple[str, str]]
Listener = Callable[[str, ItemT, bool], None]

_ANYWHERE: Demand = ("", None)


@dataclass(slots=True, eq=False)
class _LabelSet(Generic[ItemT]):
    """One combination of own labels and profiles. Compared by identity."""

    own: Labels
    profiles: tuple[str, ...]
    effective: dict[str, str]
    items: set[ItemT] = field(default_factory=set)
    selectors: set[str] = field(default_factory=set)


@dataclass(slots=True, eq=False)
class _Entry(Generic[ItemT]):
    """One selector, where it is filed, and what it selects."""

    selector: Selector
    filed: tuple[Demand, ...]
    label_sets: set[_LabelSet[ItemT]] = field(default_factory=set)


class LabelIndex(Generic[ItemT]):
    """Items by selector. `listener(selector text, item, selected)` hears what changes of items and profiles cause.

    Adding or removing a selector is silent: ask `items_of`.
    """

    def __init__(self, listener: Listener[ItemT]) -> None:
        self._listener = listener
        self._label_sets: dict[tuple[Labels, tuple[str, ...]], _LabelSet[ItemT]] = {}
        self._by_item: dict[ItemT, _LabelSet[ItemT]] = {}
        self._by_label: dict[Demand, set[_LabelSet[ItemT]]] = {}
        self._by_profile: dict[str, set[_LabelSet[ItemT]]] = {}
        self._profile_labels: dict[str, Mapping[str, str]] = {}
        self._entries: dict[str, _Entry[ItemT]] = {}
        self._filed: dict[Demand, set[str]] = {}
        self.evaluations = 0
        """How often a selector was evaluated, ever."""

    def set_item(self, item: ItemT, own: Labels, profiles: tuple[str, ...]) -> None:
        """Add an item, or change its labels."""
        old = self._by_item.get(item)
        new = self._label_sets.get((own, profiles))
        if new is not None and new is old:
            return
        if new is None:
            new = self._new_label_set(own, profiles)
        new.items.add(item)
        self._by_item[item] = new
        before: Collection[str] = ()
        if old is not None:
            before = old.selectors
            self._leave(item, old)
        self._tell((item,), before, new.selectors)

    def remove_item(self, item: ItemT) -> None:
        """Forget an item; unknown is fine."""
        old = self._by_item.pop(item, None)
        if old is not None:
            self._leave(item, old)
            self._tell((item,), old.selectors, ())

    def set_profile(self, name: str, labels: Mapping[str, str] | None) -> None:
        """Labels that a profile hands down; None or empty when it has none."""
        if dict(self._profile_labels.get(name, {})) == dict(labels or {}):
            return
        if labels:
            self._profile_labels[name] = labels
        else:
            del self._profile_labels[name]
        for label_set in tuple(self._by_profile.get(name, ())):
            effective = self._effective(label_set.own, label_set.profiles)
            if effective == label_set.effective:
                continue
            before = set(label_set.selectors)
            self._unlink(label_set)
            label_set.selectors.clear()
            label_set.effective = effective
            self._link(label_set)
            self._tell(tuple(label_set.items), before, label_set.selectors)

    def add_selector(self, selector: Selector) -> None:
        """Keep track of a selector; adding it again is fine."""
        if selector.text in self._entries:
            return
        entry = _Entry[ItemT](selector, self._filing(selector))
        self._entries[selector.text] = entry
        for bucket in entry.filed:
            self._filed.setdefault(bucket, set()).add(selector.text)
        for label_set in self._candidate_label_sets(selector):
            self._evaluate(entry, label_set)

    def remove_selector(self, text: str) -> None:
        """Forget a selector."""
        entry = self._entries.pop(text)
        for bucket in entry.filed:
            discard(self._filed, bucket, text)
        for label_set in entry.label_sets:
            label_set.selectors.discard(text)

    def items_of(self, text: str) -> Iterator[ItemT]:
        """All items that a known selector selects."""
        for label_set in self._entries[text].label_sets:
            yield from label_set.items

    def selectors_of(self, item: ItemT) -> Collection[str]:
        """Texts of the known selectors that select an item."""
        label_set = self._by_item.get(item)
        return () if label_set is None else label_set.selectors

    def is_empty(self) -> bool:
        """True if no item, profile or selector is known, and none left a trace."""
        return not (
            self._label_sets
            or self._by_item
            or self._by_label
            or self._by_profile
            or self._profile_labels
            or self._entries
            or self._filed
        )

    def _tell(self, items: Iterable[ItemT], before: Collection[str], after: Collection[str]) -> None:
        gained = [text for text in after if text not in before]
        lost = [text for text in before if text not in after]
        for item in items:
            for text in gained:
                self._listener(text, item, True)
            for text in lost:
                self._listener(text, item, False)

    def _new_label_set(self, own: Labels, profiles: tuple[str, ...]) -> _LabelSet[ItemT]:
        label_set = _LabelSet[ItemT](own, profiles, self._effective(own, profiles))
        self._label_sets[own, profiles] = label_set
        for name in profiles:
            self._by_profile.setdefault(name, set()).add(label_set)
        self._link(label_set)
        return label_set

    def _effective(self, own: Labels, profiles: tuple[str, ...]) -> dict[str, str]:
        """Own labels win, then the first profile that has the label."""
        labels: dict[str, str] = {}
        for name in reversed(profiles):
            labels.update(self._profile_labels.get(name, {}))
        labels.update(own)
        return labels

    def _leave(self, item: ItemT, label_set: _LabelSet[ItemT]) -> None:
        label_set.items.discard(item)
        if label_set.items:
            return
        del self._label_sets[label_set.own, label_set.profiles]
        for name in set(label_set.profiles):
            discard(self._by_profile, name, label_set)
        # The selectors stay listed in the dead label set: the caller compares them with what comes next.
        self._unlink(label_set)

    def _link(self, label_set: _LabelSet[ItemT]) -> None:
        """Enter a label set into the indexes and evaluate whatever selector might select it."""
        candidates = set(self._filed.get(_ANYWHERE, ()))
        for key, value in label_set.effective.items():
            for bucket in ((key, value), (key, None)):
                self._by_label.setdefault(bucket, set()).add(label_set)
                candidates |= self._filed.get(bucket, set())
        for text in candidates:
            self._evaluate(self._entries[text], label_set)

    def _unlink(self, label_set: _LabelSet[ItemT]) -> None:
        for key, value in label_set.effective.items():
            for bucket in ((key, value), (key, None)):
                discard(self._by_label, bucket, label_set)
        for text in label_set.selectors:
            self._entries[text].label_sets.discard(label_set)

    def _evaluate(self, entry: _Entry[ItemT], label_set: _LabelSet[ItemT]) -> None:
        self.evaluations += 1
        if entry.selector.matches(label_set.effective):
            entry.label_sets.add(label_set)
            label_set.selectors.add(entry.selector.text)

    def _filing(self, selector: Selector) -> tuple[Demand, ...]:
        """The buckets of which it needs one, the least crowded way; everywhere if there is none."""
        options = selector.coverings()
        if not options:
            return (_ANYWHERE,)
        return min(options, key=lambda buckets: sum(len(self._filed.get(each, ())) for each in buckets))

    def _candidate_label_sets(self, selector: Selector) -> Collection[_LabelSet[ItemT]]:
        options = [[self._by_label.get(bucket, set()) for bucket in buckets] for buckets in selector.coverings()]
        if not options:
            return list(self._label_sets.values())
        fewest = min(options, key=lambda found: sum(map(len, found)))
        return fewest[0] if len(fewest) == 1 else set[_LabelSet[ItemT]]().union(*fewest)
