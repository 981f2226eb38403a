"""What docs/explain.md shows is what a person gets."""

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from tortie.cli.explain import explain

_PAGE = (Path(__file__).parents[3] / "docs" / "explain.md").read_text()
_SHOWN = re.findall(r"```console\n\$ tortie explain ([^\n]*)\n(.*?)```", _PAGE, re.DOTALL)


def test_there_are_examples() -> None:
    assert len(_SHOWN) >= 3


@pytest.mark.parametrize(("arguments", "shown"), _SHOWN, ids=[arguments for arguments, _ in _SHOWN])
def test_every_output_on_the_page_is_what_the_command_prints(
    arguments: str, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example = re.search(r"```yaml\n(.*?)```", _PAGE, re.DOTALL)
    assert example is not None
    (tmp_path / "shop.yaml").write_text(example[1])
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(explain, shlex.split(arguments)).stdout == shown
