"""BGPFilter to `intent.RouteFilter`: read as a whole or not at all, since a filter with a rule less is another filter."""

from collections.abc import Sequence

from tortie.api.bgp_filter import BGPFilter, BGPFilterRule, BGPFilterRuleV4, BGPFilterRuleV6, FilterOperation
from tortie.api.formats import parse_community
from tortie.base.net import Family, parse_prefix
from tortie.intent.route_filter import Community, FilterRule, NetMatch, Operation, RouteFilter

_HIGHEST_AS = 0xFFFFFFFF
_INTERFACE_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.*-")


def route_filter(resource: BGPFilter) -> RouteFilter:
    """The filter. Raises ValueError that names the field which cannot be read."""
    spec = resource.spec
    return RouteFilter(
        resource.metadata.name,
        export_v4=_rules(spec.export_v4, "exportV4", family=Family.V4),
        import_v4=_rules(spec.import_v4, "importV4", family=Family.V4),
        export_v6=_rules(spec.export_v6, "exportV6", family=Family.V6),
        import_v6=_rules(spec.import_v6, "importV6", family=Family.V6),
    )


def _rules(rules: Sequence[BGPFilterRule], field: str, *, family: Family) -> tuple[FilterRule, ...]:
    found = []
    for index, rule in enumerate(rules):
        try:
            found.append(_rule(rule, family))
        except ValueError as error:
            raise ValueError(f"spec.{field}[{index}].{error}") from error
    return tuple(found)


def _rule(rule: BGPFilterRule, family: Family) -> FilterRule:
    if not _INTERFACE_CHARACTERS.issuperset(rule.interface):
        raise ValueError(f"interface {rule.interface!r} is no interface, possibly with *")
    if rule.action == "Reject" and rule.operations:
        raise ValueError("operations: a rejected route is not changed")
    return FilterRule(
        accept=rule.action == "Accept",
        net=_net(rule, family),
        from_peers=rule.source == "RemotePeers",
        interface=rule.interface,
        community=_match(rule),
        as_path_prefix=_as_numbers(rule.as_path_prefix, "asPathPrefix"),
        metric=None if rule.priority is None else _metric(rule.priority, "priority"),
        internal=None if rule.peer_type is None else rule.peer_type == "iBGP",
        operations=tuple(_operation(operation) for operation in rule.operations),
    )


def _net(rule: BGPFilterRule, family: Family) -> NetMatch | None:
    lengths = rule.prefix_length if isinstance(rule, (BGPFilterRuleV4, BGPFilterRuleV6)) else None
    if not rule.cidr:
        if lengths is not None or rule.match_operator is not None:
            raise ValueError("cidr is missing")
        return None
    if rule.match_operator is None:
        raise ValueError("matchOperator is missing")
    try:
        prefix = parse_prefix(rule.cidr, strict=False)
    except ValueError as error:
        raise ValueError(f"cidr {rule.cidr!r} is no CIDR") from error
    if prefix.family is not family:
        raise ValueError(f"cidr {rule.cidr!r} is not IPv{family.value}")
    span = None
    if lengths is not None:
        shortest = max(prefix.length, lengths.min if lengths.min is not None else 0)
        longest = min(family.bits, lengths.max if lengths.max is not None else family.bits)
        if shortest > longest:
            raise ValueError(f"prefixLength: no prefix inside {prefix} has at most {longest} bits")
        span = (shortest, longest)
    return NetMatch(
        prefix,
        exact=rule.match_operator in ("Equal", "NotEqual"),
        negated=rule.match_operator in ("NotEqual", "NotIn"),
        lengths=span,
    )


def _match(rule: BGPFilterRule) -> Community | None:
    if rule.communities is None:
        return None
    if len(rule.communities.values) != 1:
        raise ValueError("communities.values must have exactly one item")
    return _community(rule.communities.values[0], "communities.values[0]")


def _operation(operation: FilterOperation) -> Operation:
    chosen = [part for part in (operation.add_community, operation.prepend_as_path, operation.set_priority) if part is not None]
    if len(chosen) != 1:
        raise ValueError("operations: each needs exactly one of addCommunity, prependASPath and setPriority")
    if operation.add_community is not None:
        return Operation(add_community=_community(operation.add_community.value, "operations.addCommunity.value"))
    if operation.prepend_as_path is not None:
        numbers = _as_numbers(operation.prepend_as_path.prefix, "operations.prependASPath.prefix")
        if not numbers:
            raise ValueError("operations.prependASPath.prefix is empty")
        return Operation(prepend=numbers)
    assert operation.set_priority is not None
    return Operation(metric=_metric(operation.set_priority.value, "operations.setPriority.value"))


def _community(text: str, field: str) -> Community:
    try:
        return parse_community(text)
    except ValueError as error:
        raise ValueError(f"{field} {text!r} {error}") from error


def _as_numbers(numbers: Sequence[int], field: str) -> tuple[int, ...]:
    for number in numbers:
        if not 0 <= number <= _HIGHEST_AS:
            raise ValueError(f"{field}: {number} is no AS number")
    return tuple(numbers)


def _metric(value: int, field: str) -> int:
    if not 1 <= value <= (1 << 31) - 2:
        raise ValueError(f"{field} {value} is not from 1 to 2147483646")
    return value
