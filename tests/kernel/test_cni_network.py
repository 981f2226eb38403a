"""What a network configuration and annotations ask for beyond addresses: policy that is late, MTU, gates, routes, GC."""

import asyncio
import http.server
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.kernel.cni_stage import Answer, Stage, build_executables, on_node

from tortie.api.felix import FelixConfiguration, FelixConfigurationSpec
from tortie.api.resource import Metadata
from tortie.base.net import parse_address
from tortie.intent.keys import EndpointId
from tortie.ipam.allocator import AssignRequest
from tortie.kernel import netns
from tortie.kernel.link import Links

pytestmark = pytest.mark.kernel

_CNI = "cni.projectcalico.org/"


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_executables(tmp_path_factory.mktemp("cni"))["shim"]


def ok(answer: Answer) -> Answer:
    assert answer.status == 0, answer.document
    return answer


def test_a_hundred_pods_at_once_get_a_hundred_addresses(shim: Path) -> None:
    async def scenario(stage: Stage) -> None:
        names = [f"pod{number}" for number in range(100)]
        for name in names:
            await stage.pod(name)
        begin = time.monotonic()
        answers = await asyncio.gather(*(stage.call("ADD", name, name) for name in names))
        print(f"100 ADDs at once: {time.monotonic() - begin:.1f} s")
        addresses = [address for answer in answers for address in ok(answer).addresses]
        assert len(set(addresses)) == 200
        with Links() as links:
            assert len([link for link in links.list() if link.name.startswith("cali")]) == 100
        assert len((await stage.client.list("IPAMHandle")).items) == 100
        for answer in await asyncio.gather(*(stage.call("DEL", name, name) for name in names)):
            ok(answer)
        assert await stage.residue() == []

    on_node(shim, scenario)


@pytest.mark.parametrize(("action", "status"), [("fail", 1), ("proceed", 0)])
def test_policy_that_is_late_fails_the_add_or_not_as_configured(shim: Path, action: str, status: int) -> None:
    async def never(_: EndpointId, timeout: float) -> bool:
        return False

    async def scenario(stage: Stage) -> None:
        await stage.pod("web")
        stage.programmed = never
        answer = await stage.call("ADD", "web", policy_setup_timeout_seconds=1, policy_setup_timeout_action=action)
        assert answer.status == status, answer.document
        assert bool(await stage.residue()) == (status == 0)

    on_node(shim, scenario)


def test_the_mtu_comes_from_the_configuration_then_the_file_then_the_kernel(shim: Path) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.pod("web")
        file = stage.mtu_file
        missing = await stage.call("ADD", "web", require_mtu_file=True)
        assert (missing.code, str(file) in missing.words) == (11, True)
        for index, (text, config, expected) in enumerate(
            ((None, 0, 1500), ("1440\n", 0, 1440), ("1440", 1400, 1400), ("9000", 0, 9000))
        ):
            if text is not None:
                file.write_text(text)
            ok(await stage.call("ADD", "web", f"c{index}", mtu=config))
            assert f"mtu {expected} " in stage.in_pod("web", "ip", "link", "show", "eth0")
            ok(await stage.call("DEL", "web", f"c{index}"))
        file.write_text("many")
        for command in ("ADD", "STATUS"):
            wrong = await stage.call(command, "web")
            assert (wrong.code, "'many'" in wrong.words) == (11 if command == "ADD" else 50, True)
        assert await stage.residue() == []

    on_node(shim, scenario)


class _Gate(http.server.BaseHTTPRequestHandler):
    status = 204

    def do_GET(self) -> None:
        self.send_response(type(self).status)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@contextmanager
def gate() -> Iterator[tuple[str, type[_Gate]]]:
    """An address that is ready while `status` says so."""
    handler = type("Gate", (_Gate,), {})
    with http.server.HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/ready", handler
        finally:
            server.shutdown()
            thread.join()


