"""Rules between the fields of policies, tiers and their rules, in CEL (api.md, section 2)."""

from collections.abc import Mapping

import msgspec

from tortie.api.cel import CelRule, filled, given, none_of, one_of
from tortie.api.policy import (
    EntityRule,
    GlobalNetworkPolicy,
    GlobalNetworkPolicySpec,
    HTTPPath,
    ICMPFields,
    NetworkPolicy,
    NetworkPolicySpec,
    Rule,
)
from tortie.api.staged import (
    StagedGlobalNetworkPolicy,
    StagedGlobalNetworkPolicySpec,
    StagedKubernetesNetworkPolicySpec,
    StagedNetworkPolicy,
    StagedNetworkPolicySpec,
)
from tortie.api.tier import PREDEFINED, Tier

_NAMED = ("'TCP'", "'UDP'", "'ICMP'", "'ICMPv6'", "'SCTP'", "'UDPLite'")
WITH_PORTS = ("'TCP'", "'UDP'", "'SCTP'", "6", "17", "132", "'6'", "'17'", "'132'")
_ICMP = ("'ICMP'", "1", "'1'")
_ICMP6 = ("'ICMPv6'", "58", "'58'")
_TCP = ("'TCP'", "6", "'6'")


def _protocol(field: str) -> CelRule:
    path = f"self.{field}"
    number = f"(int({path}) >= 1 && int({path}) <= 255)"
    return CelRule(
        f"!has({path}) || (type({path}) == string ? ({one_of(path, _NAMED)} || {number}) : {number})",
        "must be a number from 1 to 255 or one of TCP, UDP, ICMP, ICMPv6, SCTP, UDPLite",
        field=f".{field}",
    )


def _ports_rules() -> tuple[CelRule, ...]:
    rules = []
    for side in ("source", "destination"):
        for field in ("ports", "notPorts"):
            path = f"self.{side}.{field}"
            present = f"(has(self.{side}) && {filled(path)})"
            rules += [
                CelRule(
                    f"!{present} || has(self.protocol) || {path}.all(port, type(port) != int)",
                    "port numbers need protocol TCP, UDP or SCTP in the rule",
                    field=f".{side}.{field}",
                ),
                CelRule(
                    f"!{present} || !has(self.protocol) || {one_of('self.protocol', WITH_PORTS)}",
                    "only protocols TCP, UDP and SCTP have ports",
                    field=f".{side}.{field}",
                ),
            ]
    return tuple(rules)


def _family_rules() -> tuple[CelRule, ...]:
    """All networks of a rule are of one IP version. Only the first of each list is looked at: more would cost too much."""
    rules = []
    lists = [f"{side}.{field}" for side in ("source", "destination") for field in ("nets", "notNets")]
    for index, name in enumerate(lists):
        path, present = f"self.{name}", f"(has(self.{name.partition('.')[0]}) && {filled(f'self.{name}')})"
        rules.append(
            CelRule(
                f"!has(self.ipVersion) || !{present} || (self.ipVersion == 6) == {path}[0].contains(':')",
                "must be of the rule's ipVersion",
                field=f".{name}",
            )
        )
        for other in lists[:index]:
            before = f"(has(self.{other.partition('.')[0]}) && {filled(f'self.{other}')})"
            rules.append(
                CelRule(
                    f"!{present} || !{before} || self.{other}[0].contains(':') == {path}[0].contains(':')",
                    f"must be of the same IP version as {other}",
                    field=f".{name}",
                )
            )
    return tuple(rules)


_RULE = (
    _protocol("protocol"),
    _protocol("notProtocol"),
    *_ports_rules(),
    *_family_rules(),
    CelRule(
        f"!has(self.icmp) || (has(self.protocol) && ({one_of('self.protocol', _ICMP + _ICMP6)}))",
        "needs protocol ICMP or ICMPv6",
        field=".icmp",
    ),
    CelRule(
        f"!has(self.notICMP) || (has(self.protocol) && ({one_of('self.protocol', _ICMP + _ICMP6)}))",
        "needs protocol ICMP or ICMPv6",
        field=".notICMP",
    ),
    *(
        CelRule(
            f"!has(self.{field}) || !has(self.ipVersion) || self.ipVersion == {version} || !{one_of(f'self.{field}', names)}",
            f"must be {version} when {field} is {names[0][1:-1]}",
            field=".ipVersion",
        )
        for field in ("protocol", "notProtocol")
        for version, names in ((4, _ICMP), (6, _ICMP6))
    ),
    CelRule(
        f"!has(self.http) || !has(self.protocol) || {one_of('self.protocol', _TCP)}",
        "must be TCP with http",
        field=".protocol",
    ),
    CelRule("!has(self.http) || self.action == 'Allow'", "must be Allow with http", field=".action"),
    CelRule(
        "!has(self.destination) || !has(self.destination.services)"
        f" || ({none_of((filled('self.destination.ports'), filled('self.destination.notPorts')))})",
        "cannot be combined with services",
        field=".destination.ports",
    ),
)

_SERVICES_EXCLUDE = (
    given("self.selector"),
    given("self.notSelector"),
    given("self.namespaceSelector"),
    filled("self.nets"),
    filled("self.notNets"),
    "has(self.serviceAccounts)",
)

_ENTITY = (
    CelRule(
        f"!has(self.services) || ({none_of(_SERVICES_EXCLUDE)})", "cannot be combined with other ways to say who", ".services"
    ),
    CelRule(
        "!has(self.services) || self.services.name != ''",
        "is required",
        field=".services.name",
    ),
    CelRule(
        "!has(self.namespaceSelector) || !self.namespaceSelector.contains('global(') || "
        "self.namespaceSelector.replace(' ', '') == 'global()'",
        "global() must be the whole selector: it cannot be combined with others",
        field=".namespaceSelector",
    ),
    *(
        CelRule(
            f"!has(self.{field}) || self.{field}.all(port, type(port) != int || (int(port) >= 1 && int(port) <= 65535))",
            "must be ports from 1 to 65535",
            field=f".{field}",
        )
        for field in ("ports", "notPorts")
    ),
)

