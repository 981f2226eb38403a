"""The node that all clusters share: its interfaces, who is behind them, and the numbers that everything is drawn from."""

from tests.oracle.hosts import Layout

NODE = "n1"
LAYOUT = Layout(
    NODE,
    interfaces={"ext0": ("192.0.2.254", "2001:db8:ff::1"), "ext1": ("198.51.100.254", "2001:db8:fe::1")},
    routes=(("0.0.0.0/0", "ext0"), ("::/0", "ext0"), ("198.51.100.0/24", "ext1"), ("2001:db8:a::/48", "ext1")),
)
STRANGERS = {
    "ext0": {4: ("192.0.2.7", "192.0.2.8"), 6: ("2001:db8:9::7", "2001:db8:9::8")},
    "ext1": {4: ("198.51.100.1", "198.51.100.9"), 6: ("2001:db8:a::1", "2001:db8:a::9")},
}
"""By interface and family: addresses behind it."""
NOBODY = {4: ("10.96.0.5", "10.96.0.200"), 6: ("fd00:96::5", "fd00:96::f5")}
"""Service addresses that nothing translates: they leave by the default route, if anything lets them."""
SERVICE_NETS = ("10.96.0.0/25", "10.96.0.0/16", "fd00:96::/124", "fd00:96::/64", "198.51.100.0/29", "2001:db8:a::/125")
FAILSAFE_PORTS = (22, 53, 67, 68, 179, 6443)
SPOOFS = ("192.0.2.8/32", "10.65.0.4/30", "172.16.0.0/24", "2001:db8:9::8/128", "fd00:65::4/126")
WORKLOADS = 10


def own(family: int) -> list[str]:
    """The node's addresses."""
    return [text for texts in LAYOUT.interfaces.values() for text in texts if (":" in text) is (family == 6)]


def is_strange(address: str) -> bool:
    """Is somebody there who is not of the cluster?"""
    return any(address in there[family] for there in STRANGERS.values() for family in (4, 6))
