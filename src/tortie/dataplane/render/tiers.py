"""What endpoints of both kinds have in common: connections that are decided already, tiers of policies, profiles. Pure."""

from collections.abc import Container, Iterable, Mapping

from tortie.dataplane.render import names
from tortie.dataplane.render.config import Config
from tortie.dataplane.render.names import Layer
from tortie.dataplane.render.policy import deny
from tortie.intent.endpoint import Tier
from tortie.intent.keys import PolicyId, ProfileId
from tortie.intent.policy import Direction, Policy
from tortie.kernel.nft import objects as nft


def connection_state(config: Config) -> list[nft.Rule]:
    """Accept what belongs to a connection; drop what tracking can make nothing of."""
    rules = [nft.Rule((nft.CtState(nft.CT_ESTABLISHED | nft.CT_RELATED), nft.ACCEPT))]
    if config.drop_invalid:
        rules.append(nft.Rule((nft.CtState(nft.CT_INVALID), nft.Counter(), nft.DROP), "invalid connection state"))
    return rules


def is_staged(policy_id: PolicyId, policies: Mapping[PolicyId, Policy]) -> bool:
    """Staged policies are never enforced. A kind that is always staged says so even while the policy is unknown."""
    known = policies.get(policy_id)
    return policy_id.kind.startswith("Staged") if known is None else known.staged


def render_tiers(
    tiers: Iterable[Tier],
    direction: Direction,
    *,
    layer: Layer = Layer.FILTER,
    policies: Mapping[PolicyId, Policy],
    config: Config,
) -> list[nft.Rule]:
    """Ask the tiers one after the other. Returns with the accept mark, drops, or goes on behind the last."""
    return [rule for tier in tiers for rule in _tier(tier, direction, layer=layer, policies=policies, config=config)]


def render_profiles(
    wanted: Iterable[ProfileId],
    direction: Direction,
    *,
    layer: Layer = Layer.FILTER,
    profiles: Container[ProfileId],
    config: Config,
) -> list[nft.Rule]:
    """Ask the profiles one after the other, then deny."""
    marks = config.marks
    rules = []
    for profile_id in wanted:
        if profile_id not in profiles:
            # A missing profile denies everything, so what would follow cannot be reached.
            rules.append(nft.Rule(deny(config, layer), names.comment(f"unknown profile {profile_id.name}")))
            return rules
        rules.append(nft.Rule((nft.Jump(names.profile_chain(profile_id, direction, layer)),)))
        rules.append(nft.Rule((nft.Mark(marks.accept, marks.accept), nft.RETURN)))
    rules.append(nft.Rule(deny(config, layer), "no profile matched"))
    return rules


def _tier(
    tier: Tier, direction: Direction, *, layer: Layer, policies: Mapping[PolicyId, Policy], config: Config
) -> list[nft.Rule]:
    enforced = [policy_id for policy_id in tier.policies(direction) if not is_staged(policy_id, policies)]
    if not enforced:
        return []
    marks = config.marks
    not_passed = nft.Mark(marks.pass_, 0)
    accepted: list[nft.Statement] = [nft.Mark(marks.accept, marks.accept)]
    if layer is Layer.RAW:
        accepted.append(nft.NoTrack())
    rules = [nft.Rule((nft.SetMark(marks.pass_, 0),), names.comment(f"start of tier {tier.name}"))]
    for policy_id in enforced:
        if policy_id in policies:
            rules.append(nft.Rule((not_passed, nft.Jump(names.policy_chain(policy_id, direction, layer)))))
            rules.append(nft.Rule((*accepted, nft.RETURN)))
        else:
            comment = names.comment(f"unknown policy {names.path(policy_id)}")
            rules.append(nft.Rule((not_passed, *deny(config, layer)), comment))
    if not tier.default_pass:
        rules.append(nft.Rule((not_passed, *deny(config, layer)), names.comment(f"end of tier {tier.name}")))
    return rules
