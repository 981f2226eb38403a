"""What GC looks for: attachments of one network on this node that the runtime no longer lists.

They are found by three traces, each sufficient: the endpoint in the datastore, an address booked under the network's handle,
a device that carries our remark. What belongs to another network, another node or another program is left alone.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tortie.api.endpoint import WorkloadEndpoint
from tortie.api.ipam import IPAMBlock
from tortie.cni.config import Config, Request
from tortie.cni.subjects import CONTAINERS, NETWORK_ANNOTATION, read_remark
from tortie.convert.names import KUBERNETES
from tortie.datastore.client import Client
from tortie.kernel.link import Link, Links


@dataclass(frozen=True, slots=True)
class Leftover:
    """One container that is gone: the DEL that nobody sent, and devices beyond those that it would find."""

    request: Request
    devices: tuple[str, ...] = ()


async def find_leftovers(
    client: Client, config: Config, *, node: str, path: str, links: Iterable[Link]
) -> tuple[Leftover, ...]:
    """One for each container; `path` is CNI_PATH. Raises StoreError."""
    valid = {container for container, _ in config.valid_attachments or ()}
    requests: dict[str, Request] = {}
    devices: dict[str, set[str]] = {}
    networks: dict[str, str] = {}
    for link in links:
        read = read_remark(link.alias)
        if read is not None:
            networks[read[1]] = read[0]
        if read is not None and read[0] == config.name:
            devices.setdefault(read[1], set()).add(link.name)
            requests[read[1]] = Request("DEL", read[1], netns="", interface=read[2], path=path)
    for container in await _booked(client, config, node):
        requests.setdefault(container, Request("DEL", container, netns="", interface="eth0", path=path))
    for endpoint in () if config.ipam_only else (await client.list("WorkloadEndpoint")).items:
        if isinstance(endpoint, WorkloadEndpoint) and _is_ours(endpoint, config, node, networks=networks):
            requests[endpoint.spec.container_id] = _deletion(endpoint, path)
    return tuple(
        Leftover(request, tuple(sorted(devices.get(container, ()))))
        for container, request in sorted(requests.items())
        if container not in valid
    )


async def _booked(client: Client, config: Config, node: str) -> set[str]:
    """Containers with an address of the network on this node."""
    prefix = f"{config.name}."
    return {
        attribute.handle_id.removeprefix(prefix)
        for block in (await client.list("IPAMBlock")).items
        if isinstance(block, IPAMBlock)
        for attribute in block.spec.attributes
        if attribute.handle_id and attribute.handle_id.startswith(prefix) and attribute.secondary.get("node") == node
        # What VMs hold outlives their containers, and is booked under `<network>.<namespace>-<vm>`.
        if attribute.released_at is None and "vmi-name" not in attribute.secondary
    }


def _is_ours(endpoint: WorkloadEndpoint, config: Config, node: str, *, networks: Mapping[str, str]) -> bool:
    """`networks` are those of containers by their devices: endpoints that are read from pods do not say theirs."""
    spec = endpoint.spec
    if spec.node != node or spec.orchestrator not in (KUBERNETES, CONTAINERS) or not spec.container_id:
        return False
    known = endpoint.metadata.annotations.get(NETWORK_ANNOTATION) or networks.get(spec.container_id, config.name)
    return known == config.name


def _deletion(endpoint: WorkloadEndpoint, path: str) -> Request:
    spec = endpoint.spec
    arguments = {"K8S_POD_NAMESPACE": endpoint.metadata.namespace, "K8S_POD_NAME": spec.pod} if spec.pod else {}
    return Request("DEL", spec.container_id, netns="", interface=spec.endpoint, arguments=arguments, path=path)


def list_links() -> tuple[Link, ...]:
    """The node's devices; for a thread in the node's namespace."""
    with Links() as links:
        return links.list()
