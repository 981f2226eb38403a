"""This node's own resource in the datastore, and the sysctls a router needs (Calico's "node startup")."""

from collections.abc import Mapping

import msgspec

from tortie.agent.autodetect import IP_VARIABLES, METHOD_VARIABLES
from tortie.agent.options import AgentError
from tortie.api.node import Node, NodeBGP, NodeSpec
from tortie.api.resource import Key, Metadata
from tortie.base import log
from tortie.base.net import FAMILIES, Family, Interface, parse_interface
from tortie.datastore.client import Client
from tortie.datastore.errors import AlreadyExists, DoesNotExist, NotSupported, Unavailable, UpdateConflict
from tortie.kernel import sysctl
from tortie.kernel.errors import NotFound

_log = log.get(__name__)
ROUTER_SYSCTLS = (("net/ipv4/ip_forward", "1"), ("net/ipv6/conf/all/forwarding", "1"))


def prepare_kernel() -> None:
    """Make this network namespace a router. A family that the kernel lacks is passed over."""
    for name, value in ROUTER_SYSCTLS:
        try:
            sysctl.write(name, value)
        except NotFound:
            _log.warning("sysctl %s does not exist here: that family will not be forwarded", name)


async def stored_node(client: Client, name: str) -> Node | None:
    """This node's resource as it is."""
    try:
        stored = await client.get(Key("Node", "", name))
    except DoesNotExist:
        return None
    assert isinstance(stored, Node)
    return stored


def stored_addresses(node: Node | None) -> dict[Family, Interface]:
    """The addresses that a node's resource has; one that cannot be read counts as none."""
    found: dict[Family, Interface] = {}
    if node is None or node.spec.bgp is None:
        return found
    for family, text in zip(FAMILIES, (node.spec.bgp.ipv4_address, node.spec.bgp.ipv6_address), strict=True):
        try:
            found[family] = parse_interface(text)
        except ValueError:
            continue
    return found


async def refuse_duplicates(client: Client, name: str, addresses: Mapping[Family, Interface]) -> None:
    """Raise AgentError when another node has one of these addresses: two nodes with one address lose each other's packets."""
    for other in (await client.list("Node")).items:
        assert isinstance(other, Node)
        if other.metadata.name == name:
            continue
        for family, interface in stored_addresses(other).items():
            if family in addresses and interface.address == addresses[family].address:
                raise AgentError(
                    f"node {name}: its IPv{family.value} address {interface.address} is that of node {other.metadata.name} "
                    f"already; give one of them another address ({IP_VARIABLES[family]}, {METHOD_VARIABLES[family]}), or "
                    f"delete Node {other.metadata.name} if it is no more"
                )


async def register(client: Client, name: str, addresses: Mapping[Family, Interface], *, as_number: str = "") -> Node:
    """Create this node's resource, or bring its BGP addresses up to date; all other fields stay as they are.

    Raises Unavailable where only others can create it, and have not.
    """
    while True:
        try:
            stored = await client.get(Key("Node", "", name))
        except DoesNotExist:
            try:
                created = await client.create(Node(metadata=Metadata(name=name), spec=_spec(NodeSpec(), addresses, as_number)))
            except AlreadyExists:
                continue
            except NotSupported as error:  # Kubernetes: a kubelet that starts will soon have made it
                raise Unavailable(f"there is no Node {name!r} yet, is it what its kubelet calls it? ({error})") from error
            assert isinstance(created, Node)
            return created
        assert isinstance(stored, Node)
        wanted = msgspec.structs.replace(stored, spec=_spec(stored.spec, addresses, as_number))
        if wanted == stored:
            return stored
        try:
            updated = await client.update(wanted)
        except (UpdateConflict, DoesNotExist):
            continue
        assert isinstance(updated, Node)
        return updated


def _spec(spec: NodeSpec, addresses: Mapping[Family, Interface], as_number: str) -> NodeSpec:
    bgp = msgspec.structs.replace(
        spec.bgp or NodeBGP(),
        ipv4_address=str(addresses[Family.V4]) if Family.V4 in addresses else "",
        ipv6_address=str(addresses[Family.V6]) if Family.V6 in addresses else "",
    )
    if as_number:
        bgp = msgspec.structs.replace(bgp, as_number=int(as_number) if as_number.isdecimal() else as_number)
    return msgspec.structs.replace(spec, bgp=bgp)
