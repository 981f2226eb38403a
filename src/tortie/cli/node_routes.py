"""`tortie node routes`: how this node reaches a pod, a block or everything, who programs that, and why."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from tortie.base.net import parse_prefix
from tortie.cli import screen
from tortie.cli.boxes import box
from tortie.cli.everywhere import global_options
from tortie.cli.files import InputError
from tortie.cli.node import run_dir_option

_FILE_NAME = "routes.json"
_HEADER = ("DESTINATION", "NODE", "WAY", "PROGRAMMED BY", "NEXT HOP", "ENCRYPTED", "WHY")
_Route = dict[str, Any]


@click.command()
@run_dir_option
@click.argument("to", required=False, metavar="[ADDRESS|CIDR]")
@click.option("-o", "--output", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@global_options
@click.pass_context
def routes(ctx: click.Context, run_dir: str, to: str | None, form: str) -> None:
    """How this node reaches pods. With an address or a CIDR: which route decides; exit code 2 if none does."""
    from tortie.agent.leaving import running_agent

    document = _read(Path(run_dir) / _FILE_NAME)
    found = document["routes"]
    if to is not None:
        found = _deciding(found, _workloads(document), to)
    if running_agent(Path(run_dir)) is None:
        click.echo("No agent runs here: this is what the last one decided.", err=True)
    if form == "json":
        click.echo(json.dumps(found, indent=2))
    elif found:
        screen.show(screen.framed(list(box(_HEADER, [_row(each) for each in found]))))
    else:
        click.echo("No route." if to is None else f"No route of the cluster leads to {to}.")
    ctx.exit(0 if found or to is None else 2)


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
        if not isinstance(document["routes"], list):
            raise TypeError("routes are no list")
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file; the agent of this node writes it once it is in sync") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    assert isinstance(document, dict)
    return document


def _workloads(document: dict[str, Any]) -> list[_Route]:
    """This node's own, as routes: their addresses are here, also those of another node's block."""
    return [
        {
            "destination": each["destination"],
            "node": document.get("node", ""),
            "way": "local",
            "owner": "agent",
            "nextHop": "",
            "encrypted": False,
            "reason": f"workload {each['workload']} of this node, behind {each['interface']}",
        }
        for each in document.get("workloads", ())
    ]


def _deciding(routes: Sequence[_Route], workloads: Sequence[_Route], to: str) -> list[_Route]:
    """The narrowest route that contains what was asked for; of a network that is wider than routes are, all within it."""
    try:
        asked = parse_prefix(to, strict=False)
    except ValueError as error:
        raise InputError(f"{to!r} is neither an address nor a CIDR: {error}") from error
    around, within = [], []
    for route in routes:
        network = parse_prefix(route["destination"])
        if network.contains(asked):
            around.append((network.length, route))
        elif asked.contains(network):
            within.append(route)
    here = [each for each in workloads if parse_prefix(each["destination"]) == asked]
    widest = [max(around, key=lambda each: each[0])[1]] if around else []
    return here[:1] or widest + within


def _row(route: _Route) -> tuple[str, ...]:
    encrypted = "yes" if route["encrypted"] else ""
    return (
        *(str(route[name]) for name in ("destination", "node", "way", "owner", "nextHop")),
        encrypted,
        str(route["reason"]),
    )
