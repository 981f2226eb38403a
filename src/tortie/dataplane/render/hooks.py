"""Where packets are led to policy: the base chains. Pure.

    in ─► raw PREROUTING ─► tracking ─► mangle PREROUTING ─► DNAT ─┬─► filter INPUT ──► node
          source, untracked             pre-DNAT                   └─► filter FORWARD ─────────────────────┐
    node ─► raw OUTPUT ─► tracking ─► DNAT ─► filter OUTPUT ─────────────► mangle POSTROUTING ─► SNAT ─► out
            untracked                         tunnels, ordinary egress     ordinary egress of what was DNATed

What untracked or pre-DNAT policy allows carries the accept mark to the hooks behind, because an `accept` of nft ends one base
chain and no more. The first chain that sets the mark for others takes it from packets that bring one along; a chain that no
other sets the mark for does not look at it.

A node without host endpoints has of all this only PREROUTING of the source check, INPUT and FORWARD of its workloads.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from tortie.base.net import FAMILIES, Family, Prefix
from tortie.dataplane.render import names
from tortie.dataplane.render.config import Config
from tortie.dataplane.render.names import Layer
from tortie.dataplane.render.policy import deny
from tortie.intent.endpoint import HostEndpoint, Tier
from tortie.intent.host_endpoints import EVERY_INTERFACE
from tortie.intent.policy import Direction
from tortie.intent.routing import Pool, WorkloadEnd
from tortie.kernel.nft import objects as nft

_PREROUTING = nft.Hook("filter", "prerouting", -300)
_OUTPUT = nft.Hook("filter", "output", -300)
_BEFORE_DNAT = nft.Hook("filter", "prerouting", -150)
_AFTER_ROUTING = nft.Hook("filter", "postrouting", -150)
_FORWARD = nft.Hook("filter", "forward", 0)
_INPUT = nft.Hook("filter", "input", 0)
_LOCAL_OUTPUT = nft.Hook("filter", "output", 0)

_IPIP, _UDP = 4, 17
_LOCAL = 2
_NEVER = "Never"
_NO_DIRECTION: frozenset[Direction] = frozenset()


@dataclass(frozen=True, slots=True)
class Frame:
    """What stands in the base chains only while something needs it."""

    host_endpoints: bool = False
    untracked: frozenset[Direction] = _NO_DIRECTION
    pre_dnat: bool = False
    forward: bool = False
    ipip: bool = False
    vxlan: frozenset[Family] = frozenset()
    service_nets: bool = False
    peerings: tuple[WorkloadEnd, ...] = ()
    tunnels: tuple[str, ...] = ()
    """Devices of tunnels that have an end here."""

    @property
    def approves_early(self) -> bool:
        """True if a packet may arrive at the filter layer with the accept mark."""
        return self.pre_dnat or Direction.INGRESS in self.untracked


def frame_of(
    endpoints: Iterable[HostEndpoint],
    pools: Iterable[Pool],
    *,
    service_nets: Iterable[Prefix],
    config: Config,
    peerings: tuple[WorkloadEnd, ...] = (),
    tunnels: tuple[str, ...] = (),
) -> Frame:
    """What a node with these host endpoints, pools, service networks and workloads that speak BGP to it needs."""
    hosts, pools = list(endpoints), list(pools)
    return Frame(
        host_endpoints=bool(hosts),
        untracked=frozenset(direction for direction in Direction if any(is_untracked(host, direction) for host in hosts)),
        pre_dnat=any(has_policies(host.pre_dnat, Direction.INGRESS) for host in hosts),
        forward=any(host.forward for host in hosts),
        ipip=any(pool.ipip_mode != _NEVER for pool in pools) if config.ipip_enabled is None else config.ipip_enabled,
        vxlan=frozenset(
            family
            for family in FAMILIES
            if (
                any(pool.vxlan_mode != _NEVER and pool.cidr.family is family for pool in pools)
                if config.vxlan_enabled is None or family is Family.V6  # the parameter is about IPv4 alone
                else config.vxlan_enabled
            )
        ),
        service_nets=config.service_loop != "DISABLED" and any(True for _ in service_nets),
        peerings=peerings,
        tunnels=tunnels,
    )


def has_policies(tiers: Iterable[Tier], direction: Direction) -> bool:
    """True if any tier has a policy of this direction."""
    return any(tier.policies(direction) for tier in tiers)


def is_untracked(endpoint: HostEndpoint, direction: Direction) -> bool:
    """True if it has untracked policy, which "*" cannot have: its chain would meet packets of workloads too."""
    return endpoint.interface != EVERY_INTERFACE and has_policies(endpoint.untracked, direction)


def marks_incoming(config: Config) -> bool:
    """True if packets from outside are marked as none of WireGuard's: where hosts' own addresses are encrypted, the check of
    sources (rp_filter) would else look for WireGuard's own packets inside WireGuard."""
    return bool(config.wireguard_ports) and config.wireguard.host_encryption


