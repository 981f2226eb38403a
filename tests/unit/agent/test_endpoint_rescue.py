"""An older copy of the datastore takes nothing from pods that live here, unless their address is another's by now."""

import asyncio
import errno
import os
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tortie.agent import endpoint_rescue
from tortie.agent.endpoint_rescue import HOLD_SECONDS, OTHERS_SECONDS, EndpointRescue, Holds
from tortie.api.cluster import ClusterInformation, ClusterInformationSpec
from tortie.api.endpoint import WorkloadEndpoint, WorkloadEndpointSpec
from tortie.api.ippool import IPPool, IPPoolSpec
from tortie.api.networkset import GlobalNetworkSet
from tortie.api.resource import Key, Metadata, Resource, Update
from tortie.base.net import parse_address
from tortie.cni.sources import handle_in
from tortie.datastore.errors import DoesNotExist, Unavailable
from tortie.datastore.identity import Identity
from tortie.datastore.sqlite.client import SqliteClient
from tortie.datastore.syncer import Batch, Syncer
from tortie.ipam.allocator import Ipam
from tortie.kernel.errors import KernelError

ADDRESS = parse_address("10.65.0.7")
AFFINITY = Key("BlockAffinity", "", "n2-10-65-0-0-26")


def endpoint(name: str = "d", *, node: str = "n1", address: str = "10.65.0.7", container: str = "c1") -> WorkloadEndpoint:
    spec = WorkloadEndpointSpec(
        orchestrator="k8s", node=node, pod=name, endpoint="eth0", container_id=container,
        interface_name=f"cali{name}", ip_networks=(f"{address}/32",),
    )  # fmt: skip
    return WorkloadEndpoint(metadata=Metadata(name=f"{node}-k8s-{name}-eth0", namespace="prod"), spec=spec)


def batch(*updates: tuple[Key, Resource | None], went_back: bool = False) -> Batch:
    return Batch(tuple(Update(*each) for each in updates), went_back=went_back)


def seen(value: Resource) -> tuple[Key, Resource | None]:
    return value.key, value


def gone(value: Resource) -> tuple[Key, Resource | None]:
    return value.key, None


# ---- what is held ----
def holds(*known: WorkloadEndpoint, attached: bool = True) -> Holds:
    made = Holds("n1", lambda _: attached)
    made.sift(batch(*map(seen, known)), 0.0)
    return made


def test_only_what_an_older_store_has_forgotten_is_held_not_what_was_deleted() -> None:
    deleted = holds(endpoint())
    assert deleted.sift(batch(gone(endpoint())), 1.0).updates == (Update(endpoint().key, None),)
    forgotten = holds(endpoint())
    assert forgotten.sift(batch(gone(endpoint()), went_back=True), 1.0).updates == ()
    assert forgotten.expired(HOLD_SECONDS) == []
    assert forgotten.expired(HOLD_SECONDS + 1.0) == [endpoint().key]


def test_an_endpoint_whose_interface_is_gone_is_not_held() -> None:
    assert holds(endpoint(), attached=False).sift(batch(gone(endpoint()), went_back=True), 1.0).updates


def test_policy_is_what_the_older_store_says() -> None:
    policy = Key("NetworkPolicy", "prod", "p")
    assert holds().sift(batch((policy, None), went_back=True), 1.0).updates == (Update(policy, None),)


def test_things_of_other_nodes_are_held_for_a_moment() -> None:
    other = endpoint(node="n2")
    made = holds(other, attached=False)
    assert made.sift(batch(gone(other), (AFFINITY, None), went_back=True), 1.0).updates == ()
    assert set(made.expired(OTHERS_SECONDS + 1.0)) == {other.key, AFFINITY}


def test_what_comes_back_is_not_held_any_more() -> None:
    made = holds(endpoint())
    made.sift(batch(gone(endpoint()), went_back=True), 1.0)
    assert made.sift(batch(seen(endpoint())), 2.0).updates == (Update(endpoint().key, endpoint()),)
    assert not made.held


