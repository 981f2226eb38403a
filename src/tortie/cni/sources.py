"""Where addresses come from and go back to: our pools, the host-local plugin, or the pod itself."""

import asyncio
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import msgspec

from tortie.api.node import Node
from tortie.api.resource import Key
from tortie.base import process
from tortie.base.net import Address, Family, parse_interface, parse_prefix
from tortie.cni import errors
from tortie.cni.addressing import Wish
from tortie.cni.config import HOST_LOCAL, AddressManager, Config, Request
from tortie.cni.errors import CniError
from tortie.datastore.client import Client
from tortie.datastore.errors import DoesNotExist
from tortie.ipam.allocator import Assigned, AssignRequest

_USE = "Workload"
_DELEGATE_VERSION = "1.0.0"
_DELEGATE_SECONDS = 30.0
_POD_CIDR = {"usepodcidr": Family.V4, "usepodcidripv6": Family.V6}


class AddressSource(Protocol):
    """What of `tortie.ipam.allocator.Ipam` the plugin needs."""

    async def auto_assign(self, request: AssignRequest) -> Assigned:
        """Assign any addresses."""
        ...

    async def assign_ip(self, address: Address, handle: str, *, attributes: dict[str, str], node: str, use: str = "") -> Any:
        """Assign one address by name."""
        ...

    async def addresses_of(self, handle: str) -> tuple[Address, ...]:
        """What a handle has. Raises DoesNotExist."""
        ...

    async def release_by_handle(self, handle: str) -> Any:
        """Give back all that a handle has; unknown is fine."""
        ...


