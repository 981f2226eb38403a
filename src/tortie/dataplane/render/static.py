"""What the base chains lead to, whoever is on the node: dispatch, anti-spoofing, workload to host, masquerading. Pure.

What reaches the end of a base chain is accepted as far as we are concerned; other tables keep their say. A packet from the
host itself to a local workload is never policed. A workload interface that no dispatch map knows drops everything, with or
without an agent: that is how a node without policy, yet, is closed.
"""

from collections.abc import Iterable

from tortie.base.net import FAMILIES, Family, parse_prefix, single
from tortie.dataplane.render import names
from tortie.dataplane.render.config import Config
from tortie.dataplane.render.hooks import Frame, marks_incoming, render_hooks
from tortie.dataplane.render.nat import render_nat_outgoing
from tortie.dataplane.render.policy import deny
from tortie.dataplane.render.tunnels import render_tunnel_sources
from tortie.intent.routing import WorkloadEnd
from tortie.kernel.nft import objects as nft

_TCP = 6
_ICMPV6 = 58
_POSTROUTING = nft.Hook("nat", "postrouting", 110)  # behind kube-proxy's masquerading, at 100
_LOOPBACK = parse_prefix("127.0.0.0/8")
_LINK_LOCAL_SOURCES = (parse_prefix("::/128"), parse_prefix("fe80::/10"))
_ND_TYPES = (131, 132, 133, 135, 136, 143)
"""Multicast listener reports and done, router and neighbour solicitation, neighbour advertisement."""
_TO_HOST_ICMPV6_TYPES = (130, 131, 132, 133, 135, 136)

_BARE = Frame()
_ADDRESS_TYPES = {Family.V4: nft.ElementType.IPV4, Family.V6: nft.ElementType.IPV6}


def render_static(config: Config, frame: Frame = _BARE) -> list[nft.Chain]:
    """Every chain that exists whether or not there is an endpoint, and those that `frame` asks for."""
    chains = [
        *render_hooks(config, frame),
        _reverse_path(),
        _neighbour_discovery(),
        _workload_to_host(config, frame.peerings),
        _dispatch(names.FROM_DISPATCH, nft.IfNameVmap("iif", names.FROM_DISPATCH), config=config),
        _dispatch(names.TO_DISPATCH, nft.IfNameVmap("oif", names.TO_DISPATCH), config=config),
        nft.Chain(
            names.NAT_POSTROUTING,
            tuple(
                nft.Rule((nft.Jump(name),)) for name in (names.NAT_OUTGOING, *([names.NAT_TUNNELS] if frame.tunnels else []))
            ),
            _POSTROUTING,
        ),
        render_nat_outgoing(config),
    ]
    if frame.tunnels:
        chains.append(render_tunnel_sources(config, frame.tunnels, vxlan=bool(frame.vxlan)))
    if frame.service_nets:
        chains.append(_cidr_block(config))
    if marks_incoming(config):
        chains.append(_wireguard_mark(config))
    return chains


def render_spoofing_skip(rules: list[nft.Rule]) -> nft.Chain:
    """The chain of sources that need no route back; empty unless WorkloadSourceSpoofing is Any."""
    return nft.Chain(names.RAW_RPF_SKIP, tuple(rules))


def dispatch_maps() -> tuple[nft.SetSpec, nft.SetSpec]:
    """The maps from interface to endpoint chain: from workloads, to workloads."""
    from_map, to_map = (
        nft.SetSpec(name, nft.ElementType.IFNAME, is_verdict_map=True) for name in (names.FROM_DISPATCH, names.TO_DISPATCH)
    )
    return from_map, to_map


def address_set(set_id: str, family: Family, *, comment: str = "") -> nft.SetSpec:
    """An interval set for one family."""
    return nft.SetSpec(names.set_name(set_id, family), _ADDRESS_TYPES[family], interval=True, comment=comment)


