"""An explanation as a JSON document, for other programs."""

from typing import Any

from tortie.insight.ends import End
from tortie.insight.explain import Explanation, Half
from tortie.intent.keys import PolicyId, ProfileId
from tortie.verdict.judgement import OwnerStep, TierStep
from tortie.verdict.packet import Packet, protocol_name

API_VERSION = "tortie.io/v1"


def explanation_document(explanation: Explanation) -> dict[str, Any]:
    """`kind: Explanation`. `rule` is the index in the list that the user wrote, null where no rule decided."""
    document: dict[str, Any] = {
        "apiVersion": API_VERSION,
        "kind": "Explanation",
        "verdict": _verdict(explanation.allowed),
        "source": _end(explanation.source),
        "destination": _end(explanation.destination),
        "packet": _packet(explanation.packet),
        "egress": half_document(explanation.egress),
        "way": [half_document(half) for half in explanation.way],
        "ingress": half_document(explanation.ingress),
        "replies": explanation.replies,
    }
    if explanation.notes:
        document["assumptions"] = list(explanation.notes)
    if explanation.meaning:
        document["meaning"] = explanation.meaning
    if explanation.service is not None:
        document["service"] = _service(explanation.service, explanation)
    if explanation.pending is not None:
        document["pending"] = _pending(explanation.pending, differs=explanation.pending.allowed != explanation.allowed)
    return document


def _service(end: End, explanation: Explanation) -> dict[str, Any]:
    document = _end(end)
    port = explanation.service_port
    if port is not None:
        document["port"] = {"port": port.port, "protocol": port.protocol} | ({"name": port.name} if port.name else {})
    if end.service is not None and end.service.synthetic:
        document["syntheticEndpoints"] = True
    document["backends"] = [
        {
            "endpoint": backend.destination.text,
            "address": str(backend.packet.destination),
            "port": backend.packet.destination_port,
            "verdict": _verdict(backend.allowed),
            "reason": backend.deciding.reason,
        }
        for backend in explanation.backends
    ]
    return document


def _pending(explanation: Explanation, *, differs: bool) -> dict[str, Any]:
    """What would be with staged policies in force."""
    return {
        "verdict": _verdict(explanation.allowed),
        "differs": differs,
        "reason": explanation.deciding.reason,
        "egress": half_document(explanation.egress),
        "way": [half_document(half) for half in explanation.way],
        "ingress": half_document(explanation.ingress),
    }


def _verdict(allowed: bool) -> str:
    return "allow" if allowed else "deny"


def _end(end: End) -> dict[str, Any]:
    document: dict[str, Any] = {"name": end.text, "addresses": [str(address) for address in end.addresses]}
    if end.workload is not None:
        document["node"] = end.workload.node
        if end.workload.synthetic_address:
            document["syntheticAddress"] = True
        if end.workload.synthetic_node:
            document["syntheticNode"] = True
    elif end.synthetic_address:
        document["syntheticAddress"] = True
    return document


def _packet(packet: Packet) -> dict[str, Any]:
    fields = {
        "family": packet.family.value,
        "source": str(packet.source),
        "destination": str(packet.destination),
        "protocol": protocol_name(packet.protocol),
        "sourcePort": packet.source_port,
        "destinationPort": packet.destination_port,
        "icmpType": packet.icmp_type,
        "icmpCode": packet.icmp_code,
    }
    return {name: value for name, value in fields.items() if value is not None}


def half_document(half: Half) -> dict[str, Any]:
    """What one end says."""
    document: dict[str, Any] = {
        "endpoint": half.end.text,
        "verdict": _verdict(half.allowed),
        "tier": None,
        "policy": None,
        "profile": None,
        "rule": None,
        "reason": half.reason,
    }
    if half.hook:
        document["hook"] = half.hook
    if half.location:
        document["location"] = half.location
    if half.judgement is None:
        return document
    decision = half.judgement.decided_by
    document["decidedBy"] = decision.decider.value
    document["tier"] = decision.tier or None
    document["rule"] = decision.rule_index
    if isinstance(decision.owner, PolicyId):
        document["policy"] = str(decision.owner)
    elif decision.owner is not None:
        document["profile"] = decision.owner.name
    document["trace"] = [_tier(step) for step in half.judgement.trace]
    document["notAsked"] = [{"policy": str(policy), "reason": reason} for policy, reason in half.bystanders]
    return document


def _tier(step: TierStep) -> dict[str, Any]:
    owners = [_owner(owner) for owner in step.owners]
    if step.name:
        return {"tier": step.name, "outcome": step.outcome, "policies": owners}
    return {"outcome": step.outcome, "profiles": owners}


def _owner(step: OwnerStep) -> dict[str, Any]:
    document: dict[str, Any] = {"name": owner_name(step.owner), "verdict": step.verdict.value if step.verdict else None}
    if step.staged:
        document["staged"] = True
    if step.missing:
        document["missing"] = True
    document["rules"] = [
        {"index": asked.rule.origin.index, "action": asked.rule.action.value, "matched": asked.matched}
        | ({"failed": asked.failed} if asked.failed else {})
        | ({"annotations": dict(asked.rule.comments)} if asked.rule.comments else {})
        for asked in step.rules
    ]
    return document


def owner_name(owner: PolicyId | ProfileId) -> str:
    """As a person would call it."""
    return str(owner) if isinstance(owner, PolicyId) else owner.name
