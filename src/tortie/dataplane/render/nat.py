"""Addresses that are translated: what leaves the cluster gets the node's, a floating address leads to its workload. Pure."""

from collections.abc import Iterable, Iterator

from tortie.base.net import FAMILIES, Family, single
from tortie.dataplane.render import names
from tortie.dataplane.render.config import Config
from tortie.intent.endpoint import FloatingAddress
from tortie.kernel.nft import objects as nft

_TRANSPORTS = {6: "TCP", 17: "UDP"}
# Behind kube-proxy's own chains, at -100: whose packet is a service's is no floating address's.
_PREROUTING = nft.Hook("nat", "prerouting", -90)
_OUTPUT = nft.Hook("nat", "output", -90)
_POSTROUTING = nft.Hook("nat", "postrouting", 109)


def render_nat_outgoing(config: Config) -> nft.Chain:
    """Packets from pools with natOutgoing to what is in no pool."""
    return nft.Chain(names.NAT_OUTGOING, tuple(rule for family in FAMILIES for rule in _outgoing(config, family)))


def _outgoing(config: Config, family: Family) -> Iterator[nft.Rule]:
    match: list[nft.Statement] = [
        nft.NfProto(family),
        nft.NetIn("source", family, names.set_name(names.MASQUERADE_POOLS, family)),
        nft.NetIn("destination", family, names.set_name(names.POOLS, family), "!="),
    ]
    if config.nat_excludes_hosts:
        match.append(nft.NetIn("destination", family, names.set_name(names.ALL_HOSTS, family), "!="))
    if config.nat_interface:
        match.append(nft.IfName("oif", config.nat_interface))
    if config.nat_ports is not None:
        for protocol, name in _TRANSPORTS.items():
            yield nft.Rule((*match, nft.L4Proto(protocol), _target(config, family, config.nat_ports)), f"natOutgoing, {name}")
    yield nft.Rule((*match, _target(config, family, None)), "natOutgoing")


def _target(config: Config, family: Family, ports: tuple[int, int] | None) -> nft.Masquerade | nft.SourceNat:
    if config.nat_address is not None and config.nat_address.family is family:
        return nft.SourceNat(config.nat_address, ports=ports)
    return nft.Masquerade(ports=ports)


def render_floating(floating: Iterable[FloatingAddress]) -> tuple[nft.Chain, ...]:
    """All chains that floating addresses need, their base chains too; none without any."""
    entries = sorted(floating, key=lambda each: each.external)
    if not entries:
        return ()
    jump = (nft.Rule((nft.Jump(names.NAT_FLOATING_IN),)),)
    return (
        nft.Chain(names.NAT_PREROUTING, jump, _PREROUTING),
        nft.Chain(names.NAT_OUTPUT, jump, _OUTPUT),
        nft.Chain(names.NAT_FLOATING_IN, tuple(map(_inwards, entries))),
        nft.Chain(names.NAT_FLOATING_OUT, tuple(map(_to_itself, entries)), _POSTROUTING),
    )


def _inwards(each: FloatingAddress) -> nft.Rule:
    match = nft.NfProto(each.external.family), nft.Net("destination", single(each.external))
    return nft.Rule((*match, nft.DestinationNat(each.internal)), f"floating address {each.external}")


def _to_itself(each: FloatingAddress) -> nft.Rule:
    """A workload that calls its own floating address must not see itself call: it would answer past the translation."""
    internal = single(each.internal)
    match = nft.NfProto(internal.family), nft.Net("source", internal), nft.Net("destination", internal)
    return nft.Rule((*match, nft.SourceNat(each.external, fully_random=False)), f"{each.external} to itself")
