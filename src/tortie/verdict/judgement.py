"""What the evaluator answers: allowed or not, who decided, and every step on the way."""

from dataclasses import dataclass
from enum import Enum

from tortie.intent.keys import PolicyId, ProfileId
from tortie.intent.policy import Action, Rule


class Decider(Enum):
    """What kind of thing ended the walk."""

    POLICY_RULE = "policy rule"
    TIER_DEFAULT = "tier default"
    PROFILE_RULE = "profile rule"
    NO_PROFILE = "no profile matched"
    SPOOFED = "spoofed"
    UNKNOWN_ENDPOINT = "unknown endpoint"
    MISSING_POLICY = "missing policy"
    TUNNEL = "tunnel"
    """Encapsulation: the nodes' own passes, a workload's does not."""
    FAILSAFE = "failsafe port"
    NO_DECISION = "no decision"
    """Nothing here had a say, and the packet goes on as it came."""
    HOST_ACTION = "default endpoint to host action"
    NEIGHBOUR_DISCOVERY = "neighbour discovery"
    LOOPBACK = "loopback"
    SERVICE_LOOP = "service loop prevention"
    NOT_POLICED = "not policed"
    PEERING = "BGP of a workload"
    NOWHERE = "leads nowhere"
    """An address that the cluster knows, with nothing behind it."""
    NOT_TRANSLATED = "not translated"
    INVALID = "no connection"
    """A reply that conntrack knows no connection of."""


@dataclass(frozen=True, slots=True)
class RuleStep:
    """One rule that was asked. `failed` is "" when it matched, else the first criterion that did not hold, in words."""

    rule: Rule
    failed: str = ""

    @property
    def matched(self) -> bool:
        """True if every criterion held."""
        return not self.failed


@dataclass(frozen=True, slots=True)
class OwnerStep:
    """One policy or profile that was asked, with the rules up to the one that ended it.

    `verdict` is the action of that rule, None when no rule of it decided. Staged policies are asked for the record only.
    """

    owner: PolicyId | ProfileId
    rules: tuple[RuleStep, ...] = ()
    verdict: Action | None = None
    staged: bool = False
    missing: bool = False


@dataclass(frozen=True, slots=True)
class TierStep:
    """One tier that was asked. `name` "" stands for the profiles, which come after all tiers."""

    name: str
    owners: tuple[OwnerStep, ...]
    outcome: str
    """How the tier ended, in words."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Who decided. `rule_index` is the place in the list that the user wrote; None where no rule decided."""

    decider: Decider
    reason: str
    tier: str = ""
    owner: PolicyId | ProfileId | None = None
    rule_index: int | None = None
    rule: Rule | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """The answer for one packet at one endpoint in one direction."""

    allowed: bool
    decided_by: Decision
    trace: tuple[TierStep, ...] = ()

    @property
    def accepted(self) -> bool:
        """True if something said yes, which lets the packet skip later hooks of the same host endpoint."""
        return self.allowed and self.decided_by.decider in (Decider.POLICY_RULE, Decider.PROFILE_RULE)


def denied(decider: Decider, reason: str) -> Judgement:
    """No, without a walk."""
    return Judgement(False, Decision(decider, reason))


def passed(decider: Decider, reason: str) -> Judgement:
    """Yes, or no objection, without a walk."""
    return Judgement(True, Decision(decider, reason))
