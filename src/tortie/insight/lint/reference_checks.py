"""Names in rules that nobody bears: services, named ports, namespaces, service accounts."""

from collections.abc import Iterator

from tortie.api.policy import EntityRule
from tortie.api.selector import SelectorError
from tortie.api.services import SERVICE_NAME_LABEL, EndpointSlice, Service
from tortie.calc.selectors import rule_selectors
from tortie.insight.lint.findings import Finding
from tortie.insight.lint.rule_checks import namespaces_of
from tortie.insight.lint.subject import Subject, WrittenPolicy, WrittenRule, rule_field
from tortie.intent.policy import Direction


def check_references(subject: Subject) -> Iterator[Finding]:
    """TL040 to TL043. What an input without endpoints lacks, it may lack because it holds policies alone: nothing is said."""
    if not subject.carriers:
        return
    services = set(_services(subject))
    for policy in subject.policies:
        for direction in policy.governs:
            for rule in policy.rules[direction]:
                for side in ("source", "destination"):
                    entity: EntityRule = getattr(rule.written, side)
                    where = rule_field(direction, rule.index, side)
                    yield from _service(subject, policy, entity, where=where, known=services)
                    yield from _names(subject, policy, entity, where=where, whole=rule.whole)
                    yield from _ports(subject, policy, direction, rule=rule, side=side)


def _services(subject: Subject) -> Iterator[tuple[str, str]]:
    for value in subject.written.values():
        if isinstance(value, Service):
            yield value.metadata.namespace, value.metadata.name
        elif isinstance(value, EndpointSlice) and SERVICE_NAME_LABEL in value.metadata.labels:
            yield value.metadata.namespace, value.metadata.labels[SERVICE_NAME_LABEL]


def _service(
    subject: Subject, policy: WrittenPolicy, entity: EntityRule, *, where: str, known: set[tuple[str, str]]
) -> Iterator[Finding]:
    if entity.services is None:
        return
    name = entity.services.namespace or policy.policy.metadata.namespace, entity.services.name
    if name not in known:
        message = f"there is no service {name[0]}/{name[1]}: the rule matches nothing"
        yield subject.finding("TL040", policy.id, f"{where}.services", message)


def _names(subject: Subject, policy: WrittenPolicy, entity: EntityRule, *, where: str, whole: bool) -> Iterator[Finding]:
    if entity.namespace_selector and not namespaces_of(subject, entity) and not _selects(subject, policy, entity):
        message = f"no namespace is selected by {entity.namespace_selector}: the {'rule' if whole else 'peer'} matches nothing"
        yield subject.finding("TL042", policy.id, f"{where}.namespaceSelector", message)
        return
    if entity.service_accounts is None:
        return
    wanted = set(namespaces_of(subject, entity)) if entity.namespace_selector else {policy.policy.metadata.namespace}
    for account in entity.service_accounts.names:
        if not any(name == account and (namespace in wanted or wanted == {""}) for namespace, name in subject.accounts):
            places = ", ".join(sorted(wanted)) if wanted != {""} else "any namespace"
            message = f"there is no service account {account} in {places}"
            yield subject.finding("TL043", policy.id, f"{where}.serviceAccounts.names", message)


def _selects(subject: Subject, policy: WrittenPolicy, entity: EntityRule) -> bool:
    """True if the side selects anything: a negated namespaceSelector also holds for what is in no namespace."""
    try:
        positive, _ = rule_selectors(entity, policy.policy.metadata.namespace)
    except SelectorError:
        return True  # it is not enforceable, which is said elsewhere
    return positive is None or subject.selects_any(positive)


def _ports(subject: Subject, policy: WrittenPolicy, direction: Direction, *, rule: WrittenRule, side: str) -> Iterator[Finding]:
    """Only of policies whose sets are worked out: those that select somebody."""
    if rule.rule is None or rule.rule.unenforceable is not None:
        return
    entity: EntityRule = getattr(rule.written, side)
    match = getattr(rule.rule, side)
    if entity.services is not None:
        return
    for set_id in match.named_ports:
        if set_id in subject.world.state.members and not subject.world.state.members[set_id]:
            name = rule.origins[set_id].rpartition(", ")[2]
            selected = f" among those that {entity.selector} selects" if entity.selector else ""
            message = f"nobody{selected} has a port named {name}" + _of_protocol(rule)
            yield subject.finding("TL041", policy.id, rule_field(direction, rule.index, side, "ports"), message)


def _of_protocol(rule: WrittenRule) -> str:
    return "" if rule.written.protocol is None else f" for {rule.written.protocol}"
