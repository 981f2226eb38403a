"""One rule at a time: contradictions, selectors that select nothing, the wrong side, what is not enforced."""

from collections.abc import Iterator

from tortie.api.policy import EntityRule
from tortie.api.selector import SelectorError, parse_selector
from tortie.calc.selectors import rule_selectors
from tortie.insight.lint.covering import contradiction
from tortie.insight.lint.findings import Finding
from tortie.insight.lint.subject import Subject, WrittenPolicy, WrittenRule, rule_field
from tortie.intent.policy import Direction, Match
from tortie.verdict.match import in_set


def check_rules(subject: Subject) -> Iterator[Finding]:
    """TL010, TL014 to TL018."""
    for policy in subject.policies:
        for direction in policy.governs:
            for rule in policy.rules[direction]:
                yield from _check(subject, policy, direction, rule=rule)


def _check(subject: Subject, policy: WrittenPolicy, direction: Direction, *, rule: WrittenRule) -> Iterator[Finding]:
    where = rule_field(direction, rule.index)
    if rule.rule is None:
        yield subject.finding("TL010", policy.id, where, "notNets excludes every address, so the rule never matches")
        return
    if rule.rule.unenforceable is not None:
        effect = "denies everything" if rule.rule.action.value == "Deny" else "matches nothing"
        message = f"{rule.rule.unenforceable}: the rule {effect}"
        yield subject.finding("TL016", policy.id, where, message)
        return
    broken = contradiction(rule.rule)
    if broken is not None:
        yield subject.finding("TL010", policy.id, f"{where}.{broken[0]}", f"{broken[1]}: the rule never matches")
        return
    for side in ("source", "destination"):
        entity: EntityRule = getattr(rule.written, side)
        yield from _check_side(subject, policy, direction, rule=rule, side=side, entity=entity)


def _check_side(
    subject: Subject, policy: WrittenPolicy, direction: Direction, *, rule: WrittenRule, side: str, entity: EntityRule
) -> Iterator[Finding]:
    where = rule_field(direction, rule.index, side)
    if rule.written.protocol is None and any(_is_name(port) for port in entity.ports):
        names = ", ".join(str(port) for port in entity.ports if _is_name(port))
        message = f"{names}: without a protocol the rule matches this port under TCP, UDP and SCTP, as endpoints declare it"
        yield subject.finding("TL018", policy.id, f"{where}.ports", message)
    if entity.services is not None:
        return
    try:
        positive, negative = rule_selectors(entity, policy.policy.metadata.namespace)
    except SelectorError:
        return  # it is not enforceable, which is said elsewhere
    if positive is None:
        if negative is not None and not entity.nets:
            message = f"notSelector {negative.text} stands alone, so addresses outside the cluster match as well"
            yield subject.finding("TL017", policy.id, f"{where}.notSelector", message)
        return
    if not subject.carriers:
        return
    what = "rule" if rule.whole else "peer"
    if not subject.selects_any(positive):
        if not _explained_elsewhere(subject, entity):
            message = f"nobody is selected by {positive.text}, so the {what} matches nothing"
            yield subject.finding("TL014", policy.id, f"{where}.{_selector_field(entity)}", message)
        return
    local = (side == "destination") is (direction is Direction.INGRESS)
    if local and not _touches(subject, policy, getattr(rule.rule, side)):
        message = f"of the endpoints that the policy selects, {positive.text} selects none: the {what} never matches there"
        yield subject.finding("TL015", policy.id, f"{where}.{_selector_field(entity)}", message)


def _touches(subject: Subject, policy: WrittenPolicy, match: Match) -> bool:
    """True if a rule's selector holds for any endpoint that the policy selects, or nobody can tell.

    The sets are asked, and not the labels: a network set may hold an endpoint's address.
    """
    state = subject.world.state
    if policy.hosts or not policy.workloads or any(set_id not in state.members for set_id in match.sets):
        return True  # for host endpoints the local address may be any, of what is forwarded
    addresses = [address for name in policy.workloads for address in subject.world.workloads[name].addresses]
    return any(all(in_set(state, set_id, address) for set_id in match.sets) for address in addresses)


def _explained_elsewhere(subject: Subject, entity: EntityRule) -> bool:
    """True if a narrower finding says why nobody is selected: no such namespace, no such account."""
    if entity.namespace_selector and not namespaces_of(subject, entity):
        return True
    names = entity.service_accounts.names if entity.service_accounts else ()
    return bool(names) and not any(account in names for _, account in subject.accounts)


def namespaces_of(subject: Subject, entity: EntityRule) -> list[str]:
    """The namespaces that a namespaceSelector selects; all for `global()`, which speaks of none."""
    if "global(" in entity.namespace_selector:
        return list(subject.namespaces)
    selector = parse_selector(entity.namespace_selector)
    return [name for name, labels in subject.namespaces.items() if selector.matches(labels)]


def _selector_field(entity: EntityRule) -> str:
    if entity.selector:
        return "selector"
    if entity.service_accounts is not None:
        return "serviceAccounts"
    return "namespaceSelector" if entity.namespace_selector else "notSelector"


def _is_name(port: int | str) -> bool:
    return isinstance(port, str) and not port.partition(":")[0].isdecimal()
