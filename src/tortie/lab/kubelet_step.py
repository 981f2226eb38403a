"""What a kubelet has to do next for one pod, decided from what the API server says and what is wired here. Pure."""

from collections.abc import Container, Sequence
from typing import Literal

from tortie.lab import kubernetes_objects as objects
from tortie.lab.kubernetes_objects import Document

Step = Literal["nothing", "bind", "wire", "report", "unwire", "finish"]
"""bind: choose a node; wire: make its sandbox; report: write its status; unwire: remove its sandbox, and finish it if it is
leaving; finish: let the API server forget it."""


def next_step(pod: Document | None, *, wired_uid: str, addresses: Sequence[str], nodes: Container[str]) -> Step:
    """The next step for a pod: `pod` is None when the API server has none, `wired_uid` empty when nothing is wired here.

    `addresses` are those of the sandbox. A sandbox whose pod is gone, or is another one of the same name, goes first.
    """
    if pod is None:
        return "unwire" if wired_uid else "nothing"
    if wired_uid and (wired_uid != objects.uid_of(pod) or objects.is_leaving(pod)):
        return "unwire"
    if objects.is_leaving(pod):
        return "finish" if objects.node_of(pod) in nodes else "nothing"
    if objects.is_ours_to_bind(pod):
        return "bind"
    if objects.node_of(pod) not in nodes or objects.is_finished(pod):
        return "nothing"
    if not wired_uid and not objects.is_in_host_network(pod):
        return "wire"
    return "nothing" if _is_reported(pod, addresses) else "report"


def _is_reported(pod: Document, addresses: Sequence[str]) -> bool:
    status = pod.get("status", {})
    if status.get("phase") != "Running":
        return False
    return objects.is_in_host_network(pod) or [entry["ip"] for entry in status.get("podIPs", ())] == list(addresses)
