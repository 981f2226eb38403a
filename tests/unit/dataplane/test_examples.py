"""The examples are accepted as they are, and everything in them is acted on."""

from pathlib import Path

import pytest

from tortie.api.documents import load_documents
from tortie.api.validation import check_document
from tortie.dataplane.enforcement import unenforced

EXAMPLES = Path(__file__).parents[3] / "examples"
FILES = sorted(path for path in EXAMPLES.rglob("*.yaml") if not path.name.endswith(".test.yaml"))


def test_there_are_examples() -> None:
    assert len(FILES) >= 3


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(EXAMPLES)))
def test_an_example_is_accepted_and_enforced(file: Path) -> None:
    # Deployments and the like are read by the offline commands only.
    documents = load_documents(file.read_text(), origin=file.name, skip=lambda raw: raw.get("apiVersion") == "apps/v1")
    for document in documents:
        assert unenforced(check_document(document)) == []
