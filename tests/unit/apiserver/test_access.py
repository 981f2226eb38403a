"""Who may what: groups, tiers, what Kubernetes says, and requests as questions."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any, cast

import pytest

from tortie.api.resource import Key
from tortie.apiserver import protobuf, question
from tortie.apiserver.access import ADMINS, READERS, Attributes, Decision, GroupAuthorizer, TierAccess, User, require
from tortie.apiserver.certificates import Folder
from tortie.apiserver.delegation import DelegatedAuthorizer, DelegatedTokens, read_trust
from tortie.apiserver.errors import ApiServerError, Refusal
from tortie.apiserver.options import Options, check_options
from tortie.apiserver.served import catalogue
from tortie.apiserver.server import _patiently
from tortie.datastore.errors import DoesNotExist, Unauthorized, Unavailable
from tortie.datastore.kubernetes.connection import Connection

CATALOGUE = catalogue(standalone=True)
POLICIES = CATALOGUE["projectcalico.org", "v3", "networkpolicies"]
ALICE = User("alice", ("team",))


class Rules:
    """Allows what is listed as (verb, resource, name)."""

    def __init__(self, *allowed: tuple[str, str, str]) -> None:
        self.allowed = set(allowed)

    async def decide(self, user: User, attributes: Attributes) -> Decision:
        return Decision((attributes.verb, attributes.resource, attributes.name) in self.allowed)


class Kubernetes:
    """Answers reviews; None is not there."""

    def __init__(self, status: Mapping[str, Any] | None, data: Mapping[str, str] | None = None) -> None:
        self.status = status
        self.data = data
        self.asked: list[dict[str, Any]] = []

    async def write(self, method: str, path: str, *, body: bytes, **_: object) -> bytes:
        self.asked.append(json.loads(body))
        if self.status is None:
            raise Unavailable("away")
        return json.dumps({"status": self.status}).encode()

    async def read(self, path: str, query: Mapping[str, str], **_: object) -> bytes:
        return json.dumps({"data": self.data}).encode()


def connection(status: Mapping[str, Any] | None, data: Mapping[str, str] | None = None) -> Any:
    return cast(Connection, Kubernetes(status, data))


def test_administrators_may_all_readers_read_others_nothing() -> None:
    async def may(group: str, verb: str) -> bool:
        return (await GroupAuthorizer().decide(User("u", (group,)), Attributes(verb))).allowed

    assert asyncio.run(may(ADMINS, "delete"))
    assert asyncio.run(may(READERS, "watch"))
    assert not asyncio.run(may(READERS, "patch"))
    assert not asyncio.run(may("team", "get"))


def test_a_refusal_names_who_what_and_where() -> None:
    with pytest.raises(Refusal) as refused:
        asyncio.run(require(Rules(), ALICE, Attributes("get", "g", "v3", "things", "status", "ns", "x")))
    text = 'things.g "x" is forbidden: User "alice" cannot get resource "things/status" in API group "g" in the namespace "ns"'
    assert (refused.value.code, str(refused.value)) == (403, text)


@pytest.mark.parametrize(
    ("allowed", "may"),
    [
        ([], False),
        ([("get", "tiers", "t")], False),
        ([("update", "tier.networkpolicies", "t.*")], False),
        ([("get", "tiers", "t"), ("update", "tier.networkpolicies", "t.*")], True),
        ([("get", "tiers", "t"), ("update", "tier.networkpolicies", "p")], True),
        ([("get", "tiers", "t"), ("update", "tier.networkpolicies", "other")], False),
        ([("get", "tiers", "other"), ("update", "tier.networkpolicies", "t.*")], False),
    ],
)
def test_a_tiers_policies_need_the_tier_and_the_verb(allowed: list[tuple[str, str, str]], may: bool) -> None:
    access = TierAccess(Rules(*allowed), ALICE, POLICIES)
    request = access.require("update", "t", namespace="n", name="p")
    if may:
        asyncio.run(request)
    else:
        with pytest.raises(Refusal, match='in tier "t"'):
            asyncio.run(request)


def test_only_tiers_whose_every_policy_may_be_read_are_visible() -> None:
    rules = Rules(("get", "tiers", "a"), ("list", "tier.networkpolicies", "a.*"), ("get", "tiers", "b"))
    access = TierAccess(rules, ALICE, POLICIES)
    assert asyncio.run(access.visible("list", ["a", "b", "c"], namespace="")) == {"a"}


def test_kubernetes_is_asked_once_in_a_while_and_no_answer_is_a_refusal() -> None:
    async def scenario() -> None:
        away = DelegatedAuthorizer(connection(None))
        with pytest.raises(Refusal) as refused:
            await away.decide(ALICE, Attributes("get", resource="tiers"))
        assert refused.value.code == 503
        assert (await away.decide(User("root", (ADMINS,)), Attributes("get"))).allowed
        there = connection({"allowed": True})
        authorizer = DelegatedAuthorizer(there)
        for _ in range(3):
            assert (await authorizer.decide(ALICE, Attributes("get", resource="tiers"))).allowed
        assert len(there.asked) == 1
        assert not (
            await DelegatedAuthorizer(connection({"allowed": True, "denied": True})).decide(ALICE, Attributes("get"))
        ).allowed
        assert not (await DelegatedAuthorizer(connection({})).decide(ALICE, Attributes("get"))).allowed

    asyncio.run(scenario())


def test_tokens_are_whose_kubernetes_says() -> None:
    async def scenario() -> None:
        known = {"authenticated": True, "user": {"username": "sa", "groups": ["g"], "extra": {"k": ["v"]}}}
        assert await DelegatedTokens(connection(known)).user("t") == User("sa", ("g",), "", {"k": ["v"]})
        assert await DelegatedTokens(connection({"authenticated": False, "user": {"username": "sa"}})).user("t") is None
        assert await DelegatedTokens(connection({"authenticated": True})).user("t") is None

    asyncio.run(scenario())


def test_trust_needs_a_front_proxy_that_no_client_can_be_taken_for(tmp_path: Any) -> None:
    folder = Folder(tmp_path)
    folder.ensure(names=("localhost",), addresses=())
    pem = folder.authority.certificate.read_text()
    data = {"requestheader-client-ca-file": pem, "requestheader-allowed-names": '["front"]'}
    trust, authorities = asyncio.run(read_trust(connection({}, data)))
    assert trust.front_proxy is not None
    assert trust.front_proxy.allowed_names == {"front"}
    assert pem in authorities
    for broken in (
        {},
        {**data, "requestheader-allowed-names": "front"},
        {"requestheader-client-ca-file": pem, "client-ca-file": pem},
    ):
        with pytest.raises(ApiServerError):
            asyncio.run(read_trust(connection({}, broken)))
    assert folder.server.key.stat().st_mode & 0o077 == 0


def test_a_cluster_that_is_starting_is_waited_for_and_one_without_a_front_proxy_is_not(tmp_path: Any) -> None:
    folder = Folder(tmp_path)
    folder.ensure(names=("localhost",), addresses=())
    good = connection({}, {"requestheader-client-ca-file": folder.authority.certificate.read_text()})

    class Starting:
        """As kube-apiserver is at first: away, without its roles, without the map that says whom to trust."""

        def __init__(self) -> None:
            self.left = [
                Unavailable("away"),
                Unauthorized("its roles are not read yet"),
                DoesNotExist(Key("ConfigMap", "k", "e")),
            ]

        async def read(self, *arguments: Any, **named: Any) -> bytes:
            if self.left:
                raise self.left.pop(0)
            return cast(bytes, await good.read(*arguments, **named))

    trust, _ = asyncio.run(_patiently(cast(Connection, Starting())))
    assert trust.front_proxy is not None
    with pytest.raises(ApiServerError, match="aggregation layer"):
        asyncio.run(_patiently(connection({}, {})))


def ask(method: str, path: str, **query: str) -> tuple[str, str, str, str]:
    found = question.parse(CATALOGUE, method, path, query)
    assert found is not None
    return found.verb, found.namespace, found.name, found.subresource


def test_paths_and_methods_are_verbs_on_objects() -> None:
    root = "/apis/projectcalico.org/v3"
    assert ask("GET", f"{root}/networkpolicies") == ("list", "", "", "")
    assert ask("GET", f"{root}/namespaces/n/networkpolicies/p") == ("get", "n", "p", "")
    assert ask("GET", f"{root}/tiers", watch="true") == ("watch", "", "", "")
    assert ask("POST", f"{root}/tiers") == ("create", "", "", "")
    assert ask("DELETE", f"{root}/namespaces/n/networksets") == ("deletecollection", "n", "", "")
    assert ask("PUT", f"{root}/tiers/t/status") == ("update", "", "t", "status")
    assert ask("GET", "/api/v1/namespaces/x") == ("get", "", "x", "")
    assert question.parse(CATALOGUE, "GET", root, {}) is None


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/apis/projectcalico.org/v3/nothings", 404),
        ("GET", "/apis/projectcalico.org/v3/namespaces/n/tiers", 404),
        ("GET", "/apis/projectcalico.org/v3/networksets/x/status", 404),
        ("POST", "/apis/projectcalico.org/v3/networksets", 405),
        ("PUT", "/apis/projectcalico.org/v3/tiers", 405),
        ("POST", "/apis/projectcalico.org/v3/tiers/t", 405),
        ("TRACE", "/apis/projectcalico.org/v3/tiers/t", 405),
        ("DELETE", "/apis/projectcalico.org/v3/tiers/t/status", 405),
    ],
)
def test_what_cannot_be_asked_is_refused(method: str, path: str, code: int) -> None:
    with pytest.raises(Refusal) as refused:
        question.parse(CATALOGUE, method, path, {})
    assert refused.value.code == code


def test_options_of_the_query_are_checked() -> None:
    assert question.manager({}, "kubectl/v1 (x)") == "kubectl"
    assert question.number({"limit": "5"}, "limit") == 5
    for check in (
        lambda: question.number({"limit": "-1"}, "limit"),
        lambda: question.dry_run("Some"),
        lambda: question.strictness({"fieldValidation": "Perhaps"}),
        lambda: question.manager({"fieldManager": "x" * 200}, ""),
    ):
        with pytest.raises(Refusal):
            check()


def test_a_namespace_is_read_from_protobuf_and_nothing_else_is() -> None:
    data = bytes.fromhex(
        "6b38730a0f0a02763112094e616d657370616365120a0a080a0473686f7012001a00220030003800".replace("6b3873", "6b387300")
    )
    assert protobuf.read_object(data) == {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}
    for damaged in (b"", b"k8s\0", data[:20], data.replace(b"Namespace", b"ConfigMap")):
        with pytest.raises(Refusal):
            protobuf.read_object(damaged)


@pytest.mark.parametrize(
    "options",
    [
        Options(standalone=True, host="", port=0),
        Options(standalone=True, host="0.0.0.0", port=1, insecure_loopback=True),
        Options(standalone=False, host="127.0.0.1", port=1, insecure_loopback=True),
        Options(standalone=True, host="", port=1, kubeconfig="x"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options: Options) -> None:
    with pytest.raises(ApiServerError, match="--"):
        check_options(options)


def test_loopback_may_be_open_and_urls_can_be_dialled() -> None:
    check_options(Options(standalone=True, host="::1", port=1, insecure_loopback=True))
    assert Options(standalone=True, host="::", port=7).url == "https://[::1]:7"
