"""node checksystem finds modules wherever they may be; node run turns calicoctl's options into the agent's variables."""

import gzip
from pathlib import Path

import pytest
from tests.unit.cli.stage import Answer, Tortie, command_line

from tortie.cli.node_system import MODULES, Kernel, Module, check_lines

RELEASE = "6.1.0-test"


@pytest.fixture
def tortie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Tortie:
    return command_line(tmp_path, monkeypatch, capsys)


def kernel(tmp_path: Path, *, config: str = "") -> Kernel:
    directory = tmp_path / "modules" / RELEASE
    directory.mkdir(parents=True)
    (directory / "modules.dep").write_text("kernel/net/in-dep.ko.xz: kernel/net/other.ko\n")
    (directory / "modules.builtin").write_text("kernel/net/builtin.ko\n")
    (tmp_path / "modules.txt").write_text("")
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "modules").write_text("loaded 16384 0 - Live 0x0\n")
    (tmp_path / "proc" / "config.gz").write_bytes(gzip.compress(config.encode()))
    return Kernel(RELEASE, config=None, modules=tmp_path / "modules", proc=tmp_path / "proc")


@pytest.mark.parametrize("name", ["in_dep", "builtin", "loaded"])
def test_a_module_is_found_loaded_built_in_or_installed(tmp_path: Path, name: str) -> None:
    assert kernel(tmp_path).has(Module(name, "CONFIG_NONE", "x"))


def test_a_module_is_found_in_the_kernels_configuration(tmp_path: Path) -> None:
    found = kernel(tmp_path, config="CONFIG_A=y\nCONFIG_B=m\n# CONFIG_C is not set\nCONFIG_D=7\n")
    assert [found.has(Module("x", f"CONFIG_{letter}", "")) for letter in "ABCD"] == [True, True, False, False]


def test_what_is_missing_fails_and_what_is_optional_is_skipped(tmp_path: Path) -> None:
    lines = dict(zip([module.name for module in MODULES], list(check_lines(RELEASE, kernel(tmp_path)))[3:], strict=True))
    assert lines["nf_tables"] == ("\tnf_tables               FAIL (all policy)", False)
    assert lines["vxlan"] == ("\tvxlan                   SKIP (VXLAN pools)", True)


def test_an_old_kernel_fails(tmp_path: Path) -> None:
    assert next(fine for line, fine in check_lines("4.19.0-1", kernel(tmp_path)) if "4.19" in line) is False


def test_calicoctls_options_become_the_agents_variables(tortie: Tortie) -> None:
    options = ["--ip", "10.0.0.1/24", "--as", "64512", "--name", "n1", "--backend", "none", "--no-default-ippools"]
    assert tortie("node", "run", "--dryrun", *options) == Answer(
        0, "env NODENAME=n1 CALICO_NETWORKING_BACKEND=none IP=10.0.0.1/24 AS=64512 tortie agent\n", ""
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--ip", "nowhere"], "Error executing command: invalid IP address specified: nowhere\n"),
        (["--as", "many"], "Error executing command: invalid AS Number specified: many\n"),
    ],
)
def test_a_wrong_address_or_number_has_calicoctls_words(tortie: Tortie, options: list[str], words: str) -> None:
    assert tortie("node", "run", "--dryrun", *options) == Answer(1, "", words)
