"""ADD, DEL, CHECK, STATUS, GC and VERSION: what the runtime asks, done (kube-controllers.md, section 9).

An ADD that fails, or is cancelled, leaves nothing behind: no device, no route, no endpoint, no address. Its answer comes only
when the pod's policy is in the kernel. DEL may be repeated and succeeds for what is unknown.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from tortie.api.endpoint import WorkloadEndpoint
from tortie.api.ippool import IPPool
from tortie.api.kubernetes import Pod
from tortie.base import log
from tortie.base.errors import TortieError
from tortie.base.net import FAMILIES, Address, Family, parse_interface, parse_prefix, single
from tortie.cni import addressing, endpoints, errors, gates, subjects, wiring
from tortie.cni.config import VERSIONS, AddressManager, Config, Request
from tortie.cni.errors import CniError
from tortie.cni.inspection import differences
from tortie.cni.leftovers import Leftover, find_leftovers, list_links
from tortie.cni.result import Wired, addresses_document, parse_previous
from tortie.cni.sources import AddressSource, Sources, find_delegate
from tortie.cni.subjects import Subject
from tortie.cni.wiring import Ground, Plan
from tortie.convert.errors import ConversionError
from tortie.datastore.client import Client
from tortie.intent.keys import EndpointId
from tortie.kernel.link import pack_mac

_log = log.get(__name__)
_CNI = "cni.projectcalico.org/"
_MAC_ANNOTATION = _CNI + "hwAddr"
_PREFIXES_ANNOTATION = _CNI + "allowedSourcePrefixes"

T = TypeVar("T")


class Plugin:
    """The plugin of one node. Requests may run at once, but not two for one pod or one container (see `server`, which also
    has each of `stale` removed for GC)."""

    def __init__(
        self,
        *,
        client: Client,
        ipam: AddressSource,
        node: str,
        wait_until_programmed: Callable[[EndpointId, float], Awaitable[bool]],
        interface_prefix: str = "cali",
        mtu_files: Sequence[Path] = (),
        not_ready: Callable[[], str] = str,
    ) -> None:
        """Pods whose network configuration says MTU 0 get what the first of `mtu_files` that exists says, else 1500.

        `not_ready` says why the node could not serve an ADD now, "" if it could.
        """
        self._client = client
        self._sources = Sources(client, ipam, node)
        self._node = node
        self._wait_until_programmed = wait_until_programmed
        self._interface_prefix = interface_prefix
        self._mtu_files = tuple(mtu_files)
        self._not_ready = not_ready
        self._told: set[tuple[str, str]] = set()

    async def handle(self, request: Request, config: Config, netns_fd: int | None) -> dict[str, Any] | None:
        """Do what is asked; returns what to print. Raises CniError. The descriptor stays the caller's."""
        if config.nodename and config.nodename != self._node:
            text = f"network configuration: nodename is {config.nodename!r}, but this is the agent of node {self._node!r}"
            raise CniError(errors.INVALID_CONFIG, text)
        self._tell_about_keys(config)
        try:
            return await self._dispatch(request, config, netns_fd)
        except CniError:
            raise
        except ConversionError as error:
            raise CniError(errors.INVALID_CONFIG, str(error)) from error
        except TortieError as error:
            raise CniError(errors.TRY_AGAIN_LATER, f"{request.command} failed", str(error)) from error

    async def _dispatch(self, request: Request, config: Config, netns_fd: int | None) -> dict[str, Any] | None:
        match request.command:
            case "ADD" if config.ipam_only:
                return await self._assign_only(request, config)
            case "ADD":
                return await self._add(request, config, _needed(netns_fd))
            case "DEL" if config.ipam_only:
                await endpoints.require_ready(self._client)
                await self._sources.release(request, config)
            case "DEL":
                await self._delete(request, config, netns_fd)
            case "CHECK" if config.ipam_only:
                await self._check_assigned(request, config)
            case "CHECK":
                await self._check(request, config, _needed(netns_fd))
            case "STATUS":
                await self._status(request, config)
            case _:
                return {"cniVersion": config.cni_version, "supportedVersions": list(VERSIONS)}
        return None

    def _tell_about_keys(self, config: Config) -> None:
        """Once for each network and key: a node answers thousands of requests with the same configuration."""
        remarks = [(key, "unknown") for key in config.unknown_keys]
        remarks += [(key, f"ignored: {reason}") for key, reason in config.ignored_keys]
        for key, remark in remarks:
            if (config.name, key) not in self._told:
                self._told.add((config.name, key))
                _log.warning("network %s: configuration key %s is %s", config.name, key, remark)

    # ---- ADD ----
    async def _add(self, request: Request, config: Config, netns_fd: int) -> dict[str, Any]:
        await endpoints.require_ready(self._client)
        subject = self._identify(request)
        await gates.wait_for_gates(config.readiness_gates)
        pod = None
        if subject.is_pod:
            pod = await endpoints.read_pod(self._client, request.namespace, request.pod, node=self._node)
            await self._check_annotations(pod)
        stored = await endpoints.find(self._client, subject.key)
        if stored is not None and stored.spec.container_id == request.container_id:
            wired = await self._still_good(stored, subject, request, config=config, netns_fd=netns_fd)
            if wired is not None:
                await self._wait(subject, config)
                return wired.document(config.cni_version)
            await self._forget(subject, request)  # no endpoint may name addresses that are given back, and that others may get
        wired = await self._attach(subject, pod, request, config=config, netns_fd=netns_fd)
        _log.info("ADD %s: %s on %s", subject.words, _words(wired.addresses), wired.host_device)
        return wired.document(config.cni_version)

    async def _attach(self, subject: Subject, pod: Pod | None, request: Request, *, config: Config, netns_fd: int) -> Wired:
        async with contextlib.AsyncExitStack() as undo:
            undo.push_async_callback(_attempt, self._sources.release, request, config)
            await self._sources.release(request, config)  # of an ADD that died half-way
            addresses = await self._assign(pod, request, config)
            plan = self._plan(subject, request, config, addresses=addresses, mac=_fixed_mac(pod))
            undo.push_async_callback(_attempt, _in_thread, partial(_unwire, netns_fd, plan))
            wired = await _in_thread(partial(_wire, netns_fd, plan, request.netns))
            undo.push_async_callback(_attempt, self._forget, subject, request)
            await endpoints.store(self._client, await self._endpoint(subject, pod, request, config=config, wired=wired))
            await self._wait(subject, config)
            undo.pop_all()
        return wired

    async def _still_good(
        self, stored: WorkloadEndpoint, subject: Subject, request: Request, *, config: Config, netns_fd: int
    ) -> Wired | None:
        """What an earlier ADD of the same container made, if nothing of it has changed."""
        plan = self._plan(subject, request, config, addresses=_addresses_of(stored))
        found = await _in_thread(partial(_inspect, netns_fd, plan, stored.spec.mac))
        if found:
            _log.warning("ADD %s again: %s; wiring it anew", subject.words, "; ".join(found))
            return None
        return await _in_thread(partial(_describe, netns_fd, plan, request.netns))

    async def _assign(self, pod: Pod | None, request: Request, config: Config) -> tuple[Address, ...]:
        namespace = pod.metadata.namespace if pod is not None else ""
        wish = await addressing.resolve(
            self._client,
            config.ipam,
            pod=pod.metadata.annotations if pod is not None else {},
            namespace=await endpoints.namespace_annotations(self._client, namespace) if namespace else {},
            outside_allowed=config.addresses_without_ipam,
            floating_allowed=config.floating_addresses,
            asked=request.asked_address,
        )
        return await self._sources.assign(request, config, wish)

    async def _check_annotations(self, pod: Pod) -> None:
        if not pod.metadata.annotations.get(_PREFIXES_ANNOTATION):
            return
        if not await endpoints.source_spoofing_allowed(self._client, self._node):
            text = f"pod annotation {_PREFIXES_ANNOTATION} has no effect while sources are checked"
            details = "set workloadSourceSpoofing: Any in FelixConfiguration default, or remove the annotation"
            raise CniError(errors.INVALID_CONFIG, text, details)

    async def _endpoint(
        self, subject: Subject, pod: Pod | None, request: Request, *, config: Config, wired: Wired
    ) -> WorkloadEndpoint:
        if pod is not None:
            return subjects.pod_endpoint(pod, request, config, wired=wired, prefix=self._interface_prefix)
        await endpoints.ensure_profile(self._client, subjects.network_profile(config.name))
        return subjects.container_endpoint(subject, request, config, wired=wired, node=self._node)

    async def _forget(self, subject: Subject, request: Request) -> None:
        await endpoints.remove(self._client, subject.key, container_id=request.container_id)

    async def _wait(self, subject: Subject, config: Config) -> None:
        seconds = config.policy_timeout_seconds
        if await self._wait_until_programmed(EndpointId(self._node, subject.key.namespace, subject.key.name), seconds):
            return
        text = f"the policy of {subject.words} is not in the kernel after {seconds:g} s"
        if config.fail_without_policy:
            raise CniError(errors.TRY_AGAIN_LATER, text, "the agent's log says what it is waiting for")
        _log.warning("%s; it starts all the same, and until then its packets are dropped", text)

    # ---- DEL ----
    async def _delete(self, request: Request, config: Config, netns_fd: int | None) -> None:
        await endpoints.require_ready(self._client)
        subject = self._identify(request)
        if await endpoints.remove(self._client, subject.key, container_id=request.container_id):
            await _in_thread(partial(wiring.remove_host_device, subject.host_device))
        else:
            _log.info("DEL %s: %s belongs to a newer container and stays", request.container_id, subject.key)
        if netns_fd is not None:
            await _in_thread(partial(wiring.remove_pod_device, netns_fd, request.interface))
        await self._sources.release(request, config)
        _log.info("DEL %s: container %s", subject.words, request.container_id)

    # ---- as an IPAM plugin ----
    async def _assign_only(self, request: Request, config: Config) -> dict[str, Any]:
        """Addresses for the device of another plugin: no cable, no endpoint, no annotations."""
        await endpoints.require_ready(self._client)
        async with contextlib.AsyncExitStack() as undo:
            undo.push_async_callback(_attempt, self._sources.release, request, config)
            await self._sources.release(request, config)
            addresses = await self._assign(None, request, config)
            undo.pop_all()
        _log.info("IPAM ADD container %s: %s", request.container_id, _words(addresses))
        return addresses_document(addresses, config.cni_version)

    async def _check_assigned(self, request: Request, config: Config) -> None:
        if not await self._sources.has_addresses(request, config):
            raise CniError(errors.CHECK_FAILED, f"container {request.container_id} has no address of network {config.name}")

    # ---- CHECK ----
    async def _check(self, request: Request, config: Config, netns_fd: int) -> None:
        subject = self._identify(request)
        stored = await endpoints.find(self._client, subject.key)
        if stored is None:
            raise CniError(errors.UNKNOWN_CONTAINER, f"{subject.words} has no WorkloadEndpoint")
        found = []
        mac = stored.spec.mac
        plan = self._plan(subject, request, config, addresses=_addresses_of(stored))
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
            raise CniError(errors.CHECK_FAILED, f"{subject.words} is not as it was set up", "; ".join(found))

    # ---- STATUS and GC ----
    async def _status(self, request: Request, config: Config) -> None:
        reason = self._not_ready()
        if reason:
            raise CniError(errors.NOT_AVAILABLE, "the agent of this node is not ready", reason)
        try:
            await endpoints.require_ready(self._client, code=errors.NOT_AVAILABLE)
            if config.ipam.manager is AddressManager.HOST_LOCAL:
                find_delegate(request.path)
            elif config.ipam.manager is AddressManager.POOLS:
                await self._require_pools(config)
            if not config.ipam_only and not config.mtu:
                gates.mtu_from_files(self._mtu_files, required=config.require_mtu_file)
        except CniError as error:
            raise CniError(errors.NOT_AVAILABLE, error.message, error.details) from error
        except TortieError as error:
            raise CniError(errors.NOT_AVAILABLE, "the datastore cannot be read", str(error)) from error
        closed = await gates.closed_gates(config.readiness_gates)
        if closed:
            raise CniError(errors.NOT_AVAILABLE, f"readiness gate not open: {closed[0]}")

    async def _require_pools(self, config: Config) -> None:
        pools = [pool for pool in (await self._client.list("IPPool")).items if isinstance(pool, IPPool)]
        there = {parse_prefix(pool.spec.cidr, strict=False).family for pool in pools if not pool.spec.disabled}
        wanted = {Family.V4: config.ipam.assign_ipv4, Family.V6: config.ipam.assign_ipv6}
        for family in FAMILIES:
            if wanted[family] and family not in there:
                raise CniError(errors.NOT_AVAILABLE, f"there is no enabled IPv{family.value} pool to assign from")

    async def stale(self, request: Request, config: Config) -> tuple[Leftover, ...]:
        """GC: the containers of this node and network that the runtime no longer lists."""
        if config.valid_attachments is None:
            return ()
        try:
            await endpoints.require_ready(self._client)
            links = () if config.ipam_only else await _in_thread(list_links)
            return await find_leftovers(self._client, config, node=self._node, path=request.path, links=links)
        except CniError:
            raise
        except TortieError as error:
            raise CniError(errors.TRY_AGAIN_LATER, "GC failed", str(error)) from error

    async def remove_leftover(self, leftover: Leftover, config: Config) -> None:
        """Take one away."""
        await self.handle(leftover.request, config, None)
        try:
            for device in leftover.devices:
                await _in_thread(partial(wiring.remove_host_device, device))
        except TortieError as error:
            raise CniError(errors.TRY_AGAIN_LATER, "GC failed", str(error)) from error

    # ---- names ----
    def _identify(self, request: Request) -> Subject:
        return subjects.identify(request, node=self._node, prefix=self._interface_prefix)

    def _plan(self, subject: Subject, request: Request, config: Config, *, addresses: Sequence[Address], mac: str = "") -> Plan:
        return Plan(
            host_device=subject.host_device,
            device=request.interface,
            addresses=tuple(sorted(addresses)),
            mtu=config.mtu or gates.mtu_from_files(self._mtu_files, required=config.require_mtu_file),
            mac=mac,
            allow_ip_forwarding=config.allow_ip_forwarding,
            queues=config.num_queues,
            routes=config.routes,
            default_routes=config.default_routes,
            remark=subjects.remark(request, config),
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


def _needed(netns_fd: int | None) -> int:
    if netns_fd is None:
        raise CniError(errors.INVALID_ENVIRONMENT, "the pod's network namespace did not come with the request")
    return netns_fd


def _fixed_mac(pod: Pod | None) -> str:
    mac = pod.metadata.annotations.get(_MAC_ANNOTATION, "") if pod is not None else ""
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
