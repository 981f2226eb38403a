"""X25519 against the vectors of RFC 7748, and a private key that does not show itself."""

import os
import stat
from pathlib import Path

import pytest

from tortie.kernel.errors import Invalid
from tortie.kernel.wireguard.key_files import KeyFiles
from tortie.kernel.wireguard.keys import PrivateKey, decode, encode, generate, x25519

ALICE = "77076d0a7318a57d3c16c17251b26645c6fef1f6d6b1a4f1dd1c4d3e0a3e8a2a"


@pytest.mark.parametrize(
    ("scalar", "point", "product"),
    [
        (
            "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
            "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
            "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
        ),
        (
            "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
            "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
            "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
        ),
    ],
)
def test_products_are_those_of_rfc_7748(scalar: str, point: str, product: str) -> None:
    assert x25519(bytes.fromhex(scalar), bytes.fromhex(point)).hex() == product


def test_a_thousand_rounds_end_where_rfc_7748_says() -> None:
    k = u = (9).to_bytes(32, "little")
    for _ in range(1000):
        k, u = x25519(k, u), k
    assert k.hex() == "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51"


def test_two_nodes_agree_on_one_secret() -> None:
    ours, theirs = generate(), generate()
    assert ours.public != theirs.public
    assert x25519(ours.raw, decode(theirs.public)) == x25519(theirs.raw, decode(ours.public))


def test_a_new_key_has_the_bits_that_wireguard_sets() -> None:
    raw = generate().raw
    assert raw[0] & 7 == 0
    assert raw[31] & 0xC0 == 0x40


def test_a_private_key_does_not_show_itself() -> None:
    key = generate()
    for text in (repr(key), str(key), f"{key}", f"{[key]}"):
        assert encode(key.raw) not in text
        assert key.raw.hex() not in text
        assert repr(key.raw) not in text


@pytest.mark.parametrize("text", ["", "short", "A" * 44, encode(bytes(31)), encode(bytes(33)), "?" * 44])
def test_what_is_no_key_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(Invalid, match="base64 of 32 bytes") as caught:
        decode(text)
    assert not text or text not in str(caught.value)


def test_a_kept_key_is_roots_alone_and_comes_back(tmp_path: Path) -> None:
    files = KeyFiles(tmp_path / "keys")
    key = generate()
    assert files.read("wireguard.cali") is None
    files.write("wireguard.cali", generate())
    files.write("wireguard.cali", key)
    assert files.read("wireguard.cali") == key
    assert files.read("wg-v6.cali") is None
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "keys").iterdir()} == {0o600}
    files.remove("wireguard.cali")
    files.remove("wireguard.cali")
    assert files.read("wireguard.cali") is None
    assert list((tmp_path / "keys").iterdir()) == []


def test_a_damaged_key_file_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / "wireguard.cali.key").write_text("half a ke")
    assert KeyFiles(tmp_path).read("wireguard.cali") is None


def test_a_key_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    files, key = KeyFiles(tmp_path / "keys"), generate()
    files.write("wireguard.cali", key)
    path = tmp_path / "keys/wireguard.cali.key"
    path.chmod(0o644)
    path.parent.chmod(0o755)
    assert files.read("wireguard.cali") == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    files.write("wireguard.cali", key)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_key_that_somebody_else_has_put_there_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, other = KeyFiles(tmp_path), tmp_path / "other"
    files.write("wireguard.cali", generate())
    (tmp_path / "wireguard.cali.key").rename(other)
    (tmp_path / "wireguard.cali.key").symlink_to(other)
    assert files.read("wireguard.cali") is None
    files.write("wireguard.cali", generate())
    assert files.read("wireguard.cali") is not None
    monkeypatch.setattr("os.geteuid", lambda: os.getuid() + 1)
    assert files.read("wireguard.cali") is None


def test_a_key_of_the_wrong_length_cannot_be_made() -> None:
    with pytest.raises(Invalid, match="32 bytes"):
        PrivateKey(bytes(31))
