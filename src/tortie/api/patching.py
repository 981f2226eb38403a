"""Patches of documents, pure: JSON merge patch (RFC 7386), JSON patch (RFC 6902), and Kubernetes' strategic merge patch.

A strategic patch is a merge patch with additions. Lists of Calico's kinds are replaced as a whole, as their types say; of
metadata, `ownerReferences` is merged by uid and `finalizers` as a set. A map may hold `$patch: replace` (it replaces the old
map), `$patch: delete` (the old map, or the item of `ownerReferences` with that uid, goes), `$retainKeys` (all other keys go)
and `$deleteFromPrimitiveList/FIELD`. What else begins with `$`, such as kubectl's `$setElementOrder/FIELD`, changes nothing.
"""

import copy
from collections.abc import Callable, Mapping
from typing import Any

from tortie.base.errors import TortieError

PATCH_TYPES = ("strategic", "merge", "json")

_DIRECTIVE = "$patch"
_REMOVED = "$deleteFromPrimitiveList/"
_MERGED: Mapping[tuple[str, ...], str | None] = {
    ("metadata", "ownerReferences"): "uid",
    ("metadata", "finalizers"): None,
}
"""Lists that are merged, and the field that tells their items apart (None: items are plain values)."""


class PatchError(TortieError):
    """A patch that is none, or that does not fit the document; the text names the operation or the field."""


class PatchMisfit(PatchError):
    """A patch that is one, and that this document cannot take."""


def patched(document: Any, patch: Any, kind: str) -> Any:
    """`document` after a patch of that kind (`PATCH_TYPES`); the original stays as it is. Raises PatchError."""
    match kind:
        case "json":
            return json_patch(document, patch)
        case "merge":
            return merge_patch(document, _map(patch))
        case _:
            return _strategic(document, _map(patch), ())


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7386: maps merge, null removes, everything else replaces."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result


def json_patch(document: Any, operations: Any) -> Any:
    """RFC 6902: a list of operations, all or nothing. Raises PatchError with the number of the one that fails."""
    if not isinstance(operations, list):
        raise PatchError("a JSON patch is a list of operations: [{op: replace, path: /spec/order, value: 10}]")
    result = copy.deepcopy(document)
    for number, operation in enumerate(operations):
        try:
            result = _operate(result, operation)
        except PatchError as error:
            raise type(error)(f"operation {number} of the patch: {error}") from error
    return result


def _map(patch: Any) -> Any:
    if not isinstance(patch, dict):
        raise PatchError("the patch must be a map, such as {spec: {order: 10}}")
    return patch


# ---- strategic ----
def _strategic(target: Any, patch: Any, path: tuple[str, ...]) -> Any:
    if isinstance(patch, list):
        return _merged_list(target, patch, path) if path in _MERGED else copy.deepcopy(patch)
    if not isinstance(patch, dict):
        return patch
    directive = patch.get(_DIRECTIVE, "merge")
    if directive not in ("merge", "replace", "delete"):
        raise PatchError(
            f"{'.'.join(path) or 'the patch'}: {_DIRECTIVE} {directive!r} is unknown: use merge, replace or delete"
        )
    if directive == "delete":
        return None
    result = dict(target) if isinstance(target, dict) and directive == "merge" else {}
    for key, value in patch.items():
        if key.startswith(_REMOVED):
            field = key.removeprefix(_REMOVED)
            result[field] = [item for item in result.get(field) or [] if item not in value]
        elif not key.startswith("$"):
            new = None if value is None else _strategic(result.get(key), value, (*path, key))
            if new is None:
                result.pop(key, None)
            else:
                result[key] = new
    keep = patch.get("$retainKeys")
    return {key: value for key, value in result.items() if key in keep} if isinstance(keep, list) else result


def _merged_list(target: Any, patch: list[Any], path: tuple[str, ...]) -> list[Any]:
    old = list(target) if isinstance(target, list) else []
    name = _MERGED[path]
    if name is None:
        return [*old, *(item for index, item in enumerate(patch) if item not in old and item not in patch[:index])]
    for item in patch:
        if not isinstance(item, dict) or name not in item:
            raise PatchError(f"{'.'.join(path)}: every item needs {name}, by which the list is merged")
        place = next((i for i, one in enumerate(old) if isinstance(one, dict) and one.get(name) == item[name]), None)
        new = _strategic(old[place] if place is not None else None, item, (*path, "*"))
        if place is None:
            old += [new] if new is not None else []
        elif new is None:
            del old[place]
        else:
            old[place] = new
    return old


