"""Answers requests: finds out who asks, what about, whether they may, and hands over to reading, writing and watching.

The only module besides `server` that knows aiohttp.
"""

import asyncio
import contextlib
import random
from collections.abc import Mapping
from typing import Any, cast

import msgspec
from aiohttp import web

from tortie.api.documents import load_raw
from tortie.api.errors import ApiError
from tortie.api.resource import Key
from tortie.apiserver import protobuf, self_review
from tortie.apiserver import question as asked
from tortie.apiserver.access import Attributes, Authorizer, TierAccess, User, require
from tortie.apiserver.answers import Answers, status_success, unenforced_warnings, warnings
from tortie.apiserver.errors import Refusal, Subject, expired, refusal_of
from tortie.apiserver.hub import Hubs, Subscription, newer, seen
from tortie.apiserver.identity import Trust, identify, read_peer
from tortie.apiserver.patching import ACCEPTED, APPLY_PATCHES
from tortie.apiserver.public import Public
from tortie.apiserver.question import Question
from tortie.apiserver.reading import Listings, Selection, check_version, get, selection
from tortie.apiserver.selecting import parse_fields, parse_labels
from tortie.apiserver.served import Catalogue
from tortie.apiserver.tables import Include, Shape, shape_of
from tortie.apiserver.writing import Preconditions, Write, Writer
from tortie.base import log
from tortie.base.errors import TortieError
from tortie.base.metrics import Metrics
from tortie.datastore.client import Client

_log = log.get(__name__)

_JSON = "application/json"
_NAME = "name"
"""Of a request: the object that its body names, for messages."""
_TICK_SECONDS = 5.0
"""How often a silent watch looks whether its client is still there."""
_BOOKMARK_TICKS = 12
_WATCH_SECONDS = (1800, 3600)
_INCLUDES: Mapping[str, Include] = {"": "Metadata", "Metadata": "Metadata", "None": "None", "Object": "Object"}


