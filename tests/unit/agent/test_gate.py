"""A pod begins when the policy of what is stored now is in force, not that of its predecessor of the same name."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import cast

import msgspec

from tortie.agent.applier import Applier
from tortie.agent.gate import Gate
from tortie.agent.pipeline import Pipeline
from tortie.api.endpoint import WorkloadEndpoint, WorkloadEndpointSpec
from tortie.api.resource import Metadata
from tortie.base.metrics import Metrics
from tortie.calc.graph import KINDS, Graph
from tortie.convert.feed import convert_update
from tortie.datastore.sqlite.client import SqliteClient
from tortie.datastore.syncer import Syncer
from tortie.intent.keys import EndpointId
from tortie.intent.messages import EndpointUpdate, Message

ENDPOINT = WorkloadEndpoint(
    metadata=Metadata(name="n1-k8s-w-eth0", namespace="shop"),
    spec=WorkloadEndpointSpec(
        orchestrator="k8s", node="n1", pod="w", endpoint="eth0", ip_networks=("10.0.0.1/32",), interface_name="cali1"
    ),
)
ID = EndpointId("n1", "shop", "n1-k8s-w-eth0")


class Programmed:
    """An applier that programs at once, and remembers which addresses it had been told whenever it was asked."""

    def __init__(self) -> None:
        self.told: tuple[str, ...] = ()
        self.asked: list[tuple[str, ...]] = []

    def deliver(self, messages: Sequence[Message]) -> None:
        for message in messages:
            if isinstance(message, EndpointUpdate) and message.endpoint is not None:
                self.told = tuple(map(str, message.endpoint.addresses))

    async def wait_until_programmed(self, _: EndpointId, timeout_seconds: float) -> bool:
        self.asked.append(self.told)
        return timeout_seconds > 0


def play(path: Path, scenario: Callable[[SqliteClient, Gate, Programmed], Awaitable[None]]) -> None:
    async def main() -> None:
        client, applier = SqliteClient(str(path / "store" / "x.sqlite")), Programmed()
        pipeline = Pipeline(Graph("n1"), Metrics(), applier.deliver)
        syncer = Syncer(client, KINDS, convert=convert_update)
        gate = Gate(client, syncer, pipeline=pipeline, applier=cast(Applier, applier))
        running = asyncio.ensure_future(syncer.run(pipeline.on_batch))
        try:
            async with asyncio.timeout(20):
                await pipeline.wait_for(lambda: pipeline.in_sync)
                await scenario(client, gate, applier)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await client.close()

    asyncio.run(main())


def moved(endpoint: WorkloadEndpoint, address: str) -> WorkloadEndpoint:
    return msgspec.structs.replace(endpoint, spec=msgspec.structs.replace(endpoint.spec, ip_networks=(address,)))


def test_a_pod_made_again_under_its_name_waits_for_its_own_policy(tmp_path: Path) -> None:
    async def scenario(client: SqliteClient, gate: Gate, applier: Programmed) -> None:
        stored = await client.create(ENDPOINT)
        assert await gate.wait_until_programmed(ID, 5.0)
        assert applier.asked == [("10.0.0.1/32",)]
        for number in range(2, 12):
            assert isinstance(stored, WorkloadEndpoint)
            stored = await client.update(moved(stored, f"10.0.0.{number}/32"))
            assert await gate.wait_until_programmed(ID, 5.0)
            assert applier.asked[-1] == (f"10.0.0.{number}/32",), "asked while the predecessor was in force"

    play(tmp_path, scenario)


def test_an_endpoint_that_is_not_stored_is_not_waited_for(tmp_path: Path) -> None:
    async def scenario(_: SqliteClient, gate: Gate, applier: Programmed) -> None:
        assert not await gate.wait_until_programmed(ID, 5.0)
        assert applier.asked == []

    play(tmp_path, scenario)