_SIDES = (
    CelRule(
        "!has(self.ingress) || self.ingress.all(rule, !has(rule.destination) || !has(rule.destination.services))",
        "services cannot be used in the destination of ingress rules",
        field=".ingress",
    ),
    CelRule(
        "!has(self.egress) || self.egress.all(rule, !has(rule.source) || !has(rule.source.services))",
        "services cannot be used in the source of egress rules",
        field=".egress",
    ),
    CelRule(
        "!has(self.egress) || self.egress.all(rule, !has(rule.http))", "rules with http can only be ingress rules", ".egress"
    ),
)

_GLOBAL = (
    CelRule(
        "!(has(self.doNotTrack) && self.doNotTrack && has(self.preDNAT) && self.preDNAT)",
        "preDNAT and doNotTrack exclude each other",
        field=".preDNAT",
    ),
    CelRule(
        f"!(has(self.preDNAT) && self.preDNAT) || !{filled('self.egress')}",
        "a preDNAT policy cannot have egress rules",
        field=".egress",
    ),
    CelRule(
        "!(has(self.preDNAT) && self.preDNAT) || !has(self.types) || !self.types.exists(type, type == 'Egress')",
        "a preDNAT policy cannot have type Egress",
        field=".types",
    ),
    CelRule(
        "!((has(self.preDNAT) && self.preDNAT) || (has(self.doNotTrack) && self.doNotTrack))"
        " || (has(self.applyOnForward) && self.applyOnForward)",
        "must be true for doNotTrack and preDNAT policies",
        field=".applyOnForward",
    ),
    *(
        CelRule(
            f"!has(self.{direction}) || self.{direction}.all(rule, !has(rule.{side}) || !has(rule.{side}.services)"
            f" || (has(rule.{side}.services.__namespace__) && rule.{side}.services.__namespace__ != ''))",
            "services.namespace is required in a global policy",
            field=f".{direction}",
        )
        for direction, side in (("ingress", "source"), ("egress", "destination"))
    ),
)


def _deletion(struct: type[msgspec.Struct]) -> tuple[CelRule, ...]:
    """A staged deletion says nothing but which policy it means."""
    rules = []
    for known in msgspec.structs.fields(struct):
        path = f"self.{known.encode_name}"
        if known.name in ("tier", "staged_action"):
            continue
        if known.type is bool:
            there = f"(has({path}) && {path})"
        elif known.name == "order":
            there = f"has({path})"
        elif known.name == "pod_selector":
            there = f"(has({path}) && ({filled(path + '.matchLabels')} || {filled(path + '.matchExpressions')}))"
        else:
            there = given(path) if known.type is str else filled(path)
        text = f"!(has(self.stagedAction) && self.stagedAction == 'Delete') || !{there}"
        rules.append(CelRule(text, "must be empty when stagedAction is Delete", field=f".{known.encode_name}"))
    return tuple(rules)


_NAMESPACED_NAME = CelRule(
    "self.metadata.name.split('.').size() <= 2 || self.metadata.name.startsWith('knp.default.')"
    " || self.metadata.name.startsWith('ossg.default.')",
    "metadata.name: must have at most one dot",
    field=".metadata",
)
_GLOBAL_NAME = CelRule(
    "self.metadata.name.split('.').size() <= 2", "metadata.name: must have at most one dot", field=".metadata"
)
_TIER = (
    CelRule(
        "self.metadata.name.size() <= 63 && !self.metadata.name.contains('.')",
        "metadata.name: must be at most 63 characters without dots",
        field=".metadata",
    ),
    *(
        CelRule(
            f"self.metadata.name != '{name}' || (has(self.spec) && has(self.spec.{field}) && self.spec.{field} == {value})",
            f"must be {value} in tier {name}",
            field=f".spec.{field}",
        )
        for name, spec in PREDEFINED.items()
        for field, value in (("order", f"{spec.order:.1f}"), ("defaultAction", f"'{spec.default_action}'"))
    ),
)

POLICY_RULES: Mapping[type[msgspec.Struct], tuple[CelRule, ...]] = {
    Rule: _RULE,
    EntityRule: _ENTITY,
    ICMPFields: (CelRule("!has(self.code) || has(self.type)", "needs a type", field=".code"),),
    HTTPPath: (
        CelRule(
            f"{given('self.exact')} != {given('self.prefix')}",
            "needs exactly one of exact and prefix",
        ),
    ),
    NetworkPolicySpec: _SIDES,
    GlobalNetworkPolicySpec: _SIDES + _GLOBAL,
    StagedNetworkPolicySpec: _SIDES + _deletion(StagedNetworkPolicySpec),
    StagedGlobalNetworkPolicySpec: _SIDES + _GLOBAL + _deletion(StagedGlobalNetworkPolicySpec),
    StagedKubernetesNetworkPolicySpec: _deletion(StagedKubernetesNetworkPolicySpec),
    NetworkPolicy: (_NAMESPACED_NAME,),
    StagedNetworkPolicy: (_NAMESPACED_NAME,),
    GlobalNetworkPolicy: (_GLOBAL_NAME,),
    StagedGlobalNetworkPolicy: (_GLOBAL_NAME,),
    Tier: _TIER,
}
"""By the struct at which a rule stands; what extends it has rules of its own."""
