"""hack/kubernetes/build around a compiler that pretends: what is kept, what is built once, what is said without a network."""

import os
import subprocess
from pathlib import Path

import pytest

from tortie.lab.kubernetes_binaries import MODULE, built_folder

PROGRAMS = ["kube-apiserver", "kube-controller-manager", "kubectl"]
GO = """#!/bin/bash
case "$1" in
env) echo go1.99.0 ;;
list)
    [ -z "$PRETEND_OFFLINE" ] || { echo "go: downloading x" >&2; echo "go: x: dial tcp: no route to host" >&2; exit 1; }
    [ -z "$PRETEND_TAMPERED" ] || { echo "verifying x: checksum mismatch" >&2; echo "SECURITY ERROR" >&2; exit 1; }
    echo "$@" ;;
build)
    echo "${@: -1}" >>"$PRETEND_LOG"
    [ -z "$PRETEND_BROKEN" ] || exit 2
    sleep 0.2
    while [ "$1" != -o ]; do shift; done
    echo program >"$2" ;;
esac
"""


class Ground:
    """A cache of our own and a pretended Go."""

    def __init__(self, folder: Path) -> None:
        tools = folder / "tools"
        tools.mkdir()
        (tools / "go").write_text(GO)
        (tools / "go").chmod(0o755)
        self.cache = folder / "cache"
        self.log = folder / "log"
        self.environment = {
            "PATH": f"{tools}:/usr/bin:/bin", "HOME": str(folder),
            "TORTIE_KUBERNETES_CACHE": str(self.cache), "PRETEND_LOG": str(self.log),
        }  # fmt: skip

    def start(self, **more: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(MODULE / "build")], env={**self.environment, **more},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/",
        )  # fmt: skip

    def build(self, **more: str) -> tuple[int, str, str]:
        process = self.start(**more)
        out, err = process.communicate(timeout=50)
        return process.returncode, out, err

    @property
    def built(self) -> list[str]:
        return [line.rpartition("/")[2] for line in self.log.read_text().split()] if self.log.exists() else []

    @property
    def leftovers(self) -> list[str]:
        return sorted(name for name in os.listdir(self.cache) if name.startswith(".build-"))


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path)


def test_it_builds_every_program_once_and_says_where_they_are(ground: Ground) -> None:
    code, out, _ = ground.build()
    assert code == 0
    folder = built_folder(ground.environment)
    assert str(folder) in out
    assert sorted(os.listdir(folder)) == PROGRAMS
    assert " s so far" in out
    code, out, _ = ground.build()
    assert code == 0
    assert str(folder) in out
    assert ground.built == PROGRAMS
    assert ground.leftovers == []


def test_two_at_once_build_once(ground: Ground) -> None:
    both = [ground.start(), ground.start()]
    said = [process.communicate(timeout=50)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert ground.built == PROGRAMS
    assert all(str(built_folder(ground.environment)) in out for out in said)


def test_without_the_module_proxy_it_says_so_in_one_line_with_a_status_of_its_own(ground: Ground) -> None:
    code, _, err = ground.build(PRETEND_OFFLINE="1")
    assert code == 69
    assert err == "kubernetes: not built, and its modules cannot be fetched: go: x: dial tcp: no route to host\n"
    assert not built_folder(ground.environment).exists()


def test_a_module_that_is_not_the_pinned_one_is_no_matter_of_the_network(ground: Ground) -> None:
    code, _, err = ground.build(PRETEND_TAMPERED="1")
    assert code == 1
    assert "SECURITY ERROR" in err


def test_a_build_that_fails_leaves_nothing_and_the_next_one_begins_anew(ground: Ground) -> None:
    assert ground.build(PRETEND_BROKEN="1")[0] == 2
    assert not built_folder(ground.environment).exists()
    (ground.cache / ".build-killed").mkdir()
    assert ground.build()[0] == 0
    assert ground.leftovers == []
