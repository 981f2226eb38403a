"""Wanted and known state of our table, and the transaction that turns the one into the other. Pure.

Wanted comes from the renderers; known is what the kernel has as far as we know, after a read-back or a transaction of ours.
What may differ is marked when it is put, so that a transaction costs what changed and not what is there.

The order inside a transaction lets every reference exist while it is made and go before its target goes: flush rules,
remove elements, delete sets, delete chains; then create chains (empty), create sets, append rules, add elements.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tortie.base.net import Prefix
from tortie.kernel.nft.batch import Batch
from tortie.kernel.nft.decode import KernelChain, KernelSet, KernelTable
from tortie.kernel.nft.elements import ElementKey, ElementValue, encode_key, family_of, prefix_range, stored_spec
from tortie.kernel.nft.encode import EncodedChain
from tortie.kernel.nft.intervals import PrefixCover
from tortie.kernel.nft.objects import Goto, Hook, Jump, SetSpec, TableFamily
from tortie.kernel.nft.uapi import Table


@dataclass(slots=True)
class _WantedSet:
    """`dirty` are the keys that may differ from the kernel's; None stands for all."""

    spec: SetSpec
    elements: dict[bytes, ElementValue]
    cover: PrefixCover | None
    dirty: set[bytes] | None = None


@dataclass(slots=True)
class _KnownSet:
    spec: SetSpec | None
    elements: dict[bytes, ElementValue]


@dataclass(slots=True)
class SetChange:
    """What a plan does to one set. `create` holds for a new set and for one that is made anew."""

    spec: SetSpec
    create: bool
    delete: bool
    add: dict[bytes, ElementValue]
    remove: list[bytes]


@dataclass(slots=True)
class Plan:
    """One transaction and what it changes. Empty if there is nothing to do."""

    batch: Batch
    puts_table: bool = False
    put_chains: dict[str, EncodedChain] = field(default_factory=dict)  # created, made anew, or given another policy
    write_chains: dict[str, EncodedChain] = field(default_factory=dict)  # all rules written
    delete_chains: set[str] = field(default_factory=set)  # removed, or to be made anew
    sets: dict[str, SetChange] = field(default_factory=dict)
    delete_sets: set[str] = field(default_factory=set)  # removed for good

    @property
    def elements(self) -> tuple[int, int]:
        """How many elements (an interval counts once) are added and removed."""
        changes = self.sets.values()
        return sum(len(change.add) for change in changes), sum(len(change.remove) for change in changes)


