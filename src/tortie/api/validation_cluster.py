"""Checks of what concerns the whole cluster: CalicoNodeStatus, KubeControllersConfiguration and conditions (api.md, 6)."""

import re

from tortie.api.conditions import ConditionedStatus
from tortie.api.controllers import Controllers, KubeControllersConfiguration, NodeController
from tortie.api.errors import Path
from tortie.api.findings import Findings
from tortie.api.formats import parse_cidr, parse_duration
from tortie.api.node_status import CalicoNodeStatus
from tortie.api.validation_metadata import check_annotations, check_labels

_MAX_PERIOD = 86400
_MAX_GENERATE_NAME = 253


def check_node_status(findings: Findings, status: CalicoNodeStatus) -> None:
    """The request; the report is the node's."""
    spec = status.spec
    findings.require(bool(spec.node), ("spec", "node"), reason="is required")
    findings.require(bool(spec.classes), ("spec", "classes"), reason="is required: Agent, BGP and Routes are what can be asked")
    findings.unique(("spec", "classes"), spec.classes)
    findings.require(
        spec.update_period_seconds is not None, ("spec", "updatePeriodSeconds"), reason="is required; 0 asks only once"
    )
    findings.within(("spec", "updatePeriodSeconds"), spec.update_period_seconds, lowest=0, highest=_MAX_PERIOD)


def check_controllers_configuration(findings: Findings, configuration: KubeControllersConfiguration) -> None:
    """The spec; the status is the controllers'."""
    spec = configuration.spec
    if spec.etcd_v3_compaction_period is not None:
        findings.parsed(("spec", "etcdV3CompactionPeriod"), spec.etcd_v3_compaction_period, _not_negative)
    path: Path = ("spec", "controllers")
    _check_periods(findings, path, spec.controllers)
    if spec.controllers.node is not None:
        _check_node_controller(findings, (*path, "node"), spec.controllers.node)


def check_conditions(findings: Findings, status: ConditionedStatus | None) -> None:
    """Each condition says something about one type, and no type is spoken of twice."""
    conditions = status.conditions if status is not None else ()
    types = [condition.type for condition in conditions]
    for index, condition in enumerate(conditions):
        path: Path = ("status", "conditions", index)
        for field, text in (("type", condition.type), ("status", condition.status), ("reason", condition.reason)):
            findings.require(bool(text), (*path, field), reason="is required")
        findings.require(condition.type not in types[:index], (*path, "type"), value=condition.type, reason="occurs twice")


def _check_periods(findings: Findings, path: Path, controllers: Controllers) -> None:
    for name, section in (
        ("node", controllers.node),
        ("policy", controllers.policy),
        ("workloadEndpoint", controllers.workload_endpoint),
        ("serviceAccount", controllers.service_account),
        ("namespace", controllers.namespace),
    ):
        if section is not None and section.reconciler_period is not None:
            findings.parsed((*path, name, "reconcilerPeriod"), section.reconciler_period, _not_negative)


def _check_node_controller(findings: Findings, path: Path, node: NodeController) -> None:
    if node.leak_grace_period is not None:
        findings.parsed((*path, "leakGracePeriod"), node.leak_grace_period, _not_negative)
    templates = node.host_endpoint.templates if node.host_endpoint is not None else ()
    names = [template.generate_name for template in templates]
    for index, template in enumerate(templates):
        where = (*path, "hostEndpoint", "templates", index)
        name = template.generate_name
        findings.require(bool(name), (*where, "generateName"), reason="is required")
        findings.no_longer((*where, "generateName"), name, limit=_MAX_GENERATE_NAME)
        findings.require(not name or name not in names[:index], (*where, "generateName"), value=name, reason="occurs twice")
        if not template.interface_cidrs and not template.interface_pattern:
            findings.refuse(where, None, "needs interfaceCIDRs or interfacePattern")
        findings.each((*where, "interfaceCIDRs"), template.interface_cidrs, parse_cidr)
        findings.unique((*where, "interfaceCIDRs"), template.interface_cidrs)
        if template.interface_pattern:
            findings.parsed((*where, "interfacePattern"), template.interface_pattern, _expression)
        findings.selector((*where, "nodeSelector"), template.node_selector, max_length=None)
        check_labels(findings, (*where, "labels"), template.labels)
        check_annotations(findings, (*where, "annotations"), template.annotations)


def _not_negative(text: str) -> float:
    seconds = parse_duration(text)
    if seconds < 0:
        raise ValueError("must not be negative")
    return seconds


def _expression(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"must be a regular expression: {error}") from error
    return text
