"""What kubectl says or wants in protobuf and in nothing else, pure.

`kubectl create namespace` and `kubectl auth` send their objects so; and before a `kind: List` kubectl looks at /openapi/v2,
where an empty document makes it leave the checking to us.
"""

from collections.abc import Iterator
from typing import Any

from tortie.apiserver.errors import Refusal

CONTENT_TYPE = "application/vnd.kubernetes.protobuf"
OPENAPI_V2 = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"

_MAGIC = b"k8s\0"
_NAME, _GENERATE_NAME, _LABELS, _ANNOTATIONS = 1, 2, 11, 12
_REVIEWS = ("authorization.k8s.io/v1", "authentication.k8s.io/v1")
_ATTRIBUTES = {
    1: ("resourceAttributes", ("namespace", "verb", "group", "version", "resource", "subresource", "name")),
    2: ("nonResourceAttributes", ("path", "verb")),
}
"""Fields of a SelfSubjectAccessReview's spec, and of these, by their numbers from 1."""


def read_object(data: bytes) -> dict[str, Any]:
    """A Namespace, which is nothing but its metadata, or a question about oneself. Raises Refusal (400, 415)."""
    if not data.startswith(_MAGIC):
        raise Refusal(400, "the body of the request is no protobuf object of Kubernetes")
    try:
        envelope = dict(_fields(data[len(_MAGIC) :]))
        kind = {number: bytes(value).decode() for number, value in _fields(envelope[1])}
        version, name = kind.get(1, ""), kind.get(2, "")
        body = dict(_fields(envelope.get(2, b"")))
        if version in _REVIEWS:
            spec = _asked(body.get(2, b"")) if name == "SelfSubjectAccessReview" else {}
            return {"apiVersion": version, "kind": name, "spec": spec}
        if (version, name) != ("v1", "Namespace"):
            raise Refusal(415, "only namespaces are read as protobuf: send application/json")
        metadata = _metadata(body.get(1, b""))
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise Refusal(400, "the body of the request cannot be read: damaged protobuf") from error
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def empty_openapi_v2(version: str) -> bytes:
    """An OpenAPI 2 document that describes nothing."""
    info = _written(1, b"Tortie") + _written(2, version.encode())
    return _written(1, b"2.0") + _written(2, info) + _written(8, b"")


def _asked(data: bytes) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for number, value in _fields(data):
        if number in _ATTRIBUTES and value:
            field, names = _ATTRIBUTES[number]
            texts = {names[each - 1]: bytes(text).decode() for each, text in _fields(value) if each <= len(names)}
            found[field] = {name: text for name, text in texts.items() if text}
    return found


def _metadata(data: bytes) -> dict[str, Any]:
    found: dict[str, Any] = {}
    maps: dict[str, dict[str, str]] = {"labels": {}, "annotations": {}}
    for number, value in _fields(data):
        if number in (_NAME, _GENERATE_NAME) and value:
            found["name" if number == _NAME else "generateName"] = bytes(value).decode()
        elif number in (_LABELS, _ANNOTATIONS):
            entry = {key: bytes(text).decode() for key, text in _fields(value)}
            maps["labels" if number == _LABELS else "annotations"][entry.get(1, "")] = entry.get(2, "")
    return found | {name: content for name, content in maps.items() if content}


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Fields of a message that hold bytes, messages or text; numbers are passed over. Raises ValueError, IndexError."""
    at = 0
    while at < len(data):
        tag, at = _number(data, at)
        match tag & 7:
            case 0:
                _, at = _number(data, at)
            case 2:
                length, at = _number(data, at)
                if at + length > len(data):
                    raise ValueError("a field is longer than its message")
                yield tag >> 3, data[at : at + length]
                at += length
            case other:
                raise ValueError(f"wire type {other}")


def _number(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
        if shift > 63:
            raise ValueError("a number is too long")


def _written(number: int, value: bytes) -> bytes:
    """One field of bytes; all of ours are shorter than 128."""
    return bytes((number << 3 | 2, len(value))) + value
