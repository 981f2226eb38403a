"""The kubelet's and the container runtime's part: a network namespace per pod, wired by executing the CNI plugin.

Exactly as a runtime does (CNI 1.1.0): environment, configuration on standard input, result or error on standard output, the
previous result handed back for CHECK and DEL.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from tortie.base import process
from tortie.base.net import FAMILIES, Family
from tortie.lab.names import LabNames, netns_path
from tortie.lab.spec import LabError

INTERFACE = "eth0"


@dataclass(frozen=True, slots=True)
class Sandbox:
    """One pod's sandbox as the runtime knows it. `result` is what ADD answered."""

    namespace: str
    pod: str
    node: str
    container_id: str
    netns: str
    result: dict[str, Any]

    @property
    def name(self) -> str:
        """namespace/pod."""
        return f"{self.namespace}/{self.pod}"

    @property
    def addresses(self) -> list[str]:
        """Addresses of the pod, without length."""
        return [entry["address"].partition("/")[0] for entry in self.result.get("ips", ())]


def find_plugin() -> Path:
    """The CNI plugin beside the running Python, else on the PATH. Raises LabError."""
    import shutil
    import sys

    beside = Path(sys.executable).parent / "tortie-cni"
    found = str(beside) if beside.exists() else shutil.which("tortie-cni")
    if found is None:
        raise LabError("tortie-cni is not installed beside the running Python: run `make setup`")
    return Path(found)


def shipped_conflist(families: Iterable[Family] = FAMILIES) -> dict[str, Any]:
    """The network configuration list that an operator installs, asking for addresses of these families."""
    import importlib.resources

    text = importlib.resources.files("tortie.cni").joinpath("10-tortie.conflist").read_bytes()
    conflist = msgspec.json.decode(text)
    assert isinstance(conflist, dict)
    wanted = set(families)
    for plugin in conflist["plugins"]:
        if "ipam" in plugin:
            plugin["ipam"] |= {f"assign_ipv{family.value}": str(family in wanted).lower() for family in FAMILIES}
    return conflist


class Runtime:
    """Runs the plugin for pods of one lab."""

    def __init__(self, names: LabNames, families: Iterable[Family] = FAMILIES) -> None:
        self._names = names
        self._plugin = find_plugin()
        self._conflist = shipped_conflist(families)

    async def add(self, sandbox: Sandbox) -> Sandbox:
        """ADD; the sandbox with its result. Raises LabError with the plugin's own error."""
        result: dict[str, Any] = {}
        for plugin in self._conflist["plugins"]:
            result = await self._execute("ADD", sandbox, plugin, previous=result)
        return Sandbox(sandbox.namespace, sandbox.pod, sandbox.node, sandbox.container_id, sandbox.netns, result)

    async def check(self, sandbox: Sandbox) -> None:
        """CHECK; raises LabError when the plugin finds a fault."""
        for plugin in self._conflist["plugins"]:
            await self._execute("CHECK", sandbox, plugin, previous=sandbox.result)

    async def delete(self, sandbox: Sandbox) -> None:
        """DEL, plugins in reverse."""
        for plugin in reversed(self._conflist["plugins"]):
            await self._execute("DEL", sandbox, plugin, previous=sandbox.result)

    async def _execute(
        self, command: str, sandbox: Sandbox, plugin: dict[str, Any], *, previous: dict[str, Any]
    ) -> dict[str, Any]:
        config = {**plugin, "name": self._conflist["name"], "cniVersion": self._conflist["cniVersion"]}
        if previous:
            config["prevResult"] = previous
        environment = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": sandbox.container_id,
            "CNI_NETNS": netns_path(sandbox.netns),
            "CNI_IFNAME": INTERFACE,
            "CNI_ARGS": ";".join(
                (
                    "IgnoreUnknown=1",
                    f"K8S_POD_NAMESPACE={sandbox.namespace}",
                    f"K8S_POD_NAME={sandbox.pod}",
                    f"K8S_POD_INFRA_CONTAINER_ID={sandbox.container_id}",
                )
            ),
            "CNI_PATH": str(self._plugin.parent),
            "PATH": os.environ.get("PATH", ""),
            "TORTIE_CNI_SOCKET": str(self._names.cni_socket(sandbox.node)),
        }
        done = await process.run(
            [str(self._plugin)],
            stdin=msgspec.json.encode(config),
            env=environment,
            timeout=60,
            netns_path=netns_path(self._names.node(sandbox.node)),
        )
        answer = _decode(done.stdout)
        if done.returncode != 0:
            said = f"code {answer.get('code')}: {answer.get('msg')} {answer.get('details') or ''}".strip()
            raise LabError(
                f"pod {sandbox.name}: CNI {command} failed: {said if answer else done.stderr.decode(errors='replace')}"
            )
        return answer


def _decode(text: bytes) -> dict[str, Any]:
    try:
        answer = msgspec.json.decode(text) if text.strip() else {}
    except msgspec.DecodeError:
        return {}
    return answer if isinstance(answer, dict) else {}
