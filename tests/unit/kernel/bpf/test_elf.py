"""Reading what clang makes: programs, references to maps, and files that are none."""

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tortie.kernel.bpf import build
from tortie.kernel.bpf.elf import Code, ObjectError, parse


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    target = tmp_path_factory.mktemp("bpf") / "new" / "ipip.o"
    build.build(target)
    assert [each.name for each in target.parent.iterdir()] == ["ipip.o"], "no draft stays"
    return target.read_bytes()


def test_our_programs_are_found_with_their_maps(compiled: bytes) -> None:
    found = parse(compiled)
    assert {name: {each for _, each in code.references} for name, code in found.programs.items()} == {
        "tc/encapsulate": {"own", "owners"},
        "tc/decapsulate": {"own", "owners"},
    }
    assert found.terms == b"GPL\0"


def test_a_map_takes_the_place_of_its_name_and_nothing_else_changes(compiled: bytes) -> None:
    code = parse(compiled).programs["tc/encapsulate"]
    loaded = code.with_maps({"own": 7, "owners": 0x01020304})
    changed = {index // 8 for index in range(len(loaded)) if loaded[index] != code.instructions[index]}
    assert changed == {offset // 8 for offset, _ in code.references}
    for offset, name in code.references:
        assert loaded[offset + 1] >> 4 == 1, "a descriptor of a map"
        assert int.from_bytes(loaded[offset + 4 : offset + 8], "little") == {"own": 7, "owners": 0x01020304}[name]


def test_a_map_that_is_not_given_is_named() -> None:
    with pytest.raises(ObjectError, match="'owners'"):
        Code(bytes(16), ((0, "owners"),)).with_maps({"own": 3})


@pytest.mark.parametrize("data", [b"", b"\x7fELF", b"\x7fELF\x01" + bytes(80), b"\x7fELF\x02\x01\x01" + bytes(80)])
def test_other_files_are_refused(data: bytes) -> None:
    with pytest.raises(ObjectError):
        parse(data)


@given(st.data())
def test_a_damaged_file_is_refused_or_read_but_never_crashes(compiled: bytes, data: st.DataObject) -> None:
    damaged = bytearray(compiled)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    cut = damaged[: data.draw(st.integers(0, len(damaged)))]
    for each in (bytes(damaged), bytes(cut)):
        try:
            assert parse(each).programs
        except ObjectError:
            pass


def test_without_a_compiler_nothing_is_made_and_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(build.BuildError, match="clang is missing"):
        build.build(tmp_path / "ipip.o")
    assert list(tmp_path.iterdir()) == []
