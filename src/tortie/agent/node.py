"""This node's own resource in the datastore, and the sysctls a router needs (Calico's "node startup").

Addresses come from IP and IP6 (`address/length`, `none`, or `autodetect`, the default: the first global address of the
first interface that is not one of ours).
"""

from collections.abc import Mapping

import msgspec

from tortie.agent.options import AgentError
from tortie.api.node import Node, NodeBGP, NodeSpec
from tortie.api.resource import Key, Metadata
from tortie.base import log
from tortie.base.net import Family, Interface, parse_interface
from tortie.datastore.client import Client
from tortie.datastore.errors import AlreadyExists, DoesNotExist, NotSupported, Unavailable, UpdateConflict
from tortie.kernel import sysctl
from tortie.kernel.errors import NotFound
from tortie.kernel.link import Links

_log = log.get(__name__)
NOT_OURS = (
    "lo",
    "cali",
    "tap",
    "vxlan.",
    "vxlan-",
    "tunl",
    "wireguard.",
    "wg-v6.",
    "docker",
    "br-",
    "veth",
    "kube-ipvs",
    "virbr",
)
ROUTER_SYSCTLS = (("net/ipv4/ip_forward", "1"), ("net/ipv6/conf/all/forwarding", "1"))


def prepare_kernel() -> None:
    """Make this network namespace a router. A family that the kernel lacks is passed over."""
    for name, value in ROUTER_SYSCTLS:
        try:
            sysctl.write(name, value)
        except NotFound:
            _log.warning("sysctl %s does not exist here: that family will not be forwarded", name)


def node_addresses(environment: Mapping[str, str], links: Links) -> dict[Family, Interface]:
    """This node's address per family. Raises AgentError on a bad IP or IP6, or when there is no address at all."""
    found: dict[Family, Interface] = {}
    for family, variable in ((Family.V4, "IP"), (Family.V6, "IP6")):
        text = environment.get(variable, "autodetect") or "autodetect"
        if text == "none":
            continue
        address = _autodetect(links, family) if text == "autodetect" else _parse(variable, text, family)
        if address is not None:
            found[family] = address
    if not found:
        raise AgentError("this node has no address: set IP or IP6 to address/length")
    return found


def _parse(variable: str, text: str, family: Family) -> Interface:
    try:
        address = parse_interface(text)
    except ValueError as error:
        raise AgentError(f"{variable}={text!r}: {error}") from error
    if address.address.family is not family:
        raise AgentError(f"{variable}={text!r}: an IPv{family.value} address is expected")
    return address


def _autodetect(links: Links, family: Family) -> Interface | None:
    names = {link.index: link.name for link in links.list() if link.up and not link.name.startswith(NOT_OURS)}
    for entry in links.addresses():
        if entry.index in names and entry.interface.address.family is family and entry.is_global:
            return entry.interface
    return None


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
