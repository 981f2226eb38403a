"""Server-side apply: who owns which field, what an apply changes, what it may not, pure.

A field set is a set of paths; a path is a tuple of steps as Kubernetes writes them in fieldsV1: `f:spec`, `v:"x"` (an item of
a set), `k:{"uid":"1"}` (an item of a list that is merged by keys). Leaves are owned, and items of lists as such; maps are not.
Lists are atomic unless the schema says otherwise (`ListType`).
"""

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

Steps = tuple[str, ...]
FieldSet = frozenset[Steps]
ListType = Callable[[Steps], Sequence[str] | None]
"""Of a list's path: None atomic, () a set, else the keys by which its items are told apart."""

_UNOWNED = frozenset(
    ("apiVersion", "kind", "metadata.name", "metadata.namespace", "metadata.creationTimestamp", "metadata.uid",
     "metadata.resourceVersion", "metadata.generation", "metadata.managedFields", "metadata.selfLink",
     "metadata.deletionTimestamp", "metadata.generateName")
)  # fmt: skip
"""What says which object it is, or is written by the server, belongs to nobody."""


@dataclass(frozen=True, slots=True)
class Manager:
    """One entry of managedFields. `time` is when its fields changed last."""

    name: str
    operation: str
    subresource: str
    api_version: str
    fields: FieldSet
    time: str = ""

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """Entries with the same identity are one."""
        return self.name, self.operation, self.subresource, self.api_version if self.operation == "Update" else ""


@dataclass(frozen=True, slots=True)
class Conflict:
    """A field that somebody else owns, with another value."""

    manager: Manager
    path: Steps


@dataclass(frozen=True, slots=True)
class Applied:
    """What an apply leads to: the object, its managers, and the conflicts that force overrode (or that forbid it)."""

    document: dict[str, Any]
    managers: tuple[Manager, ...]
    conflicts: tuple[Conflict, ...]


# ---- field sets ----
def fields_of(document: dict[str, Any], list_type: ListType) -> FieldSet:
    """Everything of a document that can be owned."""
    return frozenset(path for path, _ in _leaves(document, (), list_type) if not _unowned(path))


def fields_v1(fields: Iterable[Steps]) -> dict[str, Any]:
    """A field set as it stands in managedFields."""
    root: dict[str, Any] = {}
    for path in sorted(fields):
        node = root
        for step in path:
            node = node.setdefault(step, {})
        node["."] = {}
    return _trimmed(root)


def read_fields_v1(tree: Any) -> FieldSet:
    """Undo `fields_v1`; what is no field set is empty."""
    return frozenset(_paths(tree, ())) if isinstance(tree, dict) else frozenset()


def read_managers(entries: Any) -> tuple[Manager, ...]:
    """metadata.managedFields as values; entries that say nothing are left out."""
    found: list[Manager] = []
    for entry in entries if isinstance(entries, list) else ():
        if not isinstance(entry, dict) or entry.get("operation") not in ("Apply", "Update"):
            continue
        text = {key: str(entry.get(key) or "") for key in ("manager", "operation", "subresource", "apiVersion", "time")}
        fields = read_fields_v1(entry.get("fieldsV1"))
        found.append(Manager(text["manager"], text["operation"], text["subresource"], text["apiVersion"], fields, text["time"]))
    return tuple(found)


def write_managers(managers: Iterable[Manager]) -> list[dict[str, Any]]:
    """metadata.managedFields, in an order that does not depend on history."""
    entries = []
    for one in sorted(managers, key=lambda one: (one.operation, one.name, one.subresource, one.api_version)):
        if not one.fields:
            continue
        entry: dict[str, Any] = {"manager": one.name, "operation": one.operation, "apiVersion": one.api_version}
        entry |= {"time": one.time} if one.time else {}
        entry |= {"fieldsType": "FieldsV1", "fieldsV1": fields_v1(one.fields)}
        entries.append(entry | ({"subresource": one.subresource} if one.subresource else {}))
    return entries


# ---- the two ways to write ----
def updated(
    managers: Sequence[Manager], writer: Manager, *, before: dict[str, Any], after: dict[str, Any], list_type: ListType
) -> tuple[Manager, ...]:
    """The managers after an update: the writer owns what it changed, nobody owns what is gone.

    `writer.time` is now; entries whose fields stay keep their time.
    """
    old, new = _values(before, list_type), _values(after, list_type)
    changed = frozenset(path for path, value in new.items() if path not in old or old[path] != value)
    gone = frozenset(old) - frozenset(new)
    kept = [_with(one, one.fields - gone - changed, writer.time) for one in managers if one.identity != writer.identity]
    own = next((one for one in managers if one.identity == writer.identity), replace(writer, fields=frozenset()))
    return tuple(one for one in (*kept, _with(own, (own.fields - gone) | changed, writer.time)) if one.fields)


def applied(
    live: dict[str, Any], wanted: dict[str, Any], managers: Sequence[Manager], writer: Manager, *, list_type: ListType
) -> Applied:
    """What applying `wanted` makes of `live`. With conflicts, the document is what it becomes when they are forced."""
    ours, values = _values(wanted, list_type), _values(live, list_type)
    others = [one for one in managers if one.identity != writer.identity]
    before = next((one for one in managers if one.identity == writer.identity), replace(writer, fields=frozenset()))
    conflicts = tuple(
        Conflict(one, path)
        for one in others
        for path in sorted(one.fields)
        if (path in ours and values.get(path, _ABSENT) != ours[path]) or _covers_other(path, ours, values)
    )
    result = copy.deepcopy(live)
    owned_by_others = frozenset[Steps]().union(*(one.fields for one in others))
    for path in sorted(before.fields - frozenset(ours) - owned_by_others, key=len, reverse=True):
        _remove(result, path)
    for path, value in sorted(ours.items(), key=lambda item: len(item[0])):
        _place(result, path, value)
    fields = frozenset(ours)
    remaining = [
        _with(one, one.fields - {each.path for each in conflicts if each.manager is one}, writer.time) for one in others
    ]
    return Applied(result, tuple(one for one in (*remaining, _with(before, fields, writer.time)) if one.fields), conflicts)


