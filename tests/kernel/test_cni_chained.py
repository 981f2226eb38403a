"""Our plugin and those of Debian: portmap after it, bridge with our IPAM, host-local as its IPAM."""

import asyncio
import json
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.kernel.cni_stage import NODE, Answer, Stage, on_node
from tests.kernel.spaces import named_space

from tortie.api.node import Node, NodeStatus
from tortie.api.resource import Metadata
from tortie.base.net import parse_address, parse_interface, parse_prefix
from tortie.cni import build
from tortie.kernel import netns, sysctl
from tortie.kernel.link import Links
from tortie.kernel.route import Route, Routes

pytestmark = pytest.mark.kernel

DEBIAN = Path("/usr/lib/cni")


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all plugins, as /opt/cni/bin is."""
    folder = tmp_path_factory.mktemp("bin")
    build.install_names(folder)
    for name in ("portmap", "bridge", "host-local"):
        (folder / name).symlink_to(DEBIAN / name)
    return folder


async def execute(stage: Stage, plugins: Path, command: str, config: dict[str, Any], *, pod: str = "web", **env: str) -> Answer:
    """One plugin of the list, as libcni does it."""
    environment = {**stage.environment(command, pod, "c1"), "CNI_PATH": str(plugins), "PATH": "/usr/sbin:/usr/bin", **env}
    full = {"name": "net", "cniVersion": "1.0.0", **config}
    line = ["nsenter", f"--net={netns.path_of(stage.node)}", "--", str(plugins / config["type"])]
    done = await asyncio.to_thread(
        subprocess.run, line, input=json.dumps(full).encode(), capture_output=True, env=environment, check=False
    )
    document = json.loads(done.stdout) if done.stdout.strip() else {}
    assert done.returncode == 0, (document, done.stderr)
    return Answer(done.returncode, document)


def ours(stage: Stage, **more: Any) -> dict[str, Any]:
    """Our entry of the list, under Calico's name."""
    return {"type": "calico", "tortie_socket": str(stage.socket), "ipam": {"type": "calico-ipam"}, **more}


def test_a_host_port_of_portmap_reaches_the_pod(plugins: Path) -> None:
    async def scenario(stage: Stage) -> None:
        sysctl.write("net/ipv4/ip_forward", 1)
        await stage.pod("web")
        with named_space("tcc") as client:
            with netns.opened(client) as fd, Links() as node, Links(fd) as outside, Routes(fd) as routes:
                node.create_veth("out", "eth0", peer_netns=fd)
                for links, device, address in ((node, "out", "198.18.7.1/24"), (outside, "eth0", "198.18.7.2/24")):
                    links.set_up(device)
                    links.add_address(device, parse_interface(address))
                routes.add([Route(dst=parse_prefix("0.0.0.0/0"), via=parse_address("198.18.7.1"), device="eth0")])
            added = await execute(stage, plugins, "ADD", ours(stage))
            mapping = {"hostPort": 18080, "containerPort": 8080, "protocol": "tcp"}
            chained: dict[str, Any] = {
                "type": "portmap",
                "snat": True,
                "capabilities": {"portMappings": True},
                "runtimeConfig": {"portMappings": [mapping]},
                "prevResult": added.document,
            }
            final = await execute(stage, plugins, "ADD", chained)
            assert final.document["ips"] == added.document["ips"]
            address = added.addresses[0].partition("/")[0]
            server = netns.run_in_named(stage.pods["web"], lambda: socket.create_server((address, 8080)))
            with server:
                made = await asyncio.to_thread(
                    netns.run_in_named, client, lambda: socket.create_connection(("198.18.7.1", 18080), timeout=10)
                )
                made.close()
            await execute(stage, plugins, "CHECK", ours(stage, prevResult=final.document))
            await execute(stage, plugins, "DEL", {**chained, "prevResult": final.document})
            await execute(stage, plugins, "DEL", ours(stage, prevResult=final.document))
        assert await stage.residue() == []

    on_node(plugins / "calico", scenario)


