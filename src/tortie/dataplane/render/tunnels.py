"""What the node itself sends into a tunnel carries the address of the tunnel's end here. Pure.

The other nodes know only that address as one that is reached through the tunnel: with another of the node's own they would
answer past it, and drop what has come by it from the wrong side.
"""

from tortie.base.net import FAMILIES, Family
from tortie.dataplane.render import names
from tortie.dataplane.render.config import Config
from tortie.intent.routes import Overlay, Way
from tortie.kernel.nft import objects as nft

_UDP = 17
_LOCAL = 2
_LAST_PORT = 65535

DEVICES = {
    (Way.IPIP, Family.V4): "tunl0",
    (Way.VXLAN, Family.V4): "vxlan.calico",
    (Way.VXLAN, Family.V6): "vxlan-v6.calico",
}


def tunnel_devices(overlay: Overlay | None, config: Config) -> tuple[str, ...]:
    """The devices of all tunnels that have an end here, by name."""
    if overlay is None:
        return ()
    ends = [DEVICES[end.way, end.family] for end in overlay.tunnels if end.address is not None]
    wireguard = dict(zip(FAMILIES, config.wireguard.devices, strict=True))
    ends += [wireguard[end.family] for end in overlay.wireguard if end.address is not None]
    return tuple(sorted(ends))


def render_tunnel_sources(config: Config, devices: tuple[str, ...], *, vxlan: bool) -> nft.Chain:
    """Masquerading into these devices of what has another address of this node.

    With VXLAN no UDP gets its port as the source: an answer to it would look like a tunnel's packet.
    """
    rules = []
    for device in devices:
        match = (
            nft.IfName("oif", device),
            nft.FibType("source", _LOCAL, "!=", of_output=True),
            nft.FibType("source", _LOCAL),
        )
        if vxlan:
            ports = _beside(config.vxlan_port)
            rules.append(nft.Rule((*match, nft.L4Proto(_UDP), nft.Masquerade(ports=ports)), "into a tunnel, UDP"))
        rules.append(nft.Rule((*match, nft.Masquerade()), "into a tunnel"))
    return nft.Chain(names.NAT_TUNNELS, tuple(rules))


def _beside(port: int) -> tuple[int, int]:
    """The wider side of a port."""
    return (port + 1, _LAST_PORT) if port <= _LAST_PORT // 2 else (1, port - 1)
