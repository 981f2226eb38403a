"""An older copy of the datastore is put back: pods that live here and are unknown there are written into it again.

What such a store does not name was not deleted, only forgotten (`Batch.went_back`). A forgotten endpoint of this node whose
interface still stands here is not passed on as gone: its addresses are booked again for its container, exactly those, and it is
written again. Both done, it comes back through the watch and nothing was ever taken away. If an address is somebody else's by
now, or IPAM or the datastore refuses, the removal goes through, at the latest after a minute: the other owner wins.

IPAM decides who has an address. Whoever is seen with one of a held endpoint ends the hold at once, whatever IPAM says. What
other nodes have to write again (their endpoints, their claims of blocks) is held for a few seconds, so that they have time to.
"""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import msgspec

from tortie.api.endpoint import WorkloadEndpoint
from tortie.api.resource import Key, Update
from tortie.base import log
from tortie.base.errors import TortieError
from tortie.base.net import Address, parse_interface
from tortie.cni import endpoints
from tortie.cni.sources import booking, handle_in
from tortie.cni.subjects import read_remark
from tortie.datastore.client import Client
from tortie.datastore.errors import AlreadyExists, Incompatible, InvalidRequest, NotSupported, Unavailable
from tortie.datastore.identity import Identity
from tortie.datastore.syncer import Batch, Sink
from tortie.ipam.allocator import Ipam
from tortie.ipam.errors import AlreadyAssigned, Contention, IpamError
from tortie.kernel.errors import kernel_error
from tortie.kernel.link import Links

_log = log.get(__name__)
HOLD_SECONDS = 60.0
OTHERS_SECONDS = 5.0
_RETRY_SECONDS = 0.5
_GONE_SECONDS = 5.0
"""An interface that is away for so long is not just being made anew."""
_AGAIN = "delete the pod and create it again"
_USE = "Workload"

Attached = Callable[[WorkloadEndpoint], str]
"""The handle under which an endpoint's addresses are booked in IPAM, if its interface is here and its own; else "".
Raises TortieError when nobody can look now."""


class Lost(TortieError):
    """An endpoint that cannot come back; says why."""


@dataclass(frozen=True, slots=True)
class Held:
    """A removal that is not passed on before `until`. `endpoint` is set for this node's own, which are to be written again."""

    until: float
    endpoint: WorkloadEndpoint | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """An endpoint that may have been written again. It is looked after `until` then."""

    endpoint: WorkloadEndpoint
    handle: str
    until: float
    gone_since: float | None = None


def attached(endpoint: WorkloadEndpoint) -> str:
    """See `Attached`: the remark on the node's end of the cable tells whose it is. Raises KernelError."""
    spec = endpoint.spec
    try:
        with Links() as links:
            link = links.find(spec.interface_name)
    except OSError as error:  # out of descriptors, say
        raise kernel_error(error.errno or 0, f"look for {spec.interface_name}") from error
    remark = read_remark(link.alias) if link is not None else None
    return handle_in(remark[0], spec.container_id) if remark is not None and remark[1] == spec.container_id else ""


