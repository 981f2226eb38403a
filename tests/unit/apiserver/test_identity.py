"""Who asks: certificates, headers, tokens."""

import asyncio
from pathlib import Path

import pytest
from multidict import CIMultiDict

from tortie.apiserver.access import User
from tortie.apiserver.errors import ApiServerError, Refusal
from tortie.apiserver.identity import FrontProxy, Peer, TokenFile, Trust, fingerprints, identify

PROXY, CLIENTS = b"proxy-authority", b"client-authority"
TRUST = Trust(FrontProxy(frozenset({PROXY}), frozenset({"front"})), frozenset({CLIENTS}))
HEADERS = CIMultiDict([("X-Remote-User", "alice"), ("X-Remote-Group", "a"), ("X-Remote-Group", "b"),
                       ("X-Remote-Extra-Some%2Fkey", "v")])  # fmt: skip


def ask(peer: Peer | None, headers: CIMultiDict[str] | None = None, trust: Trust = TRUST) -> User:
    return asyncio.run(identify(trust, peer, headers if headers is not None else CIMultiDict()))


def test_the_front_proxy_speaks_for_others() -> None:
    user = ask(Peer("front", (), frozenset({PROXY, b"leaf"})), HEADERS)
    assert (user.name, user.groups) == ("alice", ("a", "b", "system:authenticated"))
    assert user.extra == {"some/key": ["v"]}


@pytest.mark.parametrize(
    "peer",
    [
        None,
        Peer("other", (), frozenset({PROXY})),
        Peer("front", (), frozenset({b"stranger"})),
        Peer("", (), frozenset({CLIENTS})),
    ],
)
def test_headers_of_anybody_else_are_nothing(peer: Peer | None) -> None:
    with pytest.raises(Refusal) as refused:
        ask(peer, HEADERS)
    assert refused.value.code == 401


def test_a_client_with_the_proxys_name_is_only_itself() -> None:
    user = ask(Peer("front", ("team",), frozenset({CLIENTS})), HEADERS)
    assert (user.name, user.groups) == ("front", ("team", "system:authenticated"))


def test_a_proxy_that_names_nobody_is_nobody() -> None:
    with pytest.raises(Refusal):
        ask(Peer("front", (), frozenset({PROXY})))


def test_tokens_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text('# comment\nsecret,bob,7,"x,y"\n')
    trust = Trust(tokens=TokenFile(path))
    user = ask(None, CIMultiDict(Authorization="Bearer secret"), trust)
    assert (user.name, user.uid, user.groups) == ("bob", "7", ("x", "y", "system:authenticated"))
    for header in ("Bearer secre", "Bearer", "Basic secret", ""):
        with pytest.raises(Refusal):
            ask(None, CIMultiDict(Authorization=header), trust)


@pytest.mark.parametrize("text", ["lonely", "token,,1", ",user,1"])
def test_a_token_file_that_cannot_be_meant_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tokens"
    path.write_text(text)
    with pytest.raises(ApiServerError, match="line 1"):
        TokenFile(path)
    with pytest.raises(ApiServerError, match="cannot be read"):
        TokenFile(tmp_path / "missing")


def test_a_pem_without_certificates_is_an_error() -> None:
    with pytest.raises(ApiServerError, match="holds no certificate"):
        fingerprints("nothing", origin="file")


def test_anonymous_only_where_it_was_asked_for_and_never_with_wrong_credentials() -> None:
    trust = Trust(anonymous=User("anybody"))
    assert ask(None, trust=trust).name == "anybody"
    with pytest.raises(Refusal):
        ask(None, CIMultiDict(Authorization="Bearer x"), trust)
