"""What Kubernetes decides for us: whose token it is, what a user may do, and whom the front proxy's certificates come from.

Answers are remembered briefly. What Kubernetes does not answer is refused.
"""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import msgspec

from tortie.api.resource import Key
from tortie.apiserver.access import ADMINS, Attributes, Decision, User
from tortie.apiserver.errors import ApiServerError, Refusal
from tortie.apiserver.identity import FrontProxy, Trust, fingerprints
from tortie.datastore.errors import DatastoreError
from tortie.datastore.kubernetes.connection import Connection

_REMEMBERED_SECONDS = 10.0
_REMEMBERED = 4096
_CONFIGURATION = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"

_T = TypeVar("_T")


class Remembered(Generic[_T]):
    """Answers by question, each for a short while."""

    def __init__(self, *, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._answers: OrderedDict[Any, tuple[float, _T]] = OrderedDict()

    def get(self, question: Any) -> _T | None:
        """The answer, if it is known and young enough."""
        until, answer = self._answers.get(question, (0.0, None))
        return answer if until > self._now() else None

    def put(self, question: Any, answer: _T) -> None:
        """Remember."""
        self._answers[question] = (self._now() + _REMEMBERED_SECONDS, answer)
        self._answers.move_to_end(question)
        while len(self._answers) > _REMEMBERED:
            self._answers.popitem(last=False)


class DelegatedAuthorizer:
    """Asks with a SubjectAccessReview."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._known: Remembered[Decision] = Remembered()

    async def decide(self, user: User, attributes: Attributes) -> Decision:
        """See `Authorizer.decide`. Administrators of the cluster are not asked for."""
        if ADMINS in user.groups:
            return Decision(True)
        question = (user.name, user.uid, user.groups, _frozen(user), attributes)
        known = self._known.get(question)
        if known is not None:
            return known
        spec: dict[str, Any] = {"user": user.name, "groups": list(user.groups), "uid": user.uid}
        if user.extra:
            spec["extra"] = {key: list(values) for key, values in user.extra.items()}
        if attributes.path:
            spec["nonResourceAttributes"] = {"path": attributes.path, "verb": attributes.verb}
        else:
            names = ("verb", "group", "version", "resource", "subresource", "namespace", "name")
            spec["resourceAttributes"] = {name: getattr(attributes, name) for name in names if getattr(attributes, name)}
        status = await _review(self._connection, "authorization.k8s.io", "SubjectAccessReview", spec)
        allowed = status.get("allowed") is True and not status.get("denied")
        decision = Decision(allowed, str(status.get("reason") or ""))
        self._known.put(question, decision)
        return decision


class DelegatedTokens:
    """Asks with a TokenReview."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._known: Remembered[User] = Remembered()

    async def user(self, token: str) -> User | None:
        """See `TokenReader.user`. Only good answers are remembered."""
        digest = hashlib.sha256(token.encode()).digest()
        known = self._known.get(digest)
        if known is not None:
            return known
        status = await _review(self._connection, "authentication.k8s.io", "TokenReview", {"token": token})
        if status.get("authenticated") is not True or not isinstance(status.get("user"), dict):
            return None
        found = status["user"]
        user = User(
            str(found.get("username", "")),
            tuple(found.get("groups") or ()),
            str(found.get("uid", "")),
            found.get("extra") or {},
        )
        if not user.name:
            return None
        self._known.put(digest, user)
        return user


async def read_trust(connection: Connection) -> tuple[Trust, str]:
    """Whom the cluster trusts, and the PEM of all authorities that TLS must know for it.

    Raises DatastoreError when the cluster does not answer, ApiServerError when it has no front proxy.
    """
    key = Key("ConfigMap", "kube-system", "extension-apiserver-authentication")
    data = msgspec.json.decode(await connection.read(_CONFIGURATION, {}, verb="get", key=key)).get("data") or {}
    proxy_pem, client_pem = data.get("requestheader-client-ca-file", ""), data.get("client-ca-file", "")
    if not proxy_pem:
        raise ApiServerError(f"{key} has no requestheader-client-ca-file: start kube-apiserver with its aggregation layer on")
    front = FrontProxy(
        authorities=fingerprints(proxy_pem, origin=f"{key}, requestheader-client-ca-file"),
        allowed_names=frozenset(_names(data, "requestheader-allowed-names", ())),
        user_headers=_names(data, "requestheader-username-headers", ("X-Remote-User",)),
        group_headers=_names(data, "requestheader-group-headers", ("X-Remote-Group",)),
        extra_prefixes=_names(data, "requestheader-extra-headers-prefix", ("X-Remote-Extra-",)),
        uid_headers=_names(data, "requestheader-uid-headers", ()),
    )
    clients = fingerprints(client_pem, origin=f"{key}, client-ca-file") if client_pem else frozenset()
    # An authority of both would let any client of the cluster speak for anybody, unless the names tell them apart.
    if clients & front.authorities and not front.allowed_names:
        raise ApiServerError(f"{key}: one authority signs clients and the front proxy: set requestheader-allowed-names")
    return Trust(front, clients, DelegatedTokens(connection)), f"{proxy_pem}\n{client_pem}\n"


async def _review(connection: Connection, group: str, kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    body = msgspec.json.encode({"apiVersion": f"{group}/v1", "kind": kind, "spec": spec})
    path = f"/apis/{group}/v1/{kind.lower()}s"
    try:
        answer = await connection.write("POST", path, body=body, verb="create", key=Key(kind, "", ""))
        found = msgspec.json.decode(answer).get("status")
    except (DatastoreError, msgspec.MsgspecError) as error:
        raise Refusal(503, f"Kubernetes does not answer a {kind}: {error}") from error
    return found if isinstance(found, dict) else {}


def _names(data: dict[str, str], field: str, default: tuple[str, ...]) -> tuple[str, ...]:
    text = data.get(field, "")
    if not text:
        return default
    try:
        return tuple(msgspec.json.decode(text, type=list[str]))
    except msgspec.MsgspecError as error:
        raise ApiServerError(f"extension-apiserver-authentication, {field}: {error}") from error


def _frozen(user: User) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return tuple(sorted((key, tuple(values)) for key, values in user.extra.items()))
