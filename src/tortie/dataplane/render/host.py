"""Host endpoints: their chains, the chains and maps that find them, failsafe ports. Pure.

Each has up to seven chains: ordinary policy in and out (filter), the same for translated packets that the node sends (mangle,
out), untracked (raw, in and out), pre-DNAT (mangle, in), forwarded packets (filter, in and out).
"""

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass

from tortie.base.net import Prefix
from tortie.dataplane.render import names
from tortie.dataplane.render.config import Config, Failsafe
from tortie.dataplane.render.hooks import Frame, has_policies, is_untracked
from tortie.dataplane.render.names import Layer
from tortie.dataplane.render.policy import merged
from tortie.dataplane.render.tiers import connection_state, render_profiles, render_tiers
from tortie.intent.endpoint import HostEndpoint, Tier
from tortie.intent.host_endpoints import EVERY_INTERFACE
from tortie.intent.keys import PolicyId, ProfileId
from tortie.intent.policy import Direction, Policy, PortRange
from tortie.kernel.nft import objects as nft

_INGRESS, _EGRESS = Direction.INGRESS, Direction.EGRESS


@dataclass(frozen=True, slots=True)
class _Place:
    """One of the places where a host endpoint has a chain."""

    layer: Layer
    direction: Direction
    forward: bool = False

    def chain(self, interface: str) -> str:
        """The endpoint's chain."""
        return names.host_chain(interface, self.direction, layer=self.layer, forward=self.forward)

    @property
    def dispatch(self) -> str:
        """The chain, and the map, that find it."""
        return names.host_dispatch(self.direction, layer=self.layer, forward=self.forward)

    @property
    def is_ordinary(self) -> bool:
        """True for what ends with profiles and a denial."""
        return not self.forward and (self.layer is Layer.FILTER or (self.layer is Layer.MANGLE and self.direction is _EGRESS))

    def tiers(self, endpoint: HostEndpoint) -> tuple[Tier, ...] | None:
        """What the endpoint asks here; None if it has no chain here."""
        if self.layer is Layer.RAW:
            return endpoint.untracked if is_untracked(endpoint, self.direction) else None
        if self.forward:
            return endpoint.forward or None
        if self.is_ordinary:
            return endpoint.normal
        return endpoint.pre_dnat if has_policies(endpoint.pre_dnat, self.direction) else None

    def exists(self, frame: Frame) -> bool:
        """True if a base chain leads here."""
        if self.layer is Layer.RAW:
            return self.direction in frame.untracked
        if self.forward:
            return frame.forward
        return frame.host_endpoints if self.is_ordinary else frame.pre_dnat


_PLACES = (
    _Place(Layer.RAW, _INGRESS),
    _Place(Layer.RAW, _EGRESS),
    _Place(Layer.MANGLE, _INGRESS),
    _Place(Layer.MANGLE, _EGRESS),
    _Place(Layer.FILTER, _INGRESS),
    _Place(Layer.FILTER, _EGRESS),
    _Place(Layer.FILTER, _INGRESS, forward=True),
    _Place(Layer.FILTER, _EGRESS, forward=True),
)


@dataclass(frozen=True, slots=True)
class Dispatch:
    """A map from interface to chain, and the chain that asks it."""

    chain: nft.Chain
    spec: nft.SetSpec
    members: Mapping[str, nft.Goto | nft.Verdict]


def uses(endpoint: HostEndpoint) -> Iterator[tuple[PolicyId | ProfileId, Layer, Direction]]:
    """Which chains of policies and profiles the endpoint's own jump to."""
    for place in _PLACES:
        for tier in place.tiers(endpoint) or ():
            yield from ((policy_id, place.layer, place.direction) for policy_id in tier.policies(place.direction))
        if place.is_ordinary:
            yield from ((profile_id, place.layer, place.direction) for profile_id in endpoint.profiles)


