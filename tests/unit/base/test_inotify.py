"""A directory's changes are told by name."""

import contextlib
import os
import select
from pathlib import Path

import pytest

from tortie.base.inotify import DirectoryWatch


def readable(watch: DirectoryWatch) -> bool:
    return bool(select.select([watch], [], [], 0)[0])


def descriptors() -> int:
    """Those of inotify alone: what else this process has open may be closed at any time, by a thread or as garbage."""
    count = 0
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the folder's own
            count += "inotify" in os.readlink(f"/proc/self/fd/{name}")
    return count


def test_writing_creating_moving_and_removing_are_told_by_name(tmp_path: Path) -> None:
    watch = DirectoryWatch(str(tmp_path))
    try:
        assert watch.names() == frozenset()
        for name, act in (
            ("a", lambda: (tmp_path / "a").write_text("x")),
            ("a", lambda: (tmp_path / "a").write_text("y")),
            ("b", lambda: os.rename(tmp_path / "a", tmp_path / "b")),
            ("b", lambda: os.unlink(tmp_path / "b")),
        ):
            assert not readable(watch)
            act()
            assert readable(watch)
            names = watch.names()
            assert names is not None
            assert name in names
    finally:
        watch.close()


def test_reading_is_no_change(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    watch = DirectoryWatch(str(tmp_path))
    try:
        assert (tmp_path / "a").read_text() == "x"
        assert not readable(watch)
    finally:
        watch.close()


def test_a_directory_that_is_not_there_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="missing"):
        DirectoryWatch(str(tmp_path / "missing"))


def test_closing_twice_is_harmless_and_gives_the_descriptor_back(tmp_path: Path) -> None:
    before = descriptors()
    watch = DirectoryWatch(str(tmp_path))
    assert descriptors() == before + 1
    watch.close()
    watch.close()
    assert watch.fileno() == -1
    assert descriptors() == before