@pytest.mark.parametrize("at_once", [True, False])
def test_two_endpoints_are_never_in_force_with_one_address(at_once: bool) -> None:
    """The other one comes with the same listing, or while the hold lasts."""
    made, rival = holds(endpoint()), endpoint("rival", node="n2")
    updates = [*made.sift(batch(seen(rival), gone(endpoint()), went_back=True), 1.0).updates] if at_once else []
    if not at_once:
        made.sift(batch(gone(endpoint()), went_back=True), 1.0)
        updates += made.sift(batch(seen(rival)), 2.0).updates
        assert updates[0] == Update(endpoint().key, None), "the removal comes first"
    assert sorted(map(str, updates)) == sorted(map(str, (Update(endpoint().key, None), Update(rival.key, rival))))
    assert str(rival.key) in made.lost[endpoint().key][1]
    assert not made.held


# ---- with a store that is really put back ----
class Flaky(SqliteClient):
    """Takes no endpoint as long as it is told so."""

    away = False

    async def create(self, resource: Resource) -> Resource:
        if self.away and resource.kind == "WorkloadEndpoint":
            raise Unavailable("the disk is full")
        return await super().create(resource)


class World:
    """A followed store, a pod on n1 that the copy does not know, and what the calculation was told of it."""

    def __init__(self, folder: Path) -> None:
        self.path, self.copy = folder / "s" / "x.sqlite", folder / "copy.sqlite"
        self.path.parent.mkdir()
        self.client = Flaky(str(self.path))
        self.has_interface = True
        self.is_blind = False
        self.told: list[bool] = []
        self.in_sync = asyncio.Event()
        identity = Identity()
        self.rescue = EndpointRescue(
            self.client, "n1", identity=identity, sink=self.sink, attached=self.attached,
        )  # fmt: skip
        kinds = ("WorkloadEndpoint", "IPPool")
        self.syncer = Syncer(self.client, kinds, convert=lambda update: update, identity=identity)

    def attached(self, found: WorkloadEndpoint) -> str:
        if self.is_blind:
            raise KernelError("too many open files")
        return handle_in("net", found.spec.container_id) if self.has_interface else ""

    async def sink(self, batch: Batch) -> None:
        self.told += [update.value is not None for update in batch.updates if update.key == endpoint().key]
        if batch.in_sync:
            self.in_sync.set()

    async def fill(self) -> None:
        spec = ClusterInformationSpec(cluster_guid="g", datastore_ready=True)
        await self.client.create(ClusterInformation(metadata=Metadata(name="default"), spec=spec))
        await self.client.create(IPPool(metadata=Metadata(name="p"), spec=IPPoolSpec(cidr="10.65.0.0/16")))
        source, target = self.path, self.copy
        await self.client.close()
        shutil.copy(source, target)
        self.client.__init__(str(self.path))  # type: ignore[misc]
        await Ipam(self.client).assign_ip(ADDRESS, "net.c1", attributes={}, node="n1")
        await self.client.create(endpoint())

    async def go_back(self) -> None:
        for suffix in ("-wal", "-shm"):
            Path(f"{self.path}{suffix}").unlink(missing_ok=True)
        os.replace(self.copy, self.path)
        (self.path.parent / "touched").touch()

    async def holder(self) -> str | None:
        found = await Ipam(self.client).assignment(ADDRESS)
        return found.handle_id if found is not None and found.released_at is None else None

    async def is_stored(self) -> bool:
        try:
            await self.client.get(endpoint().key)
        except DoesNotExist:
            return False
        return True


def play(folder: Path, scenario: Callable[[World], Awaitable[None]]) -> None:
    async def main() -> None:
        world = World(folder)
        await world.fill()
        running = [asyncio.ensure_future(world.syncer.run(world.rescue.on_batch)), asyncio.ensure_future(world.rescue.run())]
        try:
            async with asyncio.timeout(20):
                await world.in_sync.wait()
                await scenario(world)
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            await world.client.close()

    asyncio.run(main())


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.02)


