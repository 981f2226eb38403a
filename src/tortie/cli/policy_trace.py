"""tortie policy trace: the way of one policy through an agent, down to the kernel's counters."""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from tortie.cli.completing_policy import complete_policy
from tortie.cli.node import run_dir_option
from tortie.cli.output import as_json
from tortie.cli.worlds import NO, YES, inputs, open_world
from tortie.insight.errors import InsightError
from tortie.insight.trace import trace as follow
from tortie.insight.trace import trace_document

_MEMBERS_SHOWN = 5


@click.command()
@click.argument("name", metavar="NAMESPACE/NAME|NAME", shell_complete=complete_policy)
@click.option("--kind", default="", help="Which, if policies of several kinds have that name: NetworkPolicy, ...")
@click.option("--node", default="", help="The node that is asked about. Default: this one's agent's; with -f: all together.")
@run_dir_option
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@inputs
def trace(
    name: str,
    *,
    kind: str,
    node: str,
    run_dir: str,
    output: str,
    paths: tuple[str, ...],
    config_file: str | None,
) -> None:
    """Follow one policy: as stored, as converted, active here or not and why, its sets, its rules, its chains.

    Run on a node as root (and without -f) it also reads the kernel: each rule with its counters, and whether the kernel has
    exactly what is rendered. In a lab:
    tortie lab exec node/NODE -- tortie policy trace NAME --node NODE.

    \b
    tortie policy trace shop/frontend -f cluster/
    tortie policy trace default-deny --kind GlobalNetworkPolicy
    sudo tortie policy trace shop/frontend

    Exit code: 0 active, and the kernel equals what is rendered; 2 not active here, or different; 1 error.
    """
    if not paths:
        node = node or _this_node(Path(run_dir))
    world = open_world(paths, config_file)
    found = follow(world, name, kind=kind, node=node)
    document = trace_document(world, found, members=None if output == "json" else _MEMBERS_SHOWN)
    document["kernel"] = None
    note = "" if not paths else "The kernel is not asked about files."
    if not paths and os.geteuid() == 0:
        from tortie.cli.policy_kernel import kernel_document

        document["kernel"] = kernel_document(found)
    elif not paths:
        note = "The kernel was not asked: that needs root."
    if output == "json":
        click.echo(as_json(document))
    else:
        for line in _lines(document):
            click.echo(line)
        if note:
            click.echo(note, err=True)
    good = document["active"] and (document["kernel"] is None or document["kernel"]["equal"])
    click.get_current_context().exit(YES if good else NO)


def _this_node(run_dir: Path) -> str:
    """The node of the agent that runs here. Raises InsightError."""
    try:
        said = json.loads((run_dir / "status.json").read_text())
    except OSError as error:
        raise InsightError(
            f"no agent has run here ({run_dir / 'status.json'} is not there): say --node or --run-dir"
        ) from error
    except ValueError as error:
        raise InsightError(f"{run_dir / 'status.json'} is not JSON: {error}") from error
    return str(said.get("node", ""))


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    stored, converted = document["stored"], document["converted"]
    place = ", ".join(
        text for text in (stored.get("location", ""), f"revision {stored['revision']}" if "revision" in stored else "") if text
    )
    yield f"{click.style(document['policy'], bold=True)}{f'  ({place})' if place else ''}"
    order = "none (last)" if converted["order"] is None else f"{converted['order']:g}"
    counts = f"{converted['ingressRules']} ingress and {converted['egressRules']} egress rules"
    yield f"converted  tier {converted['tier']}, order {order}, {' and '.join(converted['types'])}, {counts}"
    yield f"           selects {converted['selector']}"
    word = click.style("active", fg="green") if document["active"] else click.style("not active", fg="yellow")
    yield f"here       {word}{' on ' + document['node'] if document['node'] else ''}: {document['why']}"
    for label, key in (("endpoints ", "endpoints"), ("elsewhere ", "endpointsElsewhere")):
        if document[key]:
            yield f"{label} {_some(document[key])}"
    for each in document["sets"]:
        held = f" ({_some(each['members'], each['count'])})" if each["count"] else ""
        yield f"set        {each['origin']}: {each['count']} members{held}"
        yield f"           {', '.join(each['nft']) or 'no set in the kernel while it is empty'}"
    for direction, rules in (document["intent"] or {}).items():
        for rule in rules:
            place = f"  ({rule['location']})" if "location" in rule else ""
            yield f"rule       {direction} {rule['index']} {rule.get('text') or rule['action']}{place}"
    for chain in document["chains"]:
        yield f"chain      {chain['chain']}  ({chain['direction'].lower()} of {_some(chain['usedBy'])})"
    if document["kernel"] is not None:
        yield from _kernel_lines(document["kernel"])


def _kernel_lines(kernel: Mapping[str, Any]) -> Iterator[str]:
    if kernel["table"] is None:
        yield "kernel     there is no table of ours in this network namespace: does the agent run here?"
        return
    for chain in kernel["chains"]:
        outcome = "as rendered" if chain["equal"] else click.style(f"DIFFERENT: {chain['difference']}", fg="red")
        yield f"kernel     {chain['chain']}: {outcome}"
        for rule in chain["rules"]:
            counts = f"{rule['packets']} packets, {rule['bytes']} bytes" if "packets" in rule else "no counter"
            strange = "" if rule["asRendered"] else "  (not as rendered)"
            yield f"           handle {rule['handle']}: {rule['comment'] or '-'}: {counts}{strange}"


def _some(texts: list[str], count: int | None = None, limit: int = 5) -> str:
    shown = texts[:limit]
    more = (len(texts) if count is None else count) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")
