"""tortie policy test: assertions about who reaches whom."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from tortie.cli.explain import explanation_lines
from tortie.cli.output import as_json
from tortie.cli.worlds import NO, YES, inputs, open_world, read_text, staged_option
from tortie.insight.diff import staged_enforced
from tortie.insight.errors import InsightError
from tortie.insight.files import Text, load
from tortie.insight.policy_test import Outcome, holds_resources, junit_xml, outcomes_document, read_assertions, run_assertions


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path())
@click.option("--junit", metavar="FILE", type=click.Path(dir_okay=False), help="Write the results as JUnit XML too.")
@click.option("-v", "--verbose", is_flag=True, help="With each failure, the whole walk through tiers and rules.")
@click.option("-o", "--output", type=click.Choice(["text", "json", "junit"]), default="text", show_default=True)
@staged_option
@inputs
def test(
    files: tuple[str, ...],
    *,
    junit: str | None,
    verbose: bool,
    output: str,
    staged: bool,
    paths: tuple[str, ...],
    config_file: str | None,
) -> None:
    """Check the assertions of FILE against policies in files (-f), in FILE itself, or in the datastore.

    \b
    apiVersion: tortie.io/v1
    kind: PolicyTest
    tests:
    - name: only the cart charges           # optional
      from: shop/cart                       # namespace/pod, node/NAME, an IP address
      to: [payments/checkout]               # or a list of those
      port: [tcp/9443, tcp/api]             # proto/port, proto/name, icmp
      expect: allow                         # or deny
    - from: {selector: app != 'cart', namespace: shop}
      to: payments/checkout
      port: tcp/9443
      expect: deny

    \b
    tortie policy test shop.test.yaml -f cluster/ --junit report.xml

    Exit code: 0 all hold, 2 an assertion fails, 1 error.
    """
    texts = [Text("standard input", sys.stdin.read()) if file == "-" else read_text(Path(file)) for file in files]
    assertions = [assertion for text in texts for assertion in read_assertions(text)]
    world = load(texts).world() if not paths and any(map(holds_resources, texts)) else open_world(paths, config_file)
    outcomes = run_assertions(staged_enforced(world) if staged else world, assertions)
    report = junit_xml(outcomes, suite=", ".join(Path(text.origin).name for text in texts))
    if junit is not None:
        _write(Path(junit), report)
    if output == "junit":
        click.echo(report, nl=False)
    elif output == "json":
        click.echo(as_json(outcomes_document(outcomes)))
    else:
        for line in _lines(outcomes, verbose=verbose):
            click.echo(line)
    click.get_current_context().exit(YES if all(outcome.passed for outcome in outcomes) else NO)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text)
    except OSError as error:
        raise InsightError(f"--junit {path}: cannot be written: {error}") from error


def _lines(outcomes: Sequence[Outcome], *, verbose: bool) -> Iterator[str]:
    for outcome in outcomes:
        if outcome.passed:
            continue
        expect = "allow" if outcome.assertion.allow else "deny"
        yield f"{click.style('FAIL', fg='red', bold=True)}  {outcome.text}: expected {expect}, got {outcome.verdict}"
        yield f"  {outcome.assertion.where}"
        yield f"  {outcome.reason}"
        if verbose and outcome.explanation is not None:
            yield from (f"    {line}" for line in explanation_lines(outcome.explanation))
    failed = sum(1 for outcome in outcomes if not outcome.passed)
    told = click.style(f"{failed} failed", fg="red") if failed else click.style("all passed", fg="green")
    yield f"{len(outcomes)} checked, {told}."
