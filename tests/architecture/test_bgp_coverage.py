"""docs/bgp-coverage.md names tests and golden files that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "bgp-coverage.md").read_text()


def test_every_test_that_is_named_exists() -> None:
    named = set(re.findall(r"`([\w/]+\.py)::(\w+)`", TEXT))
    assert len(named) > 60
    missing = [f"{file}::{name}" for file, name in sorted(named) if f"def {name}(" not in (ROOT / "tests" / file).read_text()]
    assert missing == []


def test_only_golden_files_that_exist_are_named() -> None:
    files = {path.stem for path in (ROOT / "tests" / "golden" / "bgp").glob("*.conf")}
    named = {name for words in re.findall(r"golden ((?:`[\w-]+`(?:, )?)+)", TEXT) for name in re.findall(r"`([\w-]+)`", words)}
    assert named <= files
