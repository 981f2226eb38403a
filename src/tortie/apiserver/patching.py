"""Patches by their media types: what `tortie.api.patching` does, answered as an API server answers."""

from typing import Any

from tortie.api.patching import PatchError, PatchMisfit
from tortie.api.patching import patched as patched_by
from tortie.apiserver.errors import Refusal

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCHES = ("application/apply-patch+yaml", "application/apply-patch+cbor")
ACCEPTED = (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_PATCHES[0])

_KINDS = {JSON_PATCH: "json", MERGE_PATCH: "merge", STRATEGIC_PATCH: "strategic"}
_MAX_OPERATIONS = 10_000


def patched(document: dict[str, Any], patch: Any, content_type: str) -> dict[str, Any]:
    """`document` after a patch of that media type. The original stays as it is. Raises Refusal."""
    kind = _KINDS.get(content_type)
    if kind is None:
        raise Refusal(415, f"the body of the request was in an unknown format - accepted media types are: {ACCEPTED}")
    if isinstance(patch, list) and len(patch) > _MAX_OPERATIONS:
        raise Refusal(400, f"a JSON patch is a list of at most {_MAX_OPERATIONS} operations")
    try:
        result = patched_by(document, patch, kind)
    except PatchMisfit as error:
        raise Refusal(422, f"the server rejected our request due to an error in our request: {error}") from error
    except PatchError as error:
        raise Refusal(400, f"the patch cannot be read: {error}") from error
    if not isinstance(result, dict):
        raise Refusal(422, "the patch leaves no object")
    return result
