"""This node's own addresses inside tunnels: taken from IPAM where calc says that a tunnel has an end here, told to the others
in the node's resource, given back where it has none any more.

Each kind has a handle of its own in IPAM (Calico's), which is what survives a crash: whatever the handle holds is adopted. The
resource never names an address that is not ours: it is written after the assignment, and before the release.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import msgspec

from tortie.api.node import Node, NodeBGP, NodeSpec, NodeWireguard
from tortie.api.resource import Key
from tortie.base import log
from tortie.base.aio import Backoff
from tortie.base.errors import TortieError
from tortie.base.net import Address, Family, Prefix, parse_address
from tortie.datastore.client import Client
from tortie.datastore.errors import DoesNotExist, UpdateConflict
from tortie.intent.messages import InSync, Message, OverlayUpdate
from tortie.intent.routes import Overlay, TunnelEnd, Way, WireguardEnd
from tortie.ipam.allocator import AssignRequest, Ipam
from tortie.ipam.blocks import ReleaseRequest
from tortie.ipam.errors import IpamError, ReleaseConflict

_log = log.get(__name__)
_RECHECK_SECONDS = 300.0
"""Somebody may have released what is ours, which nobody tells."""
LINGER_SECONDS = 5.0
"""For so long a tunnel that has just gone out of use keeps its address: others still send through it, and if it comes back it
is the same one for everybody."""
_USE = "Tunnel"


class NoAddress(TortieError):
    """IPAM has none for a tunnel; says why."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of tunnel: how IPAM knows its address, and where the node's resource has it."""

    name: str
    family: Family
    prefix: str
    attribute: str
    read: Callable[[NodeSpec], str]
    write: Callable[[NodeSpec, str], NodeSpec]

    def handle(self, node: str) -> str:
        """Whose the address is in IPAM."""
        return f"{self.prefix}-{node}"

    def attributes(self, node: str) -> dict[str, str]:
        """What IPAM remembers with it."""
        return {"node": node, "type": self.attribute}


def _in_wireguard(field: str) -> tuple[Callable[[NodeSpec], str], Callable[[NodeSpec, str], NodeSpec]]:
    def write(spec: NodeSpec, text: str) -> NodeSpec:
        changed = msgspec.structs.replace(spec.wireguard or NodeWireguard(), **{field: text})
        return msgspec.structs.replace(spec, wireguard=None if changed == NodeWireguard() else changed)

    return lambda spec: getattr(spec.wireguard or NodeWireguard(), field), write


def _in_spec(field: str) -> tuple[Callable[[NodeSpec], str], Callable[[NodeSpec, str], NodeSpec]]:
    return lambda spec: getattr(spec, field), lambda spec, text: msgspec.structs.replace(spec, **{field: text})


def _write_ipip(spec: NodeSpec, text: str) -> NodeSpec:
    bgp = msgspec.structs.replace(spec.bgp or NodeBGP(), ipv4_ipip_tunnel_addr=text)
    return msgspec.structs.replace(spec, bgp=None if bgp == NodeBGP() and spec.bgp is None else bgp)


def _read_ipip(spec: NodeSpec) -> str:
    return (spec.bgp or NodeBGP()).ipv4_ipip_tunnel_addr


_V4, _V6 = Family.V4, Family.V6
WIREGUARD = Kind("WireGuard", _V4, "wireguard-tunnel-addr", "wireguardTunnelAddress", *_in_wireguard("interface_ipv4_address"))
WIREGUARD_V6 = Kind(
    "WireGuard", _V6, "wireguard-v6-tunnel-addr", "wireguardV6TunnelAddress", *_in_wireguard("interface_ipv6_address")
)
IPIP = Kind("IPIP", _V4, "ipip-tunnel-addr", "ipipTunnelAddress", _read_ipip, _write_ipip)
VXLAN = Kind("VXLAN", _V4, "vxlan-tunnel-addr", "vxlanTunnelAddress", *_in_spec("ipv4_vxlan_tunnel_addr"))
VXLAN_V6 = Kind("VXLAN", _V6, "vxlan-v6-tunnel-addr", "vxlanV6TunnelAddress", *_in_spec("ipv6_vxlan_tunnel_addr"))
KINDS = (WIREGUARD, WIREGUARD_V6, IPIP, VXLAN, VXLAN_V6)


