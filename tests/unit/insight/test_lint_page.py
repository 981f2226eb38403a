"""docs/policy-lint.md is the catalogue, generated: TORTIE_WRITE_GOLDEN=1 pytest on this file writes it."""

import os
from pathlib import Path

from tests.unit.insight.lint_cases import CASES

from tortie.insight.lint.catalogue import CHECKS

PAGE = Path(__file__).parents[3] / "docs" / "policy-lint.md"
HEAD = """\
# What `tortie policy lint` finds

Generated from [catalogue.py](../src/tortie/insight/lint/catalogue.py) and the tests' cases. **error** cannot be meant,
**warning** is most likely a mistake, **info** is worth knowing. `--ignore ID` leaves a check out, `--fail-on` says from which
severity on the exit code is 2. Rules that are never asked are found by comparing criteria one by one: what is reported is
certain, and a dead rule may go unreported.
"""


def page() -> str:
    """The page as it should be."""
    parts = [HEAD, "| id | severity | what |", "| --- | --- | --- |"]
    parts += [f"| [{check.id}](#{check.id.lower()}) | {check.severity.word} | {check.title} |" for check in CHECKS.values()]
    for check in CHECKS.values():
        trigger = next(case[1] for case in CASES if case[0] == check.id).removesuffix("---\n")
        parts += ["", f"## {check.id}", "", f"**{check.severity.word}: {check.title}.** {check.why}", "", f"{check.fix}"]
        parts += ["", "```yaml", trigger.rstrip("\n"), "```"]
    return "\n".join(parts) + "\n"


def test_the_page_is_the_catalogue() -> None:
    if os.environ.get("TORTIE_WRITE_GOLDEN"):
        PAGE.write_text(page())
    assert PAGE.read_text() == page()
