"""The frame: base chains and what they lead to. Changes with the configuration, and with what kinds of things there are."""

from tortie.base.net import FAMILIES, Prefix
from tortie.dataplane.render import names, static
from tortie.dataplane.render.config import Config
from tortie.dataplane.render.hooks import Frame, frame_of
from tortie.dataplane.render.tunnels import tunnel_devices
from tortie.intent.endpoint import HostEndpoint
from tortie.intent.keys import HostEndpointId
from tortie.intent.messages import BgpUpdate, HostEndpointUpdate, Message, OverlayUpdate, PoolUpdate, ServiceNetsUpdate
from tortie.intent.routes import Overlay
from tortie.intent.routing import Pool, WorkloadEnd
from tortie.kernel.nft.table import NftTable


class StaticManager:
    """Owns every chain of `render.static`, except those that list endpoints, and the sets of service networks."""

    def __init__(self, table: NftTable) -> None:
        self._table = table
        self._config = Config()
        self._hosts: dict[HostEndpointId, HostEndpoint] = {}
        self._pools: dict[Prefix, Pool] = {}
        self._service_nets: tuple[Prefix, ...] = ()
        self._peerings: tuple[WorkloadEnd, ...] = ()
        self._tunnels: tuple[str, ...] = ()
        self._overlay: Overlay | None = None
        self._told: set[str] = set()
        self._dirty = True

    def configure(self, config: Config) -> None:
        """Everything may change."""
        self._config = config
        self._tunnels = tunnel_devices(self._overlay, config)
        self._dirty = True

    def on_update(self, message: Message) -> None:
        """Host endpoints, pools, service networks, workloads that speak BGP: what the frame needs for them."""
        match message:
            case HostEndpointUpdate(id=host_id, endpoint=endpoint):
                self._hosts.pop(host_id, None)
                if endpoint is not None:
                    self._hosts[host_id] = endpoint
            case PoolUpdate(cidr=cidr, pool=pool):
                self._pools.pop(cidr, None)
                if pool is not None:
                    self._pools[cidr] = pool
            case ServiceNetsUpdate(nets=nets):
                self._service_nets = nets
            case OverlayUpdate(overlay=overlay):
                self._overlay = overlay
                tunnels = tunnel_devices(overlay, self._config)
                if tunnels == self._tunnels:
                    return
                self._tunnels = tunnels
            case BgpUpdate(bgp=bgp):
                peerings = () if bgp is None else bgp.workload_ends
                if peerings == self._peerings:
                    return
                self._peerings = peerings
            case _:
                return
        self._dirty = True

    async def apply(self) -> None:
        """Render the frame. What nobody needs any more goes in the same transaction as what needed it."""
        if not self._dirty:
            return
        frame = frame_of(
            self._hosts.values(),
            self._pools.values(),
            service_nets=self._service_nets,
            config=self._config,
            peerings=self._peerings,
            tunnels=self._tunnels,
        )
        self._put_service_nets(frame)
        chains = static.render_static(self._config, frame)
        for chain in chains:
            self._table.put_chain(chain)
        wanted = {chain.name for chain in chains}
        for name in self._told - wanted:
            self._table.remove_chain(name)
        self._told = wanted
        self._dirty = False

    def _put_service_nets(self, frame: Frame) -> None:
        for family in FAMILIES:
            if frame.service_nets:
                nets = {net for net in self._service_nets if net.family is family}
                self._table.put_set(static.address_set(names.SERVICE_NETS, family), nets)
            else:
                self._table.remove_set(names.set_name(names.SERVICE_NETS, family))
