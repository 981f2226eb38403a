"""What users ask about themselves."""

import asyncio
from typing import Any

import pytest

from tortie.apiserver import protobuf
from tortie.apiserver.access import ADMINS, READERS, GroupAuthorizer, User
from tortie.apiserver.errors import Refusal
from tortie.apiserver.self_review import PATHS, review

ACCESS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
RULES = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
WHO = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
READER = User("bob", (READERS,), extra={"team": ("a",)})

CAN_I_GET_TIERS = bytes.fromhex(
    "6b3873000a320a17617574686f72697a6174696f6e2e6b38732e696f2f7631121753656c665375626a65637441636365737352657669657712"
    "4e0a100a0012001a0022002a003200380042001230"
    "0a2e0a0764656661756c7412036765741a1170726f6a65637463616c69636f2e6f726722002a05746965727332003a001a0808001200"
    "1a0020001a002200"
)
"""As `kubectl auth can-i get tiers` sends it."""


def answered(path: str, body: Any, user: User = READER) -> dict[str, Any]:
    return asyncio.run(review(path, body, user, GroupAuthorizer()))


@pytest.mark.parametrize(
    ("verb", "groups", "allowed"), [("get", READERS, True), ("delete", READERS, False), ("delete", ADMINS, True)]
)
def test_what_one_may_do_is_what_the_server_would_decide(verb: str, groups: str, allowed: bool) -> None:
    body = {"spec": {"resourceAttributes": {"verb": verb, "group": "projectcalico.org", "resource": "tiers"}}}
    answer = answered(ACCESS, body, User("bob", (groups,)))
    assert (answer["kind"], answer["apiVersion"]) == ("SelfSubjectAccessReview", "authorization.k8s.io/v1")
    assert answer["status"]["allowed"] is allowed
    assert answer["spec"] == body["spec"]


def test_kubectls_question_is_read_from_protobuf() -> None:
    body = protobuf.read_object(CAN_I_GET_TIERS)
    wanted = {"namespace": "default", "verb": "get", "group": "projectcalico.org", "resource": "tiers"}
    assert body["spec"] == {"resourceAttributes": wanted}
    assert answered(ACCESS, body)["status"] == {"allowed": True}


def test_who_one_is_and_all_that_one_may() -> None:
    assert answered(WHO, {})["status"]["userInfo"] == {"username": "bob", "groups": [READERS], "extra": {"team": ("a",)}}
    assert answered(RULES, {"spec": {"namespace": "x"}})["status"]["resourceRules"][0]["verbs"] == ["get", "list", "watch"]
    assert answered(RULES, {}, User("nobody"))["status"]["resourceRules"] == []


@pytest.mark.parametrize(
    "body", [None, [], {"kind": "Tier"}, {"spec": 5}, {"spec": {}}, {"spec": {"resourceAttributes": {"verb": 5}}}]
)
def test_what_is_no_question_is_refused_and_never_a_yes(body: Any) -> None:
    with pytest.raises(Refusal) as refused:
        answered(ACCESS, body, User("root", (ADMINS,)))
    assert refused.value.code == 400


@pytest.mark.parametrize("path", PATHS)
def test_every_question_has_a_body_of_its_own_kind(path: str) -> None:
    with pytest.raises(Refusal, match=PATHS[path]):
        answered(path, {"kind": "Tier"})
