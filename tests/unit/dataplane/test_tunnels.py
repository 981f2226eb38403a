"""What the node sends into a tunnel carries the tunnel's address, and only while there is a tunnel."""

from tortie.base.net import Family, parse_address
from tortie.dataplane.render import names
from tortie.dataplane.render.config import Config, parse
from tortie.dataplane.render.hooks import Frame
from tortie.dataplane.render.static import render_static
from tortie.dataplane.render.text import chain_text
from tortie.dataplane.render.tunnels import render_tunnel_sources, tunnel_devices
from tortie.intent.routes import Overlay, TunnelEnd, Way, WireguardEnd

V4, V6 = parse_address("10.65.1.0"), parse_address("fd00:65::1")


def lines(config: Config, devices: tuple[str, ...], *, vxlan: bool) -> list[str]:
    text = chain_text(render_tunnel_sources(config, devices, vxlan=vxlan))
    return [line.strip() for line in text.splitlines()[1:-1]]


def test_only_tunnels_that_have_an_end_count() -> None:
    ends = (
        TunnelEnd(Way.VXLAN, Family.V6, V6, ()),
        TunnelEnd(Way.VXLAN, Family.V4, None, ()),
        TunnelEnd(Way.IPIP, Family.V4, V4, ()),
    )
    wireguard = (WireguardEnd(Family.V4, V4, 51820), WireguardEnd(Family.V6, None, 51821))
    assert tunnel_devices(Overlay("n1", None, None, ends, wireguard), Config()) == (
        "tunl0",
        "vxlan-v6.calico",
        "wireguard.cali",
    )
    assert tunnel_devices(None, Config()) == ()


def test_what_is_the_nodes_but_not_the_tunnels_is_masqueraded() -> None:
    match = 'oifname "tunl0" fib saddr . oif type != local fib saddr type local'
    assert lines(Config(), ("tunl0",), vxlan=False) == [f'{match} masquerade fully-random comment "into a tunnel"']
    udp, rest = lines(Config(), ("tunl0",), vxlan=True)
    assert udp.startswith(f"{match} meta l4proto 17 masquerade to :4790-65535")
    assert rest.startswith(f"{match} masquerade")
    assert "masquerade to :1-49999" in lines(parse({"VXLANPort": "50000"}), ("vxlan.calico",), vxlan=True)[0]


def test_a_node_without_tunnels_has_no_chain_for_them() -> None:
    without = {chain.name: chain for chain in render_static(Config(), Frame())}
    assert names.NAT_TUNNELS not in without
    assert "tunnel" not in chain_text(without[names.NAT_POSTROUTING])
    with_one = {chain.name: chain for chain in render_static(Config(), Frame(tunnels=("vxlan.calico",)))}
    assert names.NAT_TUNNELS in with_one
    jumps = [line.strip() for line in chain_text(with_one[names.NAT_POSTROUTING]).splitlines() if "jump" in line]
    assert jumps == [f"jump {names.NAT_OUTGOING}", f"jump {names.NAT_TUNNELS}"]
