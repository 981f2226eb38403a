"""Policy routing rules of one network namespace: listing, changing, hearing of changes, and a driver that keeps those of one
table as desired.

A rule of ours is recognised by its priority, the table that it leads to, and our protocol number (`ip rule` shows it). One
without the number is ours where it says what only we and Calico say: all packets without one mark.
"""

import struct
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from tortie.base.net import FAMILIES, Family, Prefix
from tortie.kernel import rtnetlink
from tortie.kernel.errors import Busy, KernelError, NotFound
from tortie.kernel.netlink import NLM_F_CREATE, Message, Request, attribute, parse_attributes, u8, u32
from tortie.kernel.route import PROTOCOL
from tortie.kernel.rtnetlink import AF_INET6, FAMILY_NUMBERS, open_requests, open_subscription, unpack_u32

_HEADER = struct.Struct("=BBBBBBBBI")  # family, dst length, src length, tos, table, two reserved, action, flags
_FRA_DST, _FRA_SRC, _FRA_PRIORITY, _FRA_FWMARK = 1, 2, 6, 10
_FRA_SUPPRESS_IFGROUP, _FRA_SUPPRESS_PREFIXLEN, _FRA_TABLE, _FRA_FWMASK, _FRA_PROTOCOL = 13, 14, 15, 16, 21
_TO_TABLE = 1
_INVERT = 2
_NO_SUPPRESSION = 0xFFFFFFFF
_COMPATIBLE_LIMIT = 256
_ATTEMPTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Look up `table` for packets that match everything that is said here, or with `invert` for those that do not."""

    family: Family
    priority: int
    table: int
    mark: int = 0
    mask: int = 0
    """Bits of the mark that count; 0 means that the mark does not matter."""
    source: Prefix | None = None
    destination: Prefix | None = None
    invert: bool = False

    def __str__(self) -> str:
        words = [f"IPv{self.family.value} rule {self.priority}:"]
        words += ["not"] if self.invert else []
        words.append(f"from {self.source or 'all'}")
        words += [f"to {self.destination}"] if self.destination is not None else []
        words += [f"fwmark {self.mark:#x}/{self.mask:#x}"] if self.mask else []
        return " ".join([*words, f"lookup {self.table}"])


@dataclass(frozen=True, slots=True)
class FoundRule:
    """A rule that the kernel has. `rule` is None where it says more than a Rule can."""

    family: Family
    priority: int
    table: int
    rule: Rule | None
    protocol: int
    """Who made it; 0 from programs that do not say."""
    body: bytes
    """As the kernel told it, which is also how it is removed: nothing else is like it."""

    @property
    def avoids_a_mark(self) -> bool:
        """True for the form of WireGuard's rules: whatever does not have one mark."""
        return self.rule is not None and self.rule.invert and self.rule.mask == self.rule.mark != 0


@dataclass(frozen=True, slots=True)
class RuleChange:
    """A rule that another process added or removed."""

    found: FoundRule
    present: bool


class Rules:
    """The rules of one namespace: that of `netns_fd`, or the calling thread's at construction. One thread at a time."""

    def __init__(self, netns_fd: int | None = None) -> None:
        self._socket = open_requests(netns_fd)
        self.port_id = self._socket.port_id

    def close(self) -> None:
        """Give back the socket; may be called again."""
        self._socket.close()

    def __enter__(self) -> "Rules":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def list(self, *, families: Sequence[Family] = FAMILIES) -> tuple[FoundRule, ...]:
        """Every rule, in the order in which the kernel asks them."""
        found: list[FoundRule] = []
        for family in families:
            request = Request(rtnetlink.RTM_GETRULE, 0, _HEADER.pack(FAMILY_NUMBERS[family], 0, 0, 0, 0, 0, 0, 0, 0))
            messages = self._socket.dump(request, action=f"list IPv{family.value} rules")
            found += [_parse(message) for message in messages if message.type == rtnetlink.RTM_NEWRULE]
        return tuple(found)

    def add(self, rule: Rule) -> None:
        """Add a rule, even beside the same one: the kernel takes two that differ in their networks alone for one."""
        request = Request(rtnetlink.RTM_NEWRULE, NLM_F_CREATE, _body(rule))
        self._socket.request(request, action=f"add {rule}")

    def delete(self, found: FoundRule) -> None:
        """Remove a rule that was listed; one that has gone meanwhile is fine."""
        try:
            self._socket.request(
                Request(rtnetlink.RTM_DELRULE, 0, found.body),
                action=f"delete IPv{found.family.value} rule {found.priority} that looks up table {found.table}",
            )
        except NotFound:
            pass


