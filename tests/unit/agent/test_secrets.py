"""Passwords from files: what is taken, and what is refused without being repeated."""

import errno
import os
from pathlib import Path

import pytest

from tortie.agent.secrets import LONGEST_PASSWORD, MissingSecret, SecretError, SecretsDirectory


def written(folder: Path, content: bytes, *, mode: int = 0o600) -> SecretsDirectory:
    path = folder / "bgp" / "password"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)
    return SecretsDirectory(folder)


@pytest.mark.parametrize("content", [b"open sesame", b"open sesame\n", b"open sesame\r\n"])
def test_the_line_end_behind_a_password_is_not_part_of_it(tmp_path: Path, content: bytes) -> None:
    assert written(tmp_path, content).read("bgp", "password") == "open sesame"


def test_a_secret_mounted_by_kubernetes_is_read_through_its_links(tmp_path: Path) -> None:
    version = tmp_path / "bgp" / "..2026"
    version.mkdir(parents=True)
    (version / "password").write_text("one")
    (version / "password").chmod(0o400)
    (tmp_path / "bgp" / "..data").symlink_to("..2026")
    (tmp_path / "bgp" / "password").symlink_to("..data/password")
    assert SecretsDirectory(tmp_path).read("bgp", "password") == "one"


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    secrets = written(tmp_path, b"one")
    assert secrets.read("bgp", "password") == "one"
    written(tmp_path, b"two")
    assert secrets.read("bgp", "password") == "two"


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o602, 0o666])
def test_a_file_that_others_may_open_is_refused_with_the_remedy(tmp_path: Path, mode: int) -> None:
    with pytest.raises(SecretError, match="chmod o-rwx") as caught:
        written(tmp_path, b"rosebud", mode=mode).read("bgp", "password")
    assert "rosebud" not in str(caught.value)


@pytest.mark.parametrize("mode", [0o400, 0o440, 0o640])
def test_a_group_may_read_it(tmp_path: Path, mode: int) -> None:
    assert written(tmp_path, b"rosebud", mode=mode).read("bgp", "password") == "rosebud"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"\n", "empty"),
        (b"rosebud\xff", "not UTF-8"),
        (b'rose"bud', "quotation mark"),
        (b"rose\nbud", "control character"),
        (b"rosebud" * 12, f"{LONGEST_PASSWORD} bytes"),
    ],
)
def test_what_cannot_be_a_password_is_refused_and_not_repeated(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(SecretError, match=words) as caught:
        written(tmp_path, content).read("bgp", "password")
    assert "secret 'bgp', key 'password'" in str(caught.value)
    assert "rosebud" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "key"), [("", "k"), ("n", ""), ("..", "k"), ("n", "../../other"), ("a/b", "k"), ("n", "a\0b")]
)
def test_a_reference_cannot_leave_the_directory(tmp_path: Path, name: str, key: str) -> None:
    with pytest.raises(SecretError, match="secretKeyRef") as caught:
        SecretsDirectory(tmp_path).read(name, key)
    assert not isinstance(caught.value, MissingSecret)


def test_a_missing_secret_and_a_missing_directory_are_told_with_the_path(tmp_path: Path) -> None:
    with pytest.raises(MissingSecret, match=str(tmp_path / "absent" / "bgp" / "password")):
        SecretsDirectory(tmp_path / "absent").read("bgp", "password")
    (tmp_path / "bgp" / "password").mkdir(parents=True)
    with pytest.raises(SecretError, match="is not a file"):
        SecretsDirectory(tmp_path).read("bgp", "password")


def test_a_process_out_of_descriptors_knows_nothing_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = written(tmp_path, b"rosebud")

    def refuse(*_: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(OSError, match="Too many open files"):
        secrets.read("bgp", "password")
