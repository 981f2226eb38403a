"""What users ask about themselves: `kubectl auth can-i` and `kubectl auth whoami`. Whoever has logged in may ask.

Behind Kubernetes, kube-apiserver answers these itself and they never come here.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from tortie.apiserver.access import Attributes, Authorizer, User
from tortie.apiserver.errors import Refusal

PATHS: Mapping[str, str] = MappingProxyType(
    {
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews": "SelfSubjectAccessReview",
        "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews": "SelfSubjectRulesReview",
        "/apis/authentication.k8s.io/v1/selfsubjectreviews": "SelfSubjectReview",
    }
)
"""Where a POST asks, and which object answers."""

_VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
_TEXTS = ("verb", "group", "version", "resource", "subresource", "namespace", "name", "path")


async def review(path: str, body: Any, user: User, authorizer: Authorizer) -> dict[str, Any]:
    """The answer to what `body` asks at one of `PATHS`. Raises Refusal (400)."""
    kind = PATHS[path]
    if not isinstance(body, dict) or body.get("kind", kind) != kind:
        raise Refusal(400, f"the body of the request is no {kind}")
    answer = {"kind": kind, "apiVersion": path.removeprefix("/apis/").rpartition("/")[0], "metadata": {}}
    if kind == "SelfSubjectReview":
        return answer | {"status": {"userInfo": _described(user)}}
    spec = _map(body, "spec")
    if kind == "SelfSubjectRulesReview":
        return answer | {"spec": spec, "status": await _rules(user, authorizer)}
    asked = _map(spec, "resourceAttributes") or _map(spec, "nonResourceAttributes")
    texts = {name: asked[name] for name in _TEXTS if asked.get(name)}
    if not asked or not all(isinstance(text, str) for text in texts.values()) or "verb" not in texts:
        raise Refusal(400, "spec must have resourceAttributes or nonResourceAttributes, with a verb")
    decision = await authorizer.decide(user, Attributes(**texts))
    status = {"allowed": decision.allowed} | ({"reason": decision.reason} if decision.reason else {})
    return answer | {"spec": spec, "status": status}


def _map(found: Mapping[str, Any], field: str) -> dict[str, Any]:
    value = found.get(field) or {}
    if not isinstance(value, dict):
        raise Refusal(400, f"{field} must be a map")
    return value


def _described(user: User) -> dict[str, Any]:
    described = {"username": user.name, "uid": user.uid, "groups": list(user.groups), "extra": dict(user.extra)}
    return {name: value for name, value in described.items() if value}


async def _rules(user: User, authorizer: Authorizer) -> dict[str, Any]:
    """What the user may do to everything, which is how the groups of a server without Kubernetes are given rights."""
    everything = {verb: Attributes(verb, group="*", resource="*") for verb in _VERBS}
    verbs = [verb for verb, attributes in everything.items() if (await authorizer.decide(user, attributes)).allowed]
    resources = [{"verbs": verbs, "apiGroups": ["*"], "resources": ["*"]}] if verbs else []
    paths = [{"verbs": ["get"], "nonResourceURLs": ["*"]}] if "get" in verbs else []
    return {"resourceRules": resources, "nonResourceRules": paths, "incomplete": False}
