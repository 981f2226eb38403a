"""What fails half way through an ADD, or dies there, leaves nothing behind."""

import asyncio
import json
from pathlib import Path

import pytest
from tests.kernel.cni_stage import CONFIG, NODE, Stage, ok, on_node

from tortie.base import process
from tortie.base.net import parse_address, parse_prefix
from tortie.cni import wiring
from tortie.datastore.errors import Unavailable
from tortie.intent.keys import EndpointId
from tortie.kernel import netns, sysctl
from tortie.kernel.errors import KernelError
from tortie.kernel.link import Links
from tortie.kernel.route import Route, Routes

pytestmark = pytest.mark.kernel


@pytest.mark.parametrize("index", range(len(wiring.STEPS)), ids=[step.name for step in wiring.STEPS])
@pytest.mark.parametrize("half", ["before", "after"])
def test_a_failing_step_of_the_wiring_leaves_nothing(
    shim: Path, monkeypatch: pytest.MonkeyPatch, index: int, half: str
) -> None:
    step = wiring.STEPS[index]

    def fail(ground: wiring.Ground, plan: wiring.Plan) -> None:
        if half == "after":
            step.do(ground, plan)
        raise KernelError("injected")

    broken = wiring.Step(step.name, fail, step.undo)
    monkeypatch.setattr(wiring, "STEPS", (*wiring.STEPS[:index], broken, *wiring.STEPS[index + 1 :]))

    async def scenario(stage: Stage) -> None:
        await stage.pod("web")
        answer = await stage.call("ADD", "web")
        assert (answer.status, answer.code) == (1, 11)
        assert "injected" in answer.words
        assert await stage.residue() == []

    on_node(shim, scenario)


@pytest.mark.parametrize(("part", "method"), [("client", "create"), ("ipam", "auto_assign"), ("client", "get")])
def test_a_failing_datastore_or_ipam_leaves_nothing(shim: Path, part: str, method: str) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.pod("web")
        troubled = getattr(stage, part)
        troubled.failing[method] = Unavailable("injected")
        answer = await stage.call("ADD", "web")
        assert (answer.status, answer.code) == (1, 11)
        assert "injected" in answer.words
        troubled.failing.clear()
        assert await stage.residue() == []
        ok(await stage.call("ADD", "web"))

    on_node(shim, scenario)


def test_policy_that_does_not_come_in_time_undoes_everything(shim: Path) -> None:
    async def never(_: EndpointId, timeout: float) -> bool:
        assert timeout == 3
        return False

    async def scenario(stage: Stage) -> None:
        await stage.pod("web")
        stage.programmed = never
        answer = await stage.call("ADD", "web", policy_setup_timeout_seconds=3)
        assert (answer.status, answer.code) == (1, 11)
        assert "policy of pod shop/web" in answer.words
        assert await stage.residue() == []

    on_node(shim, scenario)


def test_one_family_missing_gives_the_other_back(shim: Path) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.pod("web")
        pool = next(item for item in (await stage.client.list("IPPool")).items if item.metadata.name == "v6")
        await stage.client.delete(pool.key)
        answer = await stage.call("ADD", "web")
        assert answer.code == 11
        assert "IPv6" in answer.words
        assert await stage.residue() == []
        ipam = {**CONFIG["ipam"], "assign_ipv6": "false"}
        assert len(ok(await stage.call("ADD", "web", ipam=ipam)).addresses) == 1

    on_node(shim, scenario)


def test_a_pod_without_ipv6_has_none_on_its_cable_until_it_gets_an_address_of_it(shim: Path) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.pod("web")
        only_v4 = {**CONFIG["ipam"], "assign_ipv6": "false"}
        assert len(ok(await stage.call("ADD", "web", "c1", ipam=only_v4)).addresses) == 1
        assert sysctl.read(f"net/ipv6/conf/{stage.veth('web')}/disable_ipv6") == "1"
        ok(await stage.call("DEL", "web", "c1"))
        assert len(ok(await stage.call("ADD", "web", "c2")).addresses) == 2
        assert sysctl.read(f"net/ipv6/conf/{stage.veth('web')}/disable_ipv6") == "0"

    on_node(shim, scenario)