def _reverse_path() -> nft.Chain:
    return nft.Chain(
        names.RAW_RPF,
        (
            # Packets of neighbour discovery come from link-local addresses, or from none while an address is being tried
            # out. They never leave the link, and without them a workload has no IPv6 at all.
            nft.Rule(
                (
                    nft.NfProto(Family.V6),
                    nft.L4Proto(_ICMPV6),
                    nft.Nets("source", _LINK_LOCAL_SOURCES),
                    nft.Jump(names.RAW_ND),
                )
            ),
            nft.Rule((nft.Jump(names.RAW_RPF_SKIP),)),
            nft.Rule((nft.NoReversePath(), nft.Counter(), nft.DROP), "source address is not the workload's"),
        ),
    )


def _neighbour_discovery() -> nft.Chain:
    return nft.Chain(
        names.RAW_ND,
        tuple(nft.Rule((nft.L4Proto(_ICMPV6), nft.IcmpIs(Family.V6, kind), nft.ACCEPT)) for kind in _ND_TYPES),
    )


def _workload_to_host(config: Config, peerings: Iterable[WorkloadEnd] = ()) -> nft.Chain:
    rules = [
        nft.Rule((nft.NfProto(Family.V6), nft.L4Proto(_ICMPV6), nft.IcmpIs(Family.V6, kind), nft.ACCEPT))
        for kind in _TO_HOST_ICMPV6_TYPES
    ]
    # Workloads' devices route to 127.0.0.0/8, for translation to it. What listens there counts on nobody but the node itself.
    rules.append(
        nft.Rule(
            (
                nft.NfProto(_LOOPBACK.family),
                nft.Net("destination", _LOOPBACK),
                nft.CtState(nft.CT_ESTABLISHED | nft.CT_RELATED, "!="),
                nft.CtStatus(nft.CT_STATUS_DNAT, "!="),
                nft.Counter(),
                nft.DROP,
            ),
            "to the node's loopback",
        )
    )
    rules.append(nft.Rule((nft.Jump(names.FROM_DISPATCH),)))
    rules += [_bgp_from(end) for end in peerings]
    match config.endpoint_to_host:
        case "DROP":
            rules.append(nft.Rule((nft.Counter(), nft.DROP), "DefaultEndpointToHostAction is Drop"))
        case "ACCEPT":
            rules.append(nft.Rule((nft.ACCEPT,), "DefaultEndpointToHostAction is Accept"))
        case "RETURN":
            pass
    return nft.Chain(names.FILTER_TO_HOST, tuple(rules))


def _bgp_from(end: WorkloadEnd) -> nft.Rule:
    """Policy of the workload was asked before; what is decided here is only that the node listens."""
    return nft.Rule(
        (
            nft.IfName("iif", end.interface),
            nft.NfProto(end.address.family),
            nft.Net("destination", single(end.address)),
            nft.L4Proto(_TCP),
            nft.Ports("destination", ((end.port, end.port),)),
            nft.ACCEPT,
        ),
        "BGP of a workload",
    )


def _dispatch(name: str, lookup: nft.IfNameVmap, *, config: Config) -> nft.Chain:
    return nft.Chain(name, (nft.Rule((lookup,)), nft.Rule(deny(config), "unknown workload interface")))


def _wireguard_mark(config: Config) -> nft.Chain:
    inside = ("lo", *config.wireguard.devices, *(f"{prefix}*" for prefix in config.interface_prefixes))
    mark = config.marks.wireguard
    return nft.Chain(
        names.RAW_WIREGUARD,
        (
            *(nft.Rule((nft.IfName("iif", name), nft.RETURN)) for name in inside),
            nft.Rule((nft.SetMark(mark, mark),), "from outside, not through WireGuard"),
        ),
    )


def _cidr_block(config: Config) -> nft.Chain:
    """An address of a service that nobody translated belongs to no service; forwarded, it would come back for ever."""
    verdict = nft.Reject() if config.service_loop == "REJECT" else nft.DROP
    return nft.Chain(
        names.FILTER_CIDR_BLOCK,
        tuple(
            nft.Rule(
                (
                    nft.NfProto(family),
                    nft.NetIn("destination", family, names.set_name(names.SERVICE_NETS, family)),
                    nft.Counter(),
                    verdict,
                ),
                "no such service (ServiceLoopPrevention)",
            )
            for family in FAMILIES
        ),
    )
