"""What would be if staged policies were enforced: a state like the given one, with them in force (section 13).

A staged policy with SET stands where it stands, enforced, and its enforced twin is nowhere; one with DELETE takes its twin
away; LEARN and IGNORE change nothing. What is judged by the result is the would-be verdict.
"""

from collections.abc import Collection
from dataclasses import replace

from tortie.intent.endpoint import Tier
from tortie.intent.keys import EndpointId, PolicyId
from tortie.intent.policy import Direction, Policy, StagedAction, enforced_twin
from tortie.intent.state import State
from tortie.verdict.evaluate import judge
from tortie.verdict.judgement import Judgement
from tortie.verdict.packet import Packet

_TAKES_OVER = (StagedAction.SET, StagedAction.DELETE)


def has_staged(state: State) -> bool:
    """True if the state holds a staged policy."""
    return any(policy.staged for policy in state.policies.values())


def in_force(state: State) -> State:
    """The state as it would be with all staged policies enforced. Shares everything else with `state`."""
    gone: set[PolicyId] = set()
    policies: dict[PolicyId, Policy] = {}
    for policy in state.policies.values():
        if not policy.staged:
            continue
        gone.add(policy.id)
        if policy.staged_action in _TAKES_OVER:
            gone.add(enforced_twin(policy.id))
        if policy.staged_action is StagedAction.SET:
            policies[policy.id] = replace(policy, staged=False)
    if not gone:
        return state
    gone -= policies.keys()
    return replace(
        state,
        policies={key: policy for key, policy in state.policies.items() if key not in gone} | policies,
        endpoints={key: replace(endpoint, tiers=_tiers(endpoint.tiers, gone)) for key, endpoint in state.endpoints.items()},
        host_endpoints={
            key: replace(
                endpoint,
                untracked=_tiers(endpoint.untracked, gone),
                pre_dnat=_tiers(endpoint.pre_dnat, gone),
                forward=_tiers(endpoint.forward, gone),
                normal=_tiers(endpoint.normal, gone),
            )
            for key, endpoint in state.host_endpoints.items()
        },
    )


def judge_pending(state: State, endpoint: EndpointId, *, direction: Direction, packet: Packet) -> Judgement:
    """As `judge`, with staged policies in force. For many questions keep `in_force(state)` and judge by that."""
    return judge(in_force(state), endpoint, direction=direction, packet=packet)


def _tiers(tiers: tuple[Tier, ...], gone: Collection[PolicyId]) -> tuple[Tier, ...]:
    kept = (
        replace(
            tier,
            ingress=tuple(policy for policy in tier.ingress if policy not in gone),
            egress=tuple(policy for policy in tier.egress if policy not in gone),
        )
        for tier in tiers
    )
    return tuple(tier for tier in kept if tier.ingress or tier.egress)
