"""What a change of policies changes for packets: pairs of ends and ports that become allowed or denied.

Asked are all pairs of endpoints that both worlds hold, nodes with host endpoints among them, and of these and somebody outside;
with the ports of `interesting` the answer is complete for every destination port and every outside address. Costs follow
classes, as for a matrix.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from tortie.base.net import FAMILIES, Family
from tortie.insight.classes import Memberships, Numbering, few_of, on_one_node
from tortie.insight.document import API_VERSION
from tortie.insight.ends import End, find, node_of, of_workload
from tortie.insight.interesting import Interest, interests, strangers
from tortie.insight.matrix import Answer, ask, same_end
from tortie.insight.sameness import Sameness
from tortie.insight.world import World
from tortie.intent.policy import Direction


@dataclass(frozen=True, slots=True)
class Change:
    """Every one of `sources` to every other one of `destinations`, on each of `ports`, was `before` and is `after`."""

    sources: tuple[str, ...]
    destinations: tuple[str, ...]
    ports: tuple[str, ...]
    families: tuple[int, ...]
    asked_families: tuple[int, ...]
    """Those in which any of them could be asked."""
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
    ends += [_Ends(find(before, f"node/{name}"), find(after, f"node/{name}")) for name in _policed_nodes(before, after)]
    if outside:
        ends += [_Ends(end, end) for end in strangers((before, after))]
    asked = list(ports) or interests((before, after))
    found = _Collector({each.after.text: frozenset(a.family for a in each.after.addresses) for each in ends})
    for family in FAMILIES:
        there = [each for each in ends if all(_has(end, family) for end in each)]
        _compare(before, after, there, family=family, ports=asked, found=found)
    return Difference(
        tuple(found.changes()),
        appeared=tuple("/".join(name) for name in sorted(after.workloads.keys() - before.workloads.keys())),
        vanished=tuple("/".join(name) for name in sorted(before.workloads.keys() - after.workloads.keys())),
    )


def _policed_nodes(before: World, after: World) -> list[str]:
    """Nodes of both worlds that have a host endpoint in either: of others' own traffic policy says nothing."""
    policed = {each.node for world in (before, after) for each in world.state.host_endpoints}
    return sorted(policed & before.state.hosts.keys() & after.state.hosts.keys())


def staged_enforced(world: World) -> World:
    """The world as it would be with all its staged policies enforced."""
    return world.pending() or world


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
    same = Sameness(before, after)
    for each in ends:
        groups.setdefault(numbers[old.of_end(each.before), new.of_end(each.after)], []).append(each)
    for sources in groups.values():
        for destinations in groups.values():
            if same.frame and _alike(same, sources[0], destinations[0]):
                continue
            for near, (source, destination) in _pairs(sources, destinations).items():
                for port in ports:
                    question = replace(port.question, family=family)
                    was = ask(before, source.before, destination.before, question=question)
                    now = ask(after, source.after, destination.after, question=question)
                    if was is not None and now is not None and was.allowed != now.allowed:
                        found.add(sources, destinations, port.text, near=near, family=family, answers=(was, now))


def _alike(same: Sameness, source: _Ends, destination: _Ends) -> bool:
    """True if both worlds judge alike all that one class sends to another."""
    return same.of_end(*source, Direction.EGRESS) and same.of_end(*destination, Direction.INGRESS)


_Near = tuple[bool, bool]


def _near(source: _Ends, destination: _Ends) -> _Near:
    """Whether two ends are on one node, before and after."""
    return on_one_node(source.before, destination.before), on_one_node(source.after, destination.after)


def _pairs(sources: Sequence[_Ends], destinations: Sequence[_Ends]) -> dict[_Near, tuple[_Ends, _Ends]]:
    """Two different ends, one of each, for each way in which two of them can be on one node."""
    found: dict[_Near, tuple[_Ends, _Ends]] = {}
    for source in few_of(sources, _nodes):
        for destination in few_of(destinations, _nodes):
            if not same_end(source.after, destination.after):
                found.setdefault(_near(source, destination), (source, destination))
    return found


def _nodes(ends: _Ends) -> str:
    return f"{node_of(ends.before)} {node_of(ends.after)}"


class _Collector:
    """Puts single changes together: first the ports of a pair, then the destinations of a source, then the sources."""

    def __init__(self, families: Mapping[str, frozenset[Family]]) -> None:
        self._families = families
        self._answers: dict[_Key, tuple[Answer, Answer]] = {}
        self._ports: dict[tuple[_Key, str, str], dict[tuple[str, Family], None]] = {}

    def add(
        self,
        sources: Iterable[_Ends],
        destinations: Sequence[_Ends],
        port: str,
        *,
        near: _Near,
        family: Family,
        answers: tuple[Answer, Answer],
    ) -> None:
        was, now = answers
        key = _Key(now.allowed, was.reason, now.reason)
        self._answers.setdefault(key, answers)
        for source in sources:
            for destination in destinations:
                if not same_end(source.after, destination.after) and _near(source, destination) == near:
                    pair = (key, source.after.text, destination.after.text)
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
        receivers = frozenset[Family]().union(*(self._families[name] for name in destinations))
        senders = frozenset[Family]().union(*(self._families[name] for name in sources))
        return Change(
            sources=tuple(sorted(sources)),
            destinations=tuple(sorted(destinations)),
            ports=tuple(dict.fromkeys(port for port, _ in asked)),
            families=tuple(sorted({int(family) for _, family in asked})),
            asked_families=tuple(sorted(map(int, senders & receivers))),
            before=self._answers[key][0],
            after=self._answers[key][1],
        )


def _mutual(merged: Mapping[_Group, list[str]]) -> dict[_Group, list[str]]:
    """Sources that differ only in that none of them is its own destination are one group: each to every other."""
    rings: dict[_Group, list[tuple[_Group, str]]] = {}
    result: dict[_Group, list[str]] = {}
    for group, sources in merged.items():
        if len(sources) > 1:
            result[group] = [*sources]
            continue
        key, asked, destinations = group
        rings.setdefault((key, asked, destinations | {sources[0]}), []).append((group, sources[0]))
    for ring, members in rings.items():
        for group, source in members:
            # That a source may stand among the destinations already, as another's, changes nothing: each to every other.
            result.setdefault(ring if len(members) > 1 else group, []).append(source)
    return result
