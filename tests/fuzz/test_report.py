"""A report is a file that can be run again, and shrinking leaves what matters."""

import pytest
from tests.fuzz.probes import Probe
from tests.fuzz.shrink import read_report, report, shrink
from tests.oracle.cluster import Document, Sent

DOCUMENTS: list[Document] = [
    {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x", "labels": {"a": "b"}}},
    {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "y"}},
]


@pytest.mark.parametrize("sender", [("x", "pod"), None])
def test_a_report_can_be_read_back(sender: tuple[str, str] | None) -> None:
    probe = Probe(sender, Sent("10.0.0.1", "fd00::1", 17, source_port=1, destination_port=2), "", fragmented=True)
    text = report(DOCUMENTS, probe, {"oracle": True, "kernel": False}, seed=7)
    assert text.startswith("# seed 7: oracle allows, kernel denies\n")
    assert read_report(text) == (DOCUMENTS, probe)


def test_shrinking_leaves_what_the_question_needs() -> None:
    smallest = shrink(DOCUMENTS, still=lambda documents: any(each["metadata"]["name"] == "x" for each in documents))
    assert smallest == [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "x", "labels": {}}}]