def render_hooks(config: Config, frame: Frame) -> list[nft.Chain]:
    """The base chains of type filter."""
    chains = [
        nft.Chain(names.RAW_PREROUTING, _raw_prerouting(config, frame), _PREROUTING),
        nft.Chain(names.FILTER_FORWARD, _forward(config, frame), _FORWARD),
        nft.Chain(names.FILTER_INPUT, _input(config, frame), _INPUT),
    ]
    forget = nft.Rule((nft.SetMark(config.marks.verdict, 0),))
    if Direction.EGRESS in frame.untracked or frame.vxlan:
        chains.append(nft.Chain(names.RAW_OUTPUT, _raw_output(config, frame), _OUTPUT))
    if frame.pre_dnat:
        first = _approved(config, nft.ACCEPT) if Direction.INGRESS in frame.untracked else forget
        decided = nft.Rule((nft.CtState(nft.CT_ESTABLISHED | nft.CT_RELATED), nft.ACCEPT))
        rules = (first, decided, _dispatch(Direction.INGRESS, Layer.MANGLE))
        chains.append(nft.Chain(names.MANGLE_PREROUTING, rules, _BEFORE_DNAT))
    if frame.host_endpoints:
        chains.append(nft.Chain(names.FILTER_OUTPUT, _output(config, frame), _LOCAL_OUTPUT))
        chains.append(nft.Chain(names.MANGLE_POSTROUTING, _postrouting(config), _AFTER_ROUTING))
    return chains


def _raw_prerouting(config: Config, frame: Frame) -> tuple[nft.Rule, ...]:
    rules = (*_untracked_vxlan(config, frame, "destination"), *_from_workloads(config, nft.Jump(names.RAW_RPF)))
    if marks_incoming(config):
        rules = (nft.Rule((nft.Jump(names.RAW_WIREGUARD),)), *rules)
    if Direction.INGRESS not in frame.untracked:
        return rules
    forget = nft.Rule((nft.SetMark(config.marks.verdict, 0),))
    return (forget, *rules, _dispatch(Direction.INGRESS, Layer.RAW))


def _raw_output(config: Config, frame: Frame) -> tuple[nft.Rule, ...]:
    vxlan = _untracked_vxlan(config, frame, "source")
    if Direction.EGRESS not in frame.untracked:
        return vxlan
    return (nft.Rule((nft.SetMark(config.marks.verdict, 0),)), _dispatch(Direction.EGRESS, Layer.RAW), *vxlan)


def _untracked_vxlan(config: Config, frame: Frame, side: nft.Side) -> tuple[nft.Rule, ...]:
    """What is inside is tracked; around it every connection of two nodes would be one that never ends."""
    return tuple(
        nft.Rule(
            (nft.NfProto(family), *_udp(config.vxlan_port), nft.FibType(side, _LOCAL), nft.NoTrack()),
            "VXLAN is not tracked",
        )
        for family in sorted(frame.vxlan)
    )


def _forward(config: Config, frame: Frame) -> tuple[nft.Rule, ...]:
    """Nothing here accepts a new connection: whoever comes next may still drop it."""
    rules: list[nft.Rule] = []
    if frame.forward:
        unless: tuple[nft.Statement, ...] = (nft.Mark(config.marks.accept, 0),) if frame.approves_early else ()
        rules.append(nft.Rule((*unless, nft.Jump(names.host_dispatch(Direction.INGRESS, forward=True)))))
    rules += _from_workloads(config, nft.Jump(names.FROM_DISPATCH))
    rules += [nft.Rule((nft.IfName("oif", prefix), nft.Jump(names.TO_DISPATCH))) for prefix in _prefixes(config)]
    if frame.forward:
        rules.append(nft.Rule((nft.Jump(names.host_dispatch(Direction.EGRESS, forward=True)),)))
    if frame.service_nets:
        rules.append(nft.Rule((nft.Jump(names.FILTER_CIDR_BLOCK),)))
    if frame.host_endpoints:
        accept = config.marks.accept
        rules.append(nft.Rule((nft.SetMark(accept, accept),), "forwarded: not for ordinary policy after routing"))
    return tuple(rules)


