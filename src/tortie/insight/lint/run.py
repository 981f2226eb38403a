"""All checks over one world."""

from collections.abc import Collection, Iterable

from tortie.insight.lint.findings import Finding
from tortie.insight.lint.order_checks import check_order
from tortie.insight.lint.policy_checks import check_policies
from tortie.insight.lint.reference_checks import check_references
from tortie.insight.lint.rule_checks import check_rules
from tortie.insight.lint.subject import Subject
from tortie.insight.world import World


def lint(world: World) -> list[Finding]:
    """Everything that is found, worst first."""
    subject = Subject.of(world)
    found: list[Finding] = []
    for check in (check_rules, check_order, check_policies, check_references):
        found += check(subject)
    return in_order(found)


def in_order(findings: Iterable[Finding], *, ignore: Collection[str] = ()) -> list[Finding]:
    """Worst first, then by place; without those of the checks in `ignore`, and each once."""
    kept = dict.fromkeys(finding for finding in findings if finding.check.id not in ignore)
    return sorted(kept, key=lambda each: (-each.check.severity, each.location, each.resource, each.field, each.check.id))
