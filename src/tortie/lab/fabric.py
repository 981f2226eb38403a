"""The cables: an L2 segment per rack, a bridge in one network namespace, and a leg of it on every node.

A bridge has the first address of its rack's subnets and is its nodes' default gateway: the fabric plays the world outside, and
the kernel answers a pod's ARP for 169.254.1.1 (proxy ARP) only where it has a route there. Between racks the fabric is a router
that knows the racks' subnets and nothing of pods: a packet that crosses with a pod's own address is lost there.
"""

from collections.abc import Iterable

from tortie.base.net import Address, Family, Interface, Prefix, parse_prefix
from tortie.kernel import netns, sysctl
from tortie.kernel.link import Links
from tortie.kernel.route import Route, Routes
from tortie.lab.names import LabNames
from tortie.lab.spec import LabError, LabSpec, NodeSpec

UPLINK = "eth0"
PROTOCOL_STATIC = 4
"""RTPROT_STATIC: an administrator's route, not one of Tortie's."""
SUBNETS = {Family.V4: parse_prefix("172.18.0.0/24"), Family.V6: parse_prefix("fd18::/64")}
"""Of rack 0; the others follow: 172.18.<rack>.0/24, fd18:0:0:<rack>::/64."""


def subnet(rack: int, family: Family) -> Prefix:
    """The subnet of a rack."""
    first = SUBNETS[family]
    return Prefix(family, first.value + (rack << (family.bits - first.length)), first.length)


def node_interface(index: int, family: Family, *, rack: int = 0) -> Interface:
    """The address of the lab's index-th node (from 0), which stands in `rack`. No two nodes have the same last number."""
    if index > 250:
        raise LabError("a lab has at most 250 nodes")
    own = subnet(rack, family)
    return Interface(Address(family, own.value + 2 + index), own.length)


def node_interfaces(spec: LabSpec, family: Family) -> dict[str, Interface]:
    """The address of every node of a lab."""
    return {node.name: node_interface(index, family, rack=node.rack) for index, node in enumerate(spec.nodes)}


def node_addresses(spec: LabSpec) -> dict[str, str]:
    """Every address of a node, and whose it is."""
    return {
        str(interface.address): node
        for family in map(Family, spec.families)
        for node, interface in node_interfaces(spec, family).items()
    }


def gateway(family: Family, *, rack: int = 0) -> Interface:
    """The address of the fabric itself in a rack."""
    own = subnet(rack, family)
    return Interface(Address(family, own.value + 1), own.length)


def bridge(rack: int) -> str:
    """The name of a rack's bridge in the fabric's namespace."""
    return f"fabric{rack}"


def build_fabric(names: LabNames, *, families: tuple[Family, ...], racks: Iterable[int] = (0,), mtu: int = 1500) -> None:
    """Create the fabric's namespace, a bridge per rack, and the way between them."""
    netns.create(names.fabric)
    with netns.opened(names.fabric) as fabric, Links(netns_fd=fabric) as links:
        links.set_up("lo")
        sysctl.write_many({f"net/ipv6/conf/{which}/accept_dad": 0 for which in ("all", "default")}, netns_fd=fabric)
        for rack in sorted(set(racks)):
            links.create_bridge(bridge(rack), mtu=mtu)
            links.set_up(bridge(rack))
            for family in families:
                links.add_address(bridge(rack), gateway(family, rack=rack))
        sysctl.write_many({"net/ipv4/ip_forward": 1, "net/ipv6/conf/all/forwarding": 1}, netns_fd=fabric)


def connect_node(names: LabNames, node: NodeSpec, *, index: int, families: tuple[Family, ...], mtu: int = 1500) -> None:
    """Create a node's namespace, with its uplink in its rack and an address per family."""
    netns.create(names.node(node.name))
    with (
        netns.opened(names.fabric) as fabric,
        netns.opened(names.node(node.name)) as leg,
        Links(netns_fd=leg) as links,
        Links(netns_fd=fabric) as ports,
    ):
        links.set_up("lo")
        links.create_veth(UPLINK, node.name, peer_netns=fabric, mtu=mtu)
        ports.set_master(node.name, bridge(node.rack))
        ports.set_up(node.name)
        # A network that has been there for long: no seconds in which a node may not ask for its neighbours yet.
        sysctl.write_many({f"net/ipv6/conf/{UPLINK}/accept_dad": 0}, netns_fd=leg)
        links.set_up(UPLINK)
        for family in families:
            links.add_address(UPLINK, node_interface(index, family, rack=node.rack))
        _add_default_routes(leg, families, node.rack)


def _add_default_routes(leg: int, families: tuple[Family, ...], rack: int) -> None:
    with Routes(netns_fd=leg) as routes:
        wanted = [
            Route(dst=Prefix(family, 0, 0), via=gateway(family, rack=rack).address, device=UPLINK, protocol=PROTOCOL_STATIC)
            for family in families
        ]
        for failure in routes.replace(wanted):
            raise failure.error
