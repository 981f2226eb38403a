"""One HTTP request as a question about resources: which kind, which object, which verb, which options. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from tortie.apiserver.access import Attributes
from tortie.apiserver.errors import Refusal
from tortie.apiserver.objects import Strictness
from tortie.apiserver.served import Catalogue, Served

Query = Mapping[str, str]

_BY_METHOD = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete", "GET": "get", "HEAD": "get"}
_STRICTNESS: Mapping[str, Strictness] = {"": "Warn", "Warn": "Warn", "Strict": "Strict", "Ignore": "Ignore"}
_TRUE = frozenset({"true", "1", "True", "t"})


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of one kind. `name` is empty for collections."""

    served: Served
    verb: str
    namespace: str
    name: str
    subresource: str

    def attributes(self) -> Attributes:
        """For whoever decides whether this may be."""
        served = self.served
        return Attributes(self.verb, served.group, served.version, served.plural, self.subresource, self.namespace, self.name)


def parse(catalogue: Catalogue, method: str, path: str, query: Query) -> Question | None:
    """The question of a request; None where the path names no resource. Raises Refusal (404, 405)."""
    parts = [part for part in path.split("/") if part]
    if parts[:1] == ["apis"] and len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    elif parts[:1] == ["api"] and len(parts) > 2:
        group, version, rest = "", parts[1], parts[2:]
    else:
        return None
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2 and (group, version, rest[2]) in catalogue:
        namespace, rest = rest[1], rest[2:]
    served = catalogue.get((group, version, rest[0]))
    if served is None or len(rest) > 3 or bool(namespace) > served.kind.namespaced:
        raise Refusal(404, "the server could not find the requested resource")
    name, subresource = (*rest[1:], "", "")[:2]
    if subresource and not (subresource == "status" and served.has_status):
        raise Refusal(404, "the server could not find the requested resource")
    question = Question(served, _verb(method, query, name=name), namespace, name, subresource)
    _check_possible(question)
    return question


def flag(query: Query, name: str) -> bool:
    """A switch of the query."""
    return query.get(name, "") in _TRUE


def number(query: Query, name: str) -> int:
    """A number of the query, 0 where it is not there. Raises Refusal (400)."""
    text = query.get(name, "") or "0"
    if not text.isdecimal() or len(text) > 18:
        raise Refusal(400, f"{name} {text!r} is no number of 0 or more")
    return int(text)


def strictness(query: Query) -> Strictness:
    """What becomes of unknown fields. Raises Refusal (400)."""
    text = query.get("fieldValidation", "")
    if text not in _STRICTNESS:
        raise Refusal(400, f"fieldValidation {text!r} is unknown: use Ignore, Warn or Strict")
    return _STRICTNESS[text]


def dry_run(value: str) -> bool:
    """Whether nothing is to be stored. Raises Refusal (400)."""
    if value not in ("", "All"):
        raise Refusal(400, f"dryRun {value!r} is unknown: use All")
    return value == "All"


def manager(query: Query, user_agent: str) -> str:
    """Who the written fields belong to: fieldManager, or else the program that asks. Raises Refusal (400)."""
    given = query.get("fieldManager", "")
    if len(given) > 128 or not given.isprintable():
        raise Refusal(400, "fieldManager is at most 128 printable characters")
    return given or user_agent.partition("/")[0][:128] or "unknown"


def _verb(method: str, query: Query, *, name: str) -> str:
    if method in ("GET", "HEAD") and flag(query, "watch"):
        return "watch"
    verb = _BY_METHOD.get(method)
    if verb is None:
        raise Refusal(405, f"the server does not allow method {method} on the requested resource")
    if name:
        return verb
    return {"get": "list", "delete": "deletecollection"}.get(verb, verb)


def _check_possible(question: Question) -> None:
    """Raise Refusal (405) for a verb that this path cannot have."""
    needs_name = question.verb in ("update", "patch", "get", "delete")
    in_namespace = bool(question.namespace) or not question.served.kind.namespaced
    writes_nowhere = not in_namespace and question.verb not in ("list", "watch")
    if needs_name is not bool(question.name) and question.verb != "watch":
        raise Refusal(405, f"the server does not allow {question.verb} on the requested resource")
    if writes_nowhere or (question.subresource and question.verb not in ("get", "update", "patch")):
        raise Refusal(405, f"the server does not allow {question.verb} on the requested resource")
