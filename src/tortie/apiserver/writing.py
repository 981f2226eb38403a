"""create, update, patch, apply, delete: what a write makes of the stored object, and who owns its fields afterwards.

Every write reads the stored object, makes the new one, checks it as `tortie apply` does (defaults, validation, references) and
stores it if nobody wrote in between.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import msgspec

from tortie.api.defaults import with_defaults
from tortie.api.errors import FieldError, ValidationError
from tortie.api.resource import Key, Resource
from tortie.api.validation import check
from tortie.apiserver import ownership
from tortie.apiserver.access import TierAccess
from tortie.apiserver.errors import Refusal
from tortie.apiserver.objects import Strictness, admit, document, generated_name, resource_of
from tortie.apiserver.patching import APPLY_PATCHES, patched
from tortie.apiserver.reading import tier_of
from tortie.apiserver.rehearsal import Rehearsal
from tortie.apiserver.schema import list_types
from tortie.apiserver.served import Served
from tortie.apiserver.spelling import as_applied
from tortie.base.aio import Backoff
from tortie.datastore import operations
from tortie.datastore.client import Client
from tortie.datastore.errors import DoesNotExist, UpdateConflict

_TRIES = 5
_IDENTITY = ("uid", "creationTimestamp", "resourceVersion", "generation", "deletionTimestamp")
_CAUSES = 50


@dataclass(frozen=True, slots=True)
class Write:
    """One request to change something. `manager` is who its fields will belong to."""

    served: Served
    namespace: str
    name: str
    subresource: str
    manager: str
    strictness: Strictness
    dry_run: bool = False
    force: bool = False

    @property
    def key(self) -> Key:
        """Of the object."""
        return Key(self.served.kind.kind, self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class Written:
    """What a write led to."""

    resource: Resource
    created: bool = False
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Preconditions:
    """What must be so for a deletion."""

    uid: str = ""
    revision: str = ""


class Writer:
    """Writes of one user."""

    def __init__(self, client: Client, access: TierAccess) -> None:
        self._client = client
        self._rehearsal = Rehearsal(client)
        self._access = access

    async def create(self, write: Write, body: Any) -> Written:
        """A new object. Raises Refusal, ValidationError, AlreadyExists."""
        found, problems = admit(write.served, body, strictness=write.strictness)
        metadata = found["metadata"]
        if metadata.get("resourceVersion"):
            raise Refusal(400, "resourceVersion should not be set on objects to be created")
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = generated_name(str(metadata["generateName"]))
        if not metadata.get("name"):
            raise ValidationError([FieldError("metadata.name", None, "name or generateName is required")])
        metadata |= _scope(write, metadata)
        return await self._create(write, found, tuple(problems))

    async def update(self, write: Write, body: Any) -> Written:
        """Replace. Raises Refusal, ValidationError, DoesNotExist, UpdateConflict."""
        found, problems = admit(write.served, body, strictness=write.strictness)
        metadata = found["metadata"]
        metadata |= _scope(write, metadata)
        _require_name(write, metadata)
        metadata["name"] = write.name
        return await self._change(write, lambda _: (found, tuple(problems)), given=str(metadata.get("resourceVersion") or ""))

    async def patch(self, write: Write, patch: Any, content_type: str) -> Written:
        """Change by a patch of any kind that we accept. Raises as `update` does."""
        if content_type == APPLY_PATCHES[0]:
            return await self._apply(write, patch)

        def change(stored: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
            result = patched(as_applied(write.served, stored), patch, content_type)
            found, problems = admit(write.served, result, strictness=write.strictness)
            _require_name(write, found["metadata"])
            given = found["metadata"].get("resourceVersion")
            if given != stored["metadata"].get("resourceVersion"):
                raise UpdateConflict(write.key)
            return found, tuple(problems)

        return await self._change(write, change)

    async def delete(self, write: Write, preconditions: Preconditions) -> Resource:
        """Remove; what has finalizers is only marked. Returns what was there. Raises DoesNotExist, Refusal (409)."""
        client = self._client_of(write)
        stored = await client.get(write.key)
        if write.served.is_tiered:
            await self._require_tier("delete", write, tier_of(stored), write.name)
        _require_uid(write, stored, preconditions.uid)
        if preconditions.revision and preconditions.revision != stored.metadata.resource_version:
            raise _precondition(write, "ResourceVersion", preconditions.revision, stored.metadata.resource_version)
        if not stored.metadata.finalizers:
            return await operations.delete(client, write.key, revision=preconditions.revision)
        if stored.metadata.deletion_timestamp:
            return stored
        metadata = msgspec.structs.replace(stored.metadata, deletion_timestamp=_now())
        return await client.update(msgspec.structs.replace(stored, metadata=metadata))

    # ---- server-side apply ----
    async def _apply(self, write: Write, body: Any) -> Written:
        found, problems = admit(write.served, body, strictness=write.strictness)
        if not isinstance(body, dict) or not body.get("apiVersion") or not body.get("kind"):
            raise Refusal(400, "apiVersion and kind are required in an applied object")
        metadata = found["metadata"]
        if metadata.get("managedFields"):
            raise Refusal(400, "metadata.managedFields must be nil")
        if metadata.get("name", write.name) != write.name:
            raise Refusal(400, f"metadata.name ({metadata['name']}) does not match the name on the URL ({write.name})")
        metadata |= {"name": write.name, **_scope(write, metadata)}
        writer = self._manager(write, "Apply")
        try:
            return await self._change(write, lambda stored: _applied(write, stored, found, writer, problems), applying=writer)
        except DoesNotExist:
            if write.subresource or metadata.get("uid") or metadata.get("resourceVersion"):
                raise
        return await self._create(write, found, tuple(problems), applying=writer)

    # ---- the steps that all share ----
    async def _create(
        self,
        write: Write,
        found: dict[str, Any],
        problems: tuple[str, ...],
        *,
        applying: ownership.Manager | None = None,
    ) -> Written:
        for field in (*_IDENTITY, "managedFields"):
            found["metadata"].pop(field, None)
        if write.served.has_status:
            found.pop("status", None)
        wanted = check(resource_of(write.served, found))
        if write.served.is_tiered:
            await self._require_tier("create", write, tier_of(wanted), wanted.metadata.name)
        owned = ownership.fields_of(found if applying else document(wanted), list_types(write.served))
        owner = replace(applying or self._manager(write, "Update"), fields=owned)
        found = document(wanted)
        found["metadata"]["managedFields"] = ownership.write_managers((owner,))
        stored = await operations.create(self._client_of(write), resource_of(write.served, found))
        return Written(stored, True, problems)

    async def _change(
        self,
        write: Write,
        change: Callable[[dict[str, Any]], tuple[dict[str, Any], tuple[str, ...]]],
        *,
        given: str = "",
        applying: ownership.Manager | None = None,
    ) -> Written:
        """Read, change, write; again while others write in between and the client named no version."""
        client = self._client_of(write)
        backoff = Backoff(first=0.002, last=0.1)
        for attempt in range(_TRIES):
            stored = await client.get(write.key)
            if given and given != stored.metadata.resource_version:
                raise UpdateConflict(write.key)
            if write.served.is_tiered:
                await self._require_tier("update", write, tier_of(stored), write.name)
            before = document(stored)
            found, problems = change(before)
            wanted = self._completed(write, stored, before, found, managed=applying is not None)
            if write.served.is_tiered and tier_of(wanted) != tier_of(stored):
                await self._require_tier("update", write, tier_of(wanted), write.name)
            try:
                return Written(await self._store(client, stored, wanted), False, problems)
            except UpdateConflict:
                if given or attempt == _TRIES - 1:
                    raise
            await backoff.wait()
        raise AssertionError("the last attempt returns or raises")

    async def _store(self, client: Client, stored: Resource, wanted: Resource) -> Resource:
        if wanted == stored:
            return stored
        if wanted.metadata.deletion_timestamp and not wanted.metadata.finalizers:
            return await operations.delete(client, stored.key, revision=stored.metadata.resource_version)
        return await operations.replace(client, wanted)

    def _completed(
        self, write: Write, stored: Resource, before: dict[str, Any], found: dict[str, Any], *, managed: bool
    ) -> Resource:
        """The resource to store: identity is the stored one's, status or the rest stays, ownership follows the change."""
        metadata = found["metadata"]
        _require_uid(write, stored, str(metadata.get("uid") or ""))
        if write.subresource == "status":
            found = {**before, "status": found.get("status")}
            metadata = found["metadata"] = dict(before["metadata"]) | {"managedFields": metadata.get("managedFields")}
        elif write.served.has_status:
            found["status"] = before.get("status")
        found = {key: value for key, value in found.items() if value is not None}
        for field in _IDENTITY:
            metadata.pop(field, None)
            if field in before["metadata"]:
                metadata[field] = before["metadata"][field]
        given = metadata.pop("managedFields", None)
        wanted = check(resource_of(write.served, found))
        if managed:
            entries = given
        else:
            known = given if given is not None else before["metadata"].get("managedFields")
            managers = ownership.read_managers(known)
            writer = self._manager(write, "Update")
            after = ownership.updated(
                managers, writer, before=before, after=document(wanted), list_type=list_types(write.served)
            )
            entries = ownership.write_managers(after)
        final = document(wanted)
        final["metadata"]["managedFields"] = entries
        return resource_of(write.served, final)

    def _client_of(self, write: Write) -> Client:
        return self._rehearsal if write.dry_run else self._client

    def _manager(self, write: Write, operation: str) -> ownership.Manager:
        version = write.served.kind.api_version
        return ownership.Manager(write.manager, operation, write.subresource, version, frozenset(), _now())

    async def _require_tier(self, verb: str, write: Write, tier: str, name: str) -> None:
        await self._access.require(verb, tier, namespace=write.namespace, name=name)


