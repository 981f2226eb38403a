"""The two things that kubectl says or wants in protobuf and in nothing else, pure.

`kubectl create namespace` sends its object so; and before a `kind: List` kubectl looks at /openapi/v2, where an empty document
makes it leave the checking to us.
"""

from collections.abc import Iterator
from typing import Any

from tortie.apiserver.errors import Refusal

CONTENT_TYPE = "application/vnd.kubernetes.protobuf"
OPENAPI_V2 = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"

_MAGIC = b"k8s\0"
_NAME, _GENERATE_NAME, _LABELS, _ANNOTATIONS = 1, 2, 11, 12


def read_object(data: bytes) -> dict[str, Any]:
    """A core object that is nothing but its metadata, such as a Namespace. Raises Refusal (400, 415)."""
    if not data.startswith(_MAGIC):
        raise Refusal(400, "the body of the request is no protobuf object of Kubernetes")
    try:
        envelope = dict(_fields(data[len(_MAGIC) :]))
        kind = {number: bytes(value).decode() for number, value in _fields(envelope[1])}
        if (kind.get(1), kind.get(2)) != ("v1", "Namespace"):
            raise Refusal(415, "only namespaces are read as protobuf: send application/json")
        body = dict(_fields(envelope.get(2, b"")))
        metadata = _metadata(body.get(1, b""))
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise Refusal(400, "the body of the request cannot be read: damaged protobuf") from error
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def empty_openapi_v2(version: str) -> bytes:
    """An OpenAPI 2 document that describes nothing."""
    info = _written(1, b"Tortie") + _written(2, version.encode())
    return _written(1, b"2.0") + _written(2, info) + _written(8, b"")


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
