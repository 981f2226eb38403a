"""Nodes and pools as far as routes depend on them: parsed once, compared cheaply."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from tortie.api.ippool import IPPool
from tortie.api.node import Node
from tortie.api.selector import SelectorError, parse_selector
from tortie.base.net import FAMILIES, Address, Family, Interface, Prefix, parse_address, single
from tortie.calc.pools_hosts import host, intent_pool
from tortie.intent.routes import Way
from tortie.intent.routing import Pool

_MAC = re.compile(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}")


@dataclass(frozen=True, slots=True)
class EndOf:
    """What a node says about itself for one family."""

    interface: Interface | None
    """The node's own address and subnet."""
    vxlan: Address | None
    vxlan_mac: str
    ipip: Address | None
    wireguard: Address | None
    wireguard_key: str


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """One node."""

    name: str
    ends: tuple[EndOf, EndOf]
    labels: Mapping[str, str]
    """Empty for other nodes: nothing here depends on theirs."""

    def of(self, family: Family) -> EndOf:
        """Its facts of one family."""
        return self.ends[0] if family is Family.V4 else self.ends[1]

    def address(self, family: Family) -> Address | None:
        """The node's own address."""
        interface = self.of(family).interface
        return None if interface is None else interface.address

    def tunnel_addresses(self, family: Family) -> frozenset[Prefix]:
        """Addresses of its tunnels' ends."""
        end = self.of(family)
        return frozenset(single(each) for each in (end.vxlan, end.ipip, end.wireguard) if each is not None)


def node_facts(node: Node, *, is_local: bool) -> NodeFacts:
    """What cannot be read counts as not there."""
    spec, status, name = node.spec, node.status, node.metadata.name
    addresses, bgp, wireguard = host(node), spec.bgp, spec.wireguard
    four = EndOf(
        interface=addresses.ipv4,
        vxlan=_address(spec.ipv4_vxlan_tunnel_addr, Family.V4),
        vxlan_mac=_mac(spec.vxlan_tunnel_mac_addr) or vxlan_mac(name, Family.V4),
        ipip=_address(bgp.ipv4_ipip_tunnel_addr, Family.V4) if bgp is not None else None,
        wireguard=_address(wireguard.interface_ipv4_address, Family.V4) if wireguard is not None else None,
        wireguard_key=status.wireguard_public_key if status is not None else "",
    )
    six = EndOf(
        interface=addresses.ipv6,
        vxlan=_address(spec.ipv6_vxlan_tunnel_addr, Family.V6),
        vxlan_mac=_mac(spec.vxlan_tunnel_mac_addr_v6) or vxlan_mac(name, Family.V6),
        ipip=None,
        wireguard=_address(wireguard.interface_ipv6_address, Family.V6) if wireguard is not None else None,
        wireguard_key=status.wireguard_public_key_v6 if status is not None else "",
    )
    return NodeFacts(name, (four, six), dict(node.metadata.labels) if is_local else {})


def vxlan_mac(name: str, family: Family) -> str:
    """The MAC address of a node's VXLAN device where the Node names none: every node derives it alike."""
    text = name if family is Family.V4 else f"{name}-v6"
    # No secret and no signature: a name becomes a number, as all of Calico's nodes compute it.
    digest = hashlib.sha1(text.encode(), usedforsecurity=False).digest()
    return ":".join(f"{octet:02x}" for octet in (0x66, *digest[:5]))


def _address(text: str, family: Family) -> Address | None:
    try:
        address = parse_address(text)
    except ValueError:
        return None
    return address if address.family is family else None


def _mac(text: str) -> str:
    lowered = text.lower().replace("-", ":")
    return lowered if _MAC.fullmatch(lowered) else ""


@dataclass(frozen=True, slots=True)
class PoolFacts:
    """One pool."""

    name: str
    pool: Pool
    way: Way | None
    """How it is encapsulated; None: not at all."""
    cross_subnet: bool
    """Within a subnet it is not encapsulated."""
    gives_tunnels: bool
    """Tunnels may take their addresses from it, on the nodes that it selects."""
    node_selector: str

    def selects(self, labels: Mapping[str, str]) -> bool:
        """True if a node with these labels may take addresses."""
        try:
            return parse_selector(self.node_selector).matches(labels)
        except SelectorError:
            return False


def pool_facts(value: IPPool) -> PoolFacts | None:
    """None if its CIDR cannot be read. IPIP is of IPv4 alone."""
    pool = intent_pool(value)
    if pool is None:
        return None
    way, mode = None, "Never"
    if pool.vxlan_mode != "Never":
        way, mode = Way.VXLAN, pool.vxlan_mode
    elif pool.ipip_mode != "Never" and pool.cidr.family is Family.V4:
        way, mode = Way.IPIP, pool.ipip_mode
    uses = value.spec.allowed_uses
    usable = not pool.disabled and value.metadata.deletion_timestamp is None
    return PoolFacts(
        name=value.metadata.name,
        pool=pool,
        way=way,
        cross_subnet=mode == "CrossSubnet",
        gives_tunnels=usable and (not uses or "Tunnel" in uses),
        node_selector=value.spec.node_selector,
    )


def families_of(node: NodeFacts | None) -> tuple[Family, ...]:
    """The families of which a node has an address."""
    return () if node is None else tuple(family for family in FAMILIES if node.address(family) is not None)
