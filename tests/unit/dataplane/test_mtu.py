"""What there is room for in a tunnel, and what a pod may therefore send."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tortie.base.errors import TortieError
from tortie.base.net import FAMILIES, Family, parse_address
from tortie.dataplane.mtu import SMALLEST, Mtus
from tortie.dataplane.render.config import parse
from tortie.intent.routes import Overlay, TunnelEnd, Way, WireguardEnd

_IPIP = TunnelEnd(Way.IPIP, Family.V4, parse_address("10.0.0.1"), ())
_VXLAN = TunnelEnd(Way.VXLAN, Family.V4, parse_address("10.0.0.1"), ())
_VXLAN_V6 = TunnelEnd(Way.VXLAN, Family.V6, parse_address("fd00::1"), ())
_WIREGUARD = WireguardEnd(Family.V4, None, 51820)
_WIREGUARD_V6 = WireguardEnd(Family.V6, None, 51821)


def _overlay(*tunnels: TunnelEnd, wireguard: tuple[WireguardEnd, ...] = ()) -> Overlay:
    return Overlay("node", None, None, tunnels, wireguard)


@pytest.mark.parametrize(
    ("overlay", "mtu", "named"),
    [
        (None, 1500, "uplink"),
        (_overlay(), 1500, "uplink"),
        (_overlay(_IPIP), 1480, "ipip of IPv4"),
        (_overlay(_VXLAN), 1450, "vxlan of IPv4"),
        (_overlay(_VXLAN, _VXLAN_V6), 1430, "vxlan of IPv6"),
        (_overlay(wireguard=(_WIREGUARD,)), 1440, "wireguard of IPv4"),
        (_overlay(_IPIP, wireguard=(_WIREGUARD, _WIREGUARD_V6)), 1420, "wireguard of IPv6"),
    ],
)
def test_a_pod_may_send_what_fits_through_the_narrowest_way_in_use(overlay: Overlay | None, mtu: int, named: str) -> None:
    assert Mtus(host=1500).pods(overlay) == mtu
    assert named in Mtus(host=1500).narrowest(overlay)[1]


def test_what_is_configured_wins_over_what_the_uplink_leaves() -> None:
    mtus = parse({"VXLANMTU": "1400", "IpInIpMtu": "8000"}).mtus
    assert mtus.pods(_overlay(_VXLAN)) == mtus.tunnel(Way.VXLAN, Family.V4) == 1400
    assert mtus.pods(_overlay(_IPIP)) == 8000, "not even the uplink's own MTU makes it less: who sets it knows"
    assert mtus.tunnel(Way.VXLAN, Family.V6) == 1430, "of the other family nothing was said"


@pytest.mark.parametrize("name", ["VXLANMTU", "VXLANMTUV6", "IpInIpMtu", "WireguardMTU", "WireguardMTUV6"])
def test_a_number_that_cannot_be_an_mtu_is_refused_by_name(name: str) -> None:
    assert parse({name: "0"}).mtus == Mtus()
    for text in ("-1", "12", "70000"):
        with pytest.raises(TortieError, match=f"{name}.*576"):
            parse({name: text})


@given(st.integers(SMALLEST, 65535))
def test_every_tunnel_is_narrower_than_the_uplink_but_never_too_narrow_for_a_host(host: int) -> None:
    mtus = Mtus(host=host)
    rooms = [mtus.tunnel(Way.IPIP, Family.V4), *(mtus.tunnel(Way.VXLAN, family) for family in FAMILIES)]
    rooms += [mtus.wireguard(family) for family in FAMILIES]
    for room in rooms:
        assert room == SMALLEST or SMALLEST < room < host
