"""Checks of policies, tiers, profiles and their rules (api.md, section 2); numbers are those of its table of rule checks."""

from collections.abc import Iterator
from typing import Literal

from tortie.api.errors import Path
from tortie.api.findings import Findings
from tortie.api.formats import PROTOCOLS, PROTOCOLS_WITH_PORTS, PortRange, parse_net, parse_port, parse_protocol
from tortie.api.names import parse_dns_label, parse_dns_subdomain
from tortie.api.policy import (
    EntityRule,
    GlobalNetworkPolicy,
    HTTPMatch,
    ICMPFields,
    NetworkPolicy,
    ProtocolText,
    Rule,
    ServiceMatch,
)
from tortie.api.profile import Profile
from tortie.api.staged import (
    StagedGlobalNetworkPolicy,
    StagedGlobalNetworkPolicySpec,
    StagedNetworkPolicy,
    StagedNetworkPolicySpec,
)
from tortie.api.tier import PREDEFINED, Tier
from tortie.api.validation_cluster import check_conditions
from tortie.api.validation_metadata import check_annotations, check_labels
from tortie.base.net import Family, Prefix

_MAX_RULES = 1024
_MAX_NETS = 256
_MAX_PORTS = 50
_MAX_HTTP = 20
_ICMP_FAMILY = {1: Family.V4, 58: Family.V6}

_Scope = Literal["ingress", "egress"]
_Global = GlobalNetworkPolicy | StagedGlobalNetworkPolicy
_Policy = NetworkPolicy | StagedNetworkPolicy | _Global


def check_network_policy(findings: Findings, policy: NetworkPolicy | StagedNetworkPolicy) -> None:
    """The spec of a namespaced policy, enforced or staged."""
    if isinstance(policy, StagedNetworkPolicy) and policy.spec.staged_action == "Delete":
        _check_deletion(findings, policy.spec)
    else:
        _check_policy(findings, policy)


def check_global_network_policy(findings: Findings, policy: _Global) -> None:
    """The spec of a global policy, enforced or staged."""
    if isinstance(policy, StagedGlobalNetworkPolicy) and policy.spec.staged_action == "Delete":
        _check_deletion(findings, policy.spec)
        return
    _check_policy(findings, policy)
    spec = policy.spec
    findings.selector(("spec", "namespaceSelector"), spec.namespace_selector, may_be_global=False)
    findings.require(
        not (spec.do_not_track and spec.pre_dnat), ("spec", "preDNAT"), reason="preDNAT and doNotTrack exclude each other"
    )
    if spec.pre_dnat:
        findings.require(not spec.egress, ("spec", "egress"), reason="a preDNAT policy cannot have egress rules")
        findings.require("Egress" not in spec.types, ("spec", "types"), reason="a preDNAT policy cannot have type Egress")
    if spec.pre_dnat or spec.do_not_track:
        findings.require(
            spec.apply_on_forward, ("spec", "applyOnForward"), reason="must be true for doNotTrack and preDNAT policies"
        )


def check_profile(findings: Findings, profile: Profile) -> None:
    """The spec of a profile."""
    check_labels(findings, ("spec", "labelsToApply"), profile.spec.labels_to_apply)
    _check_rules(findings, "ingress", profile.spec.ingress, profile)
    _check_rules(findings, "egress", profile.spec.egress, profile)


def check_tier(findings: Findings, tier: Tier) -> None:
    """The spec of a tier: three names may have one order and one default action only."""
    check_conditions(findings, tier.status)
    predefined = PREDEFINED.get(tier.metadata.name)
    if predefined is None:
        return
    for field, wanted, found in (
        ("order", predefined.order, tier.spec.order),
        ("defaultAction", predefined.default_action, tier.spec.default_action),
    ):
        shown = int(wanted) if isinstance(wanted, float) else wanted
        findings.require(found == wanted, ("spec", field), value=found, reason=f"must be {shown} in tier {tier.metadata.name}")


def _check_deletion(findings: Findings, spec: StagedNetworkPolicySpec | StagedGlobalNetworkPolicySpec) -> None:
    """Which policy is meant follows from the name and the tier."""
    findings.parsed(("spec", "tier"), spec.tier, parse_dns_label)
    findings.unset(spec, but=("tier", "staged_action"), reason="must be empty when stagedAction is Delete")