class TableState:
    """Wanted and known content of one table. Not for several threads at once."""

    def __init__(self, table: str, family: TableFamily = "inet", *, owned: bool = False) -> None:
        self._table = table
        self._family = family
        self._flags = Table.OWNER | Table.PERSIST if owned else 0
        self._wanted_chains: dict[str, EncodedChain] = {}
        self._wanted_sets: dict[str, _WantedSet] = {}
        self._withheld: dict[str, _WantedSet] = {}
        self._known_flags: int | None = None
        self._replace = False
        self._take_over = False
        self._known_chains: dict[str, KernelChain] = {}
        self._known_sets: dict[str, _KnownSet] = {}
        self._dirty_chains: set[str] = set()
        self._dirty_sets: set[str] = set()

    @property
    def dirty(self) -> bool:
        """True if a plan may be non-empty."""
        return bool(self._dirty_chains or self._dirty_sets)

    # ---- wanted ----
    def put_chain(self, chain: EncodedChain) -> None:
        """Want this chain with exactly these rules."""
        self._wanted_chains[chain.name] = chain
        self._dirty_chains.add(chain.name)

    def remove_chain(self, name: str) -> None:
        """Want no such chain."""
        self._wanted_chains.pop(name, None)
        self._dirty_chains.add(name)

    def put_set(self, spec: SetSpec, members: Mapping[ElementKey, ElementValue]) -> None:
        """Want this set with exactly these members."""
        cover: PrefixCover | None = None
        if spec.interval:
            cover = PrefixCover(family_of(spec), (key for key in members if isinstance(key, Prefix)))
            elements: dict[bytes, ElementValue] = {prefix_range(prefix): None for prefix in cover.cover()}
        else:
            elements = {encode_key(key): value for key, value in members.items()}
        stored = stored_spec(spec)
        old = self._wanted_sets.get(spec.name)
        dirty: set[bytes] | None = None
        if old is not None and old.dirty is not None and old.spec == stored:
            dirty = old.dirty | {key for key, _ in old.elements.items() ^ elements.items()}
        self._wanted_sets[spec.name] = _WantedSet(stored, elements, cover, dirty)
        self._withheld.pop(spec.name, None)
        self._dirty_sets.add(spec.name)

    def remove_set(self, name: str) -> None:
        """Want no such set."""
        self._wanted_sets.pop(name, None)
        self._withheld.pop(name, None)
        self._dirty_sets.add(name)

    def withhold_set(self, name: str) -> None:
        """Keep a set and its changes, but out of the kernel, until it is put anew or `release_sets`."""
        if name in self._wanted_sets:
            self._withheld[name] = self._wanted_sets.pop(name)
            self._dirty_sets.add(name)

    def release_sets(self) -> None:
        """Want the withheld sets again."""
        for name, entry in self._withheld.items():
            entry.dirty = None
            self._wanted_sets[name] = entry
            self._dirty_sets.add(name)
        self._withheld.clear()

    def add_members(self, name: str, members: Mapping[ElementKey, ElementValue]) -> None:
        """Want these members too; the value of a known one is replaced. The set must be wanted."""
        wanted = self._withheld.get(name) or self._wanted_sets[name]
        for key, value in members.items():
            if wanted.cover is not None:
                assert isinstance(key, Prefix)
                self._move(wanted, *wanted.cover.add(key))
            else:
                self._set(wanted, encode_key(key), value)
        self._dirty_sets.add(name)

    def remove_members(self, name: str, keys: Iterable[ElementKey]) -> None:
        """Want these members no longer. The set must be wanted; an unknown member is fine."""
        wanted = self._withheld.get(name) or self._wanted_sets[name]
        for key in keys:
            if wanted.cover is not None:
                assert isinstance(key, Prefix)
                self._move(wanted, *wanted.cover.remove(key))
            else:
                self._drop(wanted, encode_key(key))
        self._dirty_sets.add(name)

    def _move(self, wanted: _WantedSet, leave: list[Prefix], enter: list[Prefix]) -> None:
        for prefix in leave:
            self._drop(wanted, prefix_range(prefix))
        for prefix in enter:
            self._set(wanted, prefix_range(prefix), None)

    @staticmethod
    def _set(wanted: _WantedSet, key: bytes, value: ElementValue) -> None:
        wanted.elements[key] = value
        if wanted.dirty is not None:
            wanted.dirty.add(key)

    @staticmethod
    def _drop(wanted: _WantedSet, key: bytes) -> None:
        if key in wanted.elements:
            del wanted.elements[key]
            if wanted.dirty is not None:
                wanted.dirty.add(key)

    def disown(self) -> bool:
        """Want the table as one that anybody may change. False if that is wanted already."""
        owned, self._flags = bool(self._flags), 0
        return owned

    def forget(self) -> None:
        """Want nothing and know nothing."""
        self._wanted_chains.clear()
        self._wanted_sets.clear()
        self._withheld.clear()
        self.adopt(KernelTable(0))

    def wanted_chain(self, name: str) -> EncodedChain | None:
        """The wanted chain, for reading."""
        return self._wanted_chains.get(name)

    def missing_references(self, chain: EncodedChain) -> list[str]:
        """What the chain's rules refer to and nobody wants."""
        return sorted((chain.chains - self._wanted_chains.keys()) | (chain.sets - self._wanted_sets.keys()))

    def missing_targets(self, set_name: str) -> list[str]:
        """What the map's elements jump to and nobody wants."""
        values = self._wanted_sets[set_name].elements.values() if set_name in self._wanted_sets else ()
        return sorted({v.chain for v in values if isinstance(v, Jump | Goto)} - self._wanted_chains.keys())

    # ---- known ----
    def adopt(self, actual: KernelTable) -> None:
        """Replace what is known by a read-back; mark whatever differs from it, leftovers included.

        A table with other flags was put to sleep by hand, or is of another kind of life. The kernel refuses to wake it and to
        add base chains in one transaction, so it is known as "to be replaced" and as empty. One that outlived its owner is
        taken over as it is.
        """
        self._take_over = bool(self._flags) and actual.flags == Table.PERSIST
        self._replace = actual.flags not in (None, self._flags) and not self._take_over
        if self._replace:
            actual = KernelTable(actual.generation)
        self._known_flags = actual.flags
        self._known_chains = dict(actual.chains)
        self._known_sets = {name: _KnownSet(s.spec, dict(s.elements)) for name, s in actual.sets.items()}
        wanted, known = self._wanted_chains, self._known_chains
        self._dirty_chains = {name for name in wanted.keys() | known.keys() if self._chain_differs(name)}
        self._dirty_sets = set()
        for name, entry in self._wanted_sets.items():
            found = actual.sets.get(name)
            if found is None or found.spec != entry.spec:
                entry.dirty = None
            else:
                entry.dirty = {key for key, _ in entry.elements.items() ^ found.elements.items()}
            if entry.dirty is None or entry.dirty:
                self._dirty_sets.add(name)
        self._dirty_sets.update(actual.sets.keys() - self._wanted_sets.keys())

    def _chain_differs(self, name: str) -> bool:
        wanted, known = self._wanted_chains.get(name), self._known_chains.get(name)
        if wanted is None or known is None:
            return wanted is not None or known is not None
        return wanted.hook != known.hook or wanted.digests != known.digests

    # ---- the transaction ----
    def plan(self) -> Plan:
        """The transaction that makes the kernel's table the wanted one."""
        plan = Plan(Batch(self._table, self._family))
        for name in sorted(self._dirty_chains):
            self._plan_chain(plan, name)
        for name in sorted(self._dirty_sets):
            self._plan_set(plan, name)
        self._plan_users(plan)
        self._fill(plan)
        return plan

    def _plan_chain(self, plan: Plan, name: str) -> None:
        wanted, known = self._wanted_chains.get(name), self._known_chains.get(name)
        if wanted is None:
            if known is not None:
                plan.delete_chains.add(name)
            return
        if known is None or known.hook != wanted.hook:
            plan.put_chains[name] = wanted
            if known is not None and _place(known.hook) != _place(wanted.hook):
                plan.delete_chains.add(name)
        if known is None or name in plan.delete_chains or known.digests != wanted.digests:
            plan.write_chains[name] = wanted

    def _plan_set(self, plan: Plan, name: str) -> None:
        wanted, known = self._wanted_sets.get(name), self._known_sets.get(name)
        if wanted is None:
            if known is not None:
                plan.delete_sets.add(name)
            return
        if known is None or known.spec != wanted.spec:
            plan.sets[name] = SetChange(wanted.spec, True, known is not None, dict(wanted.elements), [])
            return
        keys = wanted.elements.keys() | known.elements.keys() if wanted.dirty is None else wanted.dirty
        change = SetChange(wanted.spec, create=False, delete=False, add={}, remove=[])
        for key in sorted(keys):
            is_wanted, is_known = key in wanted.elements, key in known.elements
            if is_wanted and is_known and wanted.elements[key] == known.elements[key]:
                continue
            if is_known:
                change.remove.append(key)
            if is_wanted:
                change.add[key] = wanted.elements[key]
        if change.add or change.remove:
            plan.sets[name] = change

    def _plan_users(self, plan: Plan) -> None:
        """What is made anew must be let go by all that refers to it, and taken up again."""
        sets = {name for name, change in plan.sets.items() if change.delete}
        chains = plan.delete_chains & plan.put_chains.keys()
        if not sets and not chains:
            return
        for name, chain in self._wanted_chains.items():
            if chain.sets & sets or chain.chains & chains:
                plan.write_chains[name] = chain
        for name, wanted in self._wanted_sets.items():
            known = self._known_sets.get(name)
            if not wanted.spec.is_verdict_map or known is None or name in sets:
                continue
            for key, value in known.elements.items():
                change = plan.sets.get(name) or SetChange(wanted.spec, create=False, delete=False, add={}, remove=[])
                if isinstance(value, Jump | Goto) and value.chain in chains and key not in change.remove:
                    change.remove.append(key)
                    change.add[key] = wanted.elements[key]
                    plan.sets[name] = change

    def _fill(self, plan: Plan) -> None:
        batch = plan.batch
        work = plan.put_chains or plan.write_chains or plan.delete_chains or plan.sets or plan.delete_sets
        if self._replace:
            batch.delete_table()
        if (work and self._known_flags is None) or self._take_over:
            batch.put_table(self._flags)
            plan.puts_table = True
        for name in sorted(plan.write_chains.keys() | plan.delete_chains):
            if name in self._known_chains:
                batch.flush_chain(name)
        for name, change in plan.sets.items():
            batch.remove_elements(name, change.remove, interval=change.spec.interval)
        for name in sorted(plan.delete_sets | {name for name, change in plan.sets.items() if change.delete}):
            batch.delete_set(name)
        for name in sorted(plan.delete_chains):
            batch.delete_chain(name)
        for name, chain in plan.put_chains.items():
            batch.put_chain(name, chain.hook)
        for change in plan.sets.values():
            if change.create:
                batch.create_set(change.spec)
        for name, chain in plan.write_chains.items():
            batch.append_rules(name, chain.rules)
        for name, change in plan.sets.items():
            batch.add_elements(name, change.add.items(), interval=change.spec.interval)

    def committed(self, plan: Plan) -> None:
        """The kernel took the plan: what was wanted is known. Nothing may have been put in between."""
        if plan.puts_table:
            self._known_flags = self._flags
        self._replace = self._take_over = False
        for name in plan.delete_chains:
            del self._known_chains[name]
        for name, chain in (plan.put_chains | plan.write_chains).items():
            self._known_chains[name] = KernelChain(chain.hook, chain.digests)
        for name in plan.delete_sets:
            del self._known_sets[name]
        for name, change in plan.sets.items():
            if change.create:
                self._known_sets[name] = _KnownSet(change.spec, change.add)
                continue
            known = self._known_sets[name].elements
            for key in change.remove:
                del known[key]
            known.update(change.add)
        for name in self._dirty_sets & self._wanted_sets.keys():
            self._wanted_sets[name].dirty = set()
        self._dirty_chains = set()
        self._dirty_sets = set()

    def known(self) -> KernelTable:
        """What the kernel has, as far as we know."""
        sets = {name: KernelSet(entry.spec, dict(entry.elements)) for name, entry in self._known_sets.items()}
        return KernelTable(0, self._known_flags, dict(self._known_chains), sets)


def _place(hook: Hook | None) -> tuple[str, str, int] | None:
    """What of a hook cannot be changed in place."""
    return None if hook is None else (hook.type, hook.hook, hook.priority)
