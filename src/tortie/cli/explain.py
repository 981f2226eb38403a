"""tortie explain: why a packet passes or does not, from files or from the datastore."""

import json
import sys
from collections.abc import Iterator

import click

from tortie.base.errors import TortieError
from tortie.base.net import Family
from tortie.cli.worlds import inputs, open_world, tell_protocols
from tortie.convert.cluster_policies import NOT_UNDERSTOOD
from tortie.insight.document import explanation_document, owner_name
from tortie.insight.explain import Explanation, Half
from tortie.insight.explain import explain as ask
from tortie.insight.question import EPHEMERAL_PORT, parse_question
from tortie.verdict.judgement import OwnerStep, RuleStep, TierStep
from tortie.verdict.packet import Packet

ALLOWED, FAILED, DENIED = 0, 1, 2
_TOLD = NOT_UNDERSTOOD
"""The annotation that a rule's text tells already."""


@click.command()
@click.argument("source")
@click.argument("destination")
@click.argument("question", metavar="PROTO/PORT")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("--family", type=click.Choice(["4", "6"]), help="IP version. Default: what both ends have, IPv4 first.")
@click.option("--source-port", type=click.IntRange(1, 65535), default=EPHEMERAL_PORT, show_default=True)
@inputs
def explain(
    source: str,
    destination: str,
    question: str,
    *,
    paths: tuple[str, ...],
    output: str,
    family: str | None,
    source_port: int,
    config_file: str | None,
) -> None:
    """Why does a packet from SOURCE reach DESTINATION, or not?

    Ends are NAMESPACE/POD, node/NAME, an IP address or, as DESTINATION, svc/NAMESPACE/NAME; the question is tcp/80, udp/dns,
    icmp, icmp/8 or a protocol number. With -f the answer comes from files alone, without a cluster; otherwise from the
    datastore.

    Exit code: 0 allowed, 2 denied, 1 error.
    """
    try:
        asked = parse_question(question, source_port=source_port, family=Family(int(family)) if family else None)
        explanation = ask(open_world(paths, config_file), source, destination, question=asked)
    except TortieError as error:
        click.echo(f"tortie explain: {error}", err=True)
        sys.exit(FAILED)
    tell_protocols([question])
    if output == "json":
        click.echo(json.dumps(explanation_document(explanation), indent=2))
    else:
        click.echo("\n".join(explanation_lines(explanation)))
    sys.exit(ALLOWED if explanation.allowed else DENIED)


def explanation_lines(explanation: Explanation) -> Iterator[str]:
    """The deciding line first, then the walk of each direction."""
    verdict = "ALLOW" if explanation.allowed else "DENY"
    colour = "green" if explanation.allowed else "red"
    ends = f"{explanation.source.text} -> {explanation.destination.text}"
    yield f"{click.style(verdict, fg=colour, bold=True)}  {ends}  {_what(explanation.packet)}"
    half = explanation.deciding
    yield f"  {_whose(half)}: {_because(half)}"
    yield from _pending_lines(explanation)
    yield from _service_lines(explanation)
    for each in (explanation.egress, *explanation.way, explanation.ingress):
        yield ""
        yield from _half_lines(each)
    yield ""
    yield explanation.replies
    for note in explanation.notes:
        yield f"Note: {note}."
    yield from _synthetic_lines(explanation)


def _pending_lines(explanation: Explanation) -> Iterator[str]:
    """What would be with staged policies in force."""
    pending = explanation.pending
    if pending is None:
        return
    half, now = pending.deciding, explanation.deciding
    differs = pending.allowed != explanation.allowed
    verdict = click.style("allow" if pending.allowed else "deny", bold=differs)
    same = (_whose(half), _because(half)) == (_whose(now), _because(now))
    because = "" if same else f", because {_whose(half)}: {_because(half)}"
    yield f"  with staged policies: {verdict}{'' if differs else ', as now'}{because}"


def _service_lines(explanation: Explanation) -> Iterator[str]:
    if explanation.meaning:
        yield f"{explanation.meaning}."
    if explanation.service is None or explanation.service.service is None or explanation.service_port is None:
        return
    made_up = ", worked out from its selector" if explanation.service.service.synthetic else ""
    count, port = len(explanation.backends), explanation.service_port
    picks = "leads to its one backend" if count == 1 else f"picks one of {count} backends"
    asked = f"{port.protocol} port {port.port}" + (f" ({port.name})" if port.name else "")
    own = explanation.service.addresses
    at = f" at {own[0]}" if len(own) == 1 and not explanation.meaning else ""
    yield f"{explanation.service.text}{at}, {asked}: kube-proxy {picks}{made_up}:"
    for backend in explanation.backends:
        verdict = "allow" if backend.allowed else "deny"
        where = f"{backend.destination.text} ({backend.packet.destination}, port {backend.packet.destination_port})"
        yield f"  {verdict}  {where}: {backend.deciding.reason}"


def _what(packet: Packet) -> str:
    return f"({packet})"


def _whose(half: Half) -> str:
    hook = f" ({half.hook})" if half.hook else ""
    return f"{half.direction.value.lower()} of {half.end.text}{hook}"


def _because(half: Half) -> str:
    return f"{half.reason}{_tier_note(half)}{_place(half)}"


def _tier_note(half: Half) -> str:
    decision = half.judgement.decided_by if half.judgement else None
    return f", tier {decision.tier}" if decision and decision.tier and decision.rule is not None else ""


def _place(half: Half) -> str:
    return f" ({half.location})" if half.location else ""


def _half_lines(half: Half) -> Iterator[str]:
    verdict = "allow" if half.allowed else "deny"
    whose = _whose(half)
    yield f"{whose[0].upper()}{whose[1:]}: {verdict}, {half.reason}"
    if half.judgement is None:
        return
    for step in half.judgement.trace:
        yield from _tier_lines(step)
    for policy, reason in half.bystanders:
        yield f"  not asked: {policy} {reason}"


def _tier_lines(step: TierStep) -> Iterator[str]:
    yield f"  {f'tier {step.name}' if step.name else 'profiles'}: {step.outcome}"
    for owner in step.owners:
        yield from _owner_lines(owner)


def _owner_lines(step: OwnerStep) -> Iterator[str]:
    marks = " (staged: asked for the record, not enforced)" if step.staged else " (does not exist)" if step.missing else ""
    empty = ": no rules in this direction" if not step.rules and not step.missing else ""
    yield f"    {owner_name(step.owner)}{marks}{empty}"
    for asked in step.rules:
        yield f"      {_rule_line(asked)}"


def _rule_line(asked: RuleStep) -> str:
    rule = asked.rule
    outcome = "matches" if asked.matched else f"no: {asked.failed}"
    comments = "".join(f" [{key}={text}]" for key, text in rule.comments if key != _TOLD)
    return f"{'>' if asked.matched else ' '} rule {rule.origin.index}, {rule.text or rule.action.value}{comments}: {outcome}"


def _synthetic_lines(explanation: Explanation) -> Iterator[str]:
    for end in (explanation.source, explanation.destination):
        workload = end.workload
        address = end.synthetic_address or (workload is not None and workload.synthetic_address)
        node = workload is not None and workload.synthetic_node
        missing = [what for what, absent in (("address", address), ("node", node)) if absent]
        if missing:
            stand_ins = [str(each) for each in end.addresses] if address else []
            stand_ins += [f"node/{workload.node}"] if workload is not None and node else []
            verb = "stands" if len(stand_ins) == 1 else "stand"
            yield f"Note: {end.text} has no {' and no '.join(missing)} yet; {', '.join(stand_ins)} {verb} in for it."
