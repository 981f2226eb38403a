"""tortie policy lint: rules and policies that do not do what they seem to."""

from collections.abc import Iterator, Sequence

import click

from tortie.cli.output import as_json
from tortie.cli.worlds import NO, YES, inputs, live_resources_told, live_world, tell_ignored, texts
from tortie.insight.lint.catalogue import CHECKS
from tortie.insight.lint.findings import Finding, Severity, findings_document
from tortie.insight.lint.reading import read
from tortie.insight.lint.run import in_order
from tortie.insight.lint.run import lint as find
from tortie.insight.world import World

_COLOURS = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.INFO: "cyan"}
_GITHUB = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "notice"}


def _complete_check(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    return [name for name in CHECKS if name.startswith(incomplete.upper())]


@click.command()
@click.argument("places", nargs=-1, metavar="[PATH]...", type=click.Path())
@click.option("--ignore", multiple=True, metavar="ID", shell_complete=_complete_check, help="Leave out a check. Repeatable.")
@click.option(
    "--fail-on",
    type=click.Choice(["info", "warning", "error"]),
    default="warning",
    show_default=True,
    help="The least severity that makes the exit code 2.",
)
@click.option("-o", "--output", type=click.Choice(["text", "json", "github"]), default="text", show_default=True)
@inputs
def lint(
    places: tuple[str, ...],
    *,
    ignore: tuple[str, ...],
    fail_on: str,
    output: str,
    paths: tuple[str, ...],
    config_file: str | None,
) -> None:
    """Find rules that can never match, shadowed rules and policies, selectors that select nothing, and the like.

    What is said about the world is certain for the world that is given: leave no pods out, or their policies select nothing.
    docs/policy-lint.md tells all checks. -o github prints annotations for GitHub workflows.

    \b
    tortie policy lint -f cluster/
    tortie policy lint cluster/ --ignore TL017 --fail-on error -o github

    Exit code: 0 nothing of that severity, 2 findings, 1 error.
    """
    unknown = [name for name in ignore if name.upper() not in CHECKS]
    if unknown:
        raise click.BadParameter(f"there is no check {unknown[0]}: see docs/policy-lint.md", param_hint="--ignore")
    findings, world = _findings([*paths, *places], config_file)
    shown = in_order(findings, ignore={name.upper() for name in ignore})
    if output == "json":
        click.echo(as_json(findings_document(shown)))
    elif output == "github":
        for finding in shown:
            click.echo(_annotation(finding))
    else:
        for line in _lines(shown, world):
            click.echo(line)
    worst = max((finding.check.severity for finding in shown), default=Severity.INFO)
    failed = bool(shown) and worst >= Severity[fail_on.upper()]
    click.get_current_context().exit(NO if failed else YES)


def _findings(paths: Sequence[str], config_file: str | None) -> tuple[list[Finding], World]:
    if not paths:
        world = live_world(live_resources_told(config_file))
        return find(world), world
    found = read(texts(paths))
    tell_ignored(found.loaded)
    world = found.loaded.world()
    return [*found.findings, *find(world)], world


def _lines(findings: Sequence[Finding], world: World) -> Iterator[str]:
    for finding in findings:
        severity = finding.check.severity
        field = "" if finding.message.startswith(finding.field) else finding.field
        what = ", ".join(part for part in (finding.resource, field) if part)
        place = f"{finding.location}: " if finding.location else ""
        yield f"{place}{click.style(severity.word, fg=_COLOURS[severity])} {finding.check.id} {finding.check.title}"
        yield f"  {what}: {finding.message}" if what else f"  {finding.message}"
        yield f"  fix: {finding.fix}"
    if not world.workloads and not world.state.host_endpoints:
        yield "The input has no endpoints: what selectors select was not checked."
    counts = [(severity, sum(1 for each in findings if each.check.severity is severity)) for severity in reversed(Severity)]
    told = ", ".join(_counted(count, severity) for severity, count in counts if count)
    yield f"{told or 'Nothing'} found."


def _counted(count: int, severity: Severity) -> str:
    return f"{count} {severity.word}" if count == 1 or severity is Severity.INFO else f"{count} {severity.word}s"


def _annotation(finding: Finding) -> str:
    """A workflow command: GitHub shows it beside the line."""
    file, line = finding.place
    place = "".join((f"file={_escaped(file)}," if file else "", f"line={line}," if line else ""))
    title = f"title={_escaped(f'{finding.check.id} {finding.check.title}')}"
    text = f"{finding.resource} {finding.field}: {finding.message}. {finding.fix}".strip()
    message = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return f"::{_GITHUB[finding.check.severity]} {place}{title}::{message}"


def _escaped(text: str) -> str:
    for character, code in (("%", "%25"), ("\r", "%0D"), ("\n", "%0A"), (":", "%3A"), (",", "%2C")):
        text = text.replace(character, code)
    return text
