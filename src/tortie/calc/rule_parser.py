"""One rule of the api to one rule of intent, and the IP sets that it needs (policy-semantics.md, section 7).

A rule with a value that cannot be understood, or with a match that nobody enforces, is `unenforceable`: then what it would
allow is not allowed and what it might deny is denied. What it might pass on to be denied elsewhere is denied too: the rules
behind it may allow. A rule that can never match is left out.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from tortie.api.policy import EntityRule, ICMPFields, PortText, ProtocolText, ServiceMatch
from tortie.api.policy import Rule as ApiRule
from tortie.api.selector import Selector, SelectorError, parse_selector
from tortie.base.decimals import number_up_to
from tortie.base.net import FAMILIES, Prefix, parse_prefix
from tortie.calc.ip_sets import SetSpec
from tortie.calc.protocols import ICMP, ICMPV6, WITH_PORTS, protocol_number
from tortie.calc.rule_text import rule_text
from tortie.calc.selectors import rule_selectors
from tortie.calc.services import ServiceName, ServiceSpec
from tortie.intent.keys import SetId
from tortie.intent.policy import Action, Icmp, Match, Origin, PortRange, Rule

_IP_VERSION_OF = {ICMP: 4, ICMPV6: 6}
_HIGHEST_PORT = 65535


AnySetSpec = SetSpec | ServiceSpec


class _Unenforceable(Exception):
    """Why; the text names the field."""


@dataclass(frozen=True, slots=True)
class ParsedRule:
    """A rule and the sets that it names."""

    rule: Rule
    sets: tuple[AnySetSpec, ...]


@dataclass(frozen=True, slots=True)
class _Side:
    """One side of a rule, resolved."""

    match: Match
    sets: tuple[AnySetSpec, ...]


def parse_rule(rule: ApiRule, namespace: str, *, origin: Origin) -> ParsedRule | None:
    """The rule as a node enforces it; None if it can never match. `namespace` is the policy's, "" if it has none."""
    comments = tuple(sorted(rule.metadata.annotations.items())) if rule.metadata else ()
    text = rule_text(rule)
    try:
        parsed = _parse(rule, namespace, origin=origin, comments=comments, text=text)
    except _Unenforceable as error:
        action = Action.DENY if rule.action == "Pass" else Action(rule.action)
        broken = Rule(action, origin, comments=comments, unenforceable=str(error), text=text)
        return ParsedRule(broken, ())
    return _without_excluded_families(parsed)


def _parse(rule: ApiRule, namespace: str, *, origin: Origin, comments: tuple[tuple[str, str], ...], text: str) -> ParsedRule:
    if rule.http is not None:
        raise _Unenforceable("http: layer 7 matches are not enforced")
    protocol = _protocol(rule.protocol, "protocol")
    not_protocol = _protocol(rule.not_protocol, "notProtocol")
    ip_version: int | None = rule.ip_version
    bound = _IP_VERSION_OF.get(protocol or 0)
    if bound is not None:
        if ip_version not in (None, bound):
            raise _Unenforceable(f"ipVersion: protocol {rule.protocol} needs {bound}, not {ip_version}")
        ip_version = bound
    source = _side(rule.source, namespace, protocol=protocol, where="source")
    destination = _side(rule.destination, namespace, protocol=protocol, where="destination")
    parsed = Rule(
        action=Action(rule.action),
        origin=origin,
        ip_version=ip_version,
        protocol=protocol,
        not_protocol=not_protocol,
        icmp=_icmp(rule.icmp, protocol, "icmp"),
        not_icmp=_icmp(rule.not_icmp, protocol, "notICMP"),
        source=source.match,
        destination=destination.match,
        comments=comments,
        text=text,
    )
    return ParsedRule(parsed, source.sets + destination.sets)


def _without_excluded_families(parsed: ParsedRule) -> ParsedRule | None:
    """A rule that excludes all addresses of a family is one for the other; None if it has no match there either."""
    rule = parsed.rule
    sides = (rule.source, rule.destination)
    excluded = {net.family for side in sides for net in side.not_nets if net.length == 0}
    if not excluded:
        return parsed
    lists = [nets for side in sides for nets in (side.nets, side.not_nets) if nets]
    for family in FAMILIES:
        of_family = all(any(net.family is family for net in nets) for nets in lists)
        if family not in excluded and rule.ip_version in (None, family.value) and of_family:
            return replace(parsed, rule=replace(rule, ip_version=family.value))
    return None


def _protocol(text: ProtocolText | None, field: str) -> int | None:
    if text is None:
        return None
    try:
        return protocol_number(text)
    except ValueError as error:
        raise _Unenforceable(f"{field}: {error}") from None


