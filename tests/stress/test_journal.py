"""The stress test's judge: what it must notice."""

from pathlib import Path

import pytest
from tests.stress.journal import faults, read


def judged(folder: Path, *texts: str, cooldown: float = 1.0) -> list[str]:
    for number, text in enumerate(texts):
        (folder / f"w{number}.log").write_text(text)
    return faults([read(folder / f"w{number}.log") for number in range(len(texts))], cooldown_seconds=cooldown)


def test_an_address_that_two_workers_have_is_noticed(tmp_path: Path) -> None:
    assert judged(tmp_path, "? 1 a\n+ 2 a 10.0.0.1\n. 2 a\n", "? 1 b\n+ 3 b 10.0.0.1\n. 3 b\n") == [
        "10.0.0.1 was given to b while a had it"
    ]


def test_an_address_that_one_worker_is_given_twice_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="was given to a and to b"):
        judged(tmp_path, "+ 2 a 10.0.0.1\n+ 3 b 10.0.0.1\n")


def test_an_address_that_did_not_cool_down_is_noticed(tmp_path: Path) -> None:
    first = "+ 2 a 10.0.0.1\nr 5 a 10.0.0.1\n- 5.1 a\n"
    assert judged(tmp_path, first, "+ 5.5 b 10.0.0.1\n") == ["10.0.0.1 was given to b 0.500 s after a released it"]
    assert judged(tmp_path, first, "+ 6.1 b 10.0.0.1\n") == []


def test_what_a_dead_worker_did_not_hear_the_end_of_is_unsettled_and_half_a_line_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "w.log").write_text("? 1 a\n+ 2 a 10.0.0.1\n. 2 a\n? 3 b\nR 4 a\n+ 5 b 10.0")
    journal = read(tmp_path / "w.log")
    assert journal.unsettled == {"a", "b"}
    assert journal.held == {}
