"""What is generated from the models is current, and models, CRDs and documentation agree. TORTIE_GOLDEN=1 writes it anew."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hack.generate import contents, differences, write

from tortie.api.crd import custom_kinds, definition
from tortie.api.felix_params import PARAMETERS
from tortie.api.kinds import KINDS

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs/reference"


def test_generated_files_are_current_and_no_others_stand_beside_them() -> None:
    if os.environ.get("TORTIE_GOLDEN"):
        write(ROOT)
    assert differences(ROOT) == [], "run `python hack/generate.py`, then read the difference"


def test_what_is_not_current_is_found_and_made_current(tmp_path: Path) -> None:
    write(tmp_path)
    assert differences(tmp_path) == []
    first, second, *_ = sorted(contents())
    (tmp_path / first).write_text("changed")
    (tmp_path / second).unlink()
    extra = first.parent / "gone.md"
    (tmp_path / extra).write_text("nothing makes this any more")
    assert differences(tmp_path) == sorted([first, second, extra])
    write(tmp_path)
    assert differences(tmp_path) == []


@pytest.mark.parametrize("name", [kind.kind for kind in custom_kinds()])
def test_every_field_of_a_definition_has_its_row_with_the_same_values_and_limits(name: str) -> None:
    kind = KINDS[name]
    page = _rows((REFERENCE / f"{kind.plural}.md").read_text()) | _rules_below((REFERENCE / "rules.md").read_text())
    root = definition(kind, kind.api_version)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for path, schema, required in _fields(root):
        assert path in page, f"{path} is missing in docs/reference/{kind.plural}.md"
        row = page[path]
        assert row["required"] == required, path
        assert row["meaning"].endswith("."), f"{path} says nothing of what it means"
        assert row["meaning"] == schema["description"].replace("|", "\\|"), path
        for value in schema.get("enum", ()):
            assert str(value) in row["allowed"], path
        for limit in ("minimum", "maximum", "maxLength", "maxItems"):
            if limit in schema:
                assert str(schema[limit]) in row["allowed"], path
        if schema.get("default"):
            assert str(schema["default"]).lower() == row["default"].lower(), path


def test_the_index_names_every_page_and_the_parameters_page_every_parameter() -> None:
    index = (REFERENCE / "README.md").read_text()
    assert {page.name for page in REFERENCE.glob("*.md")} - {"README.md"} == set(re.findall(r"\]\(([a-z-]+\.md)\)", index))
    page = (REFERENCE / "agent-parameters.md").read_text()
    assert [parameter.name for parameter in PARAMETERS if f"\n| {parameter.name} | {parameter.field} |" not in page] == []


def _rows(page: str) -> dict[str, dict[str, Any]]:
    found = {}
    for line in page.splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == 6:
            path, meaning, _, default, allowed, _ = cells
            found[path.removesuffix(" *")] = {
                "required": path.endswith("*"),
                "default": default,
                "allowed": allowed,
                "meaning": meaning,
            }
    return found


def _rules_below(page: str) -> dict[str, dict[str, Any]]:
    """The rows of a rule, wherever rules stand; a destination is like a source."""
    found = {}
    for path, row in _rows(page).items():
        for direction in ("ingress", "egress"):
            below = path.replace("rule", f"spec.{direction}[]", 1)
            found[below] = row
            found[below.replace("[].source.", "[].destination.", 1)] = row
    return found


def _fields(root: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], bool]]:
    for name in root["properties"]:
        if name in ("spec", "status"):
            yield from _below(root["properties"][name], name)


def _below(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any], bool]]:
    for name, child in schema.get("properties", {}).items():
        where = f"{path}.{name}"
        yield where, child, name in schema.get("required", ())
        if where == "status.runningConfig":
            continue  # it has the fields of spec
        yield from _below(child, where)
        if child.get("type") == "array":
            yield from _below(child["items"], f"{where}[]")
