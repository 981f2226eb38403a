"""Workloads and load balancers whose addresses lie in a subnet of the node's own: answered for and announced there
(LocalSubnetL2Reachability).

A machine in that subnet looks for them by ARP or neighbour discovery and needs no route. Of pools with an encapsulation no
address is answered for, as in Calico: their packets are to stay inside. For its workloads every node answers itself; for a load
balancer's address one that all agree upon, as long as they know the same nodes: the lot is drawn by address and name.
"""

import hashlib
import math
import time
from collections.abc import Iterable, Mapping, Set

from tortie.base.net import Address, Family, Prefix
from tortie.dataplane.render.config import Config
from tortie.intent.endpoint import Endpoint
from tortie.intent.keys import EndpointId
from tortie.intent.messages import BalancerUpdate, HostUpdate, Message, OverlayUpdate, PoolUpdate
from tortie.intent.routing import Balancer, Host, Pool
from tortie.kernel.announce import Announcer
from tortie.kernel.arp_responder import Answers, ArpResponder
from tortie.kernel.errors import KernelError, NotFound
from tortie.kernel.link import Link, Links
from tortie.kernel.proxy_neighbours import ProxyNeighbour, ProxyNeighbours

_NEVER = "Never"
_FIRST_TIMES, _FIRST_SECONDS = 3, 1.0
"""Nobody says that they heard it, and an interface that has just come up says nothing: what is new is said more than once."""
_NOT_THE_NODES = ("vxlan.", "vxlan-", "tunl", "wireguard.", "wg-v6.")


