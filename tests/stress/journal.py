"""What a worker of the IPAM stress test was told, line by line, and what follows from all of these lines together.

    ? TIME HANDLE            a request for addresses begins
    + TIME HANDLE ADDRESS    it returned this address
    . TIME HANDLE            it returned, with all its addresses named
    r TIME HANDLE ADDRESS    a release of this address begins
    R TIME HANDLE            a release of whatever the handle has begins
    - TIME HANDLE            the release returned
    c TIME NAME COUNT        a figure

Lines are written before a request and after it returned: a killed worker's journal says what may have happened.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from tortie.base.net import Address, parse_address


@dataclass(slots=True)
class Journal:
    """One worker, or one after the other in the same file."""

    held: dict[Address, str] = field(default_factory=dict)
    """Address -> handle: assigned, and no release of it has begun."""
    unsettled: set[str] = field(default_factory=set)
    """Handles with a request or a release that never returned."""
    handles: set[str] = field(default_factory=set)
    figures: Counter[str] = field(default_factory=Counter)
    spans: list[tuple[Address, str, float, float]] = field(default_factory=list)
    """(address, handle, told at, release begun at or endless): the time in which it was certainly the handle's alone."""


def read(path: Path) -> Journal:
    """A worker's file. A last line that was cut off by a kill counts as not written."""
    journal = Journal()
    since: dict[Address, float] = {}

    def end(address: Address, at: float) -> None:
        journal.spans.append((address, journal.held.pop(address), since.pop(address), at))

    text = path.read_text() if path.exists() else ""
    for line in text[: text.rfind("\n") + 1].splitlines():
        sign, time, name, *rest = line.split()
        at = float(time)
        if sign == "?":
            journal.handles.add(name)
            journal.unsettled.add(name)
        elif sign == "+":
            address = parse_address(rest[0])
            assert address not in journal.held, f"{path.name}: {address} was given to {journal.held[address]} and to {name}"
            journal.held[address], since[address] = name, at
            journal.figures["allocations"] += 1
        elif sign == "r":
            journal.unsettled.add(name)
            end(parse_address(rest[0]), at)
        elif sign == "R":
            journal.unsettled.add(name)
            for address in [held for held, handle in journal.held.items() if handle == name]:
                end(address, at)
        elif sign in ".-":
            journal.unsettled.discard(name)
        elif sign == "c":
            journal.figures[name] += int(rest[0])
    journal.spans += [(address, handle, since[address], float("inf")) for address, handle in journal.held.items()]
    return journal


def faults(journals: Iterable[Journal], *, cooldown_seconds: float) -> list[str]:
    """Addresses that two handles had at one time, or that were given away again before they had cooled down."""
    by_address: dict[Address, list[tuple[float, float, str]]] = {}
    for journal in journals:
        for address, handle, begin, end in journal.spans:
            by_address.setdefault(address, []).append((begin, end, handle))
    found = []
    for address, spans in by_address.items():
        spans.sort()
        for (_, end, before), (begin, _, after) in pairwise(spans):
            if begin < end:
                found.append(f"{address} was given to {after} while {before} had it")
            elif begin - end < cooldown_seconds:
                found.append(f"{address} was given to {after} {begin - end:.3f} s after {before} released it")
    return found
