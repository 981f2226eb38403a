"""CHECK, STATUS and GC, and what is refused by name."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.kernel.cni_stage import Stage, ok, on_node

from tortie.kernel.link import Links
from tortie.kernel.route import Routes

pytestmark = pytest.mark.kernel


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