def test_readiness_gates_hold_back_add_and_are_told_by_status(shim: Path) -> None:
    async def scenario(stage: Stage) -> None:
        with Links() as links:
            links.set_up("lo")
        await stage.pod("web")
        with gate() as (url, handler):
            ok(await stage.call("STATUS", "", readiness_gates=[url]))
            handler.status = 302
            ok(await stage.call("STATUS", "", readiness_gates=[url]))
            handler.status = 503
            closed = await stage.call("STATUS", "", readiness_gates=[url])
            assert (closed.code, "status 503" in closed.words) == (50, True)
            begin = time.monotonic()
            adding = asyncio.create_task(stage.call("ADD", "web", readiness_gates=[url]))
            await asyncio.sleep(1)
            handler.status = 200
            ok(await adding)
            assert time.monotonic() - begin > 4
        refused = await stage.call("STATUS", "", readiness_gates=[url])
        assert (refused.code, url in refused.words) == (50, True)

    on_node(shim, scenario)


def test_status_is_50_while_the_agent_is_not_ready(shim: Path) -> None:
    async def scenario(stage: Stage) -> None:
        stage.not_ready = "the kernel has no policy yet"
        answer = await stage.call("STATUS", "")
        assert (answer.code, "no policy yet" in answer.words) == (50, True)
        stage.not_ready = ""
        ok(await stage.call("STATUS", ""))

    on_node(shim, scenario)


def test_own_routes_take_the_place_of_the_default_route_or_join_it(shim: Path) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.pod("web")
        ipam = {"type": "calico-ipam", "routes": [{"dst": "10.0.0.0/8"}, {"dst": "192.168.7.0/24"}]}
        for default in (False, True):
            ok(await stage.call("ADD", "web", ipam=ipam, include_default_routes=default))
            found = {line.split()[0] for line in stage.in_pod("web", "ip", "route").splitlines()}
            expected = {"169.254.1.1", "10.0.0.0/8", "192.168.7.0/24"}
            assert found == (expected | {"default"} if default else expected)
            ok(await stage.call("DEL", "web"))

    on_node(shim, scenario)


def test_more_queues_are_made_on_both_ends(shim: Path) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.pod("web")
        ok(await stage.call("ADD", "web", num_queues=3))
        assert "numtxqueues 3 numrxqueues 3" in stage.in_pod("web", "ip", "-d", "link", "show", "eth0")

    on_node(shim, scenario)


def test_addresses_that_the_pod_brings_are_wired_and_booked_nowhere(shim: Path) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.pod("web", annotations={_CNI + "ipAddrsNoIpam": '["192.0.2.7"]'})
        refused = await stage.call("ADD", "web")
        assert (refused.code, "ip_addrs_no_ipam" in refused.words) == (7, True)
        for ipam in ({"type": "calico-ipam"}, {"type": "none"}, {}):
            added = ok(await stage.call("ADD", "web", feature_control={"ip_addrs_no_ipam": True}, ipam=ipam))
            assert added.addresses == ["192.0.2.7/32"]
            assert (await stage.endpoint("web")).spec.ip_networks == ("192.0.2.7/32",)
            assert (await stage.client.list("IPAMHandle")).items == ()
            ok(await stage.call("DEL", "web", ipam=ipam))
        assert await stage.residue() == []
        await stage.pod("db")
        nobody = await stage.call("ADD", "db", "c2", ipam={"type": "none"})
        assert (nobody.code, "ipAddrsNoIpam" in nobody.words) == (7, True)

    on_node(shim, scenario)


def test_further_sources_need_felix_to_allow_them(shim: Path) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.pod("web", annotations={_CNI + "allowedSourcePrefixes": '["198.51.100.0/24"]'})
        refused = await stage.call("ADD", "web")
        assert (refused.code, "workloadSourceSpoofing: Any" in refused.words) == (7, True)
        spec = FelixConfigurationSpec(workload_source_spoofing="Any")
        await stage.client.create(FelixConfiguration(metadata=Metadata(name="default"), spec=spec))
        ok(await stage.call("ADD", "web"))
        assert (await stage.endpoint("web")).spec.allow_spoofed_source_prefixes == ("198.51.100.0/24",)

    on_node(shim, scenario)