def test_a_foreign_route_to_the_pods_address_is_an_error_and_stays(shim: Path) -> None:
    foreign = Route(dst=parse_prefix("10.65.1.7/32"), device="up0", protocol=4, metric=1024)

    async def scenario(stage: Stage) -> None:
        await stage.pod("web", annotations={"cni.projectcalico.org/ipAddrs": '["10.65.1.7"]'})
        with Links() as links, Routes() as routes:
            links.create_veth("up0", "up1")
            links.set_up("up0")
            assert routes.add([foreign]) == ()
            answer = await stage.call("ADD", "web")
            assert answer.code == 11
            assert "10.65.1.7/32" in answer.words
            assert await stage.residue() == []
            assert foreign.as_kernel() in routes.list()
            routes.delete([foreign])
        assert ok(await stage.call("ADD", "web")).addresses == ["10.65.1.7/32"]

    on_node(shim, scenario)


def test_killing_the_executable_during_add_undoes_it(either: Path) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.pod("web")
        waiting = asyncio.Event()

        async def stuck(_: EndpointId, __: float) -> bool:
            waiting.set()
            await asyncio.sleep(60)
            return True

        stage.programmed = stuck
        add = asyncio.create_task(
            process.run([str(either)], stdin=json.dumps(CONFIG).encode(), env=stage.environment("ADD", "web", "c1"))
        )
        await waiting.wait()
        add.cancel()  # which kills it
        with pytest.raises(asyncio.CancelledError):
            await add
        for _ in range(600):
            if not await stage.residue():
                break
            await asyncio.sleep(0.05)
        assert await stage.residue() == []
        stage.programmed = None
        ok(await stage.call("ADD", "web"))

    on_node(either, scenario)


# ---- repeating, replacing, concurrency ----


def test_an_add_again_that_fails_leaves_no_endpoint_with_addresses_that_were_given_back(shim: Path) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.pod("web")
        first = ok(await stage.call("ADD", "web"))
        stage.in_pod("web", "ip", "addr", "del", first.addresses[0], "dev", "eth0")
        stage.ipam.failing["auto_assign"] = Unavailable("injected")
        assert (await stage.call("ADD", "web")).code == 11
        assert (await stage.client.list("WorkloadEndpoint")).items == ()
        stage.ipam.failing.clear()
        ok(await stage.call("ADD", "web"))
        ok(await stage.call("DEL", "web"))
        assert await stage.residue() == []

    on_node(shim, scenario)


def test_a_take_over_that_fails_leaves_neither_container_and_can_be_repeated(shim: Path) -> None:
    async def late(_: EndpointId, __: float) -> bool:
        return False

    async def scenario(stage: Stage) -> None:
        await stage.pod("web")
        ok(await stage.call("ADD", "web", "old"))
        old = netns.path_of(stage.pods["web"])
        stage.sandbox("web")
        stage.programmed = late
        assert (await stage.call("ADD", "web", "new")).code == 11
        assert (await stage.client.list("WorkloadEndpoint")).items == ()
        stage.programmed = None
        ok(await stage.call("ADD", "web", "new"))
        ok(await stage.call("DEL", "web", "old", env={"CNI_NETNS": old}))
        ok(await stage.call("CHECK", "web", "new"))

    on_node(shim, scenario)


def test_what_an_add_that_died_half_way_left_is_taken_back_by_the_next(shim: Path) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.pod("web")
        with Links() as links:  # an agent that was killed: a device of that name, and addresses of that handle
            links.create_veth(stage.veth("web"), "leftover")
        await stage.ipam.assign_ip(parse_address("10.65.9.9"), "k8s-pod-network.c1", attributes={}, node=NODE)
        added = ok(await stage.call("ADD", "web"))
        ok(await stage.call("CHECK", "web", prevResult=added.document))
        assert len(await stage.ipam.addresses_of("k8s-pod-network.c1")) == 2
        ok(await stage.call("DEL", "web"))
        assert await stage.residue() == []

    on_node(shim, scenario)
