"""ClusterNetworkPolicy to GlobalNetworkPolicy (conversions.md, section 7).

A rule that cannot be understood as a whole fails closed: Deny and Pass become a Deny of everything, Accept is left out. The
Deny says why in an annotation, which explain and the kernel's rule comments show; `cluster_policy_problems` tells of both. A
subject that cannot be understood becomes every pod, for which the policy then only denies.
"""

from collections.abc import Callable, Iterator

from msgspec import structs

from tortie.api.cluster_policy import (
    ClusterEgressRule,
    ClusterIngressRule,
    ClusterNetworkPolicy,
    EgressPeer,
    IngressPeer,
    NamespacedPods,
    Subject,
)
from tortie.api.kubernetes import LabelSelector
from tortie.api.policy import (
    Action,
    Direction,
    EntityRule,
    GlobalNetworkPolicy,
    GlobalNetworkPolicySpec,
    PortText,
    Rule,
    RuleMetadata,
)
from tortie.api.resource import Metadata
from tortie.base.net import parse_prefix
from tortie.convert.errors import ConversionError, reporting
from tortie.convert.labels import ANY_POD, namespace_selector_text, pod_selector_text
from tortie.convert.ports import ports_of_matches
from tortie.convert.uid import converted_uid

KIND = "KubernetesClusterNetworkPolicy"
TIERS = {"Admin": "kube-admin", "Baseline": "kube-baseline"}
RULE_NAME = "name"
"""Annotation of a converted rule: the name that its author gave it."""
NOT_UNDERSTOOD = "tortie.io/not-understood"
"""Annotation of a Deny that stands in for a rule: why that rule could not be converted."""
_ACTIONS: dict[str, Action] = {"Accept": "Allow", "Deny": "Deny", "Pass": "Pass"}

_EVERY_POD = ("all()", ANY_POD)

_Report = Callable[[str], None]
_SourceRule = ClusterIngressRule | ClusterEgressRule


def cluster_policy(policy: ClusterNetworkPolicy) -> GlobalNetworkPolicy | None:
    """The Calico form; None when the policy says neither for whom nor when it is asked, and so applies to nothing.

    Its kind stays KubernetesClusterNetworkPolicy, so it can never collide with a GlobalNetworkPolicy of that name.
    """
    problems: list[str] = []
    converted = _convert(policy, problems.append)
    if converted is None or not problems:
        return converted
    return structs.replace(converted, metadata=structs.replace(converted.metadata, annotations=reporting(problems)))


def cluster_policy_problems(policy: ClusterNetworkPolicy) -> tuple[str, ...]:
    """What `cluster_policy` did not understand and what it did instead, one sentence each."""
    problems: list[str] = []
    _convert(policy, problems.append)
    return tuple(problems)


def _convert(policy: ClusterNetworkPolicy, report: _Report) -> GlobalNetworkPolicy | None:
    meta, spec = policy.metadata, policy.spec
    tier = TIERS.get(spec.tier)
    if tier is None:
        report(f"spec.tier: {spec.tier!r} is not Admin or Baseline; the policy is not in force")
        return None
    if spec.subject == Subject():
        report("spec.subject: namespaces or pods is needed, and nothing else is known; the policy is not in force")
        return None
    try:
        namespaces, pods = _subject(spec.subject)
    except ConversionError as error:
        report(f"spec.subject: {error}; for all pods, what it denies or passes is denied and nothing is accepted")
        namespaces, pods = _EVERY_POD
        closed = True
    else:
        closed = False
    ingress = tuple(
        rule for i, each in enumerate(spec.ingress) for rule in _rules(each, _ingress, f"spec.ingress[{i}]", report=report)
    )
    egress = tuple(
        rule for i, each in enumerate(spec.egress) for rule in _rules(each, _egress, f"spec.egress[{i}]", report=report)
    )
    if closed:
        ingress, egress = _denials(ingress), _denials(egress)
    types: tuple[Direction, ...] = (*(("Ingress",) if ingress else ()), *(("Egress",) if egress else ()))
    return GlobalNetworkPolicy(
        kind=KIND,
        metadata=Metadata(
            name=meta.name,
            uid=converted_uid(meta.uid),
            resource_version=meta.resource_version,
            creation_timestamp=meta.creation_timestamp,
        ),
        spec=GlobalNetworkPolicySpec(
            tier=tier,
            order=float(spec.priority),
            selector=pods,
            namespace_selector=namespaces,
            types=types,
            ingress=ingress,
            egress=egress,
        ),
    )


