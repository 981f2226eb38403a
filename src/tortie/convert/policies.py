"""Kubernetes NetworkPolicy to Calico NetworkPolicy, and a staged one to a staged one (conversions.md, section 5).

All rules of Kubernetes allow, so a part that cannot be converted is left out: it allows nothing. A policy whose own pod
selector cannot be converted selects every pod of its namespace and has no rules: it denies. `network_policy_problems` tells.
"""

from collections.abc import Callable, Iterable, Iterator

from msgspec import structs

from tortie.api.kubernetes import IPBlock, KubernetesNetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort
from tortie.api.policy import DEFAULT_TIER, Direction, EntityRule, NetworkPolicy, NetworkPolicySpec, PortText, Rule
from tortie.api.resource import Metadata
from tortie.api.staged import StagedKubernetesNetworkPolicy, StagedNetworkPolicy, StagedNetworkPolicySpec
from tortie.base.net import Prefix, parse_prefix
from tortie.convert.errors import ConversionError, reporting
from tortie.convert.labels import ANY_POD, namespace_selector_text, pod_selector_text
from tortie.convert.ports import ports_by_protocol
from tortie.convert.uid import converted_uid

KIND = "KubernetesNetworkPolicy"
STAGED_KIND = "StagedKubernetesNetworkPolicy"
ORDER = 1000.0

_Report = Callable[[str], None]


def network_policy(policy: KubernetesNetworkPolicy) -> NetworkPolicy:
    """The Calico form. Its kind stays KubernetesNetworkPolicy, so it can never collide with a NetworkPolicy of that name."""
    problems: list[str] = []
    converted = _convert(policy, problems.append)
    metadata = structs.replace(converted.metadata, annotations=reporting(problems))
    return structs.replace(converted, metadata=metadata) if problems else converted


def staged_network_policy(policy: StagedKubernetesNetworkPolicy) -> StagedNetworkPolicy:
    """The staged Calico form; its kind stays StagedKubernetesNetworkPolicy.

    One that stages a deletion says nothing else: it has the selector, the types and the rules of nobody.
    """
    action = policy.spec.staged_action
    if action == "Delete":
        spec = StagedNetworkPolicySpec(tier=DEFAULT_TIER, staged_action=action)
    else:
        enforced = _convert(policy, _ignore).spec
        spec = StagedNetworkPolicySpec(
            tier=enforced.tier,
            order=enforced.order,
            selector=enforced.selector,
            types=enforced.types,
            ingress=enforced.ingress,
            egress=enforced.egress,
            staged_action=action,
        )
    return StagedNetworkPolicy(kind=STAGED_KIND, metadata=policy.metadata, spec=spec)


def network_policy_problems(policy: KubernetesNetworkPolicy | StagedKubernetesNetworkPolicy) -> tuple[str, ...]:
    """What `network_policy` had to leave out, one sentence each; empty when the policy means what it says."""
    problems: list[str] = []
    _convert(policy, problems.append)
    return tuple(problems)


def _ignore(_problem: str) -> None:
    pass


def _convert(policy: KubernetesNetworkPolicy | StagedKubernetesNetworkPolicy, report: _Report) -> NetworkPolicy:
    meta, spec = policy.metadata, policy.spec
    types = _types(spec.policy_types)
    if spec.egress and "Egress" not in types:
        report("spec.egress has rules but policyTypes does not list Egress: they have no effect")
    ingress: tuple[Rule, ...] = ()
    egress: tuple[Rule, ...] = ()
    try:
        selector = pod_selector_text(spec.pod_selector)
    except ConversionError as error:
        report(f"spec.podSelector: {error}; every pod of the namespace is selected and nothing is allowed")
        selector = ANY_POD
    else:
        ingress = tuple(
            rule
            for i, each in enumerate(spec.ingress)
            for rule in _rules(each.from_, each.ports, peer_is_source=True, where=f"spec.ingress[{i}]", report=report)
        )
        egress = tuple(
            rule
            for i, each in enumerate(spec.egress)
            for rule in _rules(each.to, each.ports, peer_is_source=False, where=f"spec.egress[{i}]", report=report)
        )
    return NetworkPolicy(
        kind=KIND,
        metadata=Metadata(
            name=meta.name,
            namespace=meta.namespace,
            uid=converted_uid(meta.uid),
            resource_version=meta.resource_version,
            creation_timestamp=meta.creation_timestamp,
        ),
        spec=NetworkPolicySpec(tier=DEFAULT_TIER, order=ORDER, selector=selector, types=types, ingress=ingress, egress=egress),
    )


def _types(listed: tuple[str, ...]) -> tuple[Direction, ...]:
    types: list[Direction] = []
    if "Ingress" in listed or not listed:
        types.append("Ingress")
    if "Egress" in listed:
        types.append("Egress")
    return tuple(types) or ("Ingress", "Egress")  # nothing but unknown words: deny both rather than allow


def _rules(
    peers: tuple[NetworkPolicyPeer, ...],
    ports: Iterable[NetworkPolicyPort],
    *,
    peer_is_source: bool,
    where: str,
    report: _Report,
) -> Iterator[Rule]:
    """One rule per protocol and peer, protocols outermost."""
    try:
        by_protocol = ports_by_protocol(ports)
    except ConversionError as error:
        report(f"{where}.{error}; the rule is left out")
        return
    sides: list[EntityRule] = [] if peers else [EntityRule()]
    for i, peer in enumerate(peers):
        try:
            sides.append(_peer(peer))
        except ConversionError as error:
            report(f"{where}.{'from' if peer_is_source else 'to'}[{i}].{error}; this peer is left out")
    for protocol, port_texts in by_protocol:
        for side in sides:
            yield _rule(side, protocol, port_texts, peer_is_source=peer_is_source)


def _rule(side: EntityRule, protocol: str | None, ports: tuple[PortText, ...], *, peer_is_source: bool) -> Rule:
    if peer_is_source:
        return Rule(action="Allow", protocol=protocol, source=side, destination=EntityRule(ports=ports))
    both = EntityRule(
        nets=side.nets,
        not_nets=side.not_nets,
        selector=side.selector,
        namespace_selector=side.namespace_selector,
        ports=ports,
    )
    return Rule(action="Allow", protocol=protocol, destination=both)


def _peer(peer: NetworkPolicyPeer) -> EntityRule:
    if peer.ip_block is not None:
        return _ip_block(peer.ip_block)
    if peer.pod_selector is None and peer.namespace_selector is None:
        raise ConversionError("peer: one of podSelector, namespaceSelector and ipBlock is needed")
    return EntityRule(
        selector=pod_selector_text(peer.pod_selector),
        namespace_selector=namespace_selector_text(peer.namespace_selector),
    )


def _ip_block(block: IPBlock) -> EntityRule:
    cidr = _cidr(block.cidr, "ipBlock.cidr")
    return EntityRule(nets=(str(cidr),), not_nets=tuple(str(_cidr(text, "ipBlock.except")) for text in block.except_))


def _cidr(text: str, field: str) -> Prefix:
    try:
        if "/" not in text:
            raise ValueError
        return parse_prefix(text, strict=False)
    except ValueError:
        raise ConversionError(f"{field}: {text!r} is not a CIDR") from None
