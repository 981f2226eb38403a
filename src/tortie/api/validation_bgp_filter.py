"""Checks of BGPFilter (api.md, section 5)."""

import re

from tortie.api.bgp_filter import BGPFilter, BGPFilterRule, BGPFilterRuleV4, BGPFilterRuleV6, FilterOperation
from tortie.api.errors import Path
from tortie.api.findings import Findings
from tortie.api.formats import parse_community, parse_net, require_family
from tortie.base.net import Family

_INTERFACE = re.compile(r"[a-zA-Z0-9_.*-]{1,15}")
_LEADING_ZERO = re.compile(r"(^|:)0[0-9]")
_MAX_OPERATIONS = 10
_MAX_PREPENDED = 10


def check_bgp_filter(findings: Findings, bgp_filter: BGPFilter) -> None:
    """All four lists of rules."""
    spec = bgp_filter.spec
    lists: tuple[tuple[str, tuple[BGPFilterRule, ...], Family], ...] = (
        ("exportV4", spec.export_v4, Family.V4),
        ("importV4", spec.import_v4, Family.V4),
        ("exportV6", spec.export_v6, Family.V6),
        ("importV6", spec.import_v6, Family.V6),
    )
    for field, rules, family in lists:
        for index, rule in enumerate(rules):
            _check_rule(findings, ("spec", field, index), rule, family)


def parse_filter_community(text: str) -> tuple[int, ...]:
    """A community as filters write it: `a:b` or `a:b:c` without leading zeros. Raises ValueError."""
    if _LEADING_ZERO.search(text):
        raise ValueError("must not have leading zeros")
    return parse_community(text)


def _check_rule(findings: Findings, path: Path, rule: BGPFilterRule, family: Family) -> None:
    if rule.cidr:
        net = findings.parsed((*path, "cidr"), rule.cidr, parse_net)
        if net is not None:
            findings.parsed((*path, "cidr"), rule.cidr, lambda _: require_family(net, family))
            findings.require("/" in rule.cidr, (*path, "cidr"), value=rule.cidr, reason=f"must be a CIDR, such as {net}")
    if bool(rule.cidr) != (rule.match_operator is not None):
        missing = "matchOperator" if rule.cidr else "cidr"
        findings.refuse((*path, missing), None, "cidr and matchOperator must be set together or not at all")
    lengths = rule.prefix_length if isinstance(rule, (BGPFilterRuleV4, BGPFilterRuleV6)) else None
    if lengths is not None:
        findings.require(bool(rule.cidr), (*path, "prefixLength"), reason="needs cidr")
        if lengths.min is not None and lengths.max is not None:
            findings.require(
                lengths.min <= lengths.max, (*path, "prefixLength", "max"), value=lengths.max, reason="must not be below min"
            )
    if rule.interface and _INTERFACE.fullmatch(rule.interface) is None:
        reason = "must be an interface of at most 15 characters, possibly with *"
        findings.refuse((*path, "interface"), rule.interface, reason)
    _check_communities(findings, path, rule)
    _check_operations(findings, path, rule)


def _check_communities(findings: Findings, path: Path, rule: BGPFilterRule) -> None:
    if rule.communities is None:
        return
    where = (*path, "communities", "values")
    values = rule.communities.values
    findings.require(len(values) == 1, where, reason=f"must have exactly one item, has {len(values)}")
    findings.each(where, values, parse_filter_community)


def _check_operations(findings: Findings, path: Path, rule: BGPFilterRule) -> None:
    where = (*path, "operations")
    if rule.operations and rule.action != "Accept":
        findings.refuse(where, None, "needs action Accept: a rejected route is not changed")
    findings.at_most(where, rule.operations, limit=_MAX_OPERATIONS)
    for index, operation in enumerate(rule.operations):
        _check_operation(findings, (*where, index), operation)


def _check_operation(findings: Findings, path: Path, operation: FilterOperation) -> None:
    chosen = [part for part in (operation.add_community, operation.prepend_as_path, operation.set_priority) if part is not None]
    reason = "needs exactly one of addCommunity, prependASPath and setPriority"
    findings.require(len(chosen) == 1, path, reason=reason)
    if operation.add_community is not None:
        findings.parsed((*path, "addCommunity", "value"), operation.add_community.value, parse_filter_community)
    if operation.prepend_as_path is not None:
        prefix = operation.prepend_as_path.prefix
        findings.require(bool(prefix), (*path, "prependASPath", "prefix"), reason="must not be empty")
        findings.at_most((*path, "prependASPath", "prefix"), prefix, limit=_MAX_PREPENDED)
