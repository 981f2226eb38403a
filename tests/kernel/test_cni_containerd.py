"""Debian's containerd calls our plugin by its own CNI library: containers without a pod, as `ctr run --cni` makes them."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.kernel.cni_stage import Stage, on_node
from tests.kernel.containerd_node import Containerd, containerd

from tortie.api.resource import Key
from tortie.cni import build
from tortie.kernel import sysctl

pytestmark = pytest.mark.kernel

NETWORK = "boxes"


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bin")
    build.install_names(folder)
    return folder


@contextmanager
def daemon(stage: Stage, folder: Path, plugins: Path) -> Iterator[Containerd]:
    plugin: dict[str, Any] = {
        "type": "calico",
        "tortie_socket": str(stage.socket),
        "ipam": {"type": "calico-ipam", "assign_ipv4": "true", "assign_ipv6": "true"},
    }
    conflist = {"name": NETWORK, "cniVersion": "1.0.0", "plugins": [plugin]}
    with containerd(stage.node, folder, plugins=plugins, conflist=conflist) as made:
        yield made


def test_containers_of_containerd_reach_each_other_and_leave_nothing(plugins: Path, tmp_path: Path) -> None:
    async def scenario(stage: Stage) -> None:
        for name, value in (("net/ipv4/ip_forward", 1), ("net/ipv6/conf/all/forwarding", 1)):
            sysctl.write(name, value)
        with ExitStack() as stack:
            made = await asyncio.to_thread(stack.enter_context, daemon(stage, tmp_path, plugins))
            await asyncio.to_thread(made.start, "web-1")
            await asyncio.to_thread(made.start, "web-2")
            found = {item.spec.container_id: item for item in (await stage.client.list("WorkloadEndpoint")).items}
            assert set(found) == {"default-web-1", "default-web-2"}
            for endpoint in found.values():
                assert (endpoint.spec.orchestrator, endpoint.metadata.namespace) == ("cni", "default")
                assert endpoint.spec.profiles == (NETWORK,)
                assert len(endpoint.spec.ip_networks) == 2
            profile = await stage.client.get(Key("Profile", "", NETWORK))
            assert profile.spec.labels_to_apply == {NETWORK: ""}
            shown = await asyncio.to_thread(made.inside, "web-1", "/bin/ip", "addr", "show", "eth0")
            for address in found["default-web-1"].spec.ip_networks:
                assert address in shown.stdout
            other = found["default-web-2"].spec.ip_networks[0].partition("/")[0]
            script = f"nc -l -p 8080 -e /bin/busybox echo hello-from-{other} & sleep 0.5; exit 0"
            await asyncio.to_thread(made.inside, "web-2", "/bin/sh", "-c", script)
            talk = await asyncio.to_thread(made.inside, "web-1", "/bin/nc", "-w", "5", other, "8080")
            assert f"hello-from-{other}" in talk.stdout, talk.stderr
            once = await asyncio.to_thread(made.run, "once", "/bin/ip", "route")
            assert "default via 169.254.1.1 dev eth0" in once.stdout, once.stderr
            left = {item.spec.container_id for item in (await stage.client.list("WorkloadEndpoint")).items}
            assert left == {"default-web-1", "default-web-2"}
            for name in ("web-1", "web-2"):
                await asyncio.to_thread(made.ctr, "tasks", "kill", "-s", "KILL", name)
                await asyncio.to_thread(made.ctr, "tasks", "delete", name)
                await asyncio.to_thread(made.ctr, "containers", "delete", name)
            # `ctr` sends DEL only for what it ran itself to the end; the others are GC's.
            none_left: dict[str, Any] = {"name": NETWORK, "cni.dev/valid-attachments": []}
            gone = await stage.call("GC", "", **none_left)
            assert gone.status == 0, gone.document
            assert await stage.residue() == []
            await asyncio.to_thread(stack.close)

    on_node(plugins / "tortie-cni", scenario)
