"""What only etcd can do to a client: Calico's bytes, users, certificates, compaction, and answers that get lost."""

import asyncio
import json
import ssl
import subprocess
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path

import msgspec
import pytest
from tests.conformance.backends import etcd_at, netset
from tests.conformance.cutting_proxy import Proxy, proxy_to
from tests.conformance.etcd_server import Member, cluster, free_ports, shared

from tortie.api.ipam import IPAMHandle, IPAMHandleSpec
from tortie.api.resource import Key, Metadata, Resource
from tortie.datastore.client import Client, Event
from tortie.datastore.codec import decode
from tortie.datastore.errors import (
    AlreadyExists,
    Compacted,
    DatastoreError,
    DoesNotExist,
    InvalidRequest,
    Unauthorized,
    Unavailable,
    UpdateConflict,
)
from tortie.datastore.etcd import connection
from tortie.datastore.initialize import ensure_initialized
from tortie.datastore.layout import KUBERNETES_ROOT, key_of

pytestmark = pytest.mark.etcd

GOLDEN = sorted((Path(__file__).parents[1] / "golden" / "datastore").glob("*.json"))


@pytest.fixture
def member() -> Member:
    member = shared()
    member.clear()
    return member


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PATIENCE_SECONDS", 0.3)


def with_nets(resource: Resource, *nets: str) -> Resource:
    return msgspec.structs.replace(resource, spec=netset("x", *nets).spec)


async def first_event(client: Client, revision: str, *, name: str = "") -> Event:
    """The first of all, or of what has this name."""
    async with aclosing(client.watch(["NetworkSet"], revision=revision)) as batches:  # type: ignore[type-var]
        async for batch in batches:
            for event in batch:
                if name in ("", event.key.name):
                    return event
    raise AssertionError("the watch ended")


# ---- Calico's keys and values ----
@pytest.mark.parametrize("file", GOLDEN, ids=lambda file: file.stem)
def test_keys_and_values_are_calicos(member: Member, file: Path) -> None:
    stored = json.loads(file.read_text())
    path, value = stored["path"], json.dumps(stored["value"]).encode()
    key = key_of(path)
    assert key is not None
    resource = decode(key, path, value, revision="")

    async def write(client: Client) -> Resource:
        return await client.create(resource)

    async def read(client: Client) -> Resource:
        return await client.get(key)

    backend = etcd_at({"ETCD_ENDPOINTS": member.url})
    created = backend.run(write)
    assert {path: json.loads(data) for path, data in member.raw().items()} == {path: stored["value"]}
    member.clear()
    member.put(path, value)
    read_back = backend.run(read)
    assert read_back == msgspec.structs.replace(created, metadata=read_back.metadata)


def test_keys_of_others_are_left_alone_and_passed_over(member: Member) -> None:
    strange = {
        "/calico/ipam/v2/host/node-1": b"{}",
        "/calico/felix/v1/host/n/endpoint/e": b'{"status":"up"}',
        "/calico/resources/v3/projectcalico.org/livemigrations/a/b": b"{}",
        "/calico/resources/v3/projectcalico.org/networksets": b"no JSON",
        KUBERNETES_ROOT + "pods/too/many/parts": b"",
    }
    for path, value in strange.items():
        member.put(path, value)

    async def scenario(client: Client) -> None:
        kinds = ["NetworkSet", "BlockAffinity", "Pod"]
        listing = await client.list_many(kinds)
        assert listing.items == ()
        for path in strange:
            member.put(path, b"changed")
        created = await client.create(netset("a"))
        assert (await first_event(client, listing.revision)).value == created

    etcd_at({"ETCD_ENDPOINTS": member.url}).run(scenario)
    assert strange.keys() <= member.raw().keys()


def test_a_fresh_etcd_is_initialized_and_a_second_time_changes_nothing(member: Member) -> None:
    async def scenario(client: Client) -> None:
        await asyncio.gather(ensure_initialized(client), ensure_initialized(client))
        before = member.raw()
        assert "/calico/resources/v3/projectcalico.org/clusterinformations/default" in before
        assert "/calico/resources/v3/projectcalico.org/tiers/default" in before
        await ensure_initialized(client)
        assert member.raw() == before

    etcd_at({"ETCD_ENDPOINTS": member.url}).run(scenario)