def render_host_endpoint(
    endpoint: HostEndpoint,
    interface: str,
    *,
    policies: Mapping[PolicyId, Policy],
    profiles: Container[ProfileId],
    config: Config,
) -> list[nft.Chain]:
    """The endpoint's chains for an interface, or for "*". `policies` and `profiles` are those that have chains."""
    chains = []
    for place in _PLACES:
        tiers = place.tiers(endpoint)
        if tiers is None:
            continue
        rules = [] if place.layer is Layer.RAW else connection_state(config)
        if not place.forward:  # who forwards has no business with the node's own ports
            rules.append(nft.Rule((nft.Jump(names.failsafe_chain(place.direction, place.layer)),)))
        rules.append(nft.Rule((nft.SetMark(config.marks.verdict, 0),)))
        rules += render_tiers(tiers, place.direction, layer=place.layer, policies=policies, config=config)
        if place.is_ordinary:
            rules += render_profiles(endpoint.profiles, place.direction, layer=place.layer, profiles=profiles, config=config)
        chains.append(nft.Chain(place.chain(interface), tuple(rules)))
    return chains


def render_dispatch(owners: Mapping[str, HostEndpoint], frame: Frame, config: Config) -> list[Dispatch]:
    """What the base chains of `frame` lead to. `owners` as `intent.host_endpoints.resolve` gives them."""
    return [_dispatch(place, owners, config) for place in _PLACES if place.exists(frame)]


def _dispatch(place: _Place, owners: Mapping[str, HostEndpoint], config: Config) -> Dispatch:
    every = owners.get(EVERY_INTERFACE)
    has_default = every is not None and place.tiers(every) is not None
    members: dict[str, nft.Goto | nft.Verdict] = {}
    for interface, endpoint in owners.items():
        if interface == EVERY_INTERFACE:
            continue
        if place.tiers(endpoint) is not None:
            members[interface] = nft.Goto(place.chain(interface))
        elif has_default:  # it is not one of all others, even where it asks nothing
            members[interface] = nft.RETURN
    hook: nft.IfNameVmap = nft.IfNameVmap("iif" if place.direction is _INGRESS else "oif", place.dispatch)
    rules = [nft.Rule((hook,))]
    if has_default:
        if place.is_ordinary and place.direction is _EGRESS:
            rules += [nft.Rule((nft.IfName("oif", f"{each}*"), nft.RETURN)) for each in config.interface_prefixes]
        rules.append(nft.Rule((nft.Goto(place.chain(EVERY_INTERFACE)),)))
    spec = nft.SetSpec(place.dispatch, nft.ElementType.IFNAME, is_verdict_map=True)
    return Dispatch(nft.Chain(place.dispatch, tuple(rules)), spec, members)


def render_failsafes(frame: Frame, config: Config) -> list[nft.Chain]:
    """The chains of failsafe ports, in every layer that has host endpoints."""
    wanted = {(place.layer, place.direction) for place in _PLACES if not place.forward and place.exists(frame)}
    return [_failsafes(layer, direction, config) for layer, direction in sorted(wanted, key=lambda key: (key[0], key[1].value))]


def _failsafes(layer: Layer, direction: Direction, config: Config) -> nft.Chain:
    far_end: nft.Side = "source" if direction is _INGRESS else "destination"
    own, other = config.failsafe_in, config.failsafe_out
    if direction is _EGRESS:
        own, other = other, own
    rules = _ports(own, "destination", far_end)
    if layer is Layer.RAW:
        # Without tracking nobody knows a reply from a beginning; untracked policy must not keep one half of a connection.
        rules += _ports(other, "source", far_end)
    return nft.Chain(names.failsafe_chain(direction, layer), tuple(rules))


def _ports(failsafes: tuple[Failsafe, ...], side: nft.Side, far_end: nft.Side) -> list[nft.Rule]:
    """One rule for all ports of a protocol, or of a protocol and a network."""
    grouped: dict[tuple[int, Prefix | None], list[PortRange]] = {}
    for each in failsafes:
        grouped.setdefault((each.protocol, each.net), []).append(PortRange(each.port, each.port))
    rules = []
    for (protocol, net), ports in grouped.items():
        match: list[nft.Statement] = [nft.L4Proto(protocol), nft.Ports(side, merged(ports))]
        if net is not None:
            match = [nft.NfProto(net.family), *match]
            if net.length:
                match.append(nft.Net(far_end, net))
        rules.append(nft.Rule((*match, nft.Counter(), nft.ACCEPT), "failsafe port"))
    return rules
