"""Has every pod of this node its endpoint? Without one it has neither policy nor a route, and nobody else would say so.

That comes about when an older copy of the datastore is put back (docs/datastore.md), or when somebody deletes endpoints.
"""

from collections.abc import Iterable, Sequence

from tortie.agent.checkup import Check
from tortie.api.endpoint import WorkloadEndpoint
from tortie.cni.subjects import read_remark
from tortie.kernel.link import Link

_SHOWN = 10


def without_endpoint(links: Iterable[Link], endpoints: Iterable[WorkloadEndpoint], node: str) -> list[Link]:
    """Pods' ends that our plugin has made here, and that no endpoint of this node names."""
    named = {each.spec.interface_name for each in endpoints if each.spec.node == node}
    return [link for link in links if read_remark(link.alias) is not None and link.name not in named]


def check_pods(lost: Sequence[Link]) -> list[Check]:
    """What is to be said of them."""
    if not lost:
        return [Check("pods", "ok", "each pod's interface here has its WorkloadEndpoint")]
    found = []
    for link in lost[:_SHOWN]:
        network, container, device = read_remark(link.alias) or ("", "", "")
        found.append(
            Check(
                "pods",
                "problem",
                f"{link.name} ({device} of container {container}, network {network}) has no WorkloadEndpoint",
                why="nothing passes there, and IPAM may give the pod's addresses to another one",
                fix="delete the pod and create it again",
            )
        )
    if len(lost) > _SHOWN:
        found.append(Check("pods", "problem", f"{len(lost) - _SHOWN} more interfaces of pods have no WorkloadEndpoint"))
    return found