def _denials(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """What may safely apply to more pods than meant: a Pass would take them past what others deny."""
    return tuple(structs.replace(rule, action="Deny") for rule in rules if rule.action != "Allow")


def _rules(
    rule: _SourceRule, convert: Callable[[_SourceRule, Action], Iterator[Rule]], where: str, *, report: _Report
) -> list[Rule]:
    try:
        action = _ACTIONS.get(rule.action)
        if action is None:
            raise ConversionError(f"action: {rule.action!r} is not Accept, Deny or Pass")
        return list(convert(rule, action))
    except ConversionError as error:
        if rule.action == "Accept":
            report(f"{where}.{error}; the rule is left out")
            return []
        report(f"{where}.{error}; everything is denied in its place")
        annotations = ({RULE_NAME: rule.name} if rule.name else {}) | {NOT_UNDERSTOOD: f"{where}.{error}"}
        return [Rule(action="Deny", metadata=RuleMetadata(annotations=annotations))]


def _ingress(rule: _SourceRule, action: Action) -> Iterator[Rule]:
    assert isinstance(rule, ClusterIngressRule)
    if not rule.from_:
        raise ConversionError("from: at least one peer is needed")
    sides = [_peer(peer, f"from[{i}]") for i, peer in enumerate(rule.from_)]
    for protocol, ports in ports_of_matches(rule.protocols):
        for side in sides:
            yield _rule(rule, action, protocol, source=side, destination=EntityRule(ports=ports))


def _egress(rule: _SourceRule, action: Action) -> Iterator[Rule]:
    assert isinstance(rule, ClusterEgressRule)
    if not rule.to:
        raise ConversionError("to: at least one peer is needed")
    sides = [_peer(peer, f"to[{i}]") for i, peer in enumerate(rule.to)]
    for protocol, ports in ports_of_matches(rule.protocols):
        for side in sides:
            yield _rule(rule, action, protocol, source=EntityRule(), destination=_with_ports(side, ports))


def _rule(rule: _SourceRule, action: Action, protocol: str | None, *, source: EntityRule, destination: EntityRule) -> Rule:
    metadata = RuleMetadata(annotations={RULE_NAME: rule.name}) if rule.name else None
    return Rule(action=action, protocol=protocol, source=source, destination=destination, metadata=metadata)


def _with_ports(side: EntityRule, ports: tuple[PortText, ...]) -> EntityRule:
    return EntityRule(nets=side.nets, selector=side.selector, namespace_selector=side.namespace_selector, ports=ports)


def _subject(subject: Subject) -> tuple[str, str]:
    """Selectors of namespaces and of pods. Only pods are meant, so that hosts are left out."""
    if subject.namespaces is not None and subject.pods is not None:
        raise ConversionError("only one of namespaces and pods can be given")
    if subject.pods is not None:
        return _pods(subject.pods)
    return namespace_selector_text(subject.namespaces), pod_selector_text(None)


def _pods(pods: NamespacedPods) -> tuple[str, str]:
    return namespace_selector_text(pods.namespace_selector), pod_selector_text(pods.pod_selector)


def _peer(peer: IngressPeer | EgressPeer, where: str) -> EntityRule:
    try:
        return _side(peer)
    except ConversionError as error:
        raise ConversionError(f"{where}: {error}") from None


def _side(peer: IngressPeer | EgressPeer) -> EntityRule:
    networks: tuple[str, ...] = ()
    if isinstance(peer, EgressPeer):
        for field, used in (("nodes", peer.nodes is not None), ("domainNames", bool(peer.domain_names))):
            if used:
                raise ConversionError(f"{field} cannot be matched")
        networks = peer.networks
    selectors: list[LabelSelector | NamespacedPods] = [each for each in (peer.namespaces, peer.pods) if each is not None]
    if len(selectors) + bool(networks) != 1:
        raise ConversionError("exactly one way to say who is needed, and one that we know")
    if networks:
        return EntityRule(nets=tuple(map(_cidr, networks)))
    if peer.pods is not None:
        namespaces, pods = _pods(peer.pods)
        return EntityRule(selector=pods, namespace_selector=namespaces)
    return EntityRule(namespace_selector=namespace_selector_text(peer.namespaces))


def _cidr(text: str) -> str:
    try:
        if "/" not in text:
            raise ValueError
        return str(parse_prefix(text, strict=False))
    except ValueError:
        raise ConversionError(f"networks: {text!r} is not a CIDR") from None