def test_a_forgotten_pod_is_booked_and_written_again_and_never_told_as_gone(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.go_back()
        await until(lambda: world.told == [True, True])
        assert await world.holder() == "net.c1"
        assert await world.is_stored()
        assert world.rescue.problems == {}

    play(tmp_path, scenario)


def test_an_older_store_is_known_for_one_though_it_was_written_to_meanwhile(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        pool = await world.client.get(Key("IPPool", "", "p"))
        await world.client.update(pool)
        await until(lambda: world.syncer.known(pool.key) != pool)
        other = SqliteClient(str(world.copy))
        for number in range(50):
            await other.create(GlobalNetworkSet(metadata=Metadata(name=f"n{number}")))
        await other.close()
        await world.go_back()
        await until(lambda: world.told == [True, True])
        assert await world.holder() == "net.c1"

    play(tmp_path, scenario)


def test_an_address_that_is_anothers_by_now_stays_anothers(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        other = SqliteClient(str(world.copy))
        await Ipam(other).assign_ip(ADDRESS, "net.other", attributes={}, node="n2")
        await other.close()
        await world.go_back()
        await until(lambda: world.told == [True, False])
        assert await world.holder() == "net.other"
        assert not await world.is_stored()
        assert "10.65.0.7 is of net.other now" in world.rescue.problems[str(endpoint().key)]

    play(tmp_path, scenario)


def test_a_store_that_takes_nothing_for_a_while_is_tried_again_and_meanwhile_nothing_is_removed(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        world.client.away = True
        await world.go_back()
        await until(lambda: "the disk is full" in world.rescue.problems.get(str(endpoint().key), ""))
        assert world.told == [True]
        world.client.away = False
        await until(lambda: world.told == [True, True])
        assert await world.holder() == "net.c1"

    play(tmp_path, scenario)


def test_a_pod_that_is_deleted_while_it_is_held_is_gone_and_keeps_no_address(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        world.client.away = True
        await world.go_back()
        await until(lambda: "the disk is full" in world.rescue.problems.get(str(endpoint().key), ""))
        world.has_interface = False
        await until(lambda: world.told == [True, False])
        while await world.holder() is not None:
            await asyncio.sleep(0.1)
        assert not await world.is_stored()
        assert world.rescue.problems == {}

    play(tmp_path, scenario)


def test_an_agent_that_cannot_look_takes_nothing_and_goes_on_when_it_can(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        world.is_blind = True
        await world.go_back()
        await until(lambda: "too many open files" in world.rescue.problems.get(str(endpoint().key), ""))
        assert world.told == [True]
        world.is_blind = False
        await until(lambda: world.told == [True, True])
        assert await world.holder() == "net.c1"

    play(tmp_path, scenario)


def test_an_agent_that_cannot_look_any_more_leaves_what_it_has_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_rescue, "_GONE_SECONDS", 0.1)
    monkeypatch.setattr(endpoint_rescue, "_RETRY_SECONDS", 0.1)

    async def scenario(world: World) -> None:
        await world.go_back()
        await until(lambda: world.told == [True, True])
        world.is_blind = True
        await asyncio.sleep(1.0)
        assert await world.is_stored()
        world.is_blind, world.has_interface = False, False
        await until(lambda: world.told == [True, True, False])

    play(tmp_path, scenario)


def test_without_descriptors_nobody_says_that_an_interface_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(endpoint_rescue, "Links", refused)
    with pytest.raises(KernelError, match="look for calid: Too many open files"):
        endpoint_rescue.attached(endpoint())


def test_an_ordinary_deletion_is_passed_on(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.client.delete(endpoint().key)
        await until(lambda: world.told == [True, False])
        assert world.rescue.problems == {}

    play(tmp_path, scenario)
