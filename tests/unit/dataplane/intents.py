"""Short ways to write intent values, for the tests of this package."""

from typing import Any

from tortie.base.net import parse_prefix
from tortie.intent.endpoint import Endpoint, HostEndpoint, Tier
from tortie.intent.keys import EndpointId, HostEndpointId, PolicyId, ProfileId
from tortie.intent.policy import Action, Direction, Match, Origin, Policy, PortRange, Profile, Rule

TCP, UDP, ICMP, ICMPV6 = 6, 17, 1, 58


def np(name: str, namespace: str = "shop") -> PolicyId:
    """A NetworkPolicy's id."""
    return PolicyId("NetworkPolicy", namespace, name)


_WEB = np("web")


def rule(
    action: Action,
    *,
    owner: PolicyId | ProfileId = _WEB,
    index: int = 0,
    direction: Direction = Direction.INGRESS,
    **kw: Any,
) -> Rule:
    """A rule of policy shop/web unless said otherwise."""
    return Rule(action=action, origin=Origin(owner, direction, index), **kw)


def nets(*texts: str, **kw: Any) -> Match:
    """A side that matches prefixes."""
    return Match(nets=tuple(parse_prefix(text) for text in texts), **kw)


def ports(*numbers: int, **kw: Any) -> Match:
    """A side that matches single ports."""
    return Match(ports=tuple(PortRange(number, number) for number in numbers), **kw)


def policy(
    name: str, *, ingress: tuple[Rule, ...] = (), egress: tuple[Rule, ...] = (), staged: bool = False, tier: str = "default"
) -> Policy:
    """A NetworkPolicy of namespace shop."""
    return Policy(np(name), tier, ingress, egress, staged)


def profile(name: str, *, ingress: tuple[Rule, ...] = (), egress: tuple[Rule, ...] = ()) -> Profile:
    """A profile."""
    return Profile(ProfileId(name), ingress, egress)


def allow_all_profile(name: str = "kns.shop") -> Profile:
    """What a Kubernetes namespace's profile is."""
    owner = ProfileId(name)
    return profile(
        name,
        ingress=(rule(Action.ALLOW, owner=owner),),
        egress=(rule(Action.ALLOW, owner=owner, direction=Direction.EGRESS),),
    )


def endpoint(
    interface: str = "cali1",
    *,
    name: str = "",
    addresses: tuple[str, ...] = ("10.0.0.1/32", "fd00::1/128"),
    tiers: tuple[Tier, ...] = (),
    profiles: tuple[str, ...] = ("kns.shop",),
    spoof: tuple[str, ...] = (),
) -> Endpoint:
    """An endpoint named after its interface."""
    return Endpoint(
        id=EndpointId("node1", "shop", name or f"wep-{interface}"),
        workload=f"shop/{interface}",
        interface=interface,
        addresses=tuple(parse_prefix(text) for text in addresses),
        tiers=tiers,
        profiles=tuple(ProfileId(text) for text in profiles),
        allowed_source_prefixes=tuple(parse_prefix(text) for text in spoof),
    )


def host_endpoint(interface: str = "eth0", *, name: str = "", profiles: tuple[str, ...] = (), **kinds: Any) -> HostEndpoint:
    """A host endpoint named after its interface; `kinds` are its lists of tiers."""
    return HostEndpoint(
        id=HostEndpointId("node1", name or f"hep-{interface}"),
        interface=interface,
        profiles=tuple(ProfileId(text) for text in profiles),
        **kinds,
    )


def tier(
    *, name: str = "default", ingress: tuple[str, ...] = (), egress: tuple[str, ...] = (), default_pass: bool = False
) -> Tier:
    """A tier with NetworkPolicies of namespace shop."""
    return Tier(name, default_pass, tuple(map(np, ingress)), tuple(map(np, egress)))
