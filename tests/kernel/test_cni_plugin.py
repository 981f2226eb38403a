"""Pods wired through the real executable, as a container runtime does it."""

import asyncio
import socket
from pathlib import Path

import pytest
from tests.kernel.cni_stage import NODE, Stage, ok, on_node

from tortie.base.net import parse_interface, parse_prefix
from tortie.datastore.errors import Unavailable
from tortie.intent.keys import EndpointId
from tortie.kernel import netns, sysctl
from tortie.kernel.link import Links
from tortie.kernel.route import Routes

pytestmark = pytest.mark.kernel


def connect(source: str, destination: str, host: str) -> None:
    """Open a TCP connection from one namespace to the other."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with netns.run_in_named(destination, lambda: socket.create_server((host, 8080), family=family)):
        netns.run_in_named(source, lambda: socket.create_connection((host, 8080), timeout=5)).close()


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
