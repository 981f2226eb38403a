"""Patches of documents, pure: RFC 6902, RFC 7386, and Kubernetes' strategic merge for kinds whose lists are replaced whole.

Strategic patches of our kinds are merge patches with directives: `$patch: replace|delete`, `$retainKeys`, and the two that
kubectl adds to lists (`$setElementOrder/…`, `$deleteFromPrimitiveList/…`). Of metadata, finalizers are a set and
ownerReferences are told apart by uid.
"""

import copy
from typing import Any

import jsonpatch

from tortie.apiserver.errors import Refusal

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCHES = ("application/apply-patch+yaml", "application/apply-patch+cbor")
ACCEPTED = (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_PATCHES[0])

_MAX_OPERATIONS = 10_000
_MERGED_LISTS: dict[tuple[str, ...], str] = {("metadata", "finalizers"): "", ("metadata", "ownerReferences"): "uid"}


def patched(document: dict[str, Any], patch: Any, content_type: str) -> dict[str, Any]:
    """`document` after a patch of that media type. The original stays as it is. Raises Refusal."""
    match content_type:
        case "application/json-patch+json":
            result = _json(document, patch)
        case "application/merge-patch+json":
            result = merged(document, _map(patch))
        case "application/strategic-merge-patch+json":
            result = _strategic(document, _map(patch), ())
        case _:
            raise Refusal(415, f"the body of the request was in an unknown format - accepted media types are: {ACCEPTED}")
    if not isinstance(result, dict):
        raise Refusal(422, "the patch leaves no object")
    return result


def merged(target: Any, patch: Any) -> Any:
    """RFC 7386: maps merge, null removes, everything else replaces."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def _json(document: dict[str, Any], patch: Any) -> Any:
    if not isinstance(patch, list) or len(patch) > _MAX_OPERATIONS:
        raise Refusal(400, f"a JSON patch is a list of at most {_MAX_OPERATIONS} operations")
    try:
        return jsonpatch.JsonPatch(patch).apply(document)
    except jsonpatch.InvalidJsonPatch as error:
        raise Refusal(400, f"the JSON patch cannot be read: {error}") from error
    except jsonpatch.JsonPatchException as error:
        raise Refusal(422, f"the server rejected our request due to an error in our request: {error}") from error
    except (jsonpatch.JsonPointerException, TypeError, KeyError, AttributeError) as error:
        raise Refusal(422, f"the JSON patch does not fit the object: {error}") from error


def _map(patch: Any) -> dict[str, Any]:
    if not isinstance(patch, dict):
        raise Refusal(400, "a merge patch is a map, such as {spec: {order: 10}}")
    return patch


def _strategic(target: Any, patch: Any, path: tuple[str, ...]) -> Any:
    if isinstance(patch, list):
        return _strategic_list(target, patch, path)
    if not isinstance(patch, dict):
        return patch
    directive = patch.get("$patch", "merge")
    if directive not in ("merge", "replace", "delete"):
        raise Refusal(400, f"{'.'.join(path) or 'the patch'}: $patch {directive!r} is unknown: use merge, replace or delete")
    if directive == "delete":
        return None
    result = dict(target) if isinstance(target, dict) and directive == "merge" else {}
    for key, value in patch.items():
        if key.startswith("$deleteFromPrimitiveList/"):
            field = key.partition("/")[2]
            result[field] = [item for item in result.get(field) or [] if item not in value]
        elif not key.startswith("$"):
            new = None if value is None else _strategic(result.get(key), value, (*path, key))
            if new is None:
                result.pop(key, None)
            else:
                result[key] = new
    keep = patch.get("$retainKeys")
    return {key: value for key, value in result.items() if key in keep} if isinstance(keep, list) else result


def _strategic_list(target: Any, patch: list[Any], path: tuple[str, ...]) -> list[Any]:
    name = _MERGED_LISTS.get(path)
    if name is None:
        return copy.deepcopy(patch)
    result = list(target) if isinstance(target, list) else []
    if not name:
        return list(dict.fromkeys(map(str, (*result, *patch))))
    for item in patch:
        if not isinstance(item, dict) or name not in item:
            raise Refusal(400, f"{'.'.join(path)}: every item needs {name}, by which the list is merged")
        at = next((index for index, old in enumerate(result) if old.get(name) == item[name]), None)
        new = _strategic(result[at] if at is not None else None, item, (*path, "*"))
        if at is not None:
            result[at : at + 1] = [] if new is None else [new]
        elif new is not None:
            result.append(new)
    return result
