"""A rule as a person would say it: `Allow TCP from app == "web" to port 80, 443`."""

from collections.abc import Iterable

from tortie.api.policy import EntityRule, ICMPFields, PortText, Rule
from tortie.convert.cluster_policies import NOT_UNDERSTOOD


def rule_text(rule: Rule) -> str:
    """One line, in the words of the rule as it was written."""
    words: list[str] = [rule.action]
    if rule.ip_version is not None:
        words.append(f"IPv{rule.ip_version}")
    if rule.protocol is not None:
        words.append(f"protocol {rule.protocol}" if isinstance(rule.protocol, int) else rule.protocol)
    if rule.not_protocol is not None:
        words.append(f"not protocol {rule.not_protocol}")
    words += _icmp(rule.icmp, "") + _icmp(rule.not_icmp, "not ")
    for word, side in (("from", rule.source), ("to", rule.destination)):
        said = _side(side)
        if said:
            words.append(f"{word} {' and '.join(said)}")
    if rule.http is not None:
        words.append("with HTTP matches")
    reason = rule.metadata.annotations.get(NOT_UNDERSTOOD) if rule.metadata is not None else None
    if reason is not None:
        words.append(f"in the place of a rule that is not understood ({reason})")
    return " ".join(words)


def _icmp(fields: ICMPFields | None, negation: str) -> list[str]:
    if fields is None or fields.type is None:
        return []
    return [f"{negation}type {fields.type}" + ("" if fields.code is None else f" code {fields.code}")]


def _side(side: EntityRule) -> list[str]:
    said: list[str] = []
    if side.selector:
        said.append(f"({side.selector})")
    if side.namespace_selector:
        said.append(f"namespaces ({side.namespace_selector})")
    if side.service_accounts is not None:
        if side.service_accounts.names:
            said.append(f"service accounts {_listed(side.service_accounts.names)}")
        if side.service_accounts.selector:
            said.append(f"service accounts ({side.service_accounts.selector})")
    if side.services is not None:
        namespace = f"{side.services.namespace}/" if side.services.namespace else ""
        said.append(f"service {namespace}{side.services.name}")
    if side.not_selector:
        said.append(f"not ({side.not_selector})")
    for values, word in ((side.nets, ""), (side.not_nets, "not ")):
        if values:
            said.append(word + _listed(values))
    for ports, word in ((side.ports, "port "), (side.not_ports, "not port ")):
        if ports:
            said.append(word + _listed(ports))
    return said


def _listed(values: Iterable[PortText]) -> str:
    return ", ".join(str(value) for value in values)