class RuleMonitor:
    """Notice of rules that others add or remove. Wait for `fileno()`, then `read`; construct it before the first `list`."""

    def __init__(self, netns_fd: int | None = None, *, ignore_port: int | None = None) -> None:
        """`ignore_port` is the `port_id` of our own Rules."""
        self._subscription = open_subscription(netns_fd, (rtnetlink.GROUP_IPV4_RULE, rtnetlink.GROUP_IPV6_RULE))
        self._ignore_port = ignore_port

    def fileno(self) -> int:
        """The descriptor that becomes readable."""
        return self._subscription.fileno()

    def close(self) -> None:
        """Give back the socket; may be called again."""
        self._subscription.close()

    def read(self) -> tuple[RuleChange, ...]:
        """What happened since the last call, in order. Overflow: some was lost, list the rules again."""
        kinds = (rtnetlink.RTM_NEWRULE, rtnetlink.RTM_DELRULE)
        return tuple(
            RuleChange(_parse(message), message.type == rtnetlink.RTM_NEWRULE)
            for message in self._subscription.read()
            if message.type in kinds and (not message.port or message.port != self._ignore_port)
        )


class RuleTable:
    """Our rules of one family, one priority and one table, kept as desired: `want`, then `apply`. May be applied again.

    Others' rules of this priority and table stay (module's docstring). Read on first use, after a failure and after `distrust`.
    """

    def __init__(self, rules: Rules, *, family: Family, priority: int, table: int) -> None:
        self._rules = rules
        self._family = family
        self._priority = priority
        self._table = table
        self._desired: frozenset[Rule] = frozenset()
        self._settled = False

    def want(self, rules: Collection[Rule]) -> None:
        """Want these and no others. Raises KernelError for a rule of another family, priority or table."""
        for rule in rules:
            if (rule.family, rule.priority, rule.table) != (self._family, self._priority, self._table):
                place = f"priority {self._priority} and table {self._table} of IPv{self._family.value}"
                raise KernelError(f"{rule}: only rules of {place} belong here")
        wanted = frozenset(map(_plain, rules))
        if wanted != self._desired:
            self._desired = wanted
            self._settled = False

    def distrust(self) -> None:
        """Read the kernel again at the next `apply`."""
        self._settled = False

    def rules_changed(self, changes: Iterable[RuleChange]) -> bool:
        """Another process did this. True if it concerns rules of ours: they are read again at the next `apply`."""
        concerned = any(self._is_ours(change.found) for change in changes)
        if concerned:
            self.distrust()
        return concerned

    def apply(self) -> None:
        """Bring the kernel to what is desired, additions first. Raises KernelError; nothing is given up by that."""
        if self._settled:
            return
        found = self._ours()
        # Who asks for a rule to go names what it says, not what it leaves out: the kernel may take a more special one, which
        # then comes last. So many readings it takes at most until the right one is gone.
        attempts = len(found) + len(self._desired) + _ATTEMPTS
        for _ in range(attempts):
            missing = self._desired - {each.rule for each in found}
            kept: set[Rule] = set()
            surplus = [each for each in found if not self._keeps(each, kept)]
            if not missing and not surplus:
                self._settled = True
                return
            for rule in sorted(missing, key=str):
                self._rules.add(rule)
            for each in sorted(surplus, key=lambda each: len(each.body), reverse=True):
                self._rules.delete(each)
            found = self._ours()
        raise Busy(f"rules of priority {self._priority}: changed by others during each of {attempts} attempts")

    def _ours(self) -> list[FoundRule]:
        return [each for each in self._rules.list(families=(self._family,)) if self._is_ours(each)]

    def _is_ours(self, found: FoundRule) -> bool:
        if (found.family, found.priority, found.table) != (self._family, self._priority, self._table):
            return False
        return found.protocol == PROTOCOL or found.avoids_a_mark or found.rule in self._desired

    def _keeps(self, found: FoundRule, kept: set[Rule]) -> bool:
        if found.rule is None or found.rule not in self._desired or found.rule in kept:
            return False
        kept.add(found.rule)
        return True