def test_floating_addresses_need_the_network_configuration_to_allow_them(shim: Path) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.pod("web", annotations={_CNI + "floatingIPs": '["192.0.2.1", "192.0.2.2", "2001:db8::1"]'})
        answer = await stage.call("ADD", "web")
        assert (answer.code, "floatingIPs" in answer.words) == (7, True)
        assert await stage.residue() == []
        ok(await stage.call("ADD", "web", feature_control={"floating_ips": True}))
        nats = (await stage.endpoint("web")).spec.ip_nats
        assert [nat.external_ip for nat in nats] == ["192.0.2.1", "192.0.2.2", "2001:db8::1"]
        own = [net.partition("/")[0] for net in (await stage.endpoint("web")).spec.ip_networks]
        assert {nat.internal_ip for nat in nats} == set(own)

    on_node(shim, scenario)


def test_gc_takes_every_trace_of_what_is_gone_and_nothing_of_others(shim: Path) -> None:
    async def scenario(stage: Stage) -> None:
        for name in ("web", "db", "other"):
            await stage.pod(name)
        ok(await stage.call("ADD", "web", "c1"))
        ok(await stage.call("ADD", "db", "c2"))
        ok(await stage.call("ADD", "other", "c3", name="another-network"))
        # What an ADD that died leaves: an address without an endpoint, a device without one; and what is not ours.
        for handle, node in (("k8s-pod-network.dead", "node1"), ("k8s-pod-network.far", "node2"), ("mine.c9", "node1")):
            request = AssignRequest(node=node, handle=handle, num_v4=1, num_v6=0, attributes={"node": node})
            await stage.ipam.auto_assign(request)
        with Links() as links:
            for device, alias in (
                ("cali00000000001", "tortie k8s-pod-network dead2 eth0"),
                ("cali00000000002", "tortie another-network c3 eth0"),
                ("cali00000000003", "somebody else's"),
                ("eth7", ""),
            ):
                links.create_veth(device, device[-4:] + "peer")
                if alias:
                    links.set_alias(device, alias)
        valid: dict[str, Any] = {"cni.dev/valid-attachments": [{"containerID": "c1", "ifname": "eth0"}]}
        ok(await stage.call("GC", "", **valid))
        handles = {item.spec.handle_id for item in (await stage.client.list("IPAMHandle")).items}
        assert handles == {"k8s-pod-network.c1", "another-network.c3", "k8s-pod-network.far", "mine.c9"}
        endpoints = {item.spec.container_id for item in (await stage.client.list("WorkloadEndpoint")).items}
        assert endpoints == {"c1", "c3"}
        with Links() as links:
            names = {link.name for link in links.list()}
        assert {stage.veth("web"), stage.veth("other"), "cali00000000002", "cali00000000003", "eth7"} <= names
        assert not names & {stage.veth("db"), "cali00000000001"}
        ok(await stage.call("CHECK", "web", "c1"))

    on_node(shim, scenario)


def test_a_container_without_a_pod_may_have_two_devices(shim: Path) -> None:
    async def scenario(stage: Stage) -> None:
        stage.sandbox("box")
        for device in ("eth0", "net1"):
            env = {"CNI_ARGS": "", "CNI_IFNAME": device}
            ok(await stage.call("ADD", "box", "c1", env=env, name=f"network-{device}"))
        found = {item.spec.endpoint: item for item in (await stage.client.list("WorkloadEndpoint")).items}
        assert set(found) == {"eth0", "net1"}
        assert len({item.spec.interface_name for item in found.values()}) == 2
        with netns.opened(stage.pods["box"]) as fd, Links(fd) as links:
            inside = {entry.interface.address for entry in links.addresses("net1")}
        assert parse_address(found["net1"].spec.ip_networks[0].partition("/")[0]) in inside
        for device in ("net1", "eth0"):
            env = {"CNI_ARGS": "", "CNI_IFNAME": device}
            ok(await stage.call("DEL", "box", "c1", env=env, name=f"network-{device}"))
        assert await stage.residue() == []

    on_node(shim, scenario)
