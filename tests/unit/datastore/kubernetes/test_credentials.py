"""Logging in, and logging in again."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from tortie.datastore.errors import InvalidRequest, Unauthorized
from tortie.datastore.kubernetes.credentials import Credentials
from tortie.datastore.kubernetes.settings import Login, Program, Settings


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def credentials(login: Login, clock: Clock | None = None) -> Credentials:
    return Credentials(Settings("https://x", login), now=clock or Clock())


def renewed(found: Credentials, *, refused: bool = False) -> str:
    asyncio.run(found.renew(refused=refused))
    return found.headers().get("Authorization", "")


def test_a_tokens_file_is_read_again_in_time_and_when_the_token_is_refused(tmp_path: Path) -> None:
    file, clock = tmp_path / "token", Clock()
    file.write_text("first\n")
    found = credentials(Login(token_file=str(file)), clock)
    assert renewed(found) == "Bearer first"
    file.write_text("second")
    assert renewed(found) == "Bearer first"
    clock.now += 11
    assert renewed(found) == "Bearer second"
    file.write_text("third")
    assert renewed(found, refused=True) == "Bearer third"
    file.unlink()
    clock.now += 11
    assert renewed(found) == "Bearer third"


def test_a_tokens_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unauthorized, match="nowhere"):
        renewed(credentials(Login(token_file=str(tmp_path / "nowhere"))))


def program(folder: Path, body: str) -> Program:
    path = folder / "login"
    path.write_text(f"#!{sys.executable}\n{body}")
    path.chmod(0o755)
    return Program((str(path),), (("COUNT", str(folder / "count")),), "client.authentication.k8s.io/v1")


COUNTING = """
import json, os, pathlib
count = pathlib.Path(os.environ["COUNT"])
number = int(count.read_text()) + 1 if count.exists() else 1
count.write_text(str(number))
status = {"token": f"token-{number}", "expirationTimestamp": "1970-01-12T13:50:00Z"}
print(json.dumps({"kind": "ExecCredential", "status": status}))
"""


def test_a_program_is_asked_again_before_its_token_runs_out(tmp_path: Path) -> None:
    clock = Clock()
    found = credentials(Login(program=program(tmp_path, COUNTING)), clock)
    assert renewed(found) == "Bearer token-1"
    clock.now = 1_000_100
    assert renewed(found) == "Bearer token-1"
    clock.now = 1_000_150  # a minute before it runs out
    assert renewed(found) == "Bearer token-2"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("import sys; sys.exit('no such account')", "no such account"),
        ("print('token')", "no ExecCredential"),
        ("print('{\"status\": {}}')", "neither token nor certificate"),
    ],
)
def test_a_program_that_fails_is_quoted(tmp_path: Path, body: str, words: str) -> None:
    with pytest.raises(Unauthorized, match=words):
        renewed(credentials(Login(program=program(tmp_path, body))))


def test_what_a_program_says_is_not_repeated_when_it_is_no_credential(tmp_path: Path) -> None:
    body = f"print({json.dumps(json.dumps({'status': {'token': 5, 'x': 'geheim'}}))})"
    with pytest.raises(Unauthorized) as caught:
        renewed(credentials(Login(program=program(tmp_path, body))))
    assert "geheim" not in str(caught.value)


def test_certificates_that_are_none_are_refused_by_the_servers_name() -> None:
    with pytest.raises(InvalidRequest, match="https://x"):
        Credentials(Settings("https://x", Login(certificate=b"no", key=b"no"))).tls()
    with pytest.raises(InvalidRequest, match="https://x"):
        Credentials(Settings("https://x", Login(), ca=b"no")).tls()
