"""CNI ADD and DEL beside `ptp` + `host-local`: one pod with one IPv4 address; ours waits until its policy is in the kernel."""

import contextlib
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from tests.bench import ground
from tests.bench.measuring import Bench, Measure, Pair, Row

from tortie.api.kubernetes import Pod, PodSpec
from tortie.api.policy import Rule
from tortie.api.resource import Metadata
from tortie.kernel import netns
from tortie.lab.runtime import find_plugin

_PEER_FOLDER = Path("/usr/lib/cni")
_PODS = 15
_PEER = "ptp + host-local"
_ROWS = (
    Row("cni-add", "ADD, policy in the kernel", f"ADD, {_PEER}", "ms", target=1.2),
    Row("cni-del", "DEL", f"DEL, {_PEER}", "ms", target=1.0),
)


@contextlib.asynccontextmanager
async def _stage() -> AsyncIterator[Measure]:
    if not (_PEER_FOLDER / "ptp").exists():
        raise RuntimeError("the peer is missing: run hack/bench-setup (Debian's containernetworking-plugins)")
    async with ground.lab("n1") as lab:
        with ground.spaces(1) as (peer_node,), tempfile.TemporaryDirectory(prefix="tortie-bench-") as folder:
            names = [f"pod-{number}" for number in range(_PODS)]
            await ground.fill(lab.client, [_pod(name) for name in names])
            await ground.fill(lab.client, [ground.policy("guard", "app == 'bench'", Rule(action="Allow", protocol="TCP"))])
            config = _peer_config(folder)
            socket = lab.names.cni_socket("n1")

            async def measure(_: int) -> Mapping[str, Pair]:
                seconds: dict[str, list[float]] = {f"{who} {what}": [] for who in ("ours", "peer") for what in ("ADD", "DEL")}
                with ground.spaces(2 * _PODS) as sandboxes:
                    containers = [secrets.token_hex(8) for _ in names]
                    for command in ("ADD", "DEL"):
                        for number, name in enumerate(names):
                            container = containers[number]
                            environment = ground.tortie_environment(
                                command, container=container, namespace=sandboxes[2 * number], pod=name, socket=socket
                            )
                            ours = ground.execute(find_plugin(), environment, ground.TORTIE_CONFIG)
                            peer = _peer(command, container, sandboxes[2 * number + 1], node=peer_node, config=config)
                            seconds[f"ours {command}"].append(ours.seconds * 1000)
                            seconds[f"peer {command}"].append(peer * 1000)
                            time.sleep(0.12)  # a burst of pods would wait for the applier's throttle
                return {
                    "cni-add": Pair(seconds["ours ADD"], seconds["peer ADD"]),
                    "cni-del": Pair(seconds["ours DEL"], seconds["peer DEL"]),
                }

            yield measure


def _pod(name: str) -> Pod:
    metadata = Metadata(name=name, namespace=ground.NAMESPACE, labels={"app": "bench"})
    return Pod(metadata=metadata, spec=PodSpec(node_name="n1", service_account_name="default"))


def _peer_config(folder: str) -> dict[str, Any]:
    ipam = {
        "type": "host-local",
        "dataDir": folder,
        "ranges": [[{"subnet": "10.99.0.0/16"}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    return {"cniVersion": "1.0.0", "name": "peer", "type": "ptp", "ipMasq": False, "ipam": ipam}


def _peer(command: str, container: str, sandbox: str, *, node: str, config: dict[str, Any]) -> float:
    environment = {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": container,
        "CNI_NETNS": netns.path_of(sandbox),
        "CNI_IFNAME": "eth0",
        "CNI_PATH": str(_PEER_FOLDER),
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    }
    return netns.run_in_named(node, lambda: ground.execute(_PEER_FOLDER / "ptp", environment, config).seconds)


BENCH = Bench("cni", _ROWS, _stage)
