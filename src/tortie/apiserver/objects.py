"""Resources as API objects and back. Who manages which field is kept in an annotation: no store of ours has a place for it.

`document` shows it as metadata.managedFields and hides the annotation; `resource_of` puts it back.
"""

import secrets
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from tortie.api.documents import decode, encode
from tortie.api.errors import FieldError, Path, ValidationError
from tortie.api.resource import Resource
from tortie.api.shape import Fitting
from tortie.apiserver.errors import Refusal, strict_refusal
from tortie.apiserver.served import Served

MANAGED = "tortie.io/managed-fields"
"""Annotation of a stored resource: its metadata.managedFields, as JSON."""

Strictness = Literal["Strict", "Warn", "Ignore"]

_IGNORED: frozenset[Path] = frozenset(
    (("metadata", "clusterName"), ("metadata", "deletionGracePeriodSeconds"), ("metadata", "managedFields"), ("status",))
)
_SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_NAME_LIMIT = 253


def document(resource: Resource) -> dict[str, Any]:
    """The API object of a resource."""
    found = encode(resource)
    metadata = found["metadata"]
    annotations = metadata.get("annotations")
    if annotations and MANAGED in annotations:
        rest = {key: value for key, value in annotations.items() if key != MANAGED}
        metadata = {key: value for key, value in metadata.items() if key != "annotations"}
        if rest:
            metadata["annotations"] = rest
        metadata["managedFields"] = _managed(annotations[MANAGED])
        found["metadata"] = metadata
    return found


def resource_of(served: Served, found: Mapping[str, Any]) -> Resource:
    """The resource to store for an API object that `admit` has let in. Raises ValidationError."""
    metadata = dict(found.get("metadata") or {})
    managed = metadata.pop("managedFields", None)
    annotations = {key: value for key, value in (metadata.get("annotations") or {}).items() if key != MANAGED}
    if managed:
        annotations[MANAGED] = msgspec.json.encode(managed).decode()
    if annotations:
        metadata["annotations"] = annotations
    else:
        metadata.pop("annotations", None)
    return decode({**found, "metadata": metadata, **_type_of(served)})


def admit(served: Served, body: Any, *, strictness: Strictness) -> tuple[dict[str, Any], list[str]]:
    """A body as an object of this kind, without unknown fields, and the warnings that those deserve.

    Raises Refusal (400) for another kind and, when strict, for unknown fields; ValidationError for values that do not fit.
    """
    if not isinstance(body, dict):
        raise Refusal(400, "the body of the request is no object")
    _check_type(served, body)
    if body.get("metadata") is not None and not isinstance(body["metadata"], dict):
        raise ValidationError([FieldError("metadata", None, "must be a map")])
    found = {**body, "metadata": dict(body.get("metadata") or {}), **_type_of(served)}
    found["metadata"].pop("selfLink", None)
    content = {key: value for key, value in found.items() if key not in ("apiVersion", "kind")}
    unknown: list[FieldError] = []
    if served.kind.is_ours:
        strict, lax = Fitting(strict=True, ignored=_IGNORED), Fitting(strict=False)
        strict.fit(served.kind.struct, content)
        lax.fit(served.kind.struct, content)
        unknown = [error for error in strict.errors if error not in lax.errors]
        if lax.errors:
            raise ValidationError(lax.errors)
    problems = [f'unknown field "{error.path}"' for error in unknown]
    if problems and strictness == "Strict":
        raise strict_refusal(served.kind.document_kind, served.version, problems)
    if problems:
        found = _without_unknown(served, found)
    return found, problems if strictness == "Warn" else []


def generated_name(prefix: str) -> str:
    """A name that begins with `prefix`, as generateName asks for it."""
    return prefix[: _NAME_LIMIT - 5] + "".join(secrets.choice(_SUFFIX_LETTERS) for _ in range(5))


def _without_unknown(served: Served, found: dict[str, Any]) -> dict[str, Any]:
    metadata = found["metadata"]
    fitted = Fitting(strict=False).fit(served.kind.struct, {k: v for k, v in found.items() if k not in ("apiVersion", "kind")})
    kept: dict[str, Any] = {**_type_of(served), **fitted}
    if "managedFields" in metadata:
        kept["metadata"] = {**kept.get("metadata", {}), "managedFields": metadata["managedFields"]}
    return kept


def _check_type(served: Served, body: Mapping[str, Any]) -> None:
    expected = _type_of(served)
    for field, value in expected.items():
        if body.get(field, value) != value:
            raise Refusal(
                400,
                f"{field} in the data ({body[field]}) does not match the expected {field} ({value})",
            )


def _type_of(served: Served) -> dict[str, str]:
    return {"apiVersion": served.kind.api_version, "kind": served.kind.document_kind}


def _managed(text: str) -> list[Any]:
    try:
        found = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return []
    return found if isinstance(found, list) else []