# ---- RFC 6902 ----
def _operate(document: Any, operation: Any) -> Any:
    if not isinstance(operation, dict):
        raise PatchError("must be a map with op and path")
    op = str(operation.get("op", ""))
    if op not in _OPERATIONS:
        raise PatchError(f"op {op!r} is unknown: use {', '.join(_OPERATIONS)}")
    return _OPERATIONS[op](document, operation)


def _add(document: Any, operation: dict[str, Any]) -> Any:
    return _insert(document, _tokens(operation, "path"), _value(operation))


def _remove(document: Any, operation: dict[str, Any]) -> Any:
    tokens = _tokens(operation, "path")
    if not tokens:
        raise PatchMisfit("the whole document cannot be removed")
    parent = _find(document, tokens[:-1])
    key = _existing(parent, tokens[-1], tokens)
    del parent[key]
    return document


def _replace(document: Any, operation: dict[str, Any]) -> Any:
    tokens, value = _tokens(operation, "path"), _value(operation)
    if not tokens:
        return value
    parent = _find(document, tokens[:-1])
    parent[_existing(parent, tokens[-1], tokens)] = value
    return document


def _move(document: Any, operation: dict[str, Any]) -> Any:
    source, target = _tokens(operation, "from"), _tokens(operation, "path")
    if target[: len(source)] == source and target != source:
        raise PatchMisfit("a value cannot be moved into itself")
    value = copy.deepcopy(_find(document, source))
    return _insert(_remove(document, {"path": operation["from"]}), target, value)


def _copy(document: Any, operation: dict[str, Any]) -> Any:
    value = copy.deepcopy(_find(document, _tokens(operation, "from")))
    return _insert(document, _tokens(operation, "path"), value)


def _test(document: Any, operation: dict[str, Any]) -> Any:
    found, expected = _find(document, _tokens(operation, "path")), _value(operation)
    if not _same(found, expected):
        raise PatchMisfit(f"test of {operation['path']} fails: it is {found!r}, not {expected!r}")
    return document


_OPERATIONS: Mapping[str, Callable[[Any, dict[str, Any]], Any]] = {
    "add": _add,
    "remove": _remove,
    "replace": _replace,
    "move": _move,
    "copy": _copy,
    "test": _test,
}


def _insert(document: Any, tokens: list[str], value: Any) -> Any:
    if not tokens:
        return value
    parent, last = _find(document, tokens[:-1]), tokens[-1]
    if isinstance(parent, list):
        parent.insert(len(parent) if last == "-" else _index(last, len(parent), tokens), value)
    elif isinstance(parent, dict):
        parent[last] = value
    else:
        raise PatchMisfit(f"{_pointer(tokens[:-1])} is neither a map nor a list")
    return document


def _find(document: Any, tokens: list[str]) -> Any:
    value = document
    for depth, token in enumerate(tokens):
        value = value[_existing(value, token, tokens[: depth + 1])]
    return value


def _existing(parent: Any, token: str, tokens: list[str]) -> Any:
    """The key or index of what must be there."""
    if isinstance(parent, list):
        return _index(token, len(parent) - 1, tokens)
    if isinstance(parent, dict) and token in parent:
        return token
    raise PatchMisfit(f"{_pointer(tokens)} does not exist")


def _index(token: str, highest: int, tokens: list[str]) -> int:
    if not (token.isascii() and token.isdigit()) or (len(token) > 1 and token[0] == "0"):
        raise PatchMisfit(f"{_pointer(tokens)}: {token!r} is not an index of a list")
    if len(token) > 9 or int(token) > highest:
        raise PatchMisfit(f"{_pointer(tokens)} does not exist")
    return int(token)


def _tokens(operation: dict[str, Any], name: str) -> list[str]:
    pointer = operation.get(name)
    if not isinstance(pointer, str) or (pointer and not pointer.startswith("/")):
        raise PatchError(f"{name} must be a JSON pointer such as /spec/order, not {pointer!r}")
    return [token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")[1:]]


def _pointer(tokens: list[str]) -> str:
    return "".join("/" + token.replace("~", "~0").replace("/", "~1") for token in tokens) or "the document"


def _value(operation: dict[str, Any]) -> Any:
    if "value" not in operation:
        raise PatchError("value is missing")
    return copy.deepcopy(operation["value"])


def _same(one: Any, other: Any) -> bool:
    """Equality of JSON: true is not 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)
