"""docs/agent.md says what the code does."""

from pathlib import Path

from tortie.agent.parameter_table import table
from tortie.agent.prometheus import HELP

DOCUMENT = Path("docs/agent.md").read_text()


def test_the_tables_of_parameters_are_current() -> None:
    assert table() in DOCUMENT, "run `python -m tortie.agent.parameter_table` and put its output into docs/agent.md"


def test_every_metric_is_described_and_none_that_does_not_exist() -> None:
    described = {line.split("|")[1].strip() for line in DOCUMENT.splitlines() if line.startswith(("| felix_", "| tortie_"))}
    assert described == set(HELP)
    for name, text in HELP.items():
        assert f"| {name} | {text} |" in DOCUMENT
