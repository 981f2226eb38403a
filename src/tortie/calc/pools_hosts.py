"""IP pools and hosts, for routes and address translation."""

from collections.abc import Callable

from tortie.api.ippool import IPPool
from tortie.api.node import Node
from tortie.api.resource import Key
from tortie.base.net import FAMILIES, Family, Interface, Prefix, parse_interface, parse_prefix
from tortie.calc.problems import Problems
from tortie.intent.routing import Host, Pool

_FALLBACK_TYPES = ("InternalIP", "ExternalIP")


class Pools:
    """Pools by CIDR. Of several with one CIDR the one with the lowest name counts."""

    def __init__(self, emit: Callable[[Prefix, Pool | None], None], problems: Problems) -> None:
        self._emit = emit
        self._problems = problems
        self._pools: dict[str, Pool] = {}
        self._by_cidr: dict[Prefix, set[str]] = {}

    def on_pool(self, key: Key, value: IPPool | None) -> None:
        """A pool came, changed or went."""
        new = None if value is None else intent_pool(value)
        bad = value is not None and new is None
        self._problems.report(key, "pool", ["spec.cidr: not a CIDR; the pool is left out"] if bad else ())
        old = self._pools.pop(key.name, None)
        if old is not None:
            self._by_cidr[old.cidr].discard(key.name)
        if new is not None:
            self._pools[key.name] = new
            self._by_cidr.setdefault(new.cidr, set()).add(key.name)
        for cidr in {each.cidr for each in (old, new) if each is not None}:
            names = self._by_cidr[cidr]
            self._emit(cidr, self._pools[min(names)] if names else None)
            if not names:
                del self._by_cidr[cidr]

    def is_empty(self) -> bool:
        """True if there is no pool."""
        return not (self._pools or self._by_cidr)


def host(node: Node) -> Host:
    """A node's addresses: what its BGP section says; else its first internal, then its first external address."""
    found = {family: _address(node, family) for family in FAMILIES}
    return Host(name=node.metadata.name, ipv4=found[Family.V4], ipv6=found[Family.V6])


def _address(node: Node, family: Family) -> Interface | None:
    candidates: list[str] = []
    if node.spec.bgp is not None:
        candidates.append(node.spec.bgp.ipv4_address if family is Family.V4 else node.spec.bgp.ipv6_address)
    for kind in _FALLBACK_TYPES:
        candidates += [each.address for each in node.spec.addresses if each.type == kind]
    for text in candidates:
        try:
            interface = parse_interface(text)
        except ValueError:
            continue
        if interface.address.family is family:
            return interface
    return None


def intent_pool(pool: IPPool) -> Pool | None:
    """The pool as a node needs it; None if its CIDR cannot be read."""
    spec = pool.spec
    try:
        cidr = parse_prefix(spec.cidr, strict=False)
    except ValueError:
        return None
    return Pool(
        cidr=cidr,
        nat_outgoing=spec.nat_outgoing,
        ipip_mode=spec.ipip_mode or "Never",
        vxlan_mode=spec.vxlan_mode or "Never",
        disabled=spec.disabled,
        disable_bgp_export=spec.disable_bgp_export,
    )
