"""What a change of policies changes for packets: pairs of ends and ports that become allowed or denied.

Asked are all pairs of endpoints that both worlds hold, and between them and somebody outside; with the ports of `interesting`
the answer is complete for every destination port and every outside address. Costs follow classes, as for a matrix.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from tortie.base.net import FAMILIES, Family
from tortie.insight.classes import Memberships, Numbering
from tortie.insight.document import API_VERSION
from tortie.insight.ends import End, of_workload
from tortie.insight.interesting import Interest, interests, strangers
from tortie.insight.matrix import Answer, a_pair, ask, same_end
from tortie.insight.world import World


@dataclass(frozen=True, slots=True)
class Change:
    """Every one of `sources` to every other one of `destinations`, on each of `ports`, was `before` and is `after`."""

    sources: tuple[str, ...]
    destinations: tuple[str, ...]
    ports: tuple[str, ...]
    families: tuple[int, ...]
    before: Answer
    after: Answer

    @property
    def now_allowed(self) -> bool:
        """True if what was denied is allowed now; False for the reverse."""
        return self.after.allowed


@dataclass(frozen=True, slots=True)
class Difference:
    """All changes. Endpoints that only one world holds are listed and not compared."""

    changes: tuple[Change, ...]
    appeared: tuple[str, ...] = ()
    vanished: tuple[str, ...] = ()


class _Ends(NamedTuple):
    """One end as it is before and after."""

    before: End
    after: End


class _Key(NamedTuple):
    """Changes that are told in one breath: same outcome, same reasons."""

    now_allowed: bool
    before: str
    after: str


_Asked = tuple[tuple[str, Family], ...]
_Group = tuple[_Key, _Asked, frozenset[str]]


def diff(before: World, after: World, *, ports: Sequence[Interest] = (), outside: bool = True) -> Difference:
    """Compare. `ports` empty: those that either world's rules can tell apart. `outside` False: endpoints alone."""
    both = sorted(before.workloads.keys() & after.workloads.keys())
    ends = [_Ends(of_workload(before.workloads[name]), of_workload(after.workloads[name])) for name in both]
    if outside:
        ends += [_Ends(end, end) for end in strangers((before, after))]
    asked = list(ports) or interests((before, after))
    found = _Collector()
    for family in FAMILIES:
        there = [each for each in ends if all(_has(end, family) for end in each)]
        _compare(before, after, there, family=family, ports=asked, found=found)
    return Difference(
        tuple(found.changes()),
        appeared=tuple("/".join(name) for name in sorted(after.workloads.keys() - before.workloads.keys())),
        vanished=tuple("/".join(name) for name in sorted(before.workloads.keys() - after.workloads.keys())),
    )


def difference_document(difference: Difference) -> dict[str, Any]:
    """`kind: PolicyDiff`."""
    return {
        "apiVersion": API_VERSION,
        "kind": "PolicyDiff",
        "changes": [
            {
                "change": "allowed" if change.now_allowed else "denied",
                "from": change.sources,
                "to": change.destinations,
                "ports": change.ports,
                "families": change.families,
                "before": _answer(change.before),
                "after": _answer(change.after),
            }
            for change in difference.changes
        ],
        "endpoints": {"appeared": difference.appeared, "vanished": difference.vanished},
    }


def _answer(answer: Answer) -> Mapping[str, Any]:
    verdict = "allow" if answer.allowed else "deny"
    return {"verdict": verdict, "reason": answer.reason, "egress": answer.egress, "ingress": answer.ingress}


def _has(end: End, family: Family) -> bool:
    return any(address.family is family for address in end.addresses)


def _compare(
    before: World, after: World, ends: Sequence[_Ends], *, family: Family, ports: Sequence[Interest], found: "_Collector"
) -> None:
    groups: dict[int, list[_Ends]] = {}
    old, new, numbers = Memberships(before), Memberships(after), Numbering()
    for each in ends:
        groups.setdefault(numbers[old.of_end(each.before), new.of_end(each.after)], []).append(each)
    for sources in groups.values():
        for destinations in groups.values():
            if not _is_pair(sources, destinations):
                continue
            for port in ports:
                was = _ask(before, sources, destinations, old=True, port=port, family=family)
                now = _ask(after, sources, destinations, old=False, port=port, family=family)
                if was is not None and now is not None and was.allowed != now.allowed:
                    found.add(sources, destinations, port.text, family=family, was=was, now=now)


def _is_pair(sources: Sequence[_Ends], destinations: Sequence[_Ends]) -> bool:
    return a_pair([each.after for each in sources[:2]], [each.after for each in destinations[:2]]) is not None


def _ask(
    world: World, sources: Sequence[_Ends], destinations: Sequence[_Ends], *, old: bool, port: Interest, family: Family
) -> Answer | None:
    index = 0 if old else 1
    pair = a_pair([each[index] for each in sources[:2]], [each[index] for each in destinations[:2]])
    if pair is None:
        return None
    return ask(world, *pair, question=replace(port.question, family=family))


class _Collector:
    """Puts single changes together: first the ports of a pair, then the destinations of a source, then the sources."""

    def __init__(self) -> None:
        self._answers: dict[_Key, tuple[Answer, Answer]] = {}
        self._ports: dict[tuple[_Key, str, str], dict[tuple[str, Family], None]] = {}

    def add(
        self,
        sources: Iterable[_Ends],
        destinations: Iterable[_Ends],
        port: str,
        *,
        family: Family,
        was: Answer,
        now: Answer,
    ) -> None:
        key = _Key(now.allowed, was.reason, now.reason)
        self._answers.setdefault(key, (was, now))
        receivers = [each.after for each in destinations]
        for source in sources:
            for destination in receivers:
                if not same_end(source.after, destination):
                    pair = (key, source.after.text, destination.text)
                    self._ports.setdefault(pair, {})[port, family] = None

    def changes(self) -> list[Change]:
        """Denials first: they are what breaks."""
        by_source: dict[tuple[_Key, str, _Asked], list[str]] = {}
        for (key, source, destination), ports in self._ports.items():
            by_source.setdefault((key, source, tuple(ports)), []).append(destination)
        merged: dict[tuple[_Key, _Asked, frozenset[str]], list[str]] = {}
        for (key, source, asked), destinations in by_source.items():
            merged.setdefault((key, asked, frozenset(destinations)), []).append(source)
        changes = [self._change(*group, sources=sources) for group, sources in _mutual(merged).items()]
        return sorted(changes, key=lambda change: (change.now_allowed, change.sources, change.destinations, change.ports))

    def _change(self, key: _Key, asked: _Asked, destinations: frozenset[str], *, sources: list[str]) -> Change:
        return Change(
            sources=tuple(sorted(sources)),
            destinations=tuple(sorted(destinations)),
            ports=tuple(dict.fromkeys(port for port, _ in asked)),
            families=tuple(sorted({int(family) for _, family in asked})),
            before=self._answers[key][0],
            after=self._answers[key][1],
        )


def _mutual(merged: Mapping[_Group, list[str]]) -> dict[_Group, list[str]]:
    """Sources that differ only in that none of them is its own destination are one group: each to every other."""
    rings: dict[_Group, list[tuple[_Group, str]]] = {}
    result: dict[_Group, list[str]] = {}
    for group, sources in merged.items():
        if len(sources) > 1:
            result[group] = sources
            continue
        key, asked, destinations = group
        rings.setdefault((key, asked, destinations | {sources[0]}), []).append((group, sources[0]))
    for ring, members in rings.items():
        if len(members) > 1 and ring not in result:
            result[ring] = [source for _, source in members]
        else:
            result.update({group: [source] for group, source in members})
    return result
