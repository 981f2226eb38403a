"""Policy rules as nft rules. Pure.

One chain for each policy (or profile), direction and layer, for both families. A chain leaves its verdict in the packet mark
and returns (accept, pass), or drops; a chain that ends without a match leaves no mark. The endpoint's chain goes on from there.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import assert_never

from tortie.base.net import FAMILIES, Family, Prefix
from tortie.dataplane.render import names
from tortie.dataplane.render.config import Config
from tortie.dataplane.render.names import Layer
from tortie.intent import policy as intent
from tortie.intent.keys import PolicyId, ProfileId
from tortie.intent.policy import Action, Direction
from tortie.kernel.nft import objects as nft

LOG_GROUP_INGRESS = 1
LOG_GROUP_EGRESS = 2
LOG_GROUPS = (LOG_GROUP_INGRESS, LOG_GROUP_EGRESS)
"""nflog groups that the agent listens on, by the direction of the rule that logged."""

_ICMP = {1: Family.V4, 58: Family.V6}


def render_policy(
    policy: intent.Policy, direction: Direction, *, layer: Layer = Layer.FILTER, config: Config
) -> tuple[nft.Chain, ...]:
    """The chains of one direction of a policy in one layer, whether or not it has rules. The first is the one to jump to."""
    name = names.policy_chain(policy.id, direction, layer)
    return (nft.Chain(name, _rules(intent.rules(policy, direction), tier=policy.tier, layer=layer, config=config)),)


def render_profile(
    profile: intent.Profile, direction: Direction, *, layer: Layer = Layer.FILTER, config: Config
) -> tuple[nft.Chain, ...]:
    """The same for a profile."""
    name = names.profile_chain(profile.id, direction, layer)
    return (nft.Chain(name, _rules(intent.rules(profile, direction), tier="", layer=layer, config=config)),)


def _rules(rules: Iterable[intent.Rule], *, tier: str, layer: Layer, config: Config) -> tuple[nft.Rule, ...]:
    return tuple(made for rule in rules for made in render_rule(rule, tier=tier, layer=layer, config=config))


def render_closed(chain: str, reason: str, config: Config) -> nft.Chain:
    """What stands for a policy's, profile's or endpoint's chain that cannot be programmed: it denies everything, except to a
    host endpoint what keeps people from being locked out."""
    layer = Layer(chain.partition("-")[0])
    rules = [nft.Rule(deny(config, layer), names.comment("cannot be programmed", reason))]
    if failsafes := names.failsafes_of(chain):
        rules.insert(0, nft.Rule((nft.Jump(failsafes),)))
        if layer is not Layer.RAW:
            rules.insert(0, nft.Rule((nft.CtState(nft.CT_ESTABLISHED | nft.CT_RELATED), nft.ACCEPT)))
    return nft.Chain(chain, tuple(rules))


def render_rule(rule: intent.Rule, *, tier: str, layer: Layer = Layer.FILTER, config: Config) -> list[nft.Rule]:
    """Turn one rule into nft rules for the families it can match; none if it can match neither.

    A rule that does not mention addresses becomes one nft rule for both. Fails closed: a rule that cannot be rendered
    allows and logs nothing, and denies everything; so does one that would pass, for the rules behind it may allow.
    """
    if (reason := rule.unenforceable or _unrenderable(rule)) is not None:
        if rule.action not in (Action.DENY, Action.PASS):
            return []
        return [nft.Rule(deny(config, layer), names.origin_comment(rule.origin, "denies all, cannot be enforced", reason))]
    rules: list[nft.Rule] = []
    for family in _families(rule):
        rules += _render_family(rule, family, tier=tier, layer=layer, config=config)
    return rules


def deny(config: Config, layer: Layer = Layer.FILTER) -> tuple[nft.Statement, ...]:
    """Count and drop, or count and reject, which only packets on their way through the filter layer can be."""
    return (nft.Counter(), nft.Reject() if config.reject and layer is Layer.FILTER else nft.DROP)


# ---- families ----
def _families(rule: intent.Rule) -> tuple[Family | None, ...]:
    """The families to render; (None,) is one rule for both.

    A list of nets (negated ones too, as in Calico) without a net of a family takes the rule away from that family.
    """
    # ICMP exists in IPv4 only and ICMPv6 in IPv6 only, whatever numbers a packet carries.
    bound = [version for version in (rule.ip_version, _ICMP.get(rule.protocol or 0)) if version is not None]
    lists = [nets for side in (rule.source, rule.destination) for nets in (side.nets, side.not_nets) if nets]
    if not bound and not lists and not any(map(_needs_family, (rule.source, rule.destination))):
        return (None,)
    return tuple(
        family
        for family in FAMILIES
        if all(version == family for version in bound)
        and all(any(net.family is family for net in nets) for nets in lists)
        and not any(net.length == 0 and net.family is family for net in (*rule.source.not_nets, *rule.destination.not_nets))
    )


def _needs_family(side: intent.Match) -> bool:
    return bool(side.sets or side.not_sets or side.named_ports or side.not_named_ports)


def _unrenderable(rule: intent.Rule) -> str | None:
    """Why the rule makes no sense to the kernel; the api refuses such rules, so this is a second fence."""
    sides = (rule.source, rule.destination)
    if rule.protocol is None and any(side.ports or side.not_ports for side in sides):
        return "numeric ports without a protocol"
    if rule.protocol not in _ICMP and (rule.icmp is not None or rule.not_icmp is not None):
        return "ICMP type without an ICMP protocol"
    return None


# ---- one family ----
def _render_family(rule: intent.Rule, family: Family | None, *, tier: str, layer: Layer, config: Config) -> list[nft.Rule]:
    base: list[nft.Statement] = [] if family is None else [nft.NfProto(family)]
    base += _protocol(rule)
    comment = names.origin_comment(rule.origin, *(f"{key}={value}" for key, value in rule.comments))

    source = _side(rule.source, "source", family)
    destination = _side(rule.destination, "destination", family)
    match = [*base, *source.all, *destination.all]
    prelude: list[nft.Rule] = []
    for alternatives, bit in ((source.any, config.marks.scratch0), (destination.any, config.marks.scratch1)):
        if len(alternatives) == 1:
            match += alternatives
        elif alternatives:
            prelude += [nft.Rule((*base, choice, nft.SetMark(bit, bit)), comment) for choice in alternatives]
            match.append(nft.Mark(bit, bit))
    if prelude:
        # Alternatives are ORed through a scratch bit, so that the rule itself, with its counter, its log line and its
        # verdict, stays one.
        prelude.insert(0, nft.Rule((nft.SetMark(config.marks.scratch, 0),), comment))
    return [*prelude, nft.Rule((*match, *_action(rule, tier=tier, layer=layer, config=config)), comment)]


def _protocol(rule: intent.Rule) -> list[nft.Statement]:
    statements: list[nft.Statement] = []
    if rule.protocol is not None:
        statements.append(nft.L4Proto(rule.protocol))
    if rule.not_protocol is not None:
        statements.append(nft.L4Proto(rule.not_protocol, "!="))
    if rule.protocol in _ICMP:
        family = _ICMP[rule.protocol]
        if rule.icmp is not None:
            statements.append(nft.IcmpIs(family, rule.icmp.type, rule.icmp.code))
        if rule.not_icmp is not None:
            statements.append(nft.IcmpIs(family, rule.not_icmp.type, rule.not_icmp.code, "!="))
    return statements


@dataclass(frozen=True, slots=True)
class _Side:
    """Criteria of one side: `all` must match, and, when there are any, one of `any`."""

    all: tuple[nft.Statement, ...]
    any: tuple[nft.Statement, ...]


def _side(match: intent.Match, side: nft.Side, family: Family | None) -> _Side:
    every: list[nft.Statement] = []
    alternatives: list[nft.Statement] = []
    if family is not None:
        every += _nets(side, match.nets, family)
        every += _nets(side, match.not_nets, family, negated=True)
        every += [nft.NetIn(side, family, names.set_name(set_id, family)) for set_id in match.sets]
        every += [nft.NetIn(side, family, names.set_name(set_id, family), "!=") for set_id in match.not_sets]
        every += [nft.AddressPortIn(side, family, names.set_name(set_id, family), "!=") for set_id in match.not_named_ports]
        alternatives += [nft.AddressPortIn(side, family, names.set_name(set_id, family)) for set_id in match.named_ports]
    if match.not_ports:
        every.append(nft.Ports(side, merged(match.not_ports), "!="))
    if match.ports:
        alternatives.insert(0, nft.Ports(side, merged(match.ports)))
    return _Side(tuple(every), tuple(alternatives))


def _nets(side: nft.Side, nets: Iterable[Prefix], family: Family, *, negated: bool = False) -> list[nft.Statement]:
    op: nft.Op = "!=" if negated else "=="
    wanted = _widest(net for net in nets if net.family is family)
    if not wanted or wanted[0].length == 0:
        # Nothing was asked, or every address of the family matches. (A negated /0 has taken the family away before.)
        return []
    return [nft.Net(side, wanted[0], op) if len(wanted) == 1 else nft.Nets(side, wanted, op)]


def _widest(nets: Iterable[Prefix]) -> tuple[Prefix, ...]:
    """Sorted, without duplicates and without what lies inside another: disjoint, as an interval set wants them."""
    kept: list[Prefix] = []
    for net in sorted(set(nets)):
        if not kept or not kept[-1].contains(net):
            kept.append(net)
    return tuple(kept)


def merged(ranges: Iterable[intent.PortRange]) -> tuple[tuple[int, int], ...]:
    """Sorted and disjoint; ranges that touch become one."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return tuple(merged)


