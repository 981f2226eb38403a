"""Rules against rules: does every packet that one matches also match the other? And can a rule match any packet at all?

Answers are certain when they are yes; where it would take more than looking at criteria one by one, the answer is no. Sets are
compared by what they come from, not by whom they hold now: what is said here stays true when pods come and go.
"""

from collections.abc import Mapping, Sequence

from tortie.api import selector_syntax as syntax
from tortie.api.selector import SelectorError
from tortie.base.net import Family, Prefix
from tortie.intent.policy import Action, Icmp, Match, PortRange, Rule
from tortie.verdict.packet import ICMP, ICMPV6, PROTOCOLS_WITH_PORTS

Origins = Mapping[str, str]
"""What sets come from, by id."""

_BOUND = {ICMP: Family.V4, ICMPV6: Family.V6}


def covers(wide: Rule, narrow: Rule, origins: Origins) -> bool:
    """True only if `wide` matches every packet that `narrow` matches."""
    if wide.unenforceable is not None:
        return wide.action is Action.DENY  # it denies whatever comes
    if narrow.unenforceable is not None:
        return narrow.action is not Action.DENY  # it matches nothing
    # What most often differs, and costs least to compare, first: this is asked of every two rules that share an endpoint.
    return (
        _protocol(wide, narrow)
        and _ports(wide.destination, narrow.destination)
        and _ports(wide.source, narrow.source)
        and _nets(wide.source, narrow.source)
        and _nets(wide.destination, narrow.destination)
        and _sets(wide.source, narrow.source, origins)
        and _sets(wide.destination, narrow.destination, origins)
        and _icmp(wide, narrow)
        and families(narrow) <= families(wide)
    )


def families(rule: Rule) -> frozenset[Family]:
    """The IP versions whose packets a rule can match."""
    found = set(Family)
    if rule.ip_version is not None:
        found &= {Family(rule.ip_version)}
    if rule.protocol in _BOUND:
        found &= {_BOUND[rule.protocol]}
    for side in (rule.source, rule.destination):
        for nets in (side.nets, side.not_nets):
            if nets:
                found &= {net.family for net in nets}
    return frozenset(found)


def contradiction(rule: Rule) -> tuple[str, str] | None:
    """The field and the reason why a rule matches no packet at all; None if it may match one."""
    if rule.unenforceable is not None:
        return None
    if not families(rule):
        return "ipVersion", "its networks, its protocol and ipVersion are of different IP versions"
    if rule.protocol is not None and rule.protocol == rule.not_protocol:
        return "notProtocol", "it excludes the protocol that the rule asks for"
    if rule.icmp is not None and rule.not_icmp is not None and _icmp_within(rule.icmp, rule.not_icmp):
        return "notICMP", "it excludes what icmp asks for"
    for name, side in (("source", rule.source), ("destination", rule.destination)):
        found = _contradiction(side, rule)
        if found is not None:
            return f"{name}.{found[0]}", found[1]
    return None


def _contradiction(side: Match, rule: Rule) -> tuple[str, str] | None:
    possible = families(rule)
    nets = [net for net in side.nets if net.family in possible]
    if side.nets and all(any(out.contains(net) for out in side.not_nets) for net in nets):
        return "notNets", "it excludes every network of nets"
    if side.ports and not side.named_ports and all(_inside(each, side.not_ports) for each in side.ports):
        return "notPorts", "it excludes every port of ports"
    if (side.ports or side.named_ports) and rule.not_protocol is None and _has_no_ports(rule.protocol):
        return "ports", "the protocol has no ports"
    if set(side.sets) & set(side.not_sets):
        return "notSelector", "it excludes all that the selector selects"
    return None


def _has_no_ports(protocol: int | None) -> bool:
    return protocol is not None and protocol not in PROTOCOLS_WITH_PORTS


def _protocol(wide: Rule, narrow: Rule) -> bool:
    if wide.protocol is not None and wide.protocol != narrow.protocol:
        return False
    if wide.not_protocol is None or wide.not_protocol == narrow.not_protocol:
        return True
    return narrow.protocol is not None and narrow.protocol != wide.not_protocol


def _icmp(wide: Rule, narrow: Rule) -> bool:
    if wide.icmp is not None and (narrow.icmp is None or not _icmp_within(narrow.icmp, wide.icmp)):
        return False
    if wide.not_icmp is None:
        return True
    if narrow.not_icmp is not None and _icmp_within(wide.not_icmp, narrow.not_icmp):
        return True
    if narrow.icmp is None:
        return narrow.protocol is not None and narrow.protocol not in _BOUND
    return not _icmp_overlap(narrow.icmp, wide.not_icmp)


