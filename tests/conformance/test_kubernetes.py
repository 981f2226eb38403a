"""The Kubernetes client against an API server that fails on purpose: throttling, lost answers, broken streams, disorder."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from tests.conformance.backends import netset

from tortie.api.resource import Key
from tortie.datastore.client import Client, Event
from tortie.datastore.errors import Compacted, DoesNotExist, InvalidRequest, Unauthorized, Unavailable, UpdateConflict
from tortie.datastore.kubernetes import connection
from tortie.datastore.kubernetes.client import KubernetesClient
from tortie.datastore.kubernetes.places import CRD_V1
from tortie.datastore.kubernetes.settings import Login, Settings

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
SETS = "/apis/crd.projectcalico.org/v1/networksets"


def stored(name: str, version: int, net: str = "10.0.0.0/8") -> dict[str, Any]:
    metadata = {"name": name, "namespace": "default", "resourceVersion": str(version), "uid": name}
    return {"apiVersion": CRD_V1, "kind": "NetworkSet", "metadata": metadata, "spec": {"nets": [net]}}


def listing(*items: dict[str, Any], version: int = 10, rest: str = "") -> web.Response:
    metadata = {"resourceVersion": str(version)} | ({"continue": rest} if rest else {})
    return web.json_response({"kind": "NetworkSetList", "metadata": metadata, "items": items})


def refusal(code: int, reason: str = "", message: str = "on purpose", **more: Any) -> web.Response:
    headers = more.pop("headers", {})
    body = {"kind": "Status", "status": "Failure", "message": message, "reason": reason, "code": code} | more
    return web.json_response(body, status=code, headers=headers)


class Fake:
    """Answers with `handler`; checks of history succeed; remembers the other requests."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.requests: list[web.Request] = []

    @property
    def watches(self) -> list[web.Request]:
        return [request for request in self.requests if "watch" in request.query]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.query.get("limit") == "1":
            return listing(version=1000)
        self.requests.append(request)
        return await self.handler(request)


def play(handler: Handler, scenario: Callable[[Client, Fake], Awaitable[None]]) -> Fake:
    fake = Fake(handler)

    async def main() -> None:
        runner = web.ServerRunner(web.Server(fake.answer), shutdown_timeout=0.05)  # type: ignore[arg-type]
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        client = KubernetesClient(Settings(f"http://127.0.0.1:{port}", Login(), group=CRD_V1))
        try:
            await asyncio.wait_for(scenario(client, fake), 50)
        finally:
            await client.close()
            await runner.cleanup()

    asyncio.run(main())
    return fake


@asynccontextmanager
async def stream(request: web.Request) -> AsyncIterator[Callable[..., Awaitable[None]]]:
    """A watch's answer; what is yielded sends events."""
    answer = web.StreamResponse()
    await answer.prepare(request)

    async def send(kind: str, object_: dict[str, Any]) -> None:
        await answer.write(json.dumps({"type": kind, "object": object_}).encode() + b"\n")

    yield send


async def take(client: Client, count: int, revision: str = "10") -> list[Event]:
    found: list[Event] = []
    async with aclosing(client.watch(["NetworkSet"], revision=revision)) as batches:  # type: ignore[type-var]
        async for batch in batches:
            found += batch
            if len(found) >= count:
                break
    return found


def told(events: Sequence[Event]) -> list[tuple[str, str]]:
    """Name and version of each; a deletion has the version -."""
    return [(event.key.name, event.value.metadata.resource_version if event.value else "-") for event in events]


def failing_first(times: int, failure: Callable[[], web.Response], then: Callable[[], web.Response]) -> Handler:
    """Fails so many times, then answers."""
    left = [times]

    async def handler(_: web.Request) -> web.StreamResponse:
        left[0] -= 1
        return failure() if left[0] >= 0 else then()

    return handler


def test_a_server_with_too_much_to_do_is_asked_again_when_it_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def busy() -> web.Response:
        return refusal(429, "TooManyRequests", headers={"Retry-After": "1"})

    async def scenario(client: Client, fake: Fake) -> None:
        began = time.monotonic()
        assert len((await client.list("NetworkSet")).items) == 1
        assert 1 <= time.monotonic() - began < 20
        assert len(fake.requests) == 2

    play(failing_first(1, busy, lambda: listing(stored("a", 3))), scenario)


def test_a_throttled_write_is_sent_again_but_one_whose_answer_is_lost_is_not() -> None:
    async def throttled(client: Client, fake: Fake) -> None:
        await client.create(netset("a"))
        assert len(fake.requests) == 2

    busy = lambda: refusal(429, "TooManyRequests", headers={"Retry-After": "0"})  # noqa: E731
    play(failing_first(1, busy, lambda: web.json_response(stored("a", 3), status=201)), throttled)

    async def lost(client: Client, fake: Fake) -> None:
        with pytest.raises(Unavailable, match="may have happened"):
            await client.create(netset("a"))
        assert len(fake.requests) == 1

    play(failing_first(1, lambda: refusal(500, "InternalError"), lambda: web.json_response(stored("a", 3))), lost)