class Holds:
    """Which removals are held. Pure: times are given, `is_attached` says whether an endpoint's interface is here."""

    def __init__(self, node: str, is_attached: Callable[[WorkloadEndpoint], bool]) -> None:
        self._node = node
        self._is_attached = is_attached
        self._known: dict[Key, WorkloadEndpoint] = {}
        self._owners: dict[str, Key] = {}
        """Who was seen last with an address."""
        self.held: dict[Key, Held] = {}
        self.lost: dict[Key, tuple[WorkloadEndpoint, str]] = {}
        """Endpoints of this node that were given up while their interfaces stand, and why."""

    def sift(self, batch: Batch, now: float) -> Batch:
        """The batch without what is held from now on, and with the removal of what must give way to it."""
        passed: list[Update] = []
        for update in batch.updates:
            if update.key.kind not in ("WorkloadEndpoint", "BlockAffinity"):
                passed.append(update)
            elif update.value is not None or not batch.went_back or not self._hold(update.key, now):
                passed += self._take(update)
        return batch._replace(updates=tuple(passed))

    def give_up(self, key: Key, reason: str) -> Update:
        """The removal after all; what was this node's own is remembered with the reason."""
        held = self.held.pop(key)
        if held.endpoint is not None:
            self.lost[key] = (held.endpoint, reason)
        self._forget(key)
        return Update(key, None)

    def expired(self, now: float) -> list[Key]:
        """What has been held for long enough."""
        return [key for key, held in self.held.items() if now >= held.until]

    def _hold(self, key: Key, now: float) -> bool:
        if key.kind == "BlockAffinity":
            self.held[key] = Held(now + OTHERS_SECONDS)
            return True
        endpoint = self._known.get(key)
        if endpoint is None:
            return False
        ours = endpoint.spec.node == self._node
        if ours and not self._is_attached(endpoint):
            return False
        rival = next((owner for text in _texts(endpoint) if (owner := self._owners.get(text, key)) != key), None)
        if rival is not None:
            if ours:
                self.lost[key] = (endpoint, _taken_by(rival))
            return False
        self.held[key] = Held(now + HOLD_SECONDS, endpoint) if ours else Held(now + OTHERS_SECONDS)
        return True

    def _take(self, update: Update) -> Iterator[Update]:
        key, value = update
        self.held.pop(key, None)
        self._forget(key)
        if isinstance(value, WorkloadEndpoint):
            self.lost.pop(key, None)
            for text in _texts(value):
                owner = self._owners.get(text)
                if owner is not None and owner in self.held:
                    yield self.give_up(owner, _taken_by(key))
                self._owners[text] = key
            self._known[key] = value
        yield update

    def _forget(self, key: Key) -> None:
        before = self._known.pop(key, None)
        for text in _texts(before) if before is not None else ():
            if self._owners.get(text) == key:
                del self._owners[text]