def test_calico_ipam_gives_addresses_to_somebody_elses_plugin(plugins: Path) -> None:
    async def scenario(stage: Stage) -> None:
        stage.sandbox("web")
        bridge: dict[str, Any] = {
            "type": "bridge",
            "bridge": "br0",
            "ipam": {"type": "calico-ipam", "assign_ipv6": "true"},
            "tortie_socket": str(stage.socket),
        }
        added = await execute(stage, plugins, "ADD", bridge)
        v4, v6 = (parse_interface(text) for text in added.addresses)
        assert parse_prefix("10.65.0.0/16").contains(v4.address)
        assert parse_prefix("fd00:65::/48").contains(v6.address)
        assert await stage.ipam.addresses_of("net.c1") == (v4.address, v6.address)
        shown = stage.in_pod("web", "ip", "addr", "show", "eth0")
        assert str(v4) in shown
        assert str(v6) in shown
        assert (await stage.client.list("WorkloadEndpoint")).items == ()
        await execute(stage, plugins, "CHECK", {**bridge, "prevResult": added.document})
        await execute(stage, plugins, "DEL", {**bridge, "prevResult": added.document})
        assert [line for line in await stage.residue() if "IPAMHandle" in line] == []

    on_node(plugins / "calico-ipam", scenario)


def test_calico_ipam_alone_says_what_is_wrong_and_takes_the_address_that_is_asked_for(plugins: Path) -> None:
    async def scenario(stage: Stage) -> None:
        stage.sandbox("web")
        arguments: dict[str, Any] = {"env": {"CNI_ARGS": "IP=10.65.3.4"}, "type": "ptp", "cniVersion": "0.3.1"}
        added = await stage.call("ADD", "web", **arguments, ipam={"type": "calico-ipam"})
        assert added.document == {
            "cniVersion": "0.3.1",
            "ips": [{"version": "4", "address": "10.65.3.4/32"}],
            "routes": [{"dst": "10.65.3.4/32"}],
            "dns": {},
        }
        again = await stage.call("ADD", "web", "c2", **arguments, ipam={"type": "calico-ipam"})
        assert (again.status, again.code) == (1, 11)
        assert "10.65.3.4" in again.words
        missing = await stage.call("CHECK", "web", "c2", ipam={"type": "calico-ipam"})
        assert missing.code == 100
        nobodys = await stage.call("ADD", "web", ipam={"type": "dhcp"})
        assert nobodys.code == 7
        none_left: dict[str, Any] = {"cni.dev/valid-attachments": [], "ipam": {"type": "calico-ipam"}}
        gone = await stage.call("GC", "", **none_left)
        assert gone.status == 0
        assert await stage.residue() == []

    on_node(plugins / "calico-ipam", scenario)


@pytest.mark.parametrize("ranges", [False, True])
def test_host_local_assigns_from_the_nodes_pod_cidr(plugins: Path, tmp_path: Path, ranges: bool) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.pod("web")
        subnets: dict[str, Any] = {"ranges": [[{"subnet": "usePodCidr"}]]} if ranges else {"subnet": "usePodCidr"}
        config = ours(stage, ipam={"type": "host-local", "dataDir": str(tmp_path), **subnets})
        early = await stage.call("ADD", "web", env={"CNI_PATH": str(plugins)}, **config)
        assert (early.code, "no IPv4 pod CIDR" in early.words) == (11, True), early.document
        status = NodeStatus(pod_cidrs=("fd00:99::/64", "10.99.4.0/24"))
        await stage.client.create(Node(metadata=Metadata(name=NODE), status=status))
        added = await execute(stage, plugins, "ADD", config)
        assert parse_prefix("10.99.4.0/24").contains(parse_interface(added.addresses[0]).address)
        assert added.addresses[0].endswith("/32")
        assert (await stage.endpoint("web")).spec.ip_networks == tuple(added.addresses)
        await execute(stage, plugins, "CHECK", {**config, "prevResult": added.document})
        await execute(stage, plugins, "STATUS", config)
        assert (await stage.call("STATUS", "web", env={"CNI_PATH": "/nowhere"}, **config)).code == 50
        await execute(stage, plugins, "DEL", config)
        await execute(stage, plugins, "DEL", config)
        assert await stage.residue() == []
        assert not list(tmp_path.glob("net/10.*"))

    on_node(plugins / "calico", scenario)