class ReachabilityManager:
    """Takes the endpoints that are in force, after their routes: the kernel answers only for what it has a way to."""

    def __init__(self, links: Links, neighbours: ProxyNeighbours, announcer: Announcer, *, responder: ArpResponder) -> None:
        self._links = links
        self._neighbours = neighbours
        self._announcer = announcer
        self._responder = responder
        self._node = ""
        self._hosts: dict[str, Host] = {}
        self._balancers: dict[Address, Balancer] = {}
        self._config = Config()
        self._pools: dict[Prefix, Pool] = {}
        self._told: object = None
        self._wanted: dict[ProxyNeighbour, Link] = {}
        self._translated: frozenset[Address] = frozenset()
        """Of those, the ones that the kernel has no way to: they are translated first."""
        self._announced: dict[ProxyNeighbour, tuple[int, float]] = {}
        self._dirty = True

    def configure(self, config: Config) -> None:
        """Whether at all, and how often it is said again."""
        self._config = config
        self._dirty = True

    def on_update(self, message: Message) -> None:
        """Pools say whose packets stay as they are, nodes who may answer for load balancers."""
        match message:
            case PoolUpdate(cidr=cidr, pool=pool):
                self._pools.pop(cidr, None)
                if pool is not None:
                    self._pools[cidr] = pool
            case HostUpdate(name=name, host=host):
                self._hosts.pop(name, None)
                if host is not None:
                    self._hosts[name] = host
            case BalancerUpdate(address=address, balancer=balancer):
                self._balancers.pop(address, None)
                if balancer is not None:
                    self._balancers[address] = balancer
            case OverlayUpdate(overlay=overlay):
                self._node = overlay.node if overlay is not None else ""
            case _:
                return
        self._dirty |= self._config.l2_reachability

    def apply(self, endpoints: Mapping[EndpointId, Endpoint]) -> None:
        """Answer for these, and for nothing else. One ExceptionGroup for all that cannot be."""
        failures: list[Exception] = []
        if self._dirty or (self._config.l2_reachability and self._told != endpoints):
            try:
                self._wanted = self._want(endpoints) if self._config.l2_reachability else {}
                failures = self._program()
                self._told, self._dirty = dict(endpoints), bool(failures)
            except KernelError as error:
                failures = [error]
        failures += self._announce()
        if failures:
            raise ExceptionGroup(f"{len(failures)} addresses are not answered for", failures)

    def due_in(self) -> float | None:
        """Seconds until addresses are to be announced again; None if never."""
        due = min(map(self._next_at, self._announced.values()), default=math.inf)
        return None if math.isinf(due) else max(0.0, due - time.monotonic())

    def _next_at(self, said: tuple[int, float]) -> float:
        """When it is time to say it again, after it was said so often, and when last."""
        times, at = said
        if times < _FIRST_TIMES:
            return at + _FIRST_SECONDS
        return at + self._config.l2_refresh_seconds if self._config.l2_refresh_seconds > 0 else math.inf

    def links_changed(self, names: Set[str]) -> bool:
        """True if that concerns us: an interface of the node may be an uplink."""
        self._dirty |= self._config.l2_reachability and any(self._may_be_uplink(name) for name in names)
        return self._dirty

    def addresses_changed(self) -> bool:
        """The node's own subnets may be others."""
        self._dirty |= self._config.l2_reachability
        return self._dirty

    def invalidate(self) -> None:
        """Read back at the next `apply`."""
        self._dirty |= self._config.l2_reachability

    def _want(self, endpoints: Mapping[EndpointId, Endpoint]) -> dict[ProxyNeighbour, Link]:
        uplinks = {link.index: link for link in self._links.list() if link.up and self._may_be_uplink(link.name)}
        subnets = [
            (uplinks[entry.index], entry.interface.subnet)
            for entry in self._links.addresses()
            if entry.index in uplinks and entry.is_global and not entry.interface.subnet.is_single
        ]
        plain = [cidr for cidr, pool in self._pools.items() if pool.ipip_mode == pool.vxlan_mode == _NEVER]
        found: dict[ProxyNeighbour, Link] = {}
        workloads = set(_addresses(endpoints.values()))
        balancers = {address for address, balancer in self._balancers.items() if self._answers(balancer)} - workloads
        self._translated = frozenset(balancers)
        for address in sorted(workloads | balancers):
            if not any(cidr.contains(address) for cidr in plain):
                continue
            for link, subnet in subnets:
                if subnet.contains(address):
                    found[ProxyNeighbour(link.index, address)] = link
        return found

    def _answers(self, balancer: Balancer) -> bool:
        """True if the lot falls on this node, of all that may answer and have a subnet with the address in it."""
        address = balancer.address
        candidates = [
            name
            for name, host in self._hosts.items()
            if (balancer.nodes is None or name in balancer.nodes)
            and (own := host.ipv4 if address.family is Family.V4 else host.ipv6) is not None
            and own.subnet.contains(address)
        ]
        return bool(candidates) and max(candidates, key=lambda name: _lot(name, address)) == self._node

    def _may_be_uplink(self, name: str) -> bool:
        return name != "lo" and not name.startswith((*self._config.interface_prefixes, *_NOT_THE_NODES))

    def _program(self) -> list[Exception]:
        failures: list[Exception] = []
        # IPv4's proxy asks for a way to another interface, IPv6's does not.
        by_hand = {each for each in self._wanted if each.address in self._translated and each.address.family is Family.V4}
        self._answer_by_hand(by_hand)
        proxied = self._wanted.keys() - by_hand
        present = self._neighbours.list()
        for name in sorted({link.name for link in self._wanted.values()}):
            self._neighbours.prepare(name)
        for entry in sorted(present - proxied):
            self._neighbours.delete(entry)
        for entry in sorted(proxied - present):
            try:
                self._neighbours.add(entry)
            except NotFound:
                continue  # the interface has just gone; its leaving is another change
            except KernelError as error:
                failures.append(error)
        return failures

    def _answer_by_hand(self, entries: Set[ProxyNeighbour]) -> None:
        links = {self._wanted[entry].name: self._wanted[entry] for entry in entries}
        self._responder.want(
            {
                name: Answers(link.mac, frozenset(entry.address for entry in entries if entry.device == link.index))
                for name, link in links.items()
            }
        )

    def _announce(self) -> list[Exception]:
        """Say it of those that are new, and of all whose time has come. What cannot be said is said again with the rest."""
        failures: list[Exception] = []
        now = time.monotonic()
        self._announced = {entry: said for entry, said in self._announced.items() if entry in self._wanted}
        for entry, link in self._wanted.items():
            said = self._announced.get(entry)
            if said is not None and now < self._next_at(said):
                continue
            self._announced[entry] = (said[0] + 1 if said is not None else 1, now)
            try:
                self._announcer.announce(entry.address, device=link.name, index=link.index, mac=link.mac)
            except KernelError as error:
                failures.append(error)
        return failures


def _lot(node: str, address: Address) -> bytes:
    return hashlib.sha256(f"{node} {address}".encode()).digest()


def _addresses(endpoints: Iterable[Endpoint]) -> Iterable[Address]:
    for endpoint in endpoints:
        for prefix in endpoint.addresses:
            yield prefix.network
