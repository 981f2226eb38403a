"""Bodies of answers: objects, lists, tables, watch events, as bytes. An object is encoded once for each of its versions."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import msgspec

from tortie.api.resource import Resource
from tortie.apiserver.objects import document
from tortie.apiserver.pages import Page
from tortie.apiserver.served import Served
from tortie.apiserver.spelling import as_applied
from tortie.apiserver.tables import Include, Shape, metadata_only, table
from tortie.dataplane.enforcement import RELEASE, unenforced

_ENCODED = 20_000
_AT_ONCE = 200


class Answers:
    """Encodes what is answered."""

    def __init__(self) -> None:
        self._encoded: OrderedDict[tuple[str, ...], msgspec.Raw] = OrderedDict()

    def object(self, served: Served, resource: Resource, shape: Shape, include: Include, *, stored: bool = True) -> bytes:
        """One object. What is not stored, as after a dry run, has the version of something else."""
        if not stored and shape == "object":
            return msgspec.json.encode(as_applied(served, document(resource)))
        return bytes(self._one(served, resource, shape, include))

    async def list(self, served: Served, page: Page, shape: Shape, include: Include, *, whole: bool) -> bytes:
        """A listing, or a page of one; a long one holds nobody else up. Only a whole collection's says how many remain."""
        meta: dict[str, Any] = {"resourceVersion": page.revision}
        if page.token:
            meta["continue"] = page.token
            meta |= {"remainingItemCount": page.remaining} if whole else {}
        if shape == "table":
            return msgspec.json.encode(table(served, page.items, meta=meta, include=include))
        kind, version = f"{served.kind.document_kind}List", served.kind.api_version
        if shape == "metadata":
            kind, version = "PartialObjectMetadataList", "meta.k8s.io/v1"
        items: list[msgspec.Raw] = []
        for at in range(0, len(page.items), _AT_ONCE):
            items += [self._one(served, item, shape, include) for item in page.items[at : at + _AT_ONCE]]
            await asyncio.sleep(0)
        return msgspec.json.encode({"kind": kind, "apiVersion": version, "metadata": meta, "items": items})

    def event(self, served: Served, type_: str, resource: Resource, shape: Shape, include: Include) -> bytes:
        """One line of a watch."""
        return msgspec.json.encode({"type": type_, "object": self._one(served, resource, shape, include)}) + b"\n"

    def bookmark(self, served: Served, revision: str, shape: Shape, *, initial: bool = False) -> bytes:
        """A line that says how far the watch is; `initial` that the state has been told."""
        metadata: dict[str, Any] = {"resourceVersion": revision}
        if initial:
            metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
        found: dict[str, Any] = {"kind": served.kind.document_kind, "apiVersion": served.kind.api_version, "metadata": metadata}
        if shape == "table":
            found = table(served, (), meta={"resourceVersion": revision}, include="None")
        elif shape == "metadata":
            found |= {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1"}
        return msgspec.json.encode({"type": "BOOKMARK", "object": found}) + b"\n"

    def _one(self, served: Served, resource: Resource, shape: Shape, include: Include) -> msgspec.Raw:
        if shape == "table":
            meta = {"resourceVersion": resource.metadata.resource_version}
            return msgspec.Raw(msgspec.json.encode(table(served, [resource], meta=meta, include=include)))
        if shape == "metadata":
            return msgspec.Raw(msgspec.json.encode(metadata_only(resource)))
        metadata = resource.metadata
        if not metadata.resource_version:
            return msgspec.Raw(msgspec.json.encode(as_applied(served, document(resource))))
        key = (*resource.key, metadata.uid, metadata.resource_version)
        found = self._encoded.get(key)
        if found is None:
            found = self._encoded[key] = msgspec.Raw(msgspec.json.encode(as_applied(served, document(resource))))
            if len(self._encoded) > _ENCODED:
                self._encoded.popitem(last=False)
        return found


def status_success(served: Served, resource: Resource) -> bytes:
    """The answer to a deletion."""
    details = {"name": resource.metadata.name, "group": served.group, "kind": served.plural, "uid": resource.metadata.uid}
    found = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    return msgspec.json.encode(found | {"details": {key: value for key, value in details.items() if value}})


def warnings(texts: Sequence[str]) -> list[str]:
    """Values of Warning headers."""
    quoted = (text.replace("\\", "\\\\").replace('"', '\\"') for text in texts)
    return [f'299 - "{text}"' for text in quoted if text.isprintable()]


def unenforced_warnings(resource: Resource) -> list[str]:
    """One warning that names the fields which this release stores and does not act on. `tortie apply` refuses them instead."""
    fields = [error.path for error in unenforced(resource)]
    return [f"stored, but not enforced by this release of Tortie ({RELEASE}): {', '.join(fields)}"] if fields else []
