"""Objects shown as they were applied: `natOutgoing: false` means what silence means, and who wrote it looks for it again.

`kubectl apply` compares what it would send with what it reads, and calls an object "configured" whenever a field that it
spelt out is not there. No store of ours keeps a field that says nothing; the annotation of the last apply does.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from tortie.api.defaults import with_defaults
from tortie.api.errors import ApiError
from tortie.api.shape import Fitting
from tortie.apiserver.objects import document, resource_of
from tortie.apiserver.served import Served

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def as_applied(served: Served, found: dict[str, Any]) -> dict[str, Any]:
    """A document with those fields besides that its last client-side apply spelt out and that change nothing of its meaning."""
    text = found["metadata"].get("annotations", {}).get(LAST_APPLIED)
    applied = _spec_of(text) if text else None
    spec = found.get("spec")
    if applied is None or not isinstance(spec, dict) or not _lacks(spec, applied):
        return found
    fitting = Fitting(strict=False)
    known = fitting.fit(served.kind.struct, {"spec": applied})
    if fitting.errors:
        return found
    try:
        meant = document(with_defaults(resource_of(served, known)))
    except ApiError:
        return found
    return found | {"spec": _merged(spec, known.get("spec"), meant.get("spec"))}


def _spec_of(text: str) -> dict[str, Any] | None:
    try:
        spec = msgspec.json.decode(text, type=dict[str, Any]).get("spec")
    except (msgspec.MsgspecError, RecursionError):
        return None
    return spec if isinstance(spec, dict) else None


def _lacks(found: Any, applied: Any) -> bool:
    """Whether something that was applied is not there. Most objects lack nothing, and need no closer look."""
    if isinstance(found, dict) and isinstance(applied, dict):
        return any(key not in found or _lacks(found[key], value) for key, value in applied.items())
    if isinstance(found, list) and isinstance(applied, list) and len(found) == len(applied):
        return any(map(_lacks, found, applied))
    return False


def _merged(found: Any, applied: Any, meant: Any) -> Any:
    """`found` and what of `applied` is neither there nor left of it when it is written as we write."""
    if isinstance(found, dict) and isinstance(applied, Mapping) and isinstance(meant, Mapping):
        merged = {key: _merged(value, applied.get(key), meant.get(key)) for key, value in found.items()}
        return merged | {
            key: value for key, value in applied.items() if value is not None and key not in found and key not in meant
        }
    if isinstance(found, list) and found == meant and isinstance(applied, (list, tuple)) and len(found) == len(applied):
        return list(map(_merged, found, applied, meant))
    return found