def _plain(rule: Rule) -> Rule:
    """As the kernel tells it: a prefix that holds everything says nothing."""
    source, destination = (each if each is not None and each.length else None for each in (rule.source, rule.destination))
    return replace(rule, source=source, destination=destination)


def _body(rule: Rule) -> bytes:
    ends = [(_FRA_DST, rule.destination), (_FRA_SRC, rule.source)]
    header = _HEADER.pack(
        FAMILY_NUMBERS[rule.family],
        *(prefix.length if prefix is not None else 0 for _, prefix in ends),
        0,
        rule.table if rule.table < _COMPATIBLE_LIMIT else 0,
        0,
        0,
        _TO_TABLE,
        _INVERT if rule.invert else 0,
    )
    parts = [header, u32(_FRA_PRIORITY, rule.priority), u32(_FRA_TABLE, rule.table), u8(_FRA_PROTOCOL, PROTOCOL)]
    parts += [attribute(kind, prefix.network.packed) for kind, prefix in ends if prefix is not None and prefix.length]
    if rule.mask:
        parts += [u32(_FRA_FWMARK, rule.mark), u32(_FRA_FWMASK, rule.mask)]
    return b"".join(parts)


def _parse(message: Message) -> FoundRule:
    number, dst_length, src_length, tos, short_table, _, _, action, flags = _HEADER.unpack_from(message.body)
    found = parse_attributes(message.body, _HEADER.size)
    family = Family.V6 if number == AF_INET6 else Family.V4
    priority = unpack_u32(found[_FRA_PRIORITY]) if _FRA_PRIORITY in found else 0
    table = unpack_u32(found[_FRA_TABLE]) if _FRA_TABLE in found else short_table
    rule = Rule(
        family=family,
        priority=priority,
        table=table,
        mark=unpack_u32(found[_FRA_FWMARK]) if _FRA_FWMARK in found else 0,
        mask=unpack_u32(found[_FRA_FWMASK]) if _FRA_FWMASK in found else 0,
        source=_prefix(family, found.get(_FRA_SRC), src_length),
        destination=_prefix(family, found.get(_FRA_DST), dst_length),
        invert=bool(flags & _INVERT),
    )
    plain = action == _TO_TABLE and not tos and not flags & ~_INVERT and _says_no_more(found)
    protocol = found[_FRA_PROTOCOL][0] if _FRA_PROTOCOL in found else 0
    return FoundRule(family, priority, table, rule if plain else None, protocol, message.body)


def _says_no_more(found: dict[int, bytes]) -> bool:
    """True if all that is told is told by a Rule too; suppression is always listed, and -1 where there is none."""
    told = {_FRA_DST, _FRA_SRC, _FRA_PRIORITY, _FRA_FWMARK, _FRA_TABLE, _FRA_FWMASK, _FRA_PROTOCOL}
    suppression = (_FRA_SUPPRESS_IFGROUP, _FRA_SUPPRESS_PREFIXLEN)
    return all(kind in told or (kind in suppression and unpack_u32(found[kind]) == _NO_SUPPRESSION) for kind in found)


def _prefix(family: Family, packed: bytes | None, length: int) -> Prefix | None:
    return None if packed is None else Prefix(family, int.from_bytes(packed, "big"), length)
