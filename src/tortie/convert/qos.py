"""Limits of a pod from its annotations (conversions.md, section 2.1). What is wrong is clamped or left out, never an error."""

from collections.abc import Mapping

from tortie.api.endpoint import QoSControls
from tortie.base.decimals import number_up_to
from tortie.convert.errors import ConversionError
from tortie.convert.quantity import parse_quantity

_KUBERNETES = "kubernetes.io/"
_CALICO = "qos.projectcalico.org/"
_BANDWIDTH = (1_000, 10**15)
_BURST = (1_000, 34_359_738_360)
DEFAULT_BURST = 4 << 30
_PEAKRATE = (1_010, 1_010 * 10**12)
_MINBURST = (1_000, 100 * 10**6)
_PACKETS = (1, 10_000)
_DEFAULT_PACKET_BURST = 5
_CONNECTIONS = (1, 4_294_967_295)
_AF = {f"AF{group}{drop}": 8 * group + 2 * drop for group in range(1, 5) for drop in range(1, 4)}
DSCP_NAMES: Mapping[str, int] = {"DF": 0, "EF": 46, **_AF, **{f"CS{i}": 8 * i for i in range(7)}}


def qos_controls(annotations: Mapping[str, str]) -> QoSControls | None:
    """The limits; None when there are none."""
    controls = QoSControls(
        **_one_way(annotations, "ingress"), **_one_way(annotations, "egress"), dscp=_dscp(annotations.get(_CALICO + "dscp", ""))
    )
    return None if controls == QoSControls() else controls


def dscp(annotations: Mapping[str, str]) -> int | None:
    """The mark that a pod or a host endpoint asks for, as a number; None when there is none, or none that exists."""
    wanted = _dscp(annotations.get(_CALICO + "dscp", ""))
    return DSCP_NAMES[wanted] if isinstance(wanted, str) else wanted


def _one_way(annotations: Mapping[str, str], way: str) -> dict[str, int]:
    def read(name: str, limits: tuple[int, int]) -> int:
        return _clamped(annotations.get(f"{_CALICO}{way}{name}", ""), limits)

    bandwidth = read("Bandwidth", _BANDWIDTH) or _clamped(annotations.get(f"{_KUBERNETES}{way}-bandwidth", ""), _BANDWIDTH)
    peakrate = read("Peakrate", _PEAKRATE) if bandwidth else 0
    if peakrate <= bandwidth:
        peakrate = 0
    packet_rate = read("PacketRate", _PACKETS)
    values = {
        "bandwidth": bandwidth,
        "burst": (read("Burst", _BURST) or DEFAULT_BURST) if bandwidth else 0,
        "peakrate": peakrate,
        "minburst": read("Minburst", _MINBURST) if peakrate else 0,
        "packet_rate": packet_rate,
        "packet_burst": (read("PacketBurst", _PACKETS) or _DEFAULT_PACKET_BURST) if packet_rate else 0,
        "max_connections": read("MaxConnections", _CONNECTIONS),
    }
    return {f"{way}_{name}": value for name, value in values.items()}


def _clamped(text: str, limits: tuple[int, int]) -> int:
    """Zero when absent or no quantity."""
    if not text:
        return 0
    try:
        return min(max(parse_quantity(text), limits[0]), limits[1])
    except ConversionError:
        return 0


def _dscp(text: str) -> int | str | None:
    number = number_up_to(text, 63)
    if number is not None:
        return number
    return text.upper() if text.upper() in DSCP_NAMES else None