# ---- actions ----
def _action(rule: intent.Rule, *, tier: str, layer: Layer, config: Config) -> tuple[nft.Statement, ...]:
    marks = config.marks
    match rule.action:
        case Action.ALLOW:
            return (nft.Counter(), nft.SetMark(marks.accept, marks.accept), nft.RETURN)
        case Action.PASS:
            return (nft.Counter(), nft.SetMark(marks.pass_, marks.pass_), nft.RETURN)
        case Action.DENY:
            return deny(config, layer)
        case Action.LOG:
            group = LOG_GROUP_INGRESS if rule.origin.direction is Direction.INGRESS else LOG_GROUP_EGRESS
            return (config.log_limit, nft.LogGroup(group, log_prefix(rule, tier=tier, config=config)))
    assert_never(rule.action)


def log_prefix(rule: intent.Rule, *, tier: str, config: Config) -> str:
    """The prefix of a Log rule, with %t (tier), %k (short kind), %p (namespace/name) and %n (name) filled in."""
    owner = rule.origin.owner
    match owner:
        case PolicyId():
            fields = {
                "%t": tier,
                "%k": names.short_kind(owner),
                "%p": f"{owner.namespace}/{owner.name}" if owner.namespace else owner.name,
                "%n": owner.name,
            }
        case ProfileId():
            fields = {"%t": tier, "%k": "pro", "%p": owner.name, "%n": owner.name}
    text = config.log_prefix or rule.log_prefix
    for key, value in fields.items():
        text = text.replace(key, value)
    return names.printable(text)
