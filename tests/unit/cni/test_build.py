"""Putting the plugin's executable in its place, and the configuration that is shipped."""

import importlib.resources
import json
from pathlib import Path

import pytest

from tortie.base.process import run_blocking
from tortie.cni import build
from tortie.cni.config import parse_config


def version_of(program: Path) -> str:
    done = run_blocking(["env", "-i", "CNI_COMMAND=VERSION", str(program)], stdin=b'{"cniVersion":"1.1.0"}').check()
    return str(json.loads(done.stdout)["cniVersion"])


def test_without_a_compiler_the_python_client_takes_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "COMPILERS", ("no-such-compiler",))
    target = tmp_path / "bin" / "tortie-cni"
    assert "Python client" in build.install(target)
    assert version_of(target) == "1.1.0"
    assert [path.name for path in target.parent.iterdir()] == ["tortie-cni"]


def test_a_compiler_that_fails_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(build, "COMPILERS", ("false",))
    assert "Python client" in build.install(tmp_path / "tortie-cni")
    assert "false" in capsys.readouterr().err


def test_an_installed_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "tortie-cni"
    target.write_text("old")
    build.install(target)
    assert version_of(target) == "1.1.0"


def test_a_target_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(build.BuildError, match="tortie-cni"):
        build.install(tmp_path / "file" / "tortie-cni")


def test_the_shipped_configuration_list_is_valid_for_both_families() -> None:
    conflist = json.loads(importlib.resources.files("tortie.cni").joinpath("10-tortie.conflist").read_bytes())
    assert conflist["name"] == "k8s-pod-network"
    for plugin in conflist["plugins"]:
        text = json.dumps({**plugin, "name": conflist["name"], "cniVersion": conflist["cniVersion"]}).encode()
        found = parse_config(text)
        assert (found.ipam.assign_ipv4, found.ipam.assign_ipv6, found.unknown_keys) == (True, True, ())


def test_a_folder_gets_every_name_and_a_second_run_replaces_them(tmp_path: Path) -> None:
    for _ in range(2):
        build.install_names(tmp_path)
        assert {path.name for path in tmp_path.iterdir()} == {"tortie-cni", "tortie-ipam", "calico", "calico-ipam"}
        assert len({path.stat().st_ino for path in tmp_path.iterdir()}) == 1
