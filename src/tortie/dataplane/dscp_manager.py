"""Which addresses' packets carry which DSCP out of the cluster."""

from collections import defaultdict
from collections.abc import Iterable

from tortie.base.net import FAMILIES, Prefix, single
from tortie.dataplane.render import names
from tortie.dataplane.render.config import Config
from tortie.dataplane.render.qos import dscp_set, render_dscp
from tortie.intent.keys import EndpointId, HostEndpointId
from tortie.intent.messages import EndpointUpdate, HostEndpointUpdate, Message
from tortie.kernel.nft.table import NftTable


class DscpManager:
    """One set a value and family, and the chain that asks them; none of it while no endpoint has a DSCP.

    A host endpoint's addresses are those that it expects, as in Calico.
    """

    def __init__(self, table: NftTable) -> None:
        self._table = table
        self._endpoints: dict[EndpointId | HostEndpointId, tuple[int, frozenset[Prefix]]] = {}
        self._told: frozenset[int] = frozenset()
        self._dirty = True

    def configure(self, config: Config) -> None:
        """Nothing depends on the configuration."""

    def on_update(self, message: Message) -> None:
        """Endpoints, workloads' and the node's own."""
        match message:
            case EndpointUpdate(id=endpoint_id, endpoint=workload):
                if workload is None or workload.dscp is None:
                    self._forget(endpoint_id)
                else:
                    self._note(endpoint_id, workload.dscp, workload.addresses)
            case HostEndpointUpdate(id=host_id, endpoint=host):
                if host is None or host.dscp is None:
                    self._forget(host_id)
                else:
                    self._note(host_id, host.dscp, map(single, host.expected_addresses))
            case _:
                pass

    async def apply(self) -> None:
        """Put the sets and, if a value came or went, the chain."""
        if not self._dirty:
            return
        members: dict[int, set[Prefix]] = defaultdict(set)
        for value, addresses in self._endpoints.values():
            members[value] |= addresses
        for value in members:
            for family in FAMILIES:
                self._table.put_set(dscp_set(value, family), {each for each in members[value] if each.family is family})
        if members:
            self._table.put_chain(render_dscp(members))
        else:
            self._table.remove_chain(names.MANGLE_DSCP)
        for value in self._told - members.keys():
            for family in FAMILIES:
                self._table.remove_set(dscp_set(value, family).name)
        self._told = frozenset(members)
        self._dirty = False

    def _note(self, owner: EndpointId | HostEndpointId, value: int, addresses: Iterable[Prefix]) -> None:
        self._endpoints[owner] = value, frozenset(addresses)
        self._dirty = True

    def _forget(self, owner: EndpointId | HostEndpointId) -> None:
        self._dirty |= self._endpoints.pop(owner, None) is not None
