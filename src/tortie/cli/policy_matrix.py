"""tortie policy matrix: the truth table of who reaches whom."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import click

from tortie.base.net import Family, parse_address
from tortie.cli.worlds import inputs, open_world, staged_option, tell_protocols
from tortie.insight.diff import staged_enforced
from tortie.insight.ends import End, find, of_workload
from tortie.insight.errors import InsightError
from tortie.insight.interesting import require_named_ports
from tortie.insight.matrix import Matrix, matrix_json, question_text
from tortie.insight.matrix import matrix as build
from tortie.insight.question import Question, parse_question
from tortie.insight.subjects import Groups, labels_of, select
from tortie.insight.world import World

_GROUPED_FROM = 17
"""With more ends than this, ends with equal rows and columns share one line."""
_NAME_WIDTH = 40


@click.command()
@click.option("--port", "ports", multiple=True, required=True, metavar="PROTO/PORT", help="tcp/80, udp/53, icmp. Repeatable.")
@click.option("--from", "source", metavar="SELECTOR", help="Senders: only pods that this selects.")
@click.option("--to", "destination", metavar="SELECTOR", help="Receivers: only pods that this selects.")
@click.option("--external", multiple=True, metavar="IP", help="An address outside, as sender and as receiver. Repeatable.")
@click.option("--family", type=click.Choice(["4", "6"]), help="IP version. Default: what both ends have, IPv4 first.")
@click.option("-o", "--output", type=click.Choice(["table", "json", "html"]), default="table", show_default=True)
@click.option("--all", "ungrouped", is_flag=True, help="In the table, one line for each pod even if there are many.")
@staged_option
@inputs
def matrix(
    ports: tuple[str, ...],
    *,
    source: str | None,
    destination: str | None,
    external: tuple[str, ...],
    family: str | None,
    output: str,
    ungrouped: bool,
    staged: bool,
    paths: tuple[str, ...],
    config_file: str | None,
) -> None:
    """Who reaches whom: every sender to every receiver, on each port.

    Selectors see a pod's labels and what it inherits: projectcalico.org/namespace == 'shop', pcns.team == 'a'.

    \b
    tortie policy matrix --port tcp/80 --port udp/53 -f cluster/
    tortie policy matrix --port tcp/5432 --to "app == 'db'" --external 192.0.2.1 -f cluster/
    tortie policy matrix --port tcp/80 -f cluster/ -o html > table.html
    """
    asked = Family(int(family)) if family else None
    questions = list(dict.fromkeys(parse_question(text, family=asked) for text in ports))
    tell_protocols(ports)
    world = open_world(paths, config_file)
    require_named_ports([world], questions)
    if staged:
        world = staged_enforced(world)
    outside = [_external(world, text) for text in dict.fromkeys(external)]
    table = build(world, _ends(world, source, outside), _ends(world, destination, outside), questions=questions)
    if output == "json":
        click.echo("\n".join(matrix_json(table)))
    elif output == "html":
        from tortie.insight.html import matrix_html

        click.echo(matrix_html(table, _namer(world)))
    else:
        _print_tables(table, _namer(world), ungrouped=ungrouped)


def _external(world: World, text: str) -> End:
    try:
        parse_address(text)
    except ValueError as error:
        raise InsightError(f"--external {text!r}: an IP address is expected") from error
    return replace(find(world, text), text=text)


def _ends(world: World, selector: str | None, outside: Sequence[End]) -> list[End]:
    workloads = [world.workloads[name] for name in sorted(world.workloads)] if selector is None else select(world, selector)
    return [*(of_workload(workload) for workload in workloads if workload.addresses), *outside]


def _namer(world: World) -> Callable[[Sequence[str]], str]:
    return Groups(labels_of(world)).words


def _print_tables(table: Matrix, name: Callable[[Sequence[str]], str], *, ungrouped: bool) -> None:
    if not table.sources or not table.destinations:
        click.echo("There is no pair to ask about: no pod with an address is selected.", err=True)
        return
    grouped = not ungrouped and max(len(table.sources), len(table.destinations)) >= _GROUPED_FROM
    rows = groups_of(table, rows=True) if grouped else [[index] for index in range(len(table.sources))]
    columns = groups_of(table, rows=False) if grouped else [[index] for index in range(len(table.destinations))]
    for number, question in enumerate(table.questions):
        for line in _table_lines(table, number, question, rows=rows, columns=columns, name=name):
            click.echo(line)
    click.echo("+ allowed, - denied, . not asked (an end and itself, no address of one family, no such port)")
    if grouped:
        click.echo("* depends on whether both are on one node")
    if grouped and (len(rows) < len(table.sources) or len(columns) < len(table.destinations)):
        click.echo("Pods that nothing here tells apart share a line; --all shows each, -o json says who decides.")


def groups_of(table: Matrix, *, rows: bool) -> list[list[int]]:
    """Indices of ends of which every cell of the table is equal."""
    classes = table.source_classes if rows else table.destination_classes
    others = sorted(set(table.destination_classes if rows else table.source_classes))
    groups: dict[tuple[bool | None, ...], list[int]] = {}
    profiles: dict[int, tuple[bool | None, ...]] = {}
    for index, number in enumerate(classes):
        if number not in profiles:
            pairs = [(number, other) if rows else (other, number) for other in others]
            keys = [(*pair, near, k) for pair in pairs for near in (True, False) for k in range(len(table.questions))]
            answers = [table.answers.get(key) for key in keys]
            profiles[number] = tuple(None if answer is None else answer.allowed for answer in answers)
        groups.setdefault(profiles[number], []).append(index)
    return list(groups.values())


def _table_lines(
    table: Matrix,
    number: int,
    question: Question,
    *,
    rows: Sequence[Sequence[int]],
    columns: Sequence[Sequence[int]],
    name: Callable[[Sequence[str]], str],
) -> Iterator[str]:
    yield click.style(question_text(question), bold=True)
    row_names = [_short(name([table.sources[index].text for index in row])) for row in rows]
    column_names = [_short(name([table.destinations[index].text for index in column])) for column in columns]
    same = row_names == column_names
    width = max(map(len, row_names))
    digits = len(str(max(len(rows), len(columns))))
    headings = " ".join(f"{place:>{digits}}" for place in range(1, len(columns) + 1))
    yield "from \\ to".ljust(digits + 1 + width) + "  " + headings
    for place, (row, text) in enumerate(zip(rows, row_names, strict=True), 1):
        cells = " ".join(_cell(_mark(table, number, row, column), digits) for column in columns)
        yield f"{place if same else '':>{digits}} {text.ljust(width)}  {cells}"
    if not same:
        yield "to:"
        for place, text in enumerate(column_names, 1):
            yield f"{place:>{digits}} {text}"
    yield ""


def _mark(table: Matrix, number: int, row: Sequence[int], column: Sequence[int]) -> str:
    answers = (table.answer(source, destination, number) for source in row[:3] for destination in column[:3])
    allowed = {answer.allowed for answer in answers if answer is not None}
    return {(): ".", (True,): "+", (False,): "-"}.get(tuple(allowed), "*")


def _cell(mark: str, digits: int) -> str:
    colour = {"+": "green", "-": "red"}.get(mark)
    return " " * (digits - 1) + (click.style(mark, fg=colour) if colour else mark)


def _short(text: str) -> str:
    return text if len(text) <= _NAME_WIDTH else f"{text[: _NAME_WIDTH - 10]}...{text[-7:]}"