class Service:
    """The handler of every request. `trust` may be replaced while it runs."""

    def __init__(
        self, client: Client, catalogue: Catalogue, *, hubs: Hubs, authorizer: Authorizer, trust: Trust, metrics: Metrics
    ) -> None:
        self.trust = trust
        self.ready: str = "the datastore has not answered yet"
        """Why the server is not ready; empty when it is."""
        self._client = client
        self._catalogue = catalogue
        self._hubs = hubs
        self._authorizer = authorizer
        self._metrics = metrics
        self._answers = Answers()
        self._listings = Listings(client)
        self._public = Public(catalogue, metrics, hubs)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One request, whatever it is."""
        started = asyncio.get_running_loop().time()
        subject, verb = Subject("", ""), request.method.lower()
        try:
            health = self._public.health(request.path, self.ready)
            if health is not None:
                return web.Response(status=health[0], text=health[1])
            response: web.StreamResponse
            if request.method == "POST" and request.path in self_review.PATHS:
                response = await self._review(request)
            else:
                question = asked.parse(self._catalogue, request.method, request.path, request.query)
                if question is not None:
                    subject, verb = question.served.subject(question.name), question.verb
                user = await self._identify(request)
                attributes = Attributes(verb, path=request.path) if question is None else question.attributes()
                await require(self._authorizer, user, attributes)
                response = await (self._other(request) if question is None else self._ask(request, question, user))
        except (TortieError, msgspec.MsgspecError, RecursionError) as error:
            response = _refused(refusal_of(error, subject.named(request.get(_NAME, subject.name))))
        except (ConnectionResetError, asyncio.CancelledError):
            raise
        except Exception as error:
            _log.exception("request %s %s failed", request.method, request.path)
            response = _refused(refusal_of(error, subject))
        self._metrics.count(f'tortie_apiserver_requests_total{{verb="{verb}",code="{response.status}"}}')
        if verb != "watch":
            self._metrics.observe("tortie_apiserver_request_seconds", asyncio.get_running_loop().time() - started)
        return response

    async def _review(self, request: web.Request) -> web.Response:
        user = await self._identify(request)
        answer = await self_review.review(request.path, await _body(request), user, self._authorizer)
        return web.json_response(answer, status=201)

    async def _identify(self, request: web.Request) -> User:
        transport = request.transport
        peer = read_peer(transport.get_extra_info("ssl_object")) if transport is not None else None
        return await identify(self.trust, peer, request.headers)

    async def _other(self, request: web.Request) -> web.Response:
        if request.method not in ("GET", "HEAD"):
            raise Refusal(405, f"the server does not allow method {request.method} on {request.path}")
        page = self._public.page(request.path, request.headers.get("Accept", ""))
        if page is None:
            raise Refusal(404, "the server could not find the requested resource")
        if page.etag and request.headers.get("If-None-Match", "") == page.etag:
            return web.Response(status=304, headers={"ETag": page.etag})
        headers = {"ETag": page.etag} if page.etag else {}
        return web.Response(body=page.body, headers={"Content-Type": page.content_type, "Vary": "Accept", **headers})

    async def _ask(self, request: web.Request, question: Question, user: User) -> web.StreamResponse:
        access = TierAccess(self._authorizer, user, question.served)
        shape = shape_of(request.headers.get("Accept", ""))
        match question.verb:
            case "get":
                key = Key(question.served.kind.kind, question.namespace, question.name)
                found = await get(self._client, access, question.served, key)
                return _answered(self._answers.object(question.served, found, shape, _include(request)))
            case "list":
                return await self._list(request, question, user, access=access, shape=shape)
            case "watch":
                return await self._watch(request, question, access=access, shape=shape)
            case "create" | "update" | "patch":
                return await self._write(request, question, access=access, shape=shape)
            case "delete":
                return await self._delete(request, question, access=access, shape=shape)
            case _:
                return await self._delete_collection(request, question, access=access, shape=shape)

    # ---- reading ----
    async def _selection(self, request: web.Request, question: Question, access: TierAccess, *, verb: str) -> Selection:
        text = request.query.get("fieldSelector", "")
        if verb == "watch" and question.name:
            text = f"{text},metadata.name={question.name}".removeprefix(",")
        labels = parse_labels(request.query.get("labelSelector", ""))
        fields = parse_fields(text, allowed=question.served.fields)
        return await selection(
            self._client, access, question.served,
            verb=verb, namespace=question.namespace, labels=labels, fields=fields,
        )  # fmt: skip

    async def _list(
        self, request: web.Request, question: Question, user: User, *, access: TierAccess, shape: Shape
    ) -> web.Response:
        query = request.query
        match, revision = query.get("resourceVersionMatch", ""), query.get("resourceVersion", "")
        check_version(match, revision)
        chosen = await self._selection(request, question, access, verb="list")
        page = await self._listings.page(
            chosen,
            self._hubs.of(question.served.kind.kind),
            limit=asked.number(query, "limit"),
            token=query.get("continue", ""),
            user=user.name,
            scope=f"{question.namespace}/{query.get('labelSelector', '')}/{query.get('fieldSelector', '')}",
        )
        if match == "Exact" and page.revision != revision:
            raise expired(f"the state of resource version {revision} is gone: it is {page.revision} now")
        return _answered(await self._answers.list(question.served, page, shape, _include(request), whole=chosen.is_whole))

    async def _watch(self, request: web.Request, question: Question, *, access: TierAccess, shape: Shape) -> web.StreamResponse:
        query = request.query
        chosen = await self._selection(request, question, access, verb="watch")
        revision = query.get("resourceVersion", "")
        wants_state = query.get("sendInitialEvents", "")
        seconds = asked.number(query, "timeoutSeconds") or random.randint(*_WATCH_SECONDS)
        hub = self._hubs.of(question.served.kind.kind)
        anywhere = revision in ("", "0") or wants_state == "true"
        async with hub.subscribe(revision, state=anywhere) as subscription:
            response = web.StreamResponse(headers={"Content-Type": _JSON, "Cache-Control": "no-cache, private"})
            await response.prepare(request)
            bookmarks = asked.flag(query, "allowWatchBookmarks")
            stream = _Stream(self._answers, chosen, shape, _include(request), bookmarks=bookmarks)
            with contextlib.suppress(ConnectionResetError):  # the client is gone
                if anywhere and wants_state != "false":
                    await stream.tell_state(response, subscription, marked=wants_state == "true")
                await stream.run(request, response, subscription, seconds)
                await response.write_eof()
            return response

    # ---- writing ----
    async def _write(self, request: web.Request, question: Question, *, access: TierAccess, shape: Shape) -> web.Response:
        body = await _body(request)
        if question.verb == "create" and isinstance(body, dict) and isinstance(body.get("metadata"), dict):
            request[_NAME] = str(body["metadata"].get("name") or "")
        content_type = request.content_type
        write = _write_of(request, question)
        writer = Writer(self._client, access)
        if question.verb == "create":
            written = await writer.create(write, body)
        elif question.verb == "update":
            written = await writer.update(write, body)
        else:
            if content_type not in ACCEPTED:
                accepted = ", ".join(ACCEPTED)
                raise Refusal(415, f"the body of the request was in an unknown format - accepted are: {accepted}")
            if content_type == APPLY_PATCHES[0] and not request.query.get("fieldManager"):
                raise Refusal(400, "PatchOptions is invalid: fieldManager is required for an apply patch")
            written = await writer.patch(write, body, content_type)
        found = self._answers.object(question.served, written.resource, shape, _include(request), stored=not write.dry_run)
        said = written.warnings if write.subresource else (*written.warnings, *unenforced_warnings(written.resource))
        return _answered(found, status=201 if written.created else 200, said=warnings(said))

    async def _delete(self, request: web.Request, question: Question, *, access: TierAccess, shape: Shape) -> web.Response:
        options = await _delete_options(request)
        write = _write_of(request, question, options)
        gone = await Writer(self._client, access).delete(write, _preconditions(options))
        if gone.metadata.finalizers:
            return _answered(self._answers.object(question.served, gone, shape, "Metadata", stored=False))
        return _answered(status_success(question.served, gone))

    async def _delete_collection(
        self, request: web.Request, question: Question, *, access: TierAccess, shape: Shape
    ) -> web.Response:
        options = await _delete_options(request)
        chosen = await self._selection(request, question, access, verb="deletecollection")
        listing = await self._client.list(question.served.kind.kind, namespace=question.namespace)
        writer = Writer(self._client, access)
        for item in listing.items:
            if chosen.matches(item):
                single = Question(question.served, "delete", item.metadata.namespace, item.metadata.name, "")
                await writer.delete(_write_of(request, single, options), Preconditions(item.metadata.uid))
        done = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
        return _answered(msgspec.json.encode(done))


class _Stream:
    """The events of one watch."""

    def __init__(self, answers: Answers, chosen: Selection, shape: Shape, include: Include, *, bookmarks: bool) -> None:
        self._answers = answers
        self._chosen = chosen
        self._shape = shape
        self._include = include
        self._bookmarks = bookmarks

    async def tell_state(self, response: web.StreamResponse, subscription: Subscription, *, marked: bool) -> None:
        """What is there already; with `marked`, a bookmark says where it ends."""
        served = self._chosen.served
        for item in subscription.initial:
            if self._chosen.matches(item):
                await response.write(self._answers.event(served, "ADDED", item, self._shape, self._include))
        if marked:
            await response.write(self._answers.bookmark(served, subscription.revision, self._shape, initial=True))

    async def run(self, request: web.Request, response: web.StreamResponse, subscription: Subscription, seconds: float) -> None:
        """Until the time is up (a bookmark says so), the client is gone, the server stops, or the client has to list again."""
        served = self._chosen.served
        loop = asyncio.get_running_loop()
        until, revision, ticks = loop.time() + seconds, subscription.revision, 0
        while (left := until - loop.time()) > 0 and request.transport is not None and not request.transport.is_closing():
            try:
                async with asyncio.timeout(min(left, _TICK_SECONDS)):
                    change = await subscription.next()
            except TimeoutError:
                ticks += 1
                if self._bookmarks and revision and ticks % _BOOKMARK_TICKS == 0:
                    await response.write(self._answers.bookmark(served, revision, self._shape))
                continue
            except Refusal as refusal:
                await response.write(msgspec.json.encode({"type": "ERROR", "object": refusal.status()}) + b"\n")
                return
            if change is None:
                return
            revision = change.revision if not revision or newer(change.revision, revision) else revision
            told = seen(change, self._chosen.matches)
            if told is not None:
                await response.write(self._answers.event(served, told.type, told.resource, self._shape, self._include))
        if self._bookmarks and revision:
            await response.write(self._answers.bookmark(served, revision, self._shape))


# ---- requests and responses ----
def _answered(body: bytes, *, status: int = 200, said: list[str] | None = None) -> web.Response:
    response = web.Response(body=body, status=status, headers={"Content-Type": _JSON, "Cache-Control": "no-cache, private"})
    for text in said or ():
        response.headers.add("Warning", text)
    return response


def _refused(refusal: Refusal) -> web.Response:
    return _answered(msgspec.json.encode(refusal.status()), status=refusal.code)


def _include(request: web.Request) -> Include:
    text = request.query.get("includeObject", "")
    if text not in _INCLUDES:
        raise Refusal(400, f"includeObject {text!r} is unknown: use None, Metadata or Object")
    return _INCLUDES[text]


def _write_of(request: web.Request, question: Question, options: Mapping[str, Any] | None = None) -> Write:
    query = request.query
    dry = (options or {}).get("dryRun") or request.query.getall("dryRun", [""]) or ()
    return Write(
        question.served,
        question.namespace,
        question.name,
        question.subresource,
        asked.manager(query, request.headers.get("User-Agent", "")),
        asked.strictness(query),
        any(tuple(asked.dry_run(str(each)) for each in dry)),
        asked.flag(query, "force"),
    )


async def _body(request: web.Request) -> Any:
    """The decoded body. Raises Refusal (400, 413, 415)."""
    content_type = request.content_type
    if content_type != protobuf.CONTENT_TYPE and "json" not in content_type and "yaml" not in content_type:
        raise Refusal(415, f"the body of the request was in an unknown format ({content_type}): send application/json")
    try:
        data = await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        raise Refusal(413, "the request is too large") from error
    if content_type == protobuf.CONTENT_TYPE:
        return protobuf.read_object(data)
    if not data:
        raise Refusal(400, "the body of the request is empty")
    try:
        if "yaml" not in content_type or data.lstrip()[:1] in (b"{", b"["):
            return msgspec.json.decode(data)
        documents = load_raw(data.decode(), origin="the body of the request")
    except (msgspec.MsgspecError, UnicodeDecodeError, ApiError, RecursionError) as error:
        raise Refusal(400, f"the body of the request cannot be read: {error}") from error
    if len(documents) != 1:
        raise Refusal(400, "the body of the request must be one document")
    return documents[0]


async def _delete_options(request: web.Request) -> dict[str, Any]:
    if not request.can_read_body:
        return {}
    found = await _body(request)
    if not isinstance(found, dict):
        raise Refusal(400, "DeleteOptions must be an object")
    return cast(dict[str, Any], found)


def _preconditions(options: Mapping[str, Any]) -> Preconditions:
    given = options.get("preconditions") or {}
    if not isinstance(given, dict):
        raise Refusal(400, "preconditions must be an object")
    return Preconditions(str(given.get("uid") or ""), str(given.get("resourceVersion") or ""))
