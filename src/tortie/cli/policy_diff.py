"""tortie policy diff: which packets a change of policies allows or denies."""

from collections.abc import Iterator, Sequence

import click

from tortie.cli.output import as_json
from tortie.cli.worlds import (
    NO,
    YES,
    inputs,
    live_resources_told,
    live_world,
    live_world_with,
    open_world,
    read_files,
    tell_protocols,
)
from tortie.insight.diff import Change, Difference, difference_document, staged_enforced
from tortie.insight.diff import diff as compare
from tortie.insight.errors import InsightError
from tortie.insight.interesting import asked, asks_source_ports, require_named_ports
from tortie.insight.question import parse_question
from tortie.insight.subjects import Groups, Name, labels_of
from tortie.insight.world import World

_PORTS_SHOWN = 8


@click.command()
@click.argument("places", nargs=-1, metavar="[BEFORE] [AFTER]", type=click.Path())
@click.option("--live", "live", is_flag=True, help="BEFORE is the datastore; AFTER is it with the given files applied.")
@click.option("--staged", is_flag=True, help="BEFORE is what is enforced; AFTER has all staged policies enforced too.")
@click.option(
    "--port", "ports", multiple=True, metavar="PROTO/PORT", help="Ask these alone. Default: all that rules tell apart."
)
@click.option("--pods-only", is_flag=True, help="Leave out addresses outside the cluster.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@inputs
def diff(
    places: tuple[str, ...],
    *,
    live: bool,
    staged: bool,
    ports: tuple[str, ...],
    pods_only: bool,
    output: str,
    paths: tuple[str, ...],
    config_file: str | None,
) -> None:
    """Which pairs and ports become allowed or denied between BEFORE and AFTER, and by which rules.

    BEFORE and AFTER are files or directories; what -f names belongs to both. Ports that rules cannot tell apart are asked once,
    addresses outside the cluster likewise: the answer holds for every port and every address.

    \b
    tortie policy diff main/ branch/
    tortie policy diff -f cluster.yaml old-policy.yaml new-policy.yaml
    tortie policy diff --live changed.yaml
    tortie policy diff --staged -f cluster/

    Exit code: 0 no differences, 2 differences, 1 error.
    """
    questions = [parse_question(text) for text in ports]
    tell_protocols(ports)
    before, after = _worlds(places, live=live, staged=staged, paths=paths, config_file=config_file)
    require_named_ports([before, after], questions)
    found = compare(before, after, ports=asked(questions), outside=not pods_only)
    if asks_source_ports(before) or asks_source_ports(after):
        click.echo("Note: some rules ask for source ports; packets from port 49152 stand for all.", err=True)
    if output == "json":
        click.echo(as_json(difference_document(found)))
    else:
        labels = labels_of(before) | labels_of(after)
        for line in _lines(found, labels):
            click.echo(line)
    click.get_current_context().exit(NO if found.changes else YES)


def _worlds(
    places: Sequence[str], *, live: bool, staged: bool, paths: Sequence[str], config_file: str | None
) -> tuple[World, World]:
    if live and (paths or not places):
        raise InsightError("--live AFTER: name the files that are to be applied to the datastore, and no -f")
    if live:
        resources = live_resources_told(config_file)
        before, after = live_world(resources), live_world_with(resources, read_files(places))
        return before, staged_enforced(after) if staged else after
    if staged:
        world = open_world([*paths, *places], config_file)
        return world, staged_enforced(world)
    if len(places) != 2:
        raise InsightError("BEFORE and AFTER are expected: two files or directories; or --live AFTER, or --staged")
    before, after = (read_files([*paths, place]).world() for place in places)
    return before, after


def _lines(found: Difference, labels: dict[Name, dict[str, str]]) -> Iterator[str]:
    groups = Groups(labels)
    for change in found.changes:
        yield from _change_lines(change, groups)
    for verb, names in (("appear", found.appeared), ("vanish", found.vanished)):
        if names:
            yield f"Endpoints that {verb}, not compared: {groups.words(names, limit=8)}"
    if not found.changes:
        yield "No packet between endpoints of both sides is treated differently."
        return
    denied = sum(1 for change in found.changes if not change.now_allowed)
    changes = "1 change" if len(found.changes) == 1 else f"{len(found.changes)} changes"
    yield f"{changes}: {denied} deny, {len(found.changes) - denied} allow."


def _change_lines(change: Change, groups: Groups) -> Iterator[str]:
    word, colour = ("ALLOWED", "green") if change.now_allowed else ("DENIED", "red")
    ports = ", ".join(change.ports[:_PORTS_SHOWN])
    if len(change.ports) > _PORTS_SHOWN:
        ports += f" and {len(change.ports) - _PORTS_SHOWN} more"
    family = f" (IPv{change.families[0]} only)" if len(change.families) < len(change.asked_families) else ""
    ends = f"{groups.words(change.sources)} -> {groups.words(change.destinations)}"
    yield f"{click.style(f'now {word}', fg=colour, bold=True)}  {ends}  {ports}{family}"
    for when, answer in (("was", change.before), ("now", change.after)):
        yield f"  {when} {'allowed' if answer.allowed else 'denied'}, {answer.reason}"
