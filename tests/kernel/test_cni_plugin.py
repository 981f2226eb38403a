"""Pods wired through the real executable, as a container runtime does it."""

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.kernel.cni_stage import CONFIG, NODE, Answer, Stage, build_executables, on_node

from tortie.base import process
from tortie.base.net import parse_address, parse_interface, parse_prefix
from tortie.cni import wiring
from tortie.datastore.errors import Unavailable
from tortie.intent.keys import EndpointId
from tortie.kernel import netns, sysctl
from tortie.kernel.errors import KernelError
from tortie.kernel.link import Links
from tortie.kernel.route import Route, Routes

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def executables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return build_executables(tmp_path_factory.mktemp("cni"))


@pytest.fixture(params=["shim", "client"])
def either(request: pytest.FixtureRequest, executables: dict[str, Path]) -> Path:
    return executables[request.param]


@pytest.fixture
def shim(executables: dict[str, Path]) -> Path:
    return executables["shim"]


def connect(source: str, destination: str, host: str) -> None:
    """Open a TCP connection from one namespace to the other."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with netns.run_in_named(destination, lambda: socket.create_server((host, 8080), family=family)):
        netns.run_in_named(source, lambda: socket.create_connection((host, 8080), timeout=5)).close()


def ok(answer: Answer) -> Answer:
    assert answer.status == 0, answer.document
    return answer


def test_a_pod_gets_addresses_routes_and_an_endpoint_and_loses_all_of_it(either: Path) -> None:
    async def scenario(stage: Stage) -> None:
        path = await stage.pod("web")
        added = ok(await stage.call("ADD", "web"))
        device = stage.veth("web")
        host, pod = added.document["interfaces"]
        assert (host["name"], host["mac"]) == (device, "ee:ee:ee:ee:ee:ee")
        assert (pod["name"], pod["sandbox"]) == ("eth0", path)
        assert [entry["interface"] for entry in added.document["ips"]] == [1, 1]
        v4, v6 = (parse_interface(text) for text in added.addresses)
        assert parse_prefix("10.65.0.0/16").contains(v4.address)
        assert parse_prefix("fd00:65::/48").contains(v6.address)
        assert (v4.length, v6.length) == (32, 128)
        endpoint = await stage.endpoint("web")
        assert endpoint.spec.ip_networks == (str(v4), str(v6))
        assert (endpoint.spec.container_id, endpoint.spec.interface_name, endpoint.spec.mac) == ("c1", device, pod["mac"])
        assert endpoint.metadata.labels["app"] == "web"
        assert endpoint.spec.profiles == ("kns.shop", "ksa.shop.default")
        assert stage.waited_for == [EndpointId(NODE, "shop", endpoint.metadata.name)]
        assert await stage.ipam.addresses_of("k8s-pod-network.c1") == (v4.address, v6.address)
        holder = await stage.ipam.assignment(v4.address)
        assert {key: holder.secondary[key] for key in ("pod", "namespace", "node")} == {
            "pod": "web",
            "namespace": "shop",
            "node": NODE,
        }
        ok(await stage.call("CHECK", "web", prevResult=added.document))
        ok(await stage.call("DEL", "web", prevResult=added.document))
        assert await stage.residue() == []
        ok(await stage.call("DEL", "web"))

    on_node(either, scenario)


def test_two_pods_reach_each_other_over_the_node_in_both_families(shim: Path) -> None:
    async def scenario(stage: Stage) -> None:
        for name, value in (("net/ipv4/ip_forward", 1), ("net/ipv6/conf/all/forwarding", 1)):
            sysctl.write(name, value)
        answers = []
        for index, name in enumerate(("web", "db")):
            await stage.pod(name)
            answers.append(ok(await stage.call("ADD", name, f"c{index}")))
        for address in answers[1].addresses:
            connect(stage.pods["web"], stage.pods["db"], address.partition("/")[0])

    on_node(shim, scenario)


def test_the_pods_side_looks_as_calicos(shim: Path) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.pod("web")
        ok(await stage.call("ADD", "web", mtu=1400, container_settings={"allow_ip_forwarding": True}))
        routes = [line.strip() for line in stage.in_pod("web", "ip", "-4", "route").splitlines()]
        assert routes == ["default via 169.254.1.1 dev eth0", "169.254.1.1 dev eth0 scope link"]
        assert "default via fe80::ecee:eeff:feee:eeee dev eth0" in stage.in_pod("web", "ip", "-6", "route")
        assert "mtu 1400" in stage.in_pod("web", "ip", "link", "show", "eth0")
        assert stage.in_pod("web", "sysctl", "-n", "net.ipv4.ip_forward").strip() == "1"
        device = stage.veth("web")
        expected = {f"net/ipv4/conf/{device}/proxy_arp": "1", f"net/ipv6/conf/{device}/accept_ra": "0"}
        assert {name: sysctl.read(name) for name in expected} == expected
        with Routes() as routes_of_node:
            found = routes_of_node.list(protocol=80)
        assert len(found) == 2
        assert {(route.device, route.metric) for route in found} == {(device, 1024)}

    on_node(shim, scenario)


@pytest.mark.parametrize("version", ["0.3.1", "0.4.0", "1.0.0", "1.1.0"])
def test_the_result_has_the_shape_of_the_version(shim: Path, version: str) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.pod("web")
        document = ok(await stage.call("ADD", "web", cniVersion=version)).document
        assert document["cniVersion"] == version
        old = version.startswith("0.")
        assert [entry.get("version") for entry in document["ips"]] == (["4", "6"] if old else [None, None])
        assert ("mtu" in document["interfaces"][1]) == (version == "1.1.0")

    on_node(shim, scenario)


# ---- nothing half-applied ----
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
        with pytest.raises(process.ProcessError, match="not finished"):
            await process.run(
                [str(either)], stdin=json.dumps(CONFIG).encode(), env=stage.environment("ADD", "web", "c1"), timeout=1.0
            )
        assert waiting.is_set()
        for _ in range(100):
            if not await stage.residue():
                break
            await asyncio.sleep(0.05)
        assert await stage.residue() == []
        stage.programmed = None
        ok(await stage.call("ADD", "web"))

    on_node(either, scenario)


# ---- repeating, replacing, concurrency ----
def test_adding_the_same_container_again_gives_the_same_answer(shim: Path) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.pod("web")
        first = ok(await stage.call("ADD", "web"))
        assert ok(await stage.call("ADD", "web")).document == first.document
        stage.in_pod("web", "ip", "addr", "del", first.addresses[0], "dev", "eth0")
        again = ok(await stage.call("ADD", "web"))
        ok(await stage.call("CHECK", "web", prevResult=again.document))
        ok(await stage.call("DEL", "web"))
        assert await stage.residue() == []

    on_node(shim, scenario)


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


def test_a_new_container_takes_over_and_the_old_ones_del_leaves_it_alone(shim: Path) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.pod("web")
        ok(await stage.call("ADD", "web", "old"))
        old = stage.pods["web"]
        stage.sandbox("web")
        new = ok(await stage.call("ADD", "web", "new"))
        assert (await stage.endpoint("web")).spec.container_id == "new"
        ok(await stage.call("DEL", "web", "old", env={"CNI_NETNS": netns.path_of(old)}))
        ok(await stage.call("CHECK", "web", "new", prevResult=new.document))
        assert [item.metadata.name for item in (await stage.client.list("IPAMHandle")).items] == ["k8s-pod-network.new"]
        ok(await stage.call("DEL", "web", "new"))
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


def test_two_pods_at_once_and_one_pod_twice_at_once(shim: Path) -> None:
    async def scenario(stage: Stage) -> None:
        for name in ("web", "db"):
            await stage.pod(name)
        calls = [stage.call("ADD", "web", "c1"), stage.call("ADD", "db", "c2"), stage.call("ADD", "web", "c1")]
        answers = [ok(answer) for answer in await asyncio.gather(*calls)]
        assert answers[0].document == answers[2].document
        assert len({address for answer in answers for address in answer.addresses}) == 4
        assert len((await stage.client.list("IPAMHandle")).items) == 2

    on_node(shim, scenario)


@pytest.mark.parametrize("gone", ["file", "variable"])
def test_del_succeeds_when_the_namespace_is_gone(either: Path, gone: str) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.pod("web")
        ok(await stage.call("ADD", "web"))
        netns.delete(stage.pods["web"])
        ok(await stage.call("DEL", "web", env={} if gone == "file" else {"CNI_NETNS": ""}))
        assert await stage.residue() == []

    on_node(either, scenario)


def test_del_of_what_was_never_added_succeeds_and_fails_while_the_datastore_does(shim: Path) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.pod("web")
        ok(await stage.call("DEL", "web"))
        ok(await stage.call("ADD", "web"))
        stage.client.failing["get"] = Unavailable("injected")
        assert (await stage.call("DEL", "web")).code == 11
        stage.client.failing.clear()
        with Links() as links:
            assert links.find(stage.veth("web")) is not None
        ok(await stage.call("DEL", "web"))
        assert await stage.residue() == []

    on_node(shim, scenario)


# ---- CHECK ----
TAMPERINGS = {
    "address": ("address 10.65.", ["ip", "addr", "flush", "dev", "eth0", "scope", "global"]),
    "extra address": ("198.51.100.1/32 is not expected", ["ip", "addr", "add", "198.51.100.1/32", "dev", "eth0"]),
    "default route": ("route in the pod: 0.0.0.0/0", ["ip", "route", "del", "default"]),
    "default route IPv6": ("route in the pod: ::/0", ["ip", "-6", "route", "del", "default"]),
    "gateway route": ("169.254.1.1/32", ["ip", "route", "del", "169.254.1.1"]),
    "neighbour": ("neighbour 169.254.1.1", ["ip", "neigh", "del", "169.254.1.1", "dev", "eth0"]),
    "down": ("eth0 in the pod: down", ["ip", "link", "set", "eth0", "down"]),
    "mac": ("MAC address is 02:00:00:00:00:77", ["ip", "link", "set", "eth0", "address", "02:00:00:00:00:77"]),
    "gone": ("eth0 in the pod: missing", ["ip", "link", "del", "eth0"]),
    "renamed": (
        "eth0 in the pod: missing",
        ["sh", "-c", "ip link set eth0 down; ip link set eth0 name eth9"],
    ),
}


@pytest.mark.parametrize("what", TAMPERINGS)
def test_check_finds_tampering_in_the_pod(shim: Path, what: str) -> None:
    expected, argv = TAMPERINGS[what]

    async def scenario(stage: Stage) -> None:
        await stage.pod("web")
        added = ok(await stage.call("ADD", "web"))
        stage.in_pod("web", *argv)
        answer = await stage.call("CHECK", "web", prevResult=added.document)
        assert answer.code == 100
        assert expected in answer.words

    on_node(shim, scenario)


def test_check_finds_tampering_on_the_node_in_the_store_and_in_the_previous_result(shim: Path) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.pod("web")
        added = ok(await stage.call("ADD", "web"))
        device = stage.veth("web")

        async def finds(words: str, previous: dict[str, Any] = added.document) -> None:
            answer = await stage.call("CHECK", "web", prevResult=previous)
            assert answer.code == 100
            assert words in answer.words

        with Links() as links, Routes() as routes:
            found = routes.list(protocol=80)
            routes.delete(found[:1])
            await finds(f"route of the node: {found[0]} is missing")
            routes.add(found[:1])
            links.set_mac(device, "02:00:00:00:00:01")
            await finds("MAC address is 02:00:00:00:00:01")
            links.set_mac(device, "ee:ee:ee:ee:ee:ee")
            ok(await stage.call("CHECK", "web", prevResult=added.document))
        changed = json.loads(json.dumps(added.document).replace(added.addresses[0], "10.65.200.200/32"))
        await finds("prevResult: addresses are 10.65.200.200/32", changed)
        endpoint = await stage.endpoint("web")
        spec = msgspec.structs.replace(endpoint.spec, container_id="other")
        await stage.client.update(msgspec.structs.replace(endpoint, spec=spec))
        await finds("containerID is other, not c1")
        await stage.client.delete(endpoint.key)
        assert (await stage.call("CHECK", "web")).code == 3

    on_node(shim, scenario)


# ---- refusing ----
def test_add_waits_for_what_is_not_there_yet_with_code_11(shim: Path) -> None:
    async def scenario(stage: Stage) -> None:
        stage.sandbox("ghost")
        answer = await stage.call("ADD", "ghost")
        assert (answer.code, "pod shop/ghost is not in the datastore" in answer.words) == (11, True)
        await stage.pod("web")
        information = (await stage.client.list("ClusterInformation")).items[0]
        locked = msgspec.structs.replace(information.spec, datastore_ready=False)
        await stage.client.update(msgspec.structs.replace(information, spec=locked))
        for command in ("ADD", "DEL"):
            answer = await stage.call(command, "web")
            assert (answer.code, "datastoreReady" in answer.words) == (11, True)
        assert (await stage.call("STATUS", "web")).code == 50
        assert await stage.residue() == []

    on_node(shim, scenario)


def test_what_is_wrong_is_named(shim: Path) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.pod("web")
        for expected, code, env, config in (
            ("nodename", 7, {}, {"nodename": "elsewhere"}),
            ("ipam.type", 7, {}, {"ipam": {"type": "dhcp"}}),
            ("cniVersion", 1, {}, {"cniVersion": "9.9.9"}),
            ("CNI_ARGS: K8S_POD_NAMESPACE", 4, {"CNI_ARGS": "K8S_POD_NAME=web"}, {}),
            ("CNI_IFNAME", 4, {"CNI_IFNAME": "much-too-long-a-name"}, {}),
            ("own network namespace", 4, {"CNI_NETNS": "/proc/self/ns/net"}, {}),
            ("not a network namespace", 4, {"CNI_NETNS": "/proc/self/ns/uts"}, {}),
            ("cannot be opened", 4, {"CNI_NETNS": "/run/netns/none"}, {}),
            ("CNI_COMMAND", 4, {"CNI_COMMAND": "FROB"}, {}),
        ):
            answer = await stage.call("ADD", "web", env=env, **config)
            assert (answer.status, answer.code, expected in answer.words) == (1, code, True), answer.document
        assert await stage.residue() == []

    on_node(shim, scenario)


def test_status_says_whether_a_pod_could_get_addresses(shim: Path) -> None:
    async def scenario(stage: Stage) -> None:
        ok(await stage.call("STATUS", "web"))
        pool = next(item for item in (await stage.client.list("IPPool")).items if item.metadata.name == "v6")
        await stage.client.delete(pool.key)
        answer = await stage.call("STATUS", "web")
        assert (answer.code, "IPv6 pool" in answer.words) == (50, True)

    on_node(shim, scenario)


def test_gc_removes_what_the_runtime_no_longer_knows(shim: Path) -> None:
    async def scenario(stage: Stage) -> None:
        for index, name in enumerate(("web", "db")):
            await stage.pod(name)
            ok(await stage.call("ADD", name, f"c{index}"))
        valid: dict[str, Any] = {"cni.dev/valid-attachments": [{"containerID": "c1", "ifname": "eth0"}]}
        ok(await stage.call("GC", "", **valid))
        assert [item.spec.pod for item in (await stage.client.list("WorkloadEndpoint")).items] == ["db"]
        with Links() as links:
            assert links.find(stage.veth("web")) is None
            assert links.find(stage.veth("db")) is not None
        ok(await stage.call("GC", ""))
        assert len((await stage.client.list("IPAMHandle")).items) == 1

    on_node(shim, scenario)


def test_annotations_choose_pool_family_and_mac(shim: Path) -> None:
    async def scenario(stage: Stage) -> None:
        prefix = "cni.projectcalico.org/"
        annotations = {
            prefix + "ipFamilies": '["IPv4"]',
            prefix + "ipv4pools": '["v4"]',
            prefix + "hwAddr": "02:AB:00:00:00:01",
        }
        await stage.pod("web", annotations=annotations)
        added = ok(await stage.call("ADD", "web"))
        assert len(added.addresses) == 1
        assert added.document["interfaces"][1]["mac"] == "02:ab:00:00:00:01"
        await stage.pod("db", annotations={prefix + "ipv4pools": '["none"]'})
        answer = await stage.call("ADD", "db", "c2")
        assert (answer.code, "'none'" in answer.words) == (7, True)

    on_node(shim, scenario)
