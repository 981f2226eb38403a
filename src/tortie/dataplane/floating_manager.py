"""Floating addresses: translated to workloads of this node, and led to them by routes. Off unless FloatingIPs is Enabled."""

from collections.abc import Mapping
from dataclasses import replace

from tortie.base.net import Address, single
from tortie.dataplane.render.config import Config
from tortie.dataplane.render.nat import render_floating
from tortie.intent.endpoint import Endpoint, FloatingAddress
from tortie.intent.keys import EndpointId
from tortie.intent.messages import EndpointUpdate, Message
from tortie.kernel.nft.table import NftTable


class FloatingManager:
    """Of several endpoints that claim one floating address the lowest id has it. Costs nothing while there is none."""

    def __init__(self, table: NftTable) -> None:
        self._table = table
        self._enabled = False
        self._endpoints: dict[EndpointId, Endpoint] = {}
        self._owners: dict[Address, EndpointId] = {}
        self._told: frozenset[str] = frozenset()
        self._dirty = True

    def configure(self, config: Config) -> None:
        """They are in force only where the configuration says so."""
        self._enabled = config.floating_ips
        self._dirty = True

    def on_update(self, message: Message) -> None:
        """Endpoints that have some."""
        if isinstance(message, EndpointUpdate):
            self._dirty |= self._endpoints.pop(message.id, None) is not None
            if message.endpoint is not None and message.endpoint.floating:
                self._endpoints[message.id] = message.endpoint
                self._dirty = True

    async def apply(self) -> None:
        """Put the chains, or remove them."""
        if not self._dirty:
            return
        wanted: dict[Address, FloatingAddress] = {}
        self._owners = {}
        for endpoint_id in sorted(self._endpoints) if self._enabled else ():
            for each in self._endpoints[endpoint_id].floating:
                wanted.setdefault(each.external, each)
                self._owners.setdefault(each.external, endpoint_id)
        chains = render_floating(wanted.values())
        for chain in chains:
            self._table.put_chain(chain)
        names = frozenset(chain.name for chain in chains)
        for name in self._told - names:
            self._table.remove_chain(name)
        self._told = names
        self._dirty = False

    def routed(self, endpoints: Mapping[EndpointId, Endpoint]) -> Mapping[EndpointId, Endpoint]:
        """The same endpoints, with the floating addresses that are theirs among those that need a route."""
        if not self._owners:
            return endpoints
        found = dict(endpoints)
        for address, owner in self._owners.items():
            if owner in found and single(address) not in found[owner].addresses:
                found[owner] = replace(found[owner], addresses=(*found[owner].addresses, single(address)))
        return found

    @property
    def problems(self) -> dict[EndpointId, str]:
        """Endpoints whose floating addresses are not in force, and why."""
        found = {}
        for endpoint_id, endpoint in self._endpoints.items():
            if not self._enabled:
                remedy = "set floatingIPs: Enabled in FelixConfiguration"
                found[endpoint_id] = f"spec.ipNATs: not in force, FloatingIPs is Disabled; {remedy}"
                continue
            taken = [each.external for each in endpoint.floating if self._owners.get(each.external, endpoint_id) != endpoint_id]
            if taken:
                told = ", ".join(f"{address} is that of {self._owners[address].name}" for address in taken)
                found[endpoint_id] = f"spec.ipNATs: not in force: {told}"
        return found
