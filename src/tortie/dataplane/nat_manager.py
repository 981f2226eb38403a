"""Pools and hosts, as the sets that masquerading asks."""

from collections.abc import Iterable

from tortie.base.net import FAMILIES, Family, Prefix, single
from tortie.dataplane.render import names
from tortie.dataplane.render.config import Config
from tortie.dataplane.render.static import address_set
from tortie.intent.messages import HostUpdate, Message, PoolUpdate
from tortie.intent.routing import Host, Pool
from tortie.kernel.nft.table import NftTable


class NatManager:
    """Three sets a family, there from the beginning: all pools, pools with natOutgoing, addresses of nodes.

    A disabled pool counts in both of its sets: its addresses are still in use.
    """

    def __init__(self, table: NftTable) -> None:
        self._table = table
        self._pools: dict[Prefix, Pool] = {}
        self._hosts: dict[str, Host] = {}
        self._external: tuple[Prefix, ...] = ()
        self._dirty = True

    def configure(self, config: Config) -> None:
        """Machines outside the cluster count as nodes."""
        self._external = config.external_nodes
        self._dirty = True

    def on_update(self, message: Message) -> None:
        """Pools and hosts."""
        match message:
            case PoolUpdate(cidr=cidr, pool=pool):
                self._pools.pop(cidr, None)
                if pool is not None:
                    self._pools[cidr] = pool
                self._dirty = True
            case HostUpdate(name=name, host=host):
                self._hosts.pop(name, None)
                if host is not None:
                    self._hosts[name] = host
                self._dirty = True
            case _:
                pass

    async def apply(self) -> None:
        """Put the sets as a whole: they are small, and the driver sends only differences."""
        if not self._dirty:
            return
        for family in FAMILIES:
            self._put(names.POOLS, family, self._pools)
            self._put(names.MASQUERADE_POOLS, family, (cidr for cidr, pool in self._pools.items() if pool.nat_outgoing))
            self._put(names.ALL_HOSTS, family, [*self._host_addresses(), *self._external])
        self._dirty = False

    def _put(self, set_id: str, family: Family, prefixes: Iterable[Prefix]) -> None:
        self._table.put_set(address_set(set_id, family), {prefix for prefix in prefixes if prefix.family is family})

    def _host_addresses(self) -> list[Prefix]:
        return [
            single(interface.address)
            for host in self._hosts.values()
            for interface in (host.ipv4, host.ipv6)
            if interface is not None
        ]