def _applied(
    write: Write, stored: dict[str, Any], wanted: dict[str, Any], writer: ownership.Manager, problems: list[str]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What applying makes of the stored object. Raises Refusal (409) for conflicts, unless forced."""
    given = wanted["metadata"].get("resourceVersion")
    if given and given != stored["metadata"].get("resourceVersion"):
        raise UpdateConflict(write.key)
    managers = ownership.read_managers(stored["metadata"].get("managedFields"))
    content = wanted
    if write.subresource == "status":
        content = {key: value for key, value in wanted.items() if key != "spec"}
    elif write.served.has_status:
        content = {key: value for key, value in wanted.items() if key != "status"}
    spelt = document(with_defaults(resource_of(write.served, content)))
    content = ownership.agreeing(content, spelt, list_types(write.served))
    result = ownership.applied(stored, content, managers, writer, list_type=list_types(write.served))
    if result.conflicts and not write.force:
        raise _conflict(write, result.conflicts)
    found = dict(result.document)
    found["metadata"] = dict(found["metadata"]) | {"managedFields": ownership.write_managers(result.managers)}
    if wanted["metadata"].get("uid"):
        found["metadata"]["uid"] = wanted["metadata"]["uid"]
    return found, tuple(problems)


def _conflict(write: Write, conflicts: tuple[ownership.Conflict, ...]) -> Refusal:
    causes = []
    for each in conflicts[:_CAUSES]:
        who = f'conflict with "{each.manager.name}"'
        who += f" with subresource {each.manager.subresource!r}" if each.manager.subresource else ""
        who += f" using {each.manager.api_version}" if each.manager.operation == "Update" else ""
        causes.append({"reason": "FieldManagerConflict", "message": who, "field": ownership.dotted(each.path)})
    count = f"{len(conflicts)} conflict{'s' if len(conflicts) > 1 else ''}"
    texts = [f"{cause['message']}: {cause['field']}" for cause in causes]
    message = (
        f"Apply failed with {count}: {texts[0]}" if len(texts) == 1 else "\n- ".join((f"Apply failed with {count}:", *texts))
    )
    return Refusal(409, message, details={**write.served.subject(write.name).details(), "causes": causes})


def _scope(write: Write, metadata: Mapping[str, Any]) -> dict[str, str]:
    """The namespace that the object has by its path. Raises Refusal (400) where it says another one."""
    given = metadata.get("namespace") or ""
    if given and given != write.namespace:
        raise Refusal(
            400,
            f"the namespace of the provided object ({given}) does not match the namespace sent on the request"
            if write.served.kind.namespaced
            else f"{write.served.kind.document_kind} has no namespace, but metadata.namespace is {given}",
        )
    return {"namespace": write.namespace} if write.namespace else {}


def _require_name(write: Write, metadata: Mapping[str, Any]) -> None:
    given = metadata.get("name", write.name)
    if given != write.name:
        raise Refusal(400, f"the name of the object ({given}) does not match the name on the URL ({write.name})")


def _require_uid(write: Write, stored: Resource, uid: str) -> None:
    if uid and stored.metadata.uid and uid != stored.metadata.uid:
        raise _precondition(write, "UID", uid, stored.metadata.uid)


def _precondition(write: Write, what: str, given: str, found: str) -> Refusal:
    subject = write.served.subject(write.name)
    text = f"Precondition failed: {what} in precondition: {given}, {what} in object meta: {found}"
    return Refusal(
        409, f'Operation cannot be fulfilled on {subject.qualified} "{write.name}": {text}', details=subject.details()
    )


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
