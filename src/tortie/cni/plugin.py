"""ADD, DEL, CHECK, STATUS, GC and VERSION: what the runtime asks, done (kube-controllers.md, section 9).

An ADD that fails, or is cancelled, leaves nothing behind: no device, no route, no endpoint, no address. Its answer comes only
when the pod's policy is in the kernel. DEL may be repeated and succeeds for what is unknown.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol, TypeVar

import msgspec

from tortie.api.endpoint import WorkloadEndpoint, WorkloadEndpointSpec
from tortie.api.ippool import IPPool
from tortie.api.kubernetes import Pod
from tortie.api.names import workload_endpoint_name
from tortie.api.resource import Key
from tortie.base import log
from tortie.base.errors import TortieError
from tortie.base.net import FAMILIES, Address, Family, parse_interface, parse_prefix, single
from tortie.cni import addressing, endpoints, errors, wiring
from tortie.cni.config import VERSIONS, Config, Request
from tortie.cni.errors import CniError
from tortie.cni.inspection import differences
from tortie.cni.result import Wired, parse_previous
from tortie.cni.wiring import Ground, Plan
from tortie.convert.errors import ConversionError
from tortie.convert.names import KUBERNETES, veth_name
from tortie.convert.pods import workload_endpoint
from tortie.datastore.client import Client
from tortie.intent.keys import EndpointId
from tortie.ipam.allocator import Assigned, AssignRequest
from tortie.kernel.link import pack_mac

_log = log.get(__name__)
_MAC_ANNOTATION = "cni.projectcalico.org/hwAddr"
_USE = "Workload"
_ENDPOINT = "eth0"
"""Endpoint names carry this whatever the device in the pod is called (conversions.md, section 2)."""

T = TypeVar("T")


class AddressSource(Protocol):
    """What of `tortie.ipam.allocator.Ipam` the plugin needs."""

    async def auto_assign(self, request: AssignRequest) -> Assigned:
        """Assign any addresses."""
        ...

    async def assign_ip(self, address: Address, handle: str, *, attributes: dict[str, str], node: str, use: str = "") -> Any:
        """Assign one address by name."""
        ...

    async def release_by_handle(self, handle: str) -> Any:
        """Give back all that a handle has; unknown is fine."""
        ...


class Plugin:
    """The plugin of one node. Requests may run at once, but not two for one pod or one container (see `server`, which also
    turns GC into the DELs that `stale` names)."""

    def __init__(
        self,
        *,
        client: Client,
        ipam: AddressSource,
        node: str,
        wait_until_programmed: Callable[[EndpointId, float], Awaitable[bool]],
        interface_prefix: str = "cali",
        mtu: int = 0,
    ) -> None:
        """`mtu` is what pods get whose network configuration says 0; 0 leaves it to the kernel (1500)."""
        self._client = client
        self._ipam = ipam
        self._node = node
        self._wait_until_programmed = wait_until_programmed
        self._interface_prefix = interface_prefix
        self._mtu = mtu

    async def handle(self, request: Request, config: Config, netns_fd: int | None) -> dict[str, Any] | None:
        """Do what is asked; returns what to print. Raises CniError. The descriptor stays the caller's."""
        if config.nodename and config.nodename != self._node:
            text = f"network configuration: nodename is {config.nodename!r}, but this is the agent of node {self._node!r}"
            raise CniError(errors.INVALID_CONFIG, text)
        if config.unknown_keys:
            _log.warning("network %s: unknown configuration keys: %s", config.name, ", ".join(config.unknown_keys))
        try:
            match request.command:
                case "ADD":
                    return await self._add(request, config, _needed(netns_fd))
                case "DEL":
                    await self._delete(request, config, netns_fd)
                case "CHECK":
                    await self._check(request, config, _needed(netns_fd))
                case "STATUS":
                    await self._status(config)
                case _:
                    return {"cniVersion": config.cni_version, "supportedVersions": list(VERSIONS)}
        except CniError:
            raise
        except ConversionError as error:
            raise CniError(errors.INVALID_CONFIG, str(error)) from error
        except TortieError as error:
            raise CniError(errors.TRY_AGAIN_LATER, f"{request.command} failed", str(error)) from error
        return None

    # ---- ADD ----
    async def _add(self, request: Request, config: Config, netns_fd: int) -> dict[str, Any]:
        await endpoints.require_ready(self._client)
        _require_pod(request)
        pod = await endpoints.read_pod(self._client, request.namespace, request.pod, node=self._node)
        key = self._key(request)
        stored = await endpoints.find(self._client, key)
        handle = _handle(config, request.container_id)
        if stored is not None and stored.spec.container_id == request.container_id:
            wired = await self._still_good(stored, request, config, netns_fd)
            if wired is not None:
                await self._wait(key, request, config)
                return wired.document(config.cni_version)
        async with contextlib.AsyncExitStack() as undo:
            undo.push_async_callback(_attempt, self._ipam.release_by_handle, handle)
            await self._ipam.release_by_handle(handle)  # of an ADD that died half-way
            addresses = await self._assign(pod, config, handle)
            plan = self._plan(request, config, addresses, mac=_fixed_mac(pod))
            undo.push_async_callback(_attempt, _in_thread, partial(_unwire, netns_fd, plan))
            wired = await _in_thread(partial(_wire, netns_fd, plan, request.netns))
            undo.push_async_callback(_attempt, self._forget, key, request.container_id)
            await endpoints.store(self._client, self._endpoint(pod, request, wired))
            await self._wait(key, request, config)
            undo.pop_all()
        _log.info("ADD %s/%s: %s on %s", request.namespace, request.pod, _words(addresses), wired.host_device)
        return wired.document(config.cni_version)

    async def _still_good(self, stored: WorkloadEndpoint, request: Request, config: Config, netns_fd: int) -> Wired | None:
        """What an earlier ADD of the same container made, if nothing of it has changed."""
        plan = self._plan(request, config, _addresses_of(stored))
        found = await _in_thread(partial(_inspect, netns_fd, plan, stored.spec.mac))
        if found:
            _log.warning("ADD %s/%s again: %s; wiring it anew", request.namespace, request.pod, "; ".join(found))
            return None
        return await _in_thread(partial(_describe, netns_fd, plan, request.netns))

    async def _assign(self, pod: Pod, config: Config, handle: str) -> tuple[Address, ...]:
        namespace = pod.metadata.namespace
        wish = await addressing.resolve(
            self._client,
            config.ipam,
            pod=pod.metadata.annotations,
            namespace=await endpoints.namespace_annotations(self._client, namespace),
        )
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f +0000 UTC")
        attributes = {"pod": pod.metadata.name, "namespace": namespace, "node": self._node, "timestamp": now}
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
                namespace=namespace,
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

    def _endpoint(self, pod: Pod, request: Request, wired: Wired) -> WorkloadEndpoint:
        converted = workload_endpoint(pod, addresses=wired.addresses, prefix=self._interface_prefix)
        spec = msgspec.structs.replace(converted.spec, container_id=request.container_id, mac=wired.mac)
        return msgspec.structs.replace(converted, spec=spec)

    async def _forget(self, key: Key, container_id: str) -> None:
        await endpoints.remove(self._client, key, container_id=container_id)

    async def _wait(self, key: Key, request: Request, config: Config) -> None:
        seconds = config.policy_timeout_seconds
        if not await self._wait_until_programmed(EndpointId(self._node, key.namespace, key.name), seconds):
            text = f"the policy of {request.namespace}/{request.pod} is not in the kernel after {seconds:g} s"
            raise CniError(errors.TRY_AGAIN_LATER, text, "the agent's log says what it is waiting for")

    # ---- DEL ----
    async def _delete(self, request: Request, config: Config, netns_fd: int | None) -> None:
        await endpoints.require_ready(self._client)
        if request.pod:
            key = self._key(request)
            if await endpoints.remove(self._client, key, container_id=request.container_id):
                await _in_thread(partial(wiring.remove_host_device, self._veth(request.namespace, request.pod)))
            else:
                _log.info("DEL %s: %s belongs to a newer container and stays", request.container_id, key)
        if netns_fd is not None:
            await _in_thread(partial(wiring.remove_pod_device, netns_fd, request.interface))
        await self._ipam.release_by_handle(_handle(config, request.container_id))
        _log.info("DEL %s/%s: container %s", request.namespace, request.pod, request.container_id)

    # ---- CHECK ----
    async def _check(self, request: Request, config: Config, netns_fd: int) -> None:
        _require_pod(request)
        stored = await endpoints.find(self._client, self._key(request))
        if stored is None:
            raise CniError(errors.UNKNOWN_CONTAINER, f"pod {request.namespace}/{request.pod} has no WorkloadEndpoint")
        found = []
        mac = stored.spec.mac
        plan = self._plan(request, config, _addresses_of(stored))
        if stored.spec.container_id != request.container_id:
            found.append(f"WorkloadEndpoint: containerID is {stored.spec.container_id}, not {request.container_id}")
        if stored.spec.interface_name != plan.host_device:
            found.append(f"WorkloadEndpoint: interfaceName is {stored.spec.interface_name}, not {plan.host_device}")
        if config.previous is not None:
            previous = parse_previous(config.previous, request.interface)
            mac = previous.mac or mac
            if previous.host_device != plan.host_device:
                found.append(f"prevResult: the node's device is {previous.host_device}, not {plan.host_device}")
            if previous.addresses != frozenset(plan.addresses):
                stored_words = _words(plan.addresses)
                found.append(f"prevResult: addresses are {_words(sorted(previous.addresses))}, stored are {stored_words}")
        found += await _in_thread(partial(_inspect, netns_fd, plan, mac))
        if found:
            text = f"pod {request.namespace}/{request.pod} is not as it was set up"
            raise CniError(errors.CHECK_FAILED, text, "; ".join(found))

    # ---- STATUS and GC ----
    async def _status(self, config: Config) -> None:
        try:
            await endpoints.require_ready(self._client, code=errors.NOT_AVAILABLE)
            pools = [pool for pool in (await self._client.list("IPPool")).items if isinstance(pool, IPPool)]
        except CniError:
            raise
        except TortieError as error:
            raise CniError(errors.NOT_AVAILABLE, "the datastore cannot be read", str(error)) from error
        there = {parse_prefix(pool.spec.cidr, strict=False).family for pool in pools if not pool.spec.disabled}
        wanted = {Family.V4: config.ipam.assign_ipv4, Family.V6: config.ipam.assign_ipv6}
        for family in FAMILIES:
            if wanted[family] and family not in there:
                raise CniError(errors.NOT_AVAILABLE, f"there is no enabled IPv{family.value} pool to assign from")

    async def stale(self, config: Config) -> tuple[Request, ...]:
        """GC: a DEL for each endpoint of this node whose container the runtime no longer lists."""
        if config.valid_attachments is None:
            return ()
        try:
            found = (await self._client.list("WorkloadEndpoint")).items
        except TortieError as error:
            raise CniError(errors.TRY_AGAIN_LATER, "GC failed", str(error)) from error
        valid = {container_id for container_id, _ in config.valid_attachments}
        return tuple(
            _deletion(endpoint)
            for endpoint in found
            if isinstance(endpoint, WorkloadEndpoint)
            and (endpoint.spec.node, endpoint.spec.orchestrator) == (self._node, KUBERNETES)
            and endpoint.spec.container_id
            and endpoint.spec.container_id not in valid
        )

    # ---- names ----
    def _key(self, request: Request) -> Key:
        spec = WorkloadEndpointSpec(orchestrator=KUBERNETES, node=self._node, pod=request.pod, endpoint=_ENDPOINT)
        try:
            return Key("WorkloadEndpoint", request.namespace, workload_endpoint_name(spec))
        except ValueError as error:
            raise CniError(errors.INVALID_ENVIRONMENT, f"CNI_ARGS: pod {request.pod!r}", str(error)) from error

    def _veth(self, namespace: str, pod: str) -> str:
        return veth_name(namespace, pod, self._interface_prefix)

    def _plan(self, request: Request, config: Config, addresses: Sequence[Address], *, mac: str = "") -> Plan:
        return Plan(
            host_device=self._veth(request.namespace, request.pod),
            device=request.interface,
            addresses=tuple(sorted(addresses)),
            mtu=config.mtu or self._mtu,
            mac=mac,
            allow_ip_forwarding=config.allow_ip_forwarding,
        )