class EndpointRescue:
    """A sink for `Syncer.run`, before `sink`, which gets what is not held. Give it the batches, and run it."""

    def __init__(self, client: Client, node: str, *, identity: Identity, attached: Attached, sink: Sink) -> None:
        self._client = client
        self._ipam = Ipam(client)
        self._node = node
        self._identity = identity
        self._attached = attached
        self._sink = sink
        self._holds = Holds(node, self._may_live)
        self._waiting: dict[Key, str] = {}
        """Why what is held is not written yet."""
        self._written: dict[Key, Written] = {}
        self._work = asyncio.Event()

    @property
    def problems(self) -> dict[str, str]:
        """Endpoints of this node that the datastore has forgotten, by key."""
        found = {
            str(key): f"the datastore went back and has lost it: {text}; {_AGAIN}"
            for key, (_, text) in self._holds.lost.items()
        }
        for key, held in self._holds.held.items():
            if held.endpoint is not None:
                reason = self._waiting.get(key, "")
                found[str(key)] = "the datastore went back and has lost it; it is being written again" + (
                    reason and f": {reason}"
                )
        return found

    async def on_batch(self, batch: Batch) -> None:
        """Pass it on, but for what is held."""
        passed = self._holds.sift(batch, self._now())
        if self._holds.held or self._holds.lost:
            self._work.set()
        await self._sink(passed)

    async def run(self) -> None:
        """Write again what is held, without end."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._rescue(), name="endpoint rescue")
            group.create_task(self._expire(), name="endpoint rescue, ends")  # in time, however long a request takes

    async def _expire(self) -> None:
        while True:
            await self._work.wait()
            for key in self._holds.expired(self._now()):
                if key in self._holds.held:
                    await self._give_up(key, self._waiting.get(key) or "it could not be written again in time")
            await asyncio.sleep(_RETRY_SECONDS)

    async def _rescue(self) -> None:
        while True:
            await self._work.wait()
            for key, held in list(self._holds.held.items()):
                if held.endpoint is not None and key in self._holds.held and not await self._attempt(key, held.endpoint):
                    break  # nobody else will fare better now
            await self._look_after()
            self._waiting = {key: text for key, text in self._waiting.items() if key in self._holds.held}
            if not (self._holds.held or self._written or self._holds.lost):
                self._work.clear()
            else:
                await asyncio.sleep(_RETRY_SECONDS)

    async def _attempt(self, key: Key, endpoint: WorkloadEndpoint) -> bool:
        """Try to bring one back. False if the datastore is not there for anybody."""
        try:
            handle = self._attached(endpoint)
            if not handle:
                raise Lost("its interface is gone")
            await self._bring_back(key, endpoint, handle)
        except (Lost, InvalidRequest, NotSupported, Incompatible) as error:
            if key in self._holds.held:
                await self._give_up(key, str(error))
        except TortieError as error:
            if self._waiting.get(key) != str(error):
                _log.warning("%s is not written again yet: %s", key, error)
            self._waiting[key] = str(error)
            return not isinstance(error, Unavailable)
        return True

    async def _bring_back(self, key: Key, endpoint: WorkloadEndpoint, handle: str) -> None:
        await self._identity.admit_client(self._client)
        await endpoints.require_ready(self._client)
        if await endpoints.find(self._client, key) is not None:
            return  # the watch brings it
        self._written[key] = Written(endpoint, handle, self._now() + HOLD_SECONDS)
        for address in _addresses(endpoint):
            await self._book(address, handle, endpoint)
        if key not in self._holds.held:
            raise Lost("it was given up meanwhile")
        try:
            await self._client.create(
                msgspec.structs.replace(endpoint, metadata=msgspec.structs.replace(endpoint.metadata, resource_version=""))
            )
        except AlreadyExists:
            return
        _log.warning("%s was not in the older datastore that was put back, and is written again", key)

    async def _book(self, address: Address, handle: str, endpoint: WorkloadEndpoint) -> None:
        attributes = booking(self._node, pod=endpoint.spec.pod, namespace=endpoint.metadata.namespace)
        try:
            await self._ipam.assign_ip(address, handle, attributes=attributes, node=self._node, use=_USE)
        except AlreadyAssigned:
            holder = await self._ipam.assignment(address)
            if holder is None or holder.released_at is not None:
                raise Contention(f"assignment of {address}, which has not cooled down", 1) from None
            if holder.handle_id != handle:
                raise Lost(f"its address {address} is of {holder.handle_id or 'another owner'} now") from None
        except Contention:
            raise
        except IpamError as error:
            raise Lost(str(error)) from error

    async def _give_up(self, key: Key, reason: str) -> None:
        if self._holds.held[key].endpoint is not None:
            _log.error("%s was not in the older datastore that was put back, and is removed: %s", key, reason)
        await self._sink(Batch((self._holds.give_up(key, reason),)))

    async def _look_after(self) -> None:
        """A pod may be deleted while it is written again: what its DEL could not find is taken back here."""
        for key, (endpoint, _) in list(self._holds.lost.items()):
            if not self._may_live(endpoint):
                self._holds.lost.pop(key, None)
        for key, written in list(self._written.items()):
            if self._may_live(written.endpoint):
                self._written[key] = replace(written, gone_since=None)
                if self._now() >= written.until:
                    del self._written[key]
                continue
            if written.gone_since is None:
                self._written[key] = replace(written, gone_since=self._now())
            if self._now() < (written.gone_since or self._now()) + _GONE_SECONDS:
                continue
            try:
                await endpoints.remove(self._client, key, container_id=written.endpoint.spec.container_id)
                await self._ipam.release_by_handle(written.handle)
            except TortieError as error:
                _log.warning("%s, whose interface is gone, cannot be removed yet: %s", key, error)
            else:
                del self._written[key]

    def _may_live(self, endpoint: WorkloadEndpoint) -> bool:
        """False if its pod's interface is gone for certain: who cannot look now takes nothing from anybody."""
        try:
            return bool(self._attached(endpoint))
        except TortieError:
            return True

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


def _addresses(endpoint: WorkloadEndpoint) -> list[Address]:
    try:
        return [parse_interface(text).address for text in endpoint.spec.ip_networks]
    except ValueError as error:
        raise Lost(f"spec.ipNetworks: {error}") from error


def _texts(endpoint: WorkloadEndpoint) -> list[str]:
    return [text.partition("/")[0] for text in endpoint.spec.ip_networks]


def _taken_by(key: Key) -> str:
    return f"its address is of {key} now"
