"""The commands of tortie policy over examples/shop, word for word: what docs/policy-commands.md shows.

After a change that is meant: TORTIE_WRITE_GOLDEN=1 pytest tests/unit/cli/test_policy_shop.py, and read the difference.
"""

import os
from pathlib import Path

import pytest
from tests.unit.cli.stage import Tortie, command_line

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "tests" / "golden" / "shop"
PAGE = ROOT / "docs" / "policy-commands.md"
CASES = {
    "matrix": ("matrix", "--port", "tcp/5432", "--port", "tcp/9443", "--external", "203.0.113.7"),
    "diff-staged": ("diff", "--staged"),
    "effective": ("effective", "shop/db", "--direction", "ingress"),
    "lint": ("lint",),
    "test": ("test", "examples/shop/shop.test.yaml"),
    "trace": ("trace", "shop/frontend"),
}


@pytest.fixture
def tortie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Tortie:
    call = command_line(tmp_path, monkeypatch, capsys)
    monkeypatch.chdir(ROOT)
    return call


@pytest.mark.parametrize("name", sorted(CASES))
def test_the_shop_is_told_word_for_word(tortie: Tortie, name: str) -> None:
    command, *arguments = CASES[name]
    answer = tortie("policy", command, *arguments, "-f", "examples/shop")
    golden = FOLDER / f"{name}.txt"
    if os.environ.get("TORTIE_WRITE_GOLDEN"):
        golden.write_text(answer.out)
    assert answer.out == golden.read_text()


@pytest.mark.parametrize("name", sorted(CASES))
def test_the_page_shows_what_is_printed(name: str) -> None:
    assert (FOLDER / f"{name}.txt").read_text() in PAGE.read_text(), f"put tests/golden/shop/{name}.txt into {PAGE.name}"