def _icmp(fields: ICMPFields | None, protocol: int | None, field: str) -> Icmp | None:
    if fields is None or (fields.type is None and fields.code is None):
        return None
    if fields.type is None:
        raise _Unenforceable(f"{field}: code needs type")
    if protocol not in _IP_VERSION_OF:
        raise _Unenforceable(f"{field}: protocol must be ICMP or ICMPv6")
    if not 0 <= fields.type <= 254 or not 0 <= (fields.code or 0) <= 255:
        raise _Unenforceable(f"{field}: type must be within 0 to 254, code within 0 to 255")
    return Icmp(fields.type, fields.code)


def _side(side: EntityRule, namespace: str, *, protocol: int | None, where: str) -> _Side:
    if side == EntityRule():
        return _Side(Match(), ())
    if side.services is not None:
        return _service_side(side, side.services, namespace=namespace, where=where)
    try:
        positive, negative = rule_selectors(side, namespace)
    except SelectorError as error:
        raise _Unenforceable(f"{where}: selector: {error}") from None
    ports, names = _ports(side.ports, protocol, f"{where}.ports")
    not_ports, not_names = _ports(side.not_ports, protocol, f"{where}.notPorts")
    named = _port_sets(names, positive, protocol=protocol)
    not_named = _port_sets(not_names, positive, protocol=protocol)
    # Members of a named port's set are already limited to what the selector selects.
    folded = bool(named) and not ports
    selected = [SetSpec(positive)] if positive is not None and not folded else []
    excluded = [SetSpec(negative)] if negative is not None else []
    match = Match(
        nets=_nets(side.nets, f"{where}.nets"),
        not_nets=_nets(side.not_nets, f"{where}.notNets"),
        sets=_ids(selected),
        not_sets=_ids(excluded),
        ports=ports,
        named_ports=_ids(named),
        not_ports=not_ports,
        not_named_ports=_ids(not_named),
    )
    return _Side(match, (*selected, *excluded, *named, *not_named))


def _service_side(side: EntityRule, services: ServiceMatch, *, namespace: str, where: str) -> _Side:
    """A service as destination is its endpoints with their ports, as source their addresses. It is all that a side says."""
    if side != EntityRule(services=services):
        raise _Unenforceable(f"{where}.services: cannot be combined with other fields of {where}")
    service = ServiceName(services.namespace or namespace, services.name)
    if not service.name:
        raise _Unenforceable(f"{where}.services.name: empty")
    if not service.namespace:
        raise _Unenforceable(f"{where}.services.namespace: needed, because the policy has none")
    spec = ServiceSpec(service, with_ports=where == "destination")
    ids = _ids([spec])
    return _Side(Match(named_ports=ids) if spec.with_ports else Match(sets=ids), (spec,))


def _ids(specs: Iterable[AnySetSpec]) -> tuple[SetId, ...]:
    return tuple(spec.ipset.id for spec in specs)


def _port_sets(names: Iterable[str], positive: Selector | None, *, protocol: int | None) -> list[SetSpec]:
    selector = parse_selector("all()") if positive is None else positive
    return [SetSpec(selector, protocol, name) for name in names]


def _nets(texts: tuple[str, ...], field: str) -> tuple[Prefix, ...]:
    nets: list[Prefix] = []
    for text in texts:
        try:
            nets.append(parse_prefix(text, strict=False))
        except ValueError:
            raise _Unenforceable(f"{field}: {text!r} is not a CIDR") from None
    return tuple(nets)


def _ports(texts: tuple[PortText, ...], protocol: int | None, field: str) -> tuple[tuple[PortRange, ...], tuple[str, ...]]:
    """Numeric ports and names."""
    ranges: list[PortRange] = []
    names: list[str] = []
    for text in texts:
        found = _port(text, field)
        if isinstance(found, str):
            names.append(found)
        else:
            ranges.append(found)
    if ranges and protocol not in WITH_PORTS:
        raise _Unenforceable(f"{field}: numeric ports need protocol TCP, UDP or SCTP")
    if names and protocol is not None and protocol not in WITH_PORTS:
        raise _Unenforceable(f"{field}: named ports need protocol TCP, UDP or SCTP, or none")
    return tuple(ranges), tuple(names)


def _port(text: PortText, field: str) -> PortRange | str:
    first, colon, last = str(text).partition(":")
    if not first.isdecimal():
        if colon or not first or first.startswith("-"):
            raise _Unenforceable(f"{field}: {text!r} is neither a port, a range nor a name")
        return first
    if colon and not last.isdecimal():
        raise _Unenforceable(f"{field}: {text!r} is not a range such as 8000:8080")
    lowest, highest = number_up_to(first, _HIGHEST_PORT), number_up_to(last if colon else first, _HIGHEST_PORT)
    if lowest is None or highest is None or not 1 <= lowest <= highest:
        raise _Unenforceable(f"{field}: {text!r} does not lie within 1 to {_HIGHEST_PORT}")
    return PortRange(lowest, highest)