def _check_policy(findings: Findings, policy: _Policy) -> None:
    spec = policy.spec
    findings.parsed(("spec", "tier"), spec.tier, parse_dns_label)
    findings.selector(("spec", "selector"), spec.selector, may_be_global=False)
    findings.selector(("spec", "serviceAccountSelector"), spec.service_account_selector, may_be_global=False)
    findings.unique(("spec", "types"), spec.types)
    findings.unique(("spec", "performanceHints"), spec.performance_hints)
    for index, hint in enumerate(spec.performance_hints):
        findings.require(
            hint == "AssumeNeededOnEveryNode",
            ("spec", "performanceHints", index),
            value=hint,
            reason="must be AssumeNeededOnEveryNode",
        )
    _check_rules(findings, "ingress", spec.ingress, policy)
    _check_rules(findings, "egress", spec.egress, policy)


def _check_rules(findings: Findings, scope: _Scope, rules: tuple[Rule, ...], owner: _Policy | Profile) -> None:
    findings.at_most(("spec", scope), rules, limit=_MAX_RULES)
    for index, rule in enumerate(rules):
        path: Path = ("spec", scope, index)
        _check_protocol(findings, path, rule)
        _check_families(findings, path, rule)
        if rule.http is not None:
            _check_http(findings, path, rule, rule.http)
            if scope == "egress" and not isinstance(owner, Profile):
                findings.refuse((*path, "http"), None, "rules with http can only be ingress rules")
        for side, entity in _sides(rule):
            _check_entity(findings, (*path, side), entity)
            if entity.services is not None:
                _check_services(findings, (*path, side), entity, entity.services)
                _check_place_of_services(findings, (*path, side), scope=scope, owner=owner, services=entity.services)
        if rule.metadata is not None:
            check_annotations(findings, (*path, "metadata", "annotations"), rule.metadata.annotations)


def _sides(rule: Rule) -> Iterator[tuple[str, EntityRule]]:
    yield "source", rule.source
    yield "destination", rule.destination


def _check_protocol(findings: Findings, path: Path, rule: Rule) -> None:
    """1, 2, 4 and 5: what the protocol allows and demands."""
    number = _protocol_number(findings, (*path, "protocol"), rule.protocol)
    excluded = _protocol_number(findings, (*path, "notProtocol"), rule.not_protocol)
    for field, protocol in (("protocol", number), ("notProtocol", excluded)):
        family = _ICMP_FAMILY.get(protocol or 0)
        if family is not None and rule.ip_version not in (None, family.value):
            reason = f"must be {family.value} when {field} is {'ICMP' if family is Family.V4 else 'ICMPv6'}"
            findings.refuse((*path, "ipVersion"), rule.ip_version, reason)
    # Calico's validator lets notICMP stand without protocol, and then no dataplane knows which ICMP is meant.
    for name, icmp in (("icmp", rule.icmp), ("notICMP", rule.not_icmp)):
        if icmp is not None:
            findings.require(number in _ICMP_FAMILY, (*path, name), reason="needs protocol ICMP or ICMPv6")
            _check_icmp(findings, (*path, name), icmp)
    for side, entity in _sides(rule):
        for field, ports in (("ports", entity.ports), ("notPorts", entity.not_ports)):
            if not ports:
                continue
            if rule.protocol is None:
                if any(_is_numeric(port) for port in ports):
                    findings.refuse((*path, side, field), None, "port numbers need protocol TCP, UDP or SCTP in the rule")
            elif number is not None and number not in PROTOCOLS_WITH_PORTS:
                findings.refuse((*path, side, field), None, "only protocols TCP, UDP and SCTP have ports")


def _protocol_number(findings: Findings, path: Path, protocol: ProtocolText | None) -> int | None:
    return None if protocol is None else findings.parsed(path, protocol, parse_protocol)


def _is_numeric(port: int | str) -> bool:
    try:
        return isinstance(parse_port(port), PortRange)
    except ValueError:
        return False  # reported as a bad port elsewhere


def _check_icmp(findings: Findings, path: Path, icmp: ICMPFields) -> None:
    findings.within((*path, "type"), icmp.type, lowest=0, highest=254)
    findings.within((*path, "code"), icmp.code, lowest=0, highest=255)
    findings.require(icmp.code is None or icmp.type is not None, (*path, "code"), value=icmp.code, reason="needs a type")


