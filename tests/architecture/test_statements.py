"""Every numbered statement about policy is shown by a test, and the table that says so is current."""

import os
import re

from tests.architecture.statements import COVERAGE, ROOT, STATEMENTS, Showing, Statement, is_shown, showings, statements, table

LISTED = statements(STATEMENTS.read_text())
SHOWN = showings(ROOT)


def test_numbers_count_up_without_holes() -> None:
    last: dict[str, int] = {}
    for statement in LISTED:
        section, _, number = statement.number.removeprefix("PS-").partition(".")
        assert int(number) == last.get(section, 0) + 1, statement.number
        last[section] = int(number)


def test_what_is_left_to_others_says_why() -> None:
    bare = [each.number for each in LISTED if each.shown_by in ("other", "elsewhere") and not each.reason]
    assert not bare


def test_every_number_that_the_document_mentions_exists() -> None:
    known = {each.number for each in LISTED}
    mentioned = set(re.findall(r"PS-\d+\.\d+", STATEMENTS.read_text()))
    assert mentioned <= known, sorted(mentioned - known)


def test_no_test_names_a_statement_that_does_not_exist() -> None:
    known = {each.number for each in LISTED}
    unknown = [f"{each.path}::{each.name}: {number}" for each in SHOWN for number in each.numbers if number not in known]
    assert not unknown


def test_every_statement_is_shown_and_by_packets_what_packets_can_show() -> None:
    missing = [
        f"{each.number} ({each.shown_by})"
        for each in LISTED
        if each.shown_by != "elsewhere" and not is_shown(each, [test for test in SHOWN if each.number in test.numbers])
    ]
    assert not missing


def test_the_table_is_current() -> None:
    current = table(LISTED, SHOWN)
    if os.environ.get("TORTIE_GOLDEN"):
        COVERAGE.write_text(current)
    assert COVERAGE.read_text() == current, "make golden writes it anew"


def test_a_table_says_what_is_not_shown() -> None:
    listed = [Statement("PS-1.1", "This.", "packet", ""), Statement("PS-1.2", "That.", "packet", "")]
    page = table(listed, [Showing("tests/kernel/test_a.py", "test_this", ("PS-1.1",), sends=True)])
    assert "| PS-1.1 | This. | `kernel/test_a.py::test_this` |" in page
    assert "| PS-1.2 | That. | **not shown** |" in page
    assert "1 of 2 for `packet`" in page
    page = table(listed, [Showing("tests/unit/test_a.py", "test_this", ("PS-1.1",), sends=False)])
    assert "0 of 2 for `packet`" in page, "a test that sends nothing does not show it"