def _wire(netns_fd: int, plan: Plan, netns: str) -> Wired:
    with Ground(netns_fd) as ground:
        wiring.wire(ground, plan)
        return _read(ground, plan, netns)


def _unwire(netns_fd: int, plan: Plan) -> None:
    with Ground(netns_fd) as ground:
        wiring.unwire(ground, plan)


def _inspect(netns_fd: int, plan: Plan, mac: str) -> tuple[str, ...]:
    with Ground(netns_fd) as ground:
        return differences(ground, plan, mac=mac)


def _describe(netns_fd: int, plan: Plan, netns: str) -> Wired:
    with Ground(netns_fd) as ground:
        return _read(ground, plan, netns)


def _read(ground: Ground, plan: Plan, netns: str) -> Wired:
    inside = ground.pod_links.get(plan.device)
    return Wired(
        host_device=plan.host_device,
        host_mac=wiring.HOST_MAC,
        device=plan.device,
        mac=inside.mac,
        mtu=inside.mtu,
        netns=netns,
        addresses=plan.addresses,
    )


async def _in_thread(function: Callable[[], T]) -> T:
    """Run in a worker thread to the end. Cancelled meanwhile, it raises only afterwards: an undo must not overtake it."""
    future = asyncio.get_running_loop().run_in_executor(None, function)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait([future])
        with contextlib.suppress(Exception):
            future.result()
        raise