def _icmp_within(inner: Icmp, outer: Icmp) -> bool:
    return inner.type == outer.type and outer.code in (None, inner.code)


def _icmp_overlap(one: Icmp, other: Icmp) -> bool:
    return one.type == other.type and (one.code is None or other.code is None or one.code == other.code)


def _nets(wide: Match, narrow: Match) -> bool:
    if wide.nets and not (narrow.nets and all(any(out.contains(net) for out in wide.nets) for net in narrow.nets)):
        return False
    return all(_excluded(net, narrow) for net in wide.not_nets)


def _excluded(net: Prefix, narrow: Match) -> bool:
    """True if `narrow` matches no address of a network."""
    if any(out.contains(net) for out in narrow.not_nets):
        return True
    return bool(narrow.nets) and not any(net.overlaps(each) for each in narrow.nets)


def _sets(wide: Match, narrow: Match, origins: Origins) -> bool:
    for set_id in wide.sets:
        if not any(_implies(each, set_id, origins) for each in narrow.sets):
            return False
    return all(any(_implies(out, each, origins) for each in narrow.not_sets) for out in wide.not_sets)


def _implies(inner: str, outer: str, origins: Origins) -> bool:
    """True if every address of one set is in another: the selectors say so."""
    if inner == outer:
        return True
    if not (inner.startswith("s:") and outer.startswith("s:")):
        return False
    try:
        return implies(syntax.parse(origins[inner]), syntax.parse(origins[outer]))
    except (KeyError, SelectorError):
        return False


def implies(inner: syntax.Node, outer: syntax.Node) -> bool:
    """True only if all labels that `inner` matches are matched by `outer`."""
    if inner == outer or isinstance(outer, syntax.Everything):
        return True
    if isinstance(outer, syntax.And):
        return all(implies(inner, each) for each in outer.operands)
    if isinstance(inner, syntax.Or):
        return all(implies(each, outer) for each in inner.operands)
    if isinstance(inner, syntax.And) and any(implies(each, outer) for each in inner.operands):
        return True
    if isinstance(outer, syntax.Or) and any(implies(inner, each) for each in outer.operands):
        return True
    if isinstance(inner, syntax.Not) and isinstance(outer, syntax.Not):
        return implies(outer.operand, inner.operand)
    return _label_implies(inner, outer)


def _label_implies(inner: syntax.Node, outer: syntax.Node) -> bool:
    values = _values(inner)
    match outer:
        case syntax.Has(label):
            return values is not None and values[0] == label
        case syntax.Compare(label, "==", value):
            return values is not None and values[0] == label and values[1] == {value}
        case syntax.Member(label, listed, negated):
            if values is None or values[0] != label:
                return False
            return not values[1] & set(listed) if negated else values[1] <= set(listed)
        case syntax.Compare(label, "!=", value):
            return values is not None and values[0] == label and value not in values[1]
        case _:
            return False


def _values(node: syntax.Node) -> tuple[str, set[str]] | None:
    """The label that must be there and the values that it may have, where that is what a test says."""
    match node:
        case syntax.Compare(label, "==", value):
            return label, {value}
        case syntax.Member(label, values, False):
            return label, set(values)
        case _:
            return None


def _ports(wide: Match, narrow: Match) -> bool:
    if wide.ports == narrow.ports and wide.named_ports == narrow.named_ports and not wide.not_ports:
        return set(wide.not_named_ports) <= set(narrow.not_named_ports)
    if wide.ports or wide.named_ports:
        if not (narrow.ports or narrow.named_ports):
            return False
        if not all(_inside(each, wide.ports) for each in narrow.ports):
            return False
        if not set(narrow.named_ports) <= set(wide.named_ports):
            return False
    if not set(wide.not_named_ports) <= set(narrow.not_named_ports):
        return False
    return all(_port_excluded(each, narrow) for each in wide.not_ports)


def _port_excluded(ports: PortRange, narrow: Match) -> bool:
    if _inside(ports, narrow.not_ports):
        return True
    if not narrow.ports or narrow.named_ports:
        return False
    return all(each.last < ports.first or ports.last < each.first for each in narrow.ports)


def _inside(ports: PortRange, ranges: Sequence[PortRange]) -> bool:
    """True if a range lies in the union of others."""
    first = ports.first
    if len(ranges) == 1:
        return ranges[0].first <= first and ports.last <= ranges[0].last
    for each in sorted(ranges):
        if each.first <= first <= each.last:
            first = each.last + 1
    return first > ports.last
