"""tortie policy effective: the rules of one endpoint, in the order in which packets meet them."""

from collections.abc import Iterator, Mapping
from typing import Any

import click

from tortie.cli.completing_policy import complete_end
from tortie.cli.output import as_json
from tortie.cli.worlds import inputs, open_world
from tortie.insight.effective import effective as find_effective
from tortie.insight.effective import effective_document

_MEMBERS_SHOWN = 5


@click.command()
@click.argument("endpoint", metavar="ENDPOINT", shell_complete=complete_end)
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("--direction", type=click.Choice(["ingress", "egress"]), help="One direction only.")
@inputs
def effective(endpoint: str, *, output: str, direction: str | None, paths: tuple[str, ...], config_file: str | None) -> None:
    """The ordered, effective rules of ENDPOINT: tiers and their default action, policies, profiles, the end, limits.

    ENDPOINT is NAMESPACE/POD, node/NAME (its host endpoints) or hep/NAME. Selectors are shown with the members that they have
    now; -o json lists all members.

    \b
    tortie policy effective shop/cart -f cluster/
    tortie policy effective hep/node1-eth0
    """
    world = open_world(paths, config_file)
    found = find_effective(world, endpoint)
    document = effective_document(world, found, members=None if output == "json" else _MEMBERS_SHOWN)
    if output == "json":
        click.echo(as_json(document))
        return
    for item in document["items"]:
        for line in _lines(item, direction):
            click.echo(line)


def _lines(item: Mapping[str, Any], only: str | None) -> Iterator[str]:
    facts = [f"node {item['node']}", f"interface {item['interface']}"]
    facts += item.get("addresses", ()) or item.get("expectedAddresses", ())
    yield f"{click.style(item['endpoint'], bold=True)}  ({', '.join(facts)})"
    for name, limit in item["limits"].items():
        yield f"  limit {name}: {limit}"
    for direction in ("ingress", "egress"):
        if only in (None, direction):
            yield click.style(direction.capitalize(), bold=True)
            for stage in item[direction]:
                yield from _stage_lines(stage)


def _stage_lines(stage: Mapping[str, Any]) -> Iterator[str]:
    if "stage" in stage:
        yield f" {stage['stage']}"
    for tier in stage["tiers"]:
        yield f"  tier {tier['tier']}"
        for policy in tier["policies"]:
            yield from _owner_lines(policy, "policy")
        after = "on to the next tier" if tier["defaultAction"] == "Pass" else "denied"
        yield f"    no rule matched: {after} (default action {tier['defaultAction']})"
    if stage["profiles"]:
        yield "  profiles"
        for profile in stage["profiles"]:
            yield from _owner_lines(profile, "profile")
    yield f"  end: {'denied' if stage['end'] == 'deny' else 'goes on'}"


def _owner_lines(owner: Mapping[str, Any], key: str) -> Iterator[str]:
    marks = [word for word in ("staged", "missing") if owner.get(word)]
    notes = f" [{', '.join(marks)}: {'recorded, not enforced' if 'staged' in marks else 'denies'}]" if marks else ""
    place = f"  ({owner['location']})" if owner.get("location") else ""
    yield f"    {owner[key]}{notes}{place}"
    if not owner["rules"] and not owner.get("missing"):
        yield "      no rules in this direction"
    for rule in owner["rules"]:
        yield f"      {rule['index']} {rule.get('text') or rule['action']}"
        if "unenforceable" in rule:
            yield f"        cannot be enforced: {rule['unenforceable']}"
        for side in ("source", "destination"):
            yield from _set_lines(side, rule.get(side, {}))


def _set_lines(side: str, match: Mapping[str, Any]) -> Iterator[str]:
    for name in ("sets", "notSets", "namedPorts", "notNamedPorts"):
        for each in match.get(name, ()):
            shown = ", ".join(each["members"])
            more = each["count"] - len(each["members"])
            held = f"{shown} and {more} more" if more else shown or "nobody now"
            yield f"        {'not ' if name.startswith('not') else ''}{side} {each['origin']}: {each['count']} ({held})"