def _check_families(findings: Findings, path: Path, rule: Rule) -> None:
    """6 and 7: networks have a mask, are of one family, and agree with ipVersion."""
    family = Family(rule.ip_version) if rule.ip_version else None
    decided_by = "ipVersion"
    for side, entity in _sides(rule):
        for field, nets in (("nets", entity.nets), ("notNets", entity.not_nets)):
            findings.at_most((*path, side, field), nets, limit=_MAX_NETS)
            findings.unique((*path, side, field), nets)
            for index, text in enumerate(nets):
                where = (*path, side, field, index)
                net = findings.parsed(where, text, _net_with_mask)
                if net is None:
                    continue
                if family is None:
                    family, decided_by = net.family, f"{side}.{field}"
                elif net.family is not family:
                    findings.refuse(
                        where, text, f"is IPv{net.family.value}, but {decided_by} of this rule is IPv{family.value}"
                    )
                if field == "notNets" and net.length == 0:
                    findings.refuse(where, text, "excluding every address leaves nothing that could match")


def _net_with_mask(text: str) -> Prefix:
    net = parse_net(text)
    if "/" not in text:
        raise ValueError(f"must be a CIDR with a mask, such as {net}")
    return net


def _check_entity(findings: Findings, path: Path, entity: EntityRule) -> None:
    """8 and 13: selectors and ports of one side."""
    findings.selector((*path, "selector"), entity.selector, may_be_global=False)
    findings.selector((*path, "notSelector"), entity.not_selector)
    findings.selector((*path, "namespaceSelector"), entity.namespace_selector)
    if "global(" in entity.namespace_selector and "".join(entity.namespace_selector.split()) != "global()":
        reason = "global() must be the whole selector: it cannot be combined with others"
        findings.refuse((*path, "namespaceSelector"), entity.namespace_selector, reason)
    for field, ports in (("ports", entity.ports), ("notPorts", entity.not_ports)):
        findings.at_most((*path, field), ports, limit=_MAX_PORTS)
        findings.each((*path, field), ports, parse_port)
    if entity.service_accounts is not None:
        accounts = (*path, "serviceAccounts")
        findings.each((*accounts, "names"), entity.service_accounts.names, parse_dns_subdomain)
        findings.unique((*accounts, "names"), entity.service_accounts.names)
        findings.selector((*accounts, "selector"), entity.service_accounts.selector, max_length=None)


def _check_services(findings: Findings, path: Path, entity: EntityRule, services: ServiceMatch) -> None:
    """9: a service excludes all other ways to say who."""
    findings.require(bool(services.name), (*path, "services", "name"), reason="is required")
    for field, text in (("name", services.name), ("namespace", services.namespace)):
        findings.no_longer((*path, "services", field), text, limit=253)
    others: dict[str, object] = {
        "selector": entity.selector,
        "notSelector": entity.not_selector,
        "namespaceSelector": entity.namespace_selector,
        "nets": entity.nets,
        "notNets": entity.not_nets,
        "serviceAccounts": entity.service_accounts,
    }
    if path[-1] == "destination":
        others |= {"ports": entity.ports, "notPorts": entity.not_ports}
    for field, value in others.items():
        if value:
            findings.refuse((*path, field), None, "cannot be combined with services")


def _check_place_of_services(
    findings: Findings,
    path: Path,
    *,
    scope: _Scope,
    owner: _Policy | Profile,
    services: ServiceMatch,
) -> None:
    """10 and 11: where a service may stand."""
    wrong_side = "source" if scope == "egress" else "destination"
    if path[-1] == wrong_side:
        findings.refuse((*path, "services"), None, f"cannot be used in the {wrong_side} of {scope} rules")
    if isinstance(owner, _Global):
        findings.require(bool(services.namespace), (*path, "services", "namespace"), reason="is required in a global policy")


def _check_http(findings: Findings, path: Path, rule: Rule, http: HTTPMatch) -> None:
    """3, 12 and 13."""
    where = (*path, "http")
    findings.require(
        rule.protocol in (None, "TCP", PROTOCOLS["TCP"], "6"),
        (*path, "protocol"),
        value=rule.protocol,
        reason="must be TCP with http",
    )
    findings.require(rule.action == "Allow", (*path, "action"), value=rule.action, reason="must be Allow with http")
    findings.at_most((*where, "methods"), http.methods, limit=_MAX_HTTP)
    findings.unique((*where, "methods"), http.methods)
    findings.at_most((*where, "paths"), http.paths, limit=_MAX_HTTP)
    for index, each in enumerate(http.paths):
        findings.require(
            bool(each.exact) != bool(each.prefix), (*where, "paths", index), reason="needs exactly one of exact and prefix"
        )
        text = each.exact or each.prefix
        findings.no_longer((*where, "paths", index), text, limit=1024)
        if text and (not text.startswith("/") or any(character in text for character in "?# ")):
            findings.refuse((*where, "paths", index), text, "must begin with / and contain no ?, # or blank")
