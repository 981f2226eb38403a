"""Which workload may not be told that its own address is another's: a table of its own, of family arp."""

import errno
from collections.abc import Mapping

from tortie.base import log
from tortie.dataplane.manager import slices
from tortie.dataplane.render import names
from tortie.dataplane.render.arp import DISPATCH, render_arp, render_output
from tortie.intent.endpoint import Endpoint
from tortie.intent.keys import EndpointId
from tortie.kernel.errors import KernelError
from tortie.kernel.nft import objects as nft
from tortie.kernel.nft.table import NftTable

_log = log.get(__name__)


class ArpManager:
    """Not a manager like the others: it takes the endpoints that have their interface, not messages, and its table has a
    transaction of its own. It keeps neighbours from confusion and lets no packet in, so whatever it fails at can wait."""

    def __init__(self, table: NftTable) -> None:
        self._table = table
        self._told: dict[str, Endpoint] = {}
        self._seen: dict[EndpointId, Endpoint] | None = None
        self._supported = True

    async def apply(self, endpoints: Mapping[EndpointId, Endpoint]) -> None:
        """Protect these and no others. One ExceptionGroup for all that failed; to be repeated then."""
        if not self._supported or (endpoints == self._seen and not self._table.pending):
            return
        if self._seen is None:
            self._table.put_set(DISPATCH, {})
            self._table.put_chain(render_output())
        self._seen = dict(endpoints)
        failures: list[Exception] = []
        wanted = {endpoint.interface: endpoint for endpoint in endpoints.values()}
        for interface in sorted(self._told.keys() - wanted.keys()):
            self._table.remove_members(DISPATCH.name, [interface])
            self._table.remove_chain(names.arp_chain(interface))
            del self._told[interface]
        async for interface in slices(sorted(each for each in wanted if wanted[each] != self._told.get(each))):
            try:
                self._table.put_chain(render_arp(wanted[interface]))
                self._table.add_members(DISPATCH.name, {interface: nft.Goto(names.arp_chain(interface))})
                self._told[interface] = wanted[interface]
            except KernelError as error:
                failures.append(error)
                self._seen = {}
        try:
            await self._table.apply()
        except KernelError as error:
            if error.errno in (errno.EOPNOTSUPP, errno.EAFNOSUPPORT):
                self._supported = False
                _log.warning("this kernel has no nftables for ARP; answers to ARP are not guarded")
            else:
                failures.append(error)
        if failures:
            raise ExceptionGroup("answers to ARP are not all guarded", failures)

    def invalidate(self, reason: str) -> None:
        """Read the table back at the next apply."""
        self._table.invalidate(reason)
