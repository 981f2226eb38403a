"""Policies and profiles as one node enforces them: every selector resolved to an IP set, every name to a number."""

from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from tortie.base.net import Prefix
from tortie.intent.keys import PolicyId, ProfileId, SetId


class Action(Enum):
    """What a rule does. LOG goes on to the next rule, PASS goes on to the next tier."""

    ALLOW = "Allow"
    DENY = "Deny"
    PASS = "Pass"  # noqa: S105
    LOG = "Log"


class Direction(Enum):
    """As seen from the endpoint: INGRESS is traffic to it."""

    INGRESS = "Ingress"
    EGRESS = "Egress"


class StagedAction(Enum):
    """What a staged policy would do if it were enforced: be there (SET), or take the policy of its name away (DELETE).

    LEARN and IGNORE are marks for people: such a policy would change nothing.
    """

    SET = "Set"
    DELETE = "Delete"
    LEARN = "Learn"
    IGNORE = "Ignore"


class PortRange(NamedTuple):
    """Inclusive."""

    first: int
    last: int


class Icmp(NamedTuple):
    """ICMP type, and code when given. Which ICMP it is follows from the rule's protocol."""

    type: int
    code: int | None


@dataclass(frozen=True, slots=True)
class Match:
    """One side of a rule. Criteria are ANDed; entries of nets and of ports are ORed.

    `sets` (NET) are ANDed with each other; `not_sets` must not contain the address. `named_ports` (IP_PORT sets: address,
    protocol, port) are ORed with `ports`; `not_named_ports` and `not_ports` must all miss.
    """

    nets: tuple[Prefix, ...] = ()
    not_nets: tuple[Prefix, ...] = ()
    sets: tuple[SetId, ...] = ()
    not_sets: tuple[SetId, ...] = ()
    ports: tuple[PortRange, ...] = ()
    named_ports: tuple[SetId, ...] = ()
    not_ports: tuple[PortRange, ...] = ()
    not_named_ports: tuple[SetId, ...] = ()


ANY = Match()


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a rule comes from: policy or profile, direction, index in the list the user (or the conversion) wrote."""

    owner: PolicyId | ProfileId
    direction: Direction
    index: int


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, family-neutral. Protocols are numbers (RFC 790 registry); None matches any.

    `ip_version` 4 or 6 restricts the rule to a family. `unenforceable`, when set, says why the rule cannot be rendered:
    an Allow rule then matches nothing, a Deny rule matches everything (fail closed), and there is no such Pass rule.
    """

    action: Action
    origin: Origin
    ip_version: int | None = None
    protocol: int | None = None
    not_protocol: int | None = None
    icmp: Icmp | None = None
    not_icmp: Icmp | None = None
    source: Match = ANY
    destination: Match = ANY
    log_prefix: str = "calico-packet"
    comments: tuple[tuple[str, str], ...] = ()
    unenforceable: str | None = None
    text: str = field(default="", compare=False)
    """The rule as a person would say it; for explain only."""


@dataclass(frozen=True, slots=True)
class Policy:
    """An active policy. Its place in the order stands in the endpoints' tiers, not here."""

    id: PolicyId
    tier: str
    ingress: tuple[Rule, ...]
    egress: tuple[Rule, ...]
    staged: bool = False
    """Never rendered and never decides; the evaluator says what it would (`enforced_twin`)."""
    staged_action: StagedAction = StagedAction.SET
    """Only of a staged policy."""


@dataclass(frozen=True, slots=True)
class Profile:
    """An active profile. A profile that is referred to and missing is simply absent: it denies."""

    id: ProfileId
    ingress: tuple[Rule, ...]
    egress: tuple[Rule, ...]


ENFORCED_KINDS = {
    "StagedNetworkPolicy": "NetworkPolicy",
    "StagedGlobalNetworkPolicy": "GlobalNetworkPolicy",
    "StagedKubernetesNetworkPolicy": "KubernetesNetworkPolicy",
}
"""Kinds of staged policies, and what each becomes when it is enforced."""


def enforced_twin(policy_id: PolicyId) -> PolicyId:
    """The enforced policy that a staged one (would) become or take away; an enforced policy is its own.

    A staged policy with SET stands in the tiers of the endpoints that it would select, where it would stand if enforced. One
    with DELETE, LEARN or IGNORE has no rules and stands in no tier: it is in `State.policies`, and what a DELETE takes away is
    `enforced_twin` of its id. Staged policies are in a state only where the graph was asked for them (`Graph(staged=True)`);
    then all are, whether or not they select an endpoint: a SET that selects fewer than its twin did takes it from the others.
    """
    return policy_id._replace(kind=ENFORCED_KINDS.get(policy_id.kind, policy_id.kind))


def rules(owner: Policy | Profile, direction: Direction) -> tuple[Rule, ...]:
    """The rules of one direction."""
    return owner.ingress if direction is Direction.INGRESS else owner.egress