def test_a_listing_of_many_pages_and_megabytes_is_one_moment(member: Member) -> None:
    filler = ",".join(["10.0.0.0/8"] * 250).encode()
    for i in range(2500):
        value = b'{"apiVersion":"projectcalico.org/v3","kind":"NetworkSet","metadata":{"name":"n%04d","namespace":"d"},'
        member.put(
            f"/calico/resources/v3/projectcalico.org/networksets/d/n{i:04}",
            value % i + b'"spec":{"nets":["' + filler.replace(b",", b'","') + b'"]}}',
        )

    async def scenario(client: Client) -> None:
        first = (await client.get(Key("NetworkSet", "d", "n2499"))).metadata.resource_version

        async def remove_from_both_ends() -> None:
            for i in range(20):
                await client.delete(Key("NetworkSet", "d", f"n{i:04}"))
                await client.delete(Key("NetworkSet", "d", f"n{2499 - i:04}"))

        listing, _ = await asyncio.gather(client.list("NetworkSet"), remove_from_both_ends())
        gone = 2500 - len(listing.items)
        assert int(listing.revision) == int(first) + gone
        names = [item.metadata.name for item in listing.items]
        assert names == [f"n{i:04}" for i in range((gone + 1) // 2, 2500 - gone // 2)]

    etcd_at({"ETCD_ENDPOINTS": member.url}).run(scenario)


def test_what_is_too_large_is_refused_with_the_limit_to_raise(member: Member) -> None:
    async def scenario(client: Client) -> None:
        with pytest.raises(InvalidRequest, match="max-request-bytes"):
            await client.create(netset("a", *["10.0.0.0/8"] * 200_000))

    etcd_at({"ETCD_ENDPOINTS": member.url}).run(scenario)


# ---- history ----
def test_a_watch_from_before_a_compaction_says_so(member: Member) -> None:
    async def scenario(client: Client) -> None:
        listing = await client.list("NetworkSet")
        for i in range(5):
            await client.create(netset(f"n{i}"))
        member.compact()
        with pytest.raises(Compacted, match="list again"):
            await first_event(client, listing.revision)

    etcd_at({"ETCD_ENDPOINTS": member.url}).run(scenario)


def test_a_watch_that_was_away_during_a_compaction_says_so(member: Member) -> None:
    async def scenario(_: Client) -> None:
        async with proxy_to(member.url) as proxy, etcd_at({"ETCD_ENDPOINTS": proxy.url}).client() as client:
            listing = await client.list("NetworkSet")
            watch = asyncio.ensure_future(first_event(client, listing.revision))
            await asyncio.sleep(0.3)
            proxy.mode = "refuse"
            proxy.hang_up()
            async with etcd_at({"ETCD_ENDPOINTS": member.url}).client() as other:
                for i in range(3):
                    await other.create(netset(f"n{i}"))
            member.compact()
            proxy.mode = "through"
            with pytest.raises(Compacted, match="list again"):
                await asyncio.wait_for(watch, 40)

    etcd_at({"ETCD_ENDPOINTS": member.url}).run(scenario)


def test_a_watch_goes_on_where_it_was_when_its_connection_breaks(member: Member) -> None:
    async def scenario(_: Client) -> None:
        async with (
            proxy_to(member.url) as proxy,
            etcd_at({"ETCD_ENDPOINTS": proxy.url}).client() as client,
            etcd_at({"ETCD_ENDPOINTS": member.url}).client() as writer,
        ):
            names = [f"n{i:02}" for i in range(60)]
            listing = await client.list("NetworkSet")

            async def write() -> None:
                for i, name in enumerate(names):
                    if i % 20 == 10:
                        proxy.mode = "refuse" if i == 10 else "through"
                        proxy.hang_up()
                    if i == 20:
                        proxy.mode = "through"
                    await writer.create(netset(name))
                    await asyncio.sleep(0.01)

            seen: list[str] = []
            writing = asyncio.ensure_future(write())
            async with aclosing(client.watch(["NetworkSet"], revision=listing.revision)) as batches:  # type: ignore[type-var]
                async for batch in batches:
                    seen += [event.key.name for event in batch]
                    if len(seen) >= 60:
                        break
            await writing
            assert seen == names

    etcd_at({"ETCD_ENDPOINTS": member.url}).run(scenario)


# ---- answers that get lost ----
Act = Callable[[Proxy, Client, Client], Awaitable[None]]


def losing(member: Member, act: Act) -> list[str]:
    """Run with a client whose first way is a proxy and whose second is good, and one with the good way only; then the history
    of all keys from the beginning of the act, as signs and names."""
    before = member.revision

    async def scenario(_: Client) -> None:
        async with proxy_to(member.url) as proxy:
            both = etcd_at({"ETCD_ENDPOINTS": f"{proxy.url},{member.url}"})
            async with both.client() as client, etcd_at({"ETCD_ENDPOINTS": member.url}).client() as other:
                await client.list("Tier")
                await act(proxy, client, other)

    async def history(client: Client) -> list[str]:
        last = await client.create(netset("end"))
        found: list[str] = []
        async with aclosing(client.watch(["NetworkSet", "IPAMHandle"], revision=str(before))) as batches:  # type: ignore[type-var]
            async for batch in batches:
                for event in batch:
                    if event.key == last.key:
                        await client.delete(last.key)
                        return found
                    found.append(("+" if event.value else "-") + event.key.name)
        raise AssertionError("the watch ended")

    backend = etcd_at({"ETCD_ENDPOINTS": member.url})
    backend.run(scenario)
    return backend.run(history)


def test_a_create_whose_answer_is_lost_happened_once_and_is_known_to(member: Member) -> None:
    async def act(proxy: Proxy, client: Client, other: Client) -> None:
        proxy.mode = "lose answers"
        created = await client.create(netset("a", "10.0.0.0/8"))
        assert proxy.lost == 1
        assert await other.get(created.key) == created

    assert losing(member, act) == ["+a"]


def test_a_create_that_was_lost_and_then_changed_by_others_is_still_known_to_have_happened(member: Member) -> None:
    async def act(proxy: Proxy, client: Client, other: Client) -> None:
        listing = await other.list("NetworkSet")

        async def change() -> None:
            event = await first_event(other, listing.revision)
            assert event.value is not None
            await other.update(with_nets(event.value, "11.0.0.0/8"))

        proxy.mode = "lose answers"
        changing = asyncio.ensure_future(change())
        created = await client.create(netset("a", "10.0.0.0/8"))
        await changing
        assert int(created.metadata.resource_version) == int(listing.revision) + 1

    assert losing(member, act) == ["+a", "+a"]


def test_an_update_and_a_delete_whose_answers_are_lost_happen_once(member: Member) -> None:
    async def act(proxy: Proxy, client: Client, other: Client) -> None:
        handle = await other.create(IPAMHandle(metadata=Metadata(name="h"), spec=IPAMHandleSpec(handle_id="h")))
        proxy.mode = "lose answers"
        updated = await client.update(
            msgspec.structs.replace(handle, spec=IPAMHandleSpec(handle_id="h", block={"10.0.0.0/26": 1}))
        )
        assert proxy.lost == 1
        assert await other.get(handle.key) == updated

    async def act_delete(proxy: Proxy, client: Client, other: Client) -> None:
        stored = await other.get(Key("IPAMHandle", "", "h"))
        proxy.mode = "lose answers"
        assert await client.delete(stored.key) == stored
        assert proxy.lost == 1
        with pytest.raises(DoesNotExist):
            await other.get(stored.key)

    assert losing(member, act) == ["+h", "+h"]
    assert losing(member, act_delete) == ["-h"]


def test_a_lost_update_that_somebody_else_won_is_a_conflict(member: Member) -> None:
    async def act(proxy: Proxy, client: Client, other: Client) -> None:
        handle = await other.create(IPAMHandle(metadata=Metadata(name="h"), spec=IPAMHandleSpec(handle_id="h")))
        await other.update(msgspec.structs.replace(handle, spec=IPAMHandleSpec(handle_id="h", block={"10.0.0.0/26": 1})))
        proxy.mode = "lose answers"
        with pytest.raises(UpdateConflict):
            await client.update(msgspec.structs.replace(handle, spec=IPAMHandleSpec(handle_id="h", block={"10.0.0.0/26": 2})))

    assert losing(member, act) == ["+h", "+h"]


def test_a_lost_create_of_what_is_there_already_says_so(member: Member) -> None:
    async def act(proxy: Proxy, client: Client, other: Client) -> None:
        await other.create(netset("a", "10.0.0.0/8"))
        proxy.mode = "lose answers"
        with pytest.raises(AlreadyExists):
            await client.create(netset("a", "10.0.0.0/8"))

    assert losing(member, act) == ["+a"]


def test_a_lost_create_that_might_be_anybodys_is_not_claimed(member: Member) -> None:
    async def act(proxy: Proxy, client: Client, other: Client) -> None:
        proxy.mode = "lose answers"
        with pytest.raises(Unavailable, match="not known whether"):
            await client.create(IPAMHandle(metadata=Metadata(name="h"), spec=IPAMHandleSpec(handle_id="h")))

    assert losing(member, act) == ["+h"]


def test_a_write_that_was_not_delivered_is_sent_again(member: Member) -> None:
    async def act(proxy: Proxy, client: Client, other: Client) -> None:
        proxy.mode = "refuse"
        created = await client.create(netset("a"))
        proxy.mode = "through"
        assert await other.get(created.key) == created

    assert losing(member, act) == ["+a"]


# ---- members ----
def test_members_that_do_not_answer_are_passed_over(member: Member) -> None:
    dead = free_ports(2)

    async def scenario(client: Client) -> None:
        started = time.monotonic()
        created = await client.create(netset("a"))
        assert await client.get(created.key) == created
        assert time.monotonic() - started < 8

    etcd_at({"ETCD_ENDPOINTS": f"http://127.0.0.1:{dead[0]},http://127.0.0.1:{dead[1]},{member.url}"}).run(scenario)


@pytest.mark.usefixtures("impatient")
def test_when_no_member_answers_it_is_unavailable_and_names_one() -> None:
    port = free_ports(1)[0]

    async def scenario(client: Client) -> None:
        requests: list[Awaitable[object]] = [
            client.get(Key("Tier", "", "a")),
            client.list("Tier"),
            client.create(netset("a")),
            client.delete(netset("a").key),
            first_event(client, "1"),
        ]
        for request in requests:
            with pytest.raises(Unavailable, match=f"http://127.0.0.1:{port}"):
                await asyncio.wait_for(request, 20)

    etcd_at({"ETCD_ENDPOINTS": f"http://127.0.0.1:{port}"}).run(scenario)


# ---- who we are ----
def test_users_are_authenticated_and_again_when_their_token_is_forgotten() -> None:
    with cluster() as (member,):
        member.require_users("se-cret")
        env = {"ETCD_ENDPOINTS": member.url, "ETCD_USERNAME": "tortie", "ETCD_PASSWORD": "se-cret"}

        async def scenario(client: Client) -> None:
            await ensure_initialized(client)
            listing = await client.list_many(["NetworkSet", "Pod"])
            watch = asyncio.ensure_future(first_event(client, listing.revision, name="a"))
            await client.create(netset("before"))  # a watch that has seen nothing does not go on
            await asyncio.sleep(0.2)
            member.kill()  # a member that starts again knows no token
            member.start()
            created = await client.create(netset("a"))
            assert (await watch).value == created

        etcd_at(env).run(scenario)
        refused(env | {"ETCD_PASSWORD": "wrong-se-cret"}, Unauthorized, "ETCD_USERNAME and ETCD_PASSWORD")
        refused(env | {"ETCD_USERNAME": "nobody"}, Unauthorized, "needs a role with readwrite on /calico/")
        refused({"ETCD_ENDPOINTS": member.url}, Unauthorized, "user name is empty.*ETCD_USERNAME")
        etcd_at(env | {"ETCD_USERNAME": "root"}).run(lambda client: client.list("Tier"))


def refused(env: dict[str, str], error: type[DatastoreError], text: str) -> None:
    """Requests and watches fail with this error, and its text shows no secret."""

    async def scenario(client: Client) -> None:
        requests: list[Awaitable[object]] = [client.list("Tier"), client.create(netset("a")), first_event(client, "1")]
        for request in requests:
            with pytest.raises(error, match=text) as caught:
                await request
            assert "se-cret" not in str(caught.value)

    etcd_at(env).run(scenario)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CA, and a server's and a client's certificate of it; `other` is signed by nobody that counts."""
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    for name in ("ca", "other"):
        openssl("req", "-x509", *new, "-keyout", f"{name}.key", "-out", f"{name}.crt", "-subj", f"/CN={name}")
    for name, use in (("server", "serverAuth,clientAuth"), ("client", "clientAuth")):
        openssl("req", *new[:-2], "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        (folder / "extensions").write_text(f"subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage={use}\n")
        signed_by = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "extensions"]
        openssl("x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.crt", *signed_by)
    return folder


def test_certificates_of_both_sides_are_checked(certificates: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def file(name: str) -> str:
        return str(certificates / name)

    context = ssl.create_default_context(cafile=file("ca.crt"))
    context.load_cert_chain(file("client.crt"), file("client.key"))
    options = [
        f"--cert-file={file('server.crt')}", f"--key-file={file('server.key')}",
        f"--trusted-ca-file={file('ca.crt')}", "--client-cert-auth",
    ]  # fmt: skip
    with cluster(options=options, tls=context) as (member,):
        env = {"ETCD_ENDPOINTS": member.url, "ETCD_CA_CERT_FILE": file("ca.crt")}
        good = env | {"ETCD_CERT_FILE": file("client.crt"), "ETCD_KEY_FILE": file("client.key")}

        async def scenario(client: Client) -> None:
            listing = await client.list("NetworkSet")
            created = await client.create(netset("a"))
            assert (await first_event(client, listing.revision)).value == created

        etcd_at(good).run(scenario)
        by_name = member.url.replace("127.0.0.1", "localhost")
        etcd_at(good | {"ETCD_ENDPOINTS": by_name}).run(lambda client: client.list("Tier"))
        monkeypatch.setattr(connection, "PATIENCE_SECONDS", 0.3)
        refused(env, Unavailable, member.url)
        refused(good | {"ETCD_CERT_FILE": file("other.crt"), "ETCD_KEY_FILE": file("other.key")}, Unavailable, member.url)
        refused(good | {"ETCD_CA_CERT_FILE": file("other.crt")}, Unavailable, member.url)
