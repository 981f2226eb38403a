"""The table of all parameters in docs/agent.md: `python -m tortie.agent.parameter_table` prints it, a test compares it."""

import sys
from collections.abc import Iterator

from tortie.agent.parameters import ASKS_NOTHING, Handling, default_text, handling
from tortie.api.felix_params import PARAMETERS, Parameter


def table() -> str:
    """Two tables in Markdown: what this release acts on, and what it reports."""
    acted_on = [each for each in PARAMETERS if handling(each.name) is not Handling.UNSUPPORTED]
    reported = [each for each in PARAMETERS if handling(each.name) is Handling.UNSUPPORTED]
    return "\n".join(("### Effective", "", *_effective(acted_on), "", "### Not supported", "", *_reported(reported), ""))


def _effective(parameters: list[Parameter]) -> Iterator[str]:
    yield "| parameter | default | a change is | text that cannot be read |"
    yield "| --- | --- | --- | --- |"
    for each in sorted(parameters, key=lambda parameter: parameter.name):
        bad = "refused" if each.fatal else "reported, default used"
        yield f"| {each.name} | {_code(default_text(each))} | {handling(each.name).value} | {bad} |"


def _reported(parameters: list[Parameter]) -> Iterator[str]:
    yield "| parameter | accepted without a report |"
    yield "| --- | --- |"
    for each in sorted(parameters, key=lambda parameter: parameter.name):
        texts = dict.fromkeys((each.default, *ASKS_NOTHING.get(each.name, ())))
        yield f"| {each.name} | {', '.join(map(_code, texts))} |"


def _code(text: str) -> str:
    return f"`{text}`".replace("|", "\\|") if text else "(nothing)"


if __name__ == "__main__":
    sys.stdout.write(table())
