"""What a line looks like, and who decides that it is written."""

import json
import logging
from collections.abc import Iterator

import pytest

from tortie.base import log


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_text_names_time_level_and_package(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("info")
    log.get("tortie.agent.applier").warning("applied chains=%d", 3)
    (line,) = lines(capsys)
    assert line.endswith(" WARNING agent.applier: applied chains=3")


def test_json_is_one_object_a_line_whatever_the_message_holds(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("info", "json")
    try:
        raise RuntimeError("inner\nlines")
    except RuntimeError:
        log.get("tortie.cni").exception('two\nlines and a "quote"')
    (line,) = lines(capsys)
    said = json.loads(line)
    assert (said["level"], said["logger"], said["message"]) == ("error", "cni", 'two\nlines and a "quote"')
    assert "RuntimeError: inner" in said["traceback"]
    assert said["time"].endswith("Z")


def test_the_level_changes_while_the_process_runs(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("error")
    logger = log.get("tortie.x")
    logger.info("unheard")
    log.set_level("DEBUG")
    logger.debug("heard")
    log.set_level("Fatal")
    logger.error("unheard again")
    assert [line.rpartition(": ")[2] for line in lines(capsys)] == ["heard"]


def test_lines_are_counted_by_level(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("error")
    before = log.written["ERROR"]
    log.get("tortie.x").error("one")
    log.get("tortie.x").info("not written")
    assert log.written["ERROR"] == before + 1
    assert len(lines(capsys)) == 1


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(ValueError, match="use text or json"):
        log.configure("info", "xml")