def _input(config: Config, frame: Frame) -> tuple[nft.Rule, ...]:
    rules = _tunnels_in(config, frame)
    # A goto: what a workload sends to its node never comes to the host endpoints.
    rules += _from_workloads(config, nft.Goto(names.FILTER_TO_HOST))
    if frame.host_endpoints:
        if frame.approves_early:
            rules.append(_approved(config, nft.ACCEPT))
        rules.append(_dispatch(Direction.INGRESS, Layer.FILTER))
    return tuple(rules)


def _output(config: Config, frame: Frame) -> tuple[nft.Rule, ...]:
    first = (
        _approved(config, nft.ACCEPT)
        if Direction.EGRESS in frame.untracked
        else nft.Rule((nft.SetMark(config.marks.verdict, 0),))
    )
    return (
        first,
        *(nft.Rule((nft.IfName("oif", prefix), nft.ACCEPT), "to a workload of this node") for prefix in _prefixes(config)),
        *_tunnels_out(config, frame),
        # Its outgoing interface is still that of the address before translation; see POSTROUTING.
        nft.Rule((nft.CtStatus(nft.CT_STATUS_DNAT), nft.ACCEPT), "translated: judged after routing"),
        _dispatch(Direction.EGRESS, Layer.FILTER),
    )


def _postrouting(config: Config) -> tuple[nft.Rule, ...]:
    return (
        _approved(config, nft.ACCEPT),
        nft.Rule((nft.CtStatus(nft.CT_STATUS_DNAT), nft.Jump(names.host_dispatch(Direction.EGRESS, layer=Layer.MANGLE)))),
    )


def _tunnels_in(config: Config, frame: Frame) -> list[nft.Rule]:
    """Ours come from our hosts, whatever policy says; what looks like one and comes from others is forged."""
    to_us = nft.FibType("destination", _LOCAL)
    rules: list[nft.Rule] = []
    if frame.ipip:
        ipip = (nft.NfProto(Family.V4), nft.L4Proto(_IPIP), to_us)
        rules.append(nft.Rule((*ipip, _is_host("source", Family.V4), nft.ACCEPT), "IPIP from our hosts"))
        rules.append(nft.Rule((*ipip, *deny(config)), "IPIP from others"))
    for family in sorted(frame.vxlan):
        vxlan = (nft.NfProto(family), *_udp(config.vxlan_port), to_us)
        rules.append(nft.Rule((*vxlan, _is_host("source", family), nft.ACCEPT), "VXLAN from our hosts"))
        rules.append(nft.Rule((*vxlan, nft.Counter(), nft.DROP), "VXLAN from others"))
    if frame.host_endpoints:
        rules += [
            nft.Rule((nft.NfProto(family), *_udp(port), to_us, nft.ACCEPT), "WireGuard")
            for family, port in config.wireguard_ports
        ]
    return rules


def _tunnels_out(config: Config, frame: Frame) -> list[nft.Rule]:
    from_us = nft.FibType("source", _LOCAL)
    rules: list[nft.Rule] = []
    if frame.ipip:
        ipip = (nft.NfProto(Family.V4), nft.L4Proto(_IPIP), from_us, _is_host("destination", Family.V4))
        rules.append(nft.Rule((*ipip, nft.ACCEPT), "IPIP to our hosts"))
    for family in sorted(frame.vxlan):
        vxlan = (nft.NfProto(family), *_udp(config.vxlan_port), from_us, _is_host("destination", family))
        rules.append(nft.Rule((*vxlan, nft.ACCEPT), "VXLAN to our hosts"))
    rules += [
        nft.Rule((nft.NfProto(family), *_udp(port), from_us, nft.ACCEPT), "WireGuard")
        for family, port in config.wireguard_ports
    ]
    return rules


def _udp(port: int) -> tuple[nft.Statement, ...]:
    return nft.L4Proto(_UDP), nft.Ports("destination", ((port, port),))


def _is_host(side: nft.Side, family: Family) -> nft.NetIn:
    return nft.NetIn(side, family, names.set_name(names.ALL_HOSTS, family))


def _prefixes(config: Config) -> list[str]:
    return [f"{prefix}*" for prefix in config.interface_prefixes]


def _from_workloads(config: Config, verdict: nft.Jump | nft.Goto) -> tuple[nft.Rule, ...]:
    return tuple(nft.Rule((nft.IfName("iif", prefix), verdict)) for prefix in _prefixes(config))


def _approved(config: Config, verdict: nft.Verdict) -> nft.Rule:
    return nft.Rule((nft.Mark(config.marks.accept, config.marks.accept), verdict), "allowed before")


def _dispatch(direction: Direction, layer: Layer) -> nft.Rule:
    return nft.Rule((nft.Jump(names.host_dispatch(direction, layer=layer)),))