def test_reads_outlast_a_short_failure_and_say_why_they_give_up(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = lambda: refusal(500, "InternalError", "etcdserver: leader changed")  # noqa: E731

    async def short(client: Client, _: Fake) -> None:
        assert len((await client.list("NetworkSet")).items) == 1

    play(failing_first(3, broken, lambda: listing(stored("a", 3))), short)
    monkeypatch.setattr(connection, "PATIENCE_SECONDS", 0.2)

    async def long(client: Client, _: Fake) -> None:
        with pytest.raises(Unavailable, match="leader changed"):
            await client.list("NetworkSet")

    play(failing_first(10_000, broken, lambda: listing()), long)


def test_a_listing_whose_pages_expire_is_read_anew_in_one() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        if "continue" in request.query:
            return refusal(410, "Expired")
        if "limit" in request.query:
            return listing(stored("a", 3), rest="more")
        return listing(stored("a", 3), stored("b", 4), version=12)

    async def scenario(client: Client, _: Fake) -> None:
        found = await client.list("NetworkSet")
        assert [item.metadata.name for item in found.items] == ["a", "b"]
        assert found.revision == "12"

    play(handler, scenario)


def test_pages_are_followed_to_the_end() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        page = int(request.query.get("continue", "0"))
        return listing(*(stored(f"n{page}{i}", 3) for i in range(3)), rest=str(page + 1) if page < 4 else "")

    async def scenario(client: Client, fake: Fake) -> None:
        assert len((await client.list("NetworkSet")).items) == 15
        assert {request.query["limit"] for request in fake.requests} == {"500"}

    play(handler, scenario)


def test_a_cut_watch_goes_on_behind_what_came_last_and_a_half_line_is_none() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        version = request.query["resourceVersion"]
        async with stream(request) as send:
            if version == "10":
                await send("ADDED", stored("a", 11))
                await send("BOOKMARK", stored("", 15))
                assert request.transport is not None
                request.transport.write(b"20\r\n" + b'{"type":"ADDED","object":{"metad')  # half of a chunk
                request.transport.close()
            else:
                await send("MODIFIED", stored("a", 16))
                await asyncio.sleep(10)
        raise ConnectionResetError

    async def scenario(client: Client, fake: Fake) -> None:
        assert told(await take(client, 2)) == [("a", "11"), ("a", "16")]
        assert [request.query["resourceVersion"] for request in fake.watches] == ["10", "15"]
        assert fake.watches[0].query["allowWatchBookmarks"] == "true"
        assert 300 <= int(fake.watches[0].query["timeoutSeconds"]) <= 600

    play(handler, scenario)


def test_what_came_before_a_line_that_is_no_event_counts() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        if request.query["resourceVersion"] == "10":
            line = json.dumps({"type": "ADDED", "object": stored("a", 11)}).encode()
            await answer.write(line + b"\nno event\n")
        else:
            await answer.write(json.dumps({"type": "ADDED", "object": stored("b", 12)}).encode() + b"\n")
        await asyncio.sleep(10)
        return answer

    async def scenario(client: Client, fake: Fake) -> None:
        assert told(await take(client, 2)) == [("a", "11"), ("b", "12")]
        assert [request.query["resourceVersion"] for request in fake.watches] == ["10", "11"]

    play(handler, scenario)


def test_events_that_come_twice_or_too_late_tell_nothing() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        async with stream(request) as send:
            for kind, name, version in [
                ("ADDED", "old", 9),  # in the listing already
                ("ADDED", "a", 11),
                ("ADDED", "a", 11),
                ("MODIFIED", "a", 14),
                ("ADDED", "b", 13),  # another's earlier event is news
                ("MODIFIED", "a", 12),
                ("DELETED", "a", 15),
                ("MODIFIED", "a", 14),
                ("BOOKMARK", "", 20),
                ("ADDED", "c", 19),  # the bookmark said that it was here
                ("ADDED", "d", 21),
            ]:
                await send(kind, stored(name, version))
            await asyncio.sleep(10)
        raise AssertionError

    async def scenario(client: Client, _: Fake) -> None:
        assert told(await take(client, 5)) == [("a", "11"), ("a", "14"), ("b", "13"), ("a", "-"), ("d", "21")]

    play(handler, scenario)


@pytest.mark.parametrize("as_event", [True, False])
def test_history_that_is_gone_is_said_once_whether_by_event_or_by_answer(as_event: bool) -> None:
    gone = {"kind": "Status", "status": "Failure", "reason": "Expired", "code": 410, "message": "too old resource version"}

    async def handler(request: web.Request) -> web.StreamResponse:
        if not as_event:
            return refusal(410, "Expired", "too old resource version")
        async with stream(request) as send:
            await send("ERROR", gone)
            await asyncio.sleep(10)
        raise AssertionError

    async def scenario(client: Client, fake: Fake) -> None:
        with pytest.raises(Compacted, match="too old"):
            await take(client, 1)
        assert len(fake.watches) == 1

    play(handler, scenario)


def test_a_server_that_cuts_every_watch_at_once_is_not_hammered() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        async with stream(request):
            pass
        return web.Response()

    async def scenario(client: Client, fake: Fake) -> None:
        cpu = time.process_time()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(take(client, 1), 4)
        assert 3 <= len(fake.watches) <= 12
        assert time.process_time() - cpu < 2

    play(handler, scenario)


def test_a_watch_that_may_not_go_on_says_so() -> None:
    async def handler(_: web.Request) -> web.StreamResponse:
        return refusal(403, "Forbidden", 'networksets is forbidden: User "u" cannot watch resource "networksets"')

    async def scenario(client: Client, _: Fake) -> None:
        with pytest.raises(Unauthorized, match='User "u" cannot watch'):
            await take(client, 1)

    play(handler, scenario)


def test_a_server_that_forbids_everything_until_it_has_started_costs_no_new_listing() -> None:
    """What a kube-apiserver does that was killed and is back, for a moment: its roles are not read yet."""
    asked = [0]

    async def handler(request: web.Request) -> web.StreamResponse:
        asked[0] += 1
        if 1 < asked[0] < 4:
            return refusal(403, "Forbidden", 'networksets is forbidden: User "u" cannot watch resource "networksets"')
        async with stream(request) as send:
            await send("ADDED", stored("a", 10 + asked[0]))
            if asked[0] == 1:
                assert request.transport is not None
                request.transport.abort()
            await asyncio.sleep(10)
        raise ConnectionResetError

    async def scenario(client: Client, fake: Fake) -> None:
        assert told(await take(client, 2)) == [("a", "11"), ("a", "14")]
        assert [request.query["resourceVersion"] for request in fake.watches] == ["10", "11", "11", "11"]

    play(handler, scenario)


def test_refusals_have_the_meaning_that_callers_know() -> None:
    cases: list[tuple[web.Response, type[Exception], str]] = [
        (refusal(409, "Conflict", "the object has been modified"), UpdateConflict, "NetworkSet"),
        (refusal(409, "Conflict", "Precondition failed: UID in precondition: a, UID in object meta: b"), DoesNotExist, "Net"),
        (refusal(404, "NotFound", details={"kind": "networksets", "name": "a"}), DoesNotExist, "NetworkSet"),
        (refusal(404, "NotFound", details={"kind": "namespaces", "name": "default"}), DoesNotExist, "Namespace"),
        (web.Response(status=404, text="404 page not found\n"), Unavailable, "CRD"),
        (refusal(422, "Invalid", "spec.nets: Invalid value"), InvalidRequest, "spec.nets"),
        (refusal(401, "Unauthorized"), Unauthorized, "not accepted"),
    ]
    for answer, error, words in cases:

        async def handler(_: web.Request, answer: web.Response = answer) -> web.StreamResponse:
            return answer

        async def scenario(client: Client, _: Fake, error: type[Exception] = error, words: str = words) -> None:
            with pytest.raises(error, match=words):
                await client.create(netset("a"))

        play(handler, scenario)


def test_half_deleted_objects_of_ipam_are_gone_and_reading_one_finishes_it() -> None:
    metadata = {"name": "h", "resourceVersion": "5", "uid": "354ae56a-7d8c-4519-afcf-02f1dddc5a6e"}
    handle = {"metadata": metadata, "spec": {"handleID": "H", "block": {}, "deleted": True}}
    deletions: list[Any] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        if request.method == "DELETE":
            deletions.append((request.path, (await request.json())["preconditions"]))
            return web.json_response({"kind": "Status", "status": "Success"})
        return web.json_response(handle) if request.path.endswith("/h") else listing(handle)

    async def scenario(client: Client, _: Fake) -> None:
        assert (await client.list("IPAMHandle")).items == ()
        with pytest.raises(DoesNotExist):
            await client.get(Key("IPAMHandle", "", "H"))
        assert deletions == [("/apis/crd.projectcalico.org/v1/ipamhandles/h", {"uid": metadata["uid"], "resourceVersion": "5"})]

    play(handler, scenario)


def test_a_policy_under_the_name_of_an_earlier_release_is_found_and_its_removal_takes_nothing_away() -> None:
    old: dict[str, Any] = {
        "metadata": {"name": "default.p", "namespace": "n", "resourceVersion": "5", "uid": "u"},
        "spec": {"order": 1},
    }

    async def handler(request: web.Request) -> web.StreamResponse:
        if "watch" in request.query:
            async with stream(request) as send:
                await send("DELETED", old | {"metadata": old["metadata"] | {"resourceVersion": "11"}})
                await asyncio.sleep(10)
        if request.path.endswith("/default.p"):
            return web.json_response(old)
        if request.path.endswith("/p"):
            return refusal(404, "NotFound", details={"kind": "networkpolicies", "name": "p"})
        return listing(old)

    async def scenario(client: Client, _: Fake) -> None:
        key = Key("NetworkPolicy", "n", "p")
        assert (await client.get(key)).key == key
        assert [item.key for item in (await client.list("NetworkPolicy")).items] == [key]
        with pytest.raises(Compacted, match="old name"):
            async with aclosing(client.watch(["NetworkPolicy"], revision="10")) as batches:  # type: ignore[type-var]
                await anext(batches)

    play(handler, scenario)
