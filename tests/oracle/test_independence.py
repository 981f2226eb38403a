"""The oracle is worth something only as long as it shares nothing with what it judges."""

import ast
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.parametrize("path", sorted(HERE.glob("*.py")), ids=lambda path: path.name)
def test_the_oracle_imports_nothing_of_the_product(path: Path) -> None:
    imported = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module or "")
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "__import__"
    assert not {name for name in imported if name.split(".")[0] in ("tortie", "importlib")}
    assert not {name for name in imported if name.startswith("tests.") and not name.startswith("tests.oracle")}
