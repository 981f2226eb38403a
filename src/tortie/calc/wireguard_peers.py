"""Which other nodes WireGuard can be spoken with."""

import base64
import binascii
from collections.abc import Callable, Iterable, Iterator

from tortie.base.net import FAMILIES, Family, Prefix, single
from tortie.calc.multimap import discard
from tortie.calc.routing_facts import NodeFacts
from tortie.calc.routing_settings import RoutingSettings
from tortie.intent.routes import WireguardPeer

_KEY_BYTES = 32
_FIELDS = {Family.V4: "status.wireguardPublicKey", Family.V6: "status.wireguardPublicKeyV6"}


class WireguardKeys:
    """Keys of all nodes, this one included. A key that two nodes have is nobody's: packets would go to either."""

    def __init__(self, on_change: Callable[[str], None]) -> None:
        """`on_change` is told the names of nodes whose key may be usable now and was not, or the other way about."""
        self._on_change = on_change
        self._keys: dict[tuple[str, Family], str] = {}
        self._nodes: dict[tuple[str, Family], set[str]] = {}

    def on_node(self, name: str, facts: NodeFacts | None) -> None:
        """A node came, changed or went."""
        for family in FAMILIES:
            new = facts.of(family).wireguard_key if facts is not None else ""
            old = self._keys.get((name, family), "")
            if new == old:
                continue
            concerned = {name}
            if old:
                del self._keys[name, family]
                concerned |= self._nodes[old, family]
                discard(self._nodes, (old, family), name)
            if new:
                self._keys[name, family] = new
                self._nodes.setdefault((new, family), set()).add(name)
                concerned |= self._nodes[new, family]
            for each in concerned:
                self._on_change(each)

    def problem(self, name: str, family: Family) -> str:
        """Why a node's key cannot be used; "" if it can, or if there is none."""
        key = self._keys.get((name, family))
        if key is None:
            return ""
        if not _is_key(key):
            return f"{_FIELDS[family]} of node {name} is no WireGuard key"
        others = sorted(self._nodes[key, family] - {name})
        return f"{_FIELDS[family]} of node {name} is also that of node {', '.join(others)}" if others else ""

    def usable(self, name: str, family: Family) -> bool:
        """True if the node has a key of its own."""
        return (name, family) in self._keys and not self.problem(name, family)

    def problems(self, name: str) -> Iterator[str]:
        """All sentences about one node."""
        for family in FAMILIES:
            found = self.problem(name, family)
            if found:
                yield f"{found}: nothing is encrypted with it"

    def is_empty(self) -> bool:
        """True if there is no key."""
        return not (self._keys or self._nodes)


def _is_key(text: str) -> bool:
    """True for base64 as everybody writes it: another spelling of a key would not be known for the same."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return len(raw) == _KEY_BYTES and base64.b64encode(raw).decode() == text


def peer(
    node: NodeFacts, family: Family, *, keys: WireguardKeys, settings: RoutingSettings, networks: Iterable[Prefix]
) -> WireguardPeer | None:
    """Another node in the WireGuard of one family; None where it has no address, or we no WireGuard.

    `networks` is all that it alone has: of two peers with one network the device would keep the one that it was told of last.
    """
    address = node.address(family)
    if address is None or family not in settings.encrypts:
        return None
    allowed = {each for each in networks if each.family is family}
    if settings.host_encryption:
        allowed.add(single(address))
    return WireguardPeer(
        node=node.name,
        family=family,
        public_key=node.of(family).wireguard_key,
        endpoint=address,
        port=dict(settings.wireguard_ports)[family],
        allowed=tuple(sorted(allowed)),
        problem=keys.problem(node.name, family),
    )