def agreeing(document: dict[str, Any], normalised: dict[str, Any], list_type: ListType) -> dict[str, Any]:
    """`document` with its leaves spelt as they would be stored: a port "80" as 80. What is spelt only one way stays."""
    spelt = _values(normalised, list_type)
    result = copy.deepcopy(document)
    for path, value in _values(document, list_type).items():
        if path in spelt and spelt[path] != value:
            _place(result, path, spelt[path])
    return result


def dotted(path: Steps) -> str:
    """A path as kubectl prints it: .spec.order, .metadata.finalizers["x"]."""
    return "".join(f".{step[2:]}" if step.startswith("f:") else f"[{step[2:]}]" for step in path)


# ---- inside ----
_ABSENT = object()


def _with(manager: Manager, fields: FieldSet, now: str) -> Manager:
    return manager if fields == manager.fields else replace(manager, fields=fields, time=now)


def _values(document: dict[str, Any], list_type: ListType) -> dict[Steps, Any]:
    return {path: value for path, value in _leaves(document, (), list_type) if not _unowned(path)}


def _unowned(path: Steps) -> bool:
    return ".".join(step[2:] for step in path[:2]) in _UNOWNED or (len(path) == 1 and path[0][2:] in ("metadata", *_UNOWNED))


def _leaves(value: Any, path: Steps, list_type: ListType) -> Iterable[tuple[Steps, Any]]:
    if isinstance(value, dict) and (value or not path):
        for key, item in value.items():
            if item is not None:
                yield from _leaves(item, (*path, f"f:{key}"), list_type)
        return
    keys = list_type(path) if isinstance(value, list) else None
    if keys is None or not value:
        yield path, value
        return
    for item in value:
        step = _step(item, keys)
        if keys:
            yield (*path, step), {key: item.get(key) for key in keys}
            rest = {key: inner for key, inner in item.items() if key not in keys}
            yield from _leaves(rest, (*path, step), list_type) if rest else ()
        else:
            yield (*path, step), item


def _step(item: Any, keys: Sequence[str]) -> str:
    if not keys:
        return f"v:{msgspec.json.encode(item).decode()}"
    found = {key: item.get(key) for key in sorted(keys)} if isinstance(item, dict) else {}
    return f"k:{msgspec.json.encode(found).decode()}"


def _covers_other(path: Steps, ours: dict[Steps, Any], live: dict[Steps, Any]) -> bool:
    """Whether we would replace, by a value of our own, a map or list in which somebody owns `path`."""
    return path in live and any(
        ours.get(path[:length], {}) != {} for length in range(1, len(path)) if path[:length] not in live
    )


def _find(document: Any, path: Steps, *, make: bool) -> Any:
    for at, step in enumerate(path):
        following = path[at + 1] if at + 1 < len(path) else "f:"
        if isinstance(document, list):
            document = next((item for item in document if _is(item, step)), None)
        elif isinstance(document, dict):
            inner = document.get(step[2:])
            if make and not isinstance(inner, (list if following[0] in "kv" else dict)):
                inner = document[step[2:]] = [] if following[0] in "kv" else {}
            document = inner
        if document is None:
            return None
    return document


def _is(item: Any, step: str) -> bool:
    key = msgspec.json.decode(step[2:])
    if step.startswith("v:"):
        return bool(item == key)
    return isinstance(item, dict) and all(item.get(name) == value for name, value in key.items())


def _place(document: dict[str, Any], path: Steps, value: Any) -> None:
    step = path[-1]
    if step[0] in "kv":
        items = _list_at(document, path[:-1])
        if not any(_is(item, step) for item in items):
            items.append(copy.deepcopy(value))
        return
    parent = _find(document, path[:-1], make=True) if len(path) > 1 else document
    # An empty map says that there is a map, and nothing of what others have in it.
    if isinstance(parent, dict) and not (value == {} and isinstance(parent.get(step[2:]), dict)):
        parent[step[2:]] = copy.deepcopy(value)


def _list_at(document: dict[str, Any], path: Steps) -> list[Any]:
    parent = _find(document, path[:-1], make=True) if len(path) > 1 else document
    found = parent.get(path[-1][2:])
    if not isinstance(found, list):
        found = parent[path[-1][2:]] = []
    return found


def _remove(document: dict[str, Any], path: Steps) -> None:
    parent = _find(document, path[:-1], make=False) if len(path) > 1 else document
    step = path[-1]
    if isinstance(parent, dict):
        parent.pop(step[2:], None)
    elif isinstance(parent, list):
        parent[:] = [item for item in parent if not _is(item, step)]
    if parent in ({}, []) and len(path) > 1:
        _remove(document, path[:-1])


def _trimmed(node: dict[str, Any]) -> dict[str, Any]:
    """Leaves are written as {}, without the dot that marks members which have children too."""
    return {key: {} if inner == {".": {}} or key == "." else _trimmed(inner) for key, inner in node.items()}


def _paths(tree: dict[str, Any], path: Steps) -> Iterable[Steps]:
    if not tree and path:
        yield path
    for key, inner in tree.items():
        if key == ".":
            yield path
        elif isinstance(inner, dict):
            yield from _paths(inner, (*path, key))
