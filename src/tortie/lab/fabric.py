"""The cables: one L2 segment, a bridge in a network namespace of its own, and a leg of it on every node.

The bridge has the first address of each subnet and is every node's default gateway: it plays the world outside, and the
kernel answers a pod's ARP for 169.254.1.1 (proxy ARP) only where it has a route there.
"""

from tortie.base.net import Address, Family, Interface, Prefix, parse_prefix
from tortie.kernel import netns
from tortie.kernel.link import Links
from tortie.kernel.route import Route, Routes
from tortie.lab.names import LabNames
from tortie.lab.spec import LabError

BRIDGE = "fabric0"
UPLINK = "eth0"
MTU_BYTES = 1500
PROTOCOL_STATIC = 4
"""RTPROT_STATIC: an administrator's route, not one of Tortie's."""
SUBNETS = {Family.V4: parse_prefix("172.18.0.0/24"), Family.V6: parse_prefix("fd18::/64")}


def node_interface(index: int, family: Family) -> Interface:
    """The address of the index-th node (from 0) on the fabric."""
    subnet = SUBNETS[family]
    if index > 250:
        raise LabError("a lab has at most 250 nodes")
    return Interface(Address(family, subnet.value + 2 + index), subnet.length)


def gateway(family: Family) -> Interface:
    """The address of the fabric itself."""
    subnet = SUBNETS[family]
    return Interface(Address(family, subnet.value + 1), subnet.length)


def build_fabric(names: LabNames, *, families: tuple[Family, ...]) -> None:
    """Create the fabric's namespace and bridge."""
    netns.create(names.fabric)
    with netns.opened(names.fabric) as fabric:
        links = Links(netns_fd=fabric)
        try:
            links.set_up("lo")
            links.create_bridge(BRIDGE)
            links.set_up(BRIDGE)
            for family in families:
                links.add_address(BRIDGE, gateway(family))
        finally:
            links.close()


def connect_node(names: LabNames, node: str, *, index: int, families: tuple[Family, ...]) -> None:
    """Create a node's namespace, with its uplink on the fabric and an address per family."""
    netns.create(names.node(node))
    with netns.opened(names.fabric) as fabric, netns.opened(names.node(node)) as leg:
        links = Links(netns_fd=leg)
        ports = Links(netns_fd=fabric)
        try:
            links.set_up("lo")
            links.create_veth(UPLINK, node, peer_netns=fabric, mtu=MTU_BYTES)
            ports.set_master(node, BRIDGE)
            ports.set_up(node)
            links.set_up(UPLINK)
            for family in families:
                links.add_address(UPLINK, node_interface(index, family))
            _add_default_routes(leg, families)
        finally:
            links.close()
            ports.close()


def _add_default_routes(leg: int, families: tuple[Family, ...]) -> None:
    with Routes(netns_fd=leg) as routes:
        wanted = [
            Route(dst=Prefix(family, 0, 0), via=gateway(family).address, device=UPLINK, protocol=PROTOCOL_STATIC)
            for family in families
        ]
        for failure in routes.replace(wanted):
            raise failure.error


def remove_namespace(name: str) -> None:
    """Delete a network namespace and all links in it; one that is gone is fine."""
    netns.delete(name)