async def _attempt(undo: Callable[..., Awaitable[object]], *arguments: Any) -> None:
    """One undo of a failed ADD. Its own failure is logged: the others must run, and the runtime must hear of the first."""
    try:
        await undo(*arguments)
    except TortieError as error:
        _log.error("undoing a failed ADD: %s; DEL or the garbage collection of addresses will do it", error)


def _handle(config: Config, container_id: str) -> str:
    return f"{config.name}.{container_id}"


def _deletion(endpoint: WorkloadEndpoint) -> Request:
    arguments = {"K8S_POD_NAMESPACE": endpoint.metadata.namespace, "K8S_POD_NAME": endpoint.spec.pod}
    return Request("DEL", endpoint.spec.container_id, netns="", interface="", arguments=arguments)


def _needed(netns_fd: int | None) -> int:
    if netns_fd is None:
        raise CniError(errors.INVALID_ENVIRONMENT, "the pod's network namespace did not come with the request")
    return netns_fd


def _require_pod(request: Request) -> None:
    for name, value in (("K8S_POD_NAMESPACE", request.namespace), ("K8S_POD_NAME", request.pod)):
        if not value:
            raise CniError(errors.INVALID_ENVIRONMENT, f"CNI_ARGS: {name} is needed and missing")


def _fixed_mac(pod: Pod) -> str:
    mac = pod.metadata.annotations.get(_MAC_ANNOTATION, "")
    if mac:
        try:
            pack_mac(mac)
        except TortieError as error:
            raise CniError(errors.INVALID_CONFIG, f"pod annotation {_MAC_ANNOTATION}", str(error)) from error
    return mac.lower()


def _addresses_of(stored: WorkloadEndpoint) -> tuple[Address, ...]:
    return tuple(sorted(parse_interface(text).address for text in stored.spec.ip_networks))


def _words(addresses: Iterable[Address]) -> str:
    return ", ".join(str(single(address)) for address in addresses) or "none"