class Sources:
    """Assigns and releases for one node."""

    def __init__(self, client: Client, ipam: AddressSource, node: str) -> None:
        self._client = client
        self._ipam = ipam
        self._node = node
        # Requests of one node want the same blocks: in turn they are faster than in a race that all but one lose.
        self._turn = asyncio.Lock()

    async def assign(self, request: Request, config: Config, wish: Wish) -> tuple[Address, ...]:
        """The addresses of one attachment. After a failure `release` gives back what it may have taken."""
        if wish.outside:
            return wish.outside
        match config.ipam.manager:
            case AddressManager.POOLS:
                async with self._turn:
                    return await self._from_pools(request, config, wish)
            case AddressManager.HOST_LOCAL:
                return await self._from_host_local(request, config)
            case _:
                text = "network configuration: ipam.type is none, and the pod brings no addresses (annotation ipAddrsNoIpam)"
                raise CniError(errors.INVALID_CONFIG, text)

    async def release(self, request: Request, config: Config) -> None:
        """Give back what the attachment has; nothing is fine, and so is repeating."""
        match config.ipam.manager:
            case AddressManager.POOLS:
                async with self._turn:
                    await self._ipam.release_by_handle(handle_of(config, request.container_id))
                    if request.pod and request.namespace:  # what Calico's early releases called it
                        await self._ipam.release_by_handle(f"{request.namespace}.{request.pod}")
            case AddressManager.HOST_LOCAL:
                await self._delegate("DEL", request, await self._host_local(config))
            case _:
                return

    async def has_addresses(self, request: Request, config: Config) -> bool:
        """True if something is booked for the attachment in our pools."""
        try:
            return bool(await self._ipam.addresses_of(handle_of(config, request.container_id)))
        except DoesNotExist:
            return False

    async def _from_pools(self, request: Request, config: Config, wish: Wish) -> tuple[Address, ...]:
        handle = handle_of(config, request.container_id)
        attributes = booking(self._node, pod=request.pod, namespace=request.namespace)
        for address in wish.addresses:
            await self._ipam.assign_ip(address, handle, attributes=attributes, node=self._node, use=_USE)
        if wish.addresses:
            return wish.addresses
        assigned = await self._ipam.auto_assign(
            AssignRequest(
                node=self._node,
                handle=handle,
                num_v4=int(Family.V4 in wish.families),
                num_v6=int(Family.V6 in wish.families),
                attributes=attributes,
                namespace=request.namespace,
                pools_v4=wish.pools_v4,
                pools_v6=wish.pools_v6,
                use=_USE,
            )
        )
        addresses = tuple(interface.address for interface in (*assigned.v4, *assigned.v6))
        missing = [f"IPv{family.value}" for family in wish.families if not any(a.family is family for a in addresses)]
        if missing:
            text = f"no {' and no '.join(missing)} address could be assigned"
            raise CniError(errors.TRY_AGAIN_LATER, text, "; ".join(assigned.messages))
        return addresses

    # ---- host-local ----
    async def _from_host_local(self, request: Request, config: Config) -> tuple[Address, ...]:
        document = await self._host_local(config)
        result = await self._delegate("ADD", request, document)
        try:
            return tuple(parse_interface(entry["address"]).address for entry in result["ips"])
        except (TypeError, KeyError, ValueError) as error:
            raise CniError(errors.INTERNAL, f"the answer of {HOST_LOCAL} has no addresses", str(error)) from error

    async def _host_local(self, config: Config) -> dict[str, Any]:
        """The configuration to hand on, with this node's pod CIDRs where it says so."""
        ipam = dict(config.ipam.raw)
        if isinstance(ipam.get("subnet"), str):
            ipam["subnet"] = await self._subnet(ipam["subnet"])
        ranges = ipam.get("ranges") or []
        try:
            ipam["ranges"] = [[{**each, "subnet": await self._subnet(each["subnet"])} for each in group] for group in ranges]
        except (TypeError, KeyError):
            text = "network configuration: ipam.ranges must be a list of lists of objects with subnet"
            raise CniError(errors.INVALID_CONFIG, text) from None
        return {"cniVersion": _DELEGATE_VERSION, "name": config.name, "type": config.type, "ipam": ipam}

    async def _subnet(self, text: str) -> str:
        family = _POD_CIDR.get(text.lower())
        if family is None:
            return text
        try:
            node = await self._client.get(Key("Node", "", self._node))
        except DoesNotExist:
            node = None
        cidrs = node.status.pod_cidrs if isinstance(node, Node) and node.status is not None else ()
        for cidr in cidrs:
            if parse_prefix(cidr, strict=False).family is family:
                return cidr
        text = f"node {self._node} has no IPv{family.value} pod CIDR (status.podCIDRs), which ipam.subnet {text!r} asks for"
        raise CniError(errors.TRY_AGAIN_LATER, text)

    async def _delegate(self, command: str, request: Request, document: Mapping[str, Any]) -> dict[str, Any]:
        program = find_delegate(request.path)
        arguments = ";".join(f"{key}={value}" for key, value in request.arguments.items())
        environment = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": request.container_id,
            "CNI_NETNS": request.netns,
            "CNI_IFNAME": request.interface,
            "CNI_ARGS": f"IgnoreUnknown=1;{arguments}" if arguments else "",
            "CNI_PATH": request.path,
        }
        stdin = msgspec.json.encode(document)
        done = await process.run([str(program)], stdin=stdin, env=environment, timeout=_DELEGATE_SECONDS)
        try:
            answer = msgspec.json.decode(done.stdout) if done.stdout.strip() else {}
        except msgspec.DecodeError:
            answer = {}
        if done.returncode == 0 and isinstance(answer, dict):
            return answer
        said = answer.get("msg") if isinstance(answer, dict) else None
        words = said or done.stderr.decode(errors="replace").strip() or f"exit status {done.returncode}"
        raise CniError(errors.TRY_AGAIN_LATER, f"{command} of {HOST_LOCAL} failed", str(words))


def handle_of(config: Config, container_id: str) -> str:
    """What an attachment's addresses are booked under."""
    return handle_in(config.name, container_id)


def handle_in(network: str, container_id: str) -> str:
    """The same, by the network's name alone."""
    return f"{network}.{container_id}"


def booking(node: str, *, pod: str, namespace: str) -> dict[str, str]:
    """What IPAM remembers with an address that is booked now."""
    attributes = {"node": node, "timestamp": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f +0000 UTC")}
    return attributes | {"pod": pod, "namespace": namespace} if pod else attributes


def find_delegate(path: str) -> Path:
    """The host-local plugin in the folders of CNI_PATH. Raises CniError 4."""
    for folder in filter(None, path.split(":")):
        candidate = Path(folder) / HOST_LOCAL
        if os.access(candidate, os.X_OK):
            return candidate
    raise CniError(errors.INVALID_ENVIRONMENT, f"ipam.type is {HOST_LOCAL}, and CNI_PATH {path!r} has no such program")
