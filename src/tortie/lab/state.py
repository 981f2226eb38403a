"""What `lab up` remembers for the commands that follow: lab.json in the lab's folder, replaced as a whole.

In a lab on Kubernetes the pods are the kubelet's to remember, in kubelet.json.
"""

import os
from pathlib import Path
from typing import Any

import msgspec

from tortie.lab.names import LabNames
from tortie.lab.runtime import Sandbox
from tortie.lab.spec import LabError, LabSpec


class PodState(msgspec.Struct, kw_only=True, rename="camel"):
    """One running pod."""

    namespace: str
    pod: str
    node: str
    container_id: str
    netns: str
    result: dict[str, Any]
    server_pid: int = 0
    serve: tuple[str, ...] = ()
    uid: str = ""
    """Of the Pod object, where an API server gave it one."""

    @property
    def sandbox(self) -> Sandbox:
        """As the runtime sees it."""
        return Sandbox(self.namespace, self.pod, self.node, self.container_id, self.netns, self.result)


class LabState(msgspec.Struct, kw_only=True, rename="camel"):
    """One running lab. `agents` maps a node to its agent's pid."""

    api_version: str = "tortie.io/v1"
    kind: str = "LabState"
    spec: LabSpec
    agents: dict[str, int] = {}
    pods: dict[str, PodState] = {}


def load_state(names: LabNames) -> LabState:
    """Read it. Raises LabError when there is no such lab."""
    try:
        state = msgspec.json.decode(names.state_file.read_bytes(), type=LabState)
        if names.kubelet_file.exists():
            state.pods = load_kubelet_pods(names)
        return state
    except FileNotFoundError:
        raise LabError(f"there is no lab named {names.lab!r}: `tortie lab up --name {names.lab}` makes one") from None
    except msgspec.DecodeError as error:
        raise LabError(f"{names.state_file}: {error}; `tortie lab down --name {names.lab}` clears up") from error


def save_state(names: LabNames, state: LabState) -> None:
    """Write it; never seen half-written."""
    _replace(names.state_file, state)


def load_kubelet_pods(names: LabNames) -> dict[str, PodState]:
    """The pods that the lab's kubelet has wired, by namespace/name; none where it has not begun. Raises LabError."""
    try:
        return msgspec.json.decode(names.kubelet_file.read_bytes(), type=dict[str, PodState])
    except FileNotFoundError:
        return {}
    except msgspec.DecodeError as error:
        raise LabError(f"{names.kubelet_file}: {error}; `tortie lab down --name {names.lab}` clears up") from error


def save_kubelet_pods(names: LabNames, pods: dict[str, PodState]) -> None:
    """Write them; never seen half-written."""
    _replace(names.kubelet_file, pods)


def _replace(path: Path, value: object) -> None:
    temporary = path.with_suffix(".new")
    temporary.write_bytes(msgspec.json.format(msgspec.json.encode(value), indent=2))
    os.chmod(temporary, 0o600)
    temporary.replace(path)


def read_agent_status(names: LabNames, node: str) -> dict[str, Any] | None:
    """The last report of a node's agent (its status.json), None when there is none."""
    try:
        report = msgspec.json.decode((names.run_dir(node) / "status.json").read_bytes())
    except (OSError, msgspec.DecodeError):
        return None
    return report if isinstance(report, dict) else None