def end_of(kind: Kind, overlay: Overlay) -> TunnelEnd | WireguardEnd | None:
    """What calc says of this kind of tunnel here."""
    if kind in (WIREGUARD, WIREGUARD_V6):
        return next((each for each in overlay.wireguard if each.family is kind.family), None)
    return overlay.tunnel(Way.IPIP if kind is IPIP else Way.VXLAN, kind.family)


class TunnelAddresses:
    """Give it the messages of calc, and run it. `problem` says what it could not do, "" if all is well."""

    def __init__(self, client: Client, node: str) -> None:
        self._client = client
        self._ipam = Ipam(client)
        self._node = node
        self._overlay: Overlay | None = None
        self._in_sync = False
        self._work = asyncio.Event()
        self._absent: set[Kind] = set()
        """Kinds that have nothing here, as this life of ours has seen to."""
        self._lingering: dict[Kind, float] = {}
        """When kinds that went out of use may go."""
        self.problem = ""

    def on_messages(self, messages: Iterable[Message]) -> None:
        """Note what calc says of our ends. Nothing is done before it knows the whole cluster."""
        for message in messages:
            if isinstance(message, OverlayUpdate):
                self._note_unused(self._overlay, message.overlay)
                self._overlay = message.overlay
            elif isinstance(message, InSync):
                self._in_sync = True
            else:
                continue
            self._work.set()

    def _note_unused(self, before: Overlay | None, after: Overlay | None) -> None:
        if before is None or after is None:
            return
        for kind in KINDS:
            if end_of(kind, after) is not None:
                self._lingering.pop(kind, None)
            elif end_of(kind, before) is not None:
                self._lingering[kind] = time.monotonic() + LINGER_SECONDS

    async def run(self) -> None:
        """Keep the addresses as they should be, without end."""
        backoff = Backoff(first=0.5, last=30.0)
        while True:
            wait = _RECHECK_SECONDS
            self._work.clear()
            try:
                await self.reconcile()
                backoff.reset()
                self.problem = ""
            except TortieError as error:
                if str(error) != self.problem:
                    _log.warning("tunnel addresses are not complete, will be tried again: %s", error)
                self.problem = str(error)
                wait = backoff.next_delay()
            now = time.monotonic()
            wait = min([wait, *(until - now for until in self._lingering.values() if until > now)])
            try:
                async with asyncio.timeout(wait):
                    await self._work.wait()
            except TimeoutError:
                pass

    async def reconcile(self) -> None:
        """Make IPAM and this node's resource agree with what calc says. May be repeated, also after it broke off anywhere.

        Raises DatastoreError, IpamError, NoAddress; kinds that come after the one that failed are done all the same.
        """
        if not self._in_sync or self._overlay is None:
            return
        overlay, problems = self._overlay, []
        for kind in KINDS:
            end = end_of(kind, overlay)
            try:
                if end is None and time.monotonic() < self._lingering.get(kind, 0.0):
                    continue
                if end is None or not await self._provide(kind, end):
                    await self._forgo(kind)
                    self._lingering.pop(kind, None)
                else:
                    self._absent.discard(kind)
            except NoAddress as error:
                problems.append(str(error))
        if problems:
            raise NoAddress("; ".join(problems))

    async def _provide(self, kind: Kind, end: TunnelEnd | WireguardEnd) -> bool:
        """See to one address. False if there is to be none: no pool gives one, and none is there that may stay."""
        stored = await self._stored()
        if stored is None:
            return True
        pools = end.pools or end.keeps
        handle = kind.handle(self._node)
        held = [address for address in await self._held(handle) if address.family is kind.family]
        current = _address(kind.read(stored.spec))
        fitting = [address for address in held if _is_in(address, pools)]
        if current is not None and current in fitting:
            chosen = current
        elif fitting:
            chosen = fitting[0]
        elif not end.pools:
            return current is not None and _is_in(current, pools) and await self._is_ours(kind, current)
        else:
            if not held:  # a handle that counts and holds nothing is left of an assignment that broke off
                await self._ipam.release_by_handle(handle)
            chosen = await self._assign(kind, current, pools)
        if chosen != current:
            await self._write(kind, str(chosen))
            _log.info("%s of IPv%d: this node's tunnel address is %s", kind.name, kind.family, chosen)
        await self._release([address for address in held if address != chosen], handle)
        return True

    async def _assign(self, kind: Kind, current: Address | None, pools: Sequence[Prefix]) -> Address:
        """An address for the handle, which has none that fits: the one that is in use if that can be, else any."""
        if current is not None and _is_in(current, pools):
            kept = await self._claim(kind, current)
            if kept:
                return current
        is_v4 = kind.family is Family.V4
        try:
            found = await self._ipam.auto_assign(
                AssignRequest(
                    node=self._node,
                    handle=kind.handle(self._node),
                    num_v4=int(is_v4),
                    num_v6=int(not is_v4),
                    attributes=kind.attributes(self._node),
                    pools_v4=tuple(pools) if is_v4 else (),
                    pools_v6=() if is_v4 else tuple(pools),
                    use=_USE,
                )
            )
        except IpamError as error:
            raise NoAddress(f"{kind.name} of IPv{kind.family.value} has no tunnel address: {error}") from error
        for interface in (*found.v4, *found.v6):
            return interface.address
        reasons = ", ".join(found.messages) or "no pool has a free one"
        raise NoAddress(f"{kind.name} of IPv{kind.family.value} has no tunnel address: {reasons}")

    async def _claim(self, kind: Kind, address: Address) -> bool:
        """Make sure that an address of the resource is ours in IPAM. False if it is somebody else's."""
        if await self._is_ours(kind, address):  # by an older handle
            return True
        owner = await self._ipam.assignment(address)
        if owner is not None:
            if owner.handle_id or owner.secondary or owner.released_at is not None:
                return False
            await self._ipam.release([address])  # nobody's: old releases wrote neither handle nor attributes
        attributes = kind.attributes(self._node)
        try:
            await self._ipam.assign_ip(address, kind.handle(self._node), attributes=attributes, node=self._node, use=_USE)
        except IpamError:
            return False
        return True

    async def _is_ours(self, kind: Kind, address: Address) -> bool:
        owner = await self._ipam.assignment(address)
        return owner is not None and not owner.released_at and owner.secondary.items() >= kind.attributes(self._node).items()

    async def _forgo(self, kind: Kind) -> None:
        if kind in self._absent:
            return
        stored = await self._stored()
        current = None if stored is None else _address(kind.read(stored.spec))
        if stored is not None and kind.read(stored.spec):
            await self._write(kind, "")
        released = await self._ipam.release_by_handle(kind.handle(self._node))
        if current is not None and current not in released and await self._is_ours(kind, current):
            await self._ipam.release([current])
            released = (*released, current)
        if released:
            addresses = ", ".join(map(str, released))
            _log.info("%s of IPv%d is not in use: %s given back", kind.name, kind.family, addresses)
        self._absent.add(kind)

    async def _write(self, kind: Kind, text: str) -> None:
        while True:
            stored = await self._stored()
            if stored is None:
                return
            spec = kind.write(stored.spec, text)
            if spec == stored.spec:
                return
            try:
                await self._client.update(msgspec.structs.replace(stored, spec=spec))
                return
            except (UpdateConflict, DoesNotExist):
                continue

    async def _stored(self) -> Node | None:
        try:
            found = await self._client.get(Key("Node", "", self._node))
        except DoesNotExist:
            return None
        assert isinstance(found, Node)
        return found

    async def _held(self, handle: str) -> tuple[Address, ...]:
        try:
            return await self._ipam.addresses_of(handle)
        except DoesNotExist:
            return ()

    async def _release(self, addresses: Sequence[Address], handle: str) -> None:
        if addresses:
            try:
                await self._ipam.release([ReleaseRequest(address, handle) for address in addresses])
            except ReleaseConflict as error:
                _log.info("not given back: %s", error)


def _is_in(address: Address, pools: Iterable[Prefix]) -> bool:
    return any(pool.contains(address) for pool in pools)


def _address(text: str) -> Address | None:
    try:
        return parse_address(text) if text else None
    except ValueError:
        return None
