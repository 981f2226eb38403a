"""Policies that were not asked at an endpoint, and why: what a person expected to see is named."""

from collections.abc import Iterable
from typing import NamedTuple

from tortie.insight.world import World
from tortie.intent.endpoint import Endpoint, HostEndpoint, Tier
from tortie.intent.keys import EndpointId, HostEndpointId, PolicyId
from tortie.intent.policy import Direction
from tortie.verdict.host import HostHook, tiers_at
from tortie.verdict.journey import Step

_ONLY = {
    HostHook.UNTRACKED: "is asked before tracking only (doNotTrack)",
    HostHook.PRE_DNAT: "is asked before translation only (preDNAT)",
    HostHook.FORWARD: "is for forwarded traffic only (applyOnForward)",
    HostHook.NORMAL: "is not for forwarded traffic (applyOnForward is false)",
}


class Bystander(NamedTuple):
    """A policy that was not asked, and why."""

    policy: PolicyId
    reason: str


def bystanders(world: World, step: Step) -> tuple[Bystander, ...]:
    """Those of one step, in order of their names. Policies of other namespaces are nobody's business here."""
    if isinstance(step.endpoint, EndpointId):
        endpoint = world.state.endpoints.get(step.endpoint)
        return () if endpoint is None else tuple(_of_workload(world, endpoint, step.direction))
    if isinstance(step.endpoint, HostEndpointId) and step.host_hook is not None:
        host = world.state.host_endpoints.get(step.endpoint)
        return () if host is None else tuple(_of_host(world, host, step.host_hook, step.direction))
    return ()


def _of_workload(world: World, endpoint: Endpoint, direction: Direction) -> Iterable[Bystander]:
    asked = _in_direction(endpoint.tiers, direction)
    selecting = _any_direction(endpoint.tiers)
    for policy in world.policies:
        if policy not in asked and policy.namespace in ("", endpoint.id.namespace):
            yield Bystander(policy, f"is not about {direction.value.lower()}" if policy in selecting else "does not select it")


def _of_host(world: World, host: HostEndpoint, hook: HostHook, direction: Direction) -> Iterable[Bystander]:
    asked = _in_direction(tiers_at(host, hook), direction)
    here = _any_direction(tiers_at(host, hook))
    others = {policy: other for other in HostHook if other is not hook for policy in _any_direction(tiers_at(host, other))}
    for policy in world.policies:
        if policy in asked or policy.namespace:
            continue
        if policy in here:
            yield Bystander(policy, f"is not about {direction.value.lower()}")
        elif policy in others:
            yield Bystander(policy, _ONLY[others[policy]])
        else:
            yield Bystander(policy, "does not select it")


def _in_direction(tiers: Iterable[Tier], direction: Direction) -> set[PolicyId]:
    return {policy for tier in tiers for policy in tier.policies(direction)}


def _any_direction(tiers: Iterable[Tier]) -> set[PolicyId]:
    return {policy for tier in tiers for policy in (*tier.ingress, *tier.egress)}
