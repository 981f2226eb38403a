"""Which ends two worlds treat alike without asking: same tiers, policies, profiles, and members of the sets that they ask."""

from collections.abc import Iterable, Iterator

from tortie.insight.ends import End
from tortie.insight.world import World
from tortie.intent.endpoint import Tier
from tortie.intent.keys import PolicyId, ProfileId
from tortie.intent.policy import Direction, Policy, Profile, rules
from tortie.intent.state import State

_Owner = PolicyId | ProfileId


class Sameness:
    """Two worlds side by side. What is the same gives the same verdicts; what is not may still."""

    def __init__(self, before: World, after: World) -> None:
        self._before = before.state
        self._after = after.state
        self._sets: dict[str, bool] = {}
        self._owners: dict[tuple[_Owner, _Owner, Direction], bool] = {}
        self._tiers: dict[tuple[tuple[Tier, ...], tuple[Tier, ...], Direction], bool] = {}
        self.frame = self._same_frame(before, after)
        """True if all that is not about workloads is the same: configuration, nodes, pools, host endpoints' policies."""

    def of_end(self, before: End, after: End, direction: Direction) -> bool:
        """True if both worlds judge the end's traffic of a direction alike. Always so for an end outside the cluster."""
        if before.addresses != after.addresses or (before.workload is None) != (after.workload is None):
            return False
        if before.workload is None or after.workload is None:
            return before.node == after.node
        old, new = self._before.endpoints.get(before.workload.id), self._after.endpoints.get(after.workload.id)
        if old is None or new is None or before.workload.node != after.workload.node:
            return False
        if old.allowed_source_prefixes != new.allowed_source_prefixes or old.profiles != new.profiles:
            return False
        profiles = all(self._same_owner(profile, profile, direction) for profile in old.profiles)
        return profiles and self._same_tiers(old.tiers, new.tiers, direction)

    def _same_tiers(self, old: tuple[Tier, ...], new: tuple[Tier, ...], direction: Direction) -> bool:
        key = old, new, direction
        if key not in self._tiers:
            views = [
                [(tier.name, tier.default_pass, tier.policies(direction)) for tier in tiers if tier.policies(direction)]
                for tiers in (old, new)
            ]
            policies = [policy for tier in old for policy in tier.policies(direction)]
            self._tiers[key] = views[0] == views[1] and all(self._same_owner(each, each, direction) for each in policies)
        return self._tiers[key]

    def _same_owner(self, old: _Owner, new: _Owner, direction: Direction) -> bool:
        key = old, new, direction
        if key not in self._owners:
            was, now = _owner(self._before, old), _owner(self._after, new)
            self._owners[key] = (
                _rules(was, direction) == _rules(now, direction)
                and getattr(was, "staged", False) == getattr(now, "staged", False)
                and (was is None or all(map(self._same_set, _sets(was, direction))))
            )
        return self._owners[key]

    def _same_set(self, set_id: str) -> bool:
        if set_id not in self._sets:
            self._sets[set_id] = self._before.members.get(set_id) == self._after.members.get(set_id)
        return self._sets[set_id]

    def _same_frame(self, before: World, after: World) -> bool:
        old, new = before.state, after.state
        if (old.config, before.configs, old.pools, old.hosts, old.service_nets) != (
            new.config, after.configs, new.pools, new.hosts, new.service_nets,
        ):  # fmt: skip
            return False
        if old.host_endpoints != new.host_endpoints:
            return False
        owners: set[_Owner] = set()
        for endpoint in old.host_endpoints.values():
            owners.update(endpoint.profiles)
            for tiers in (endpoint.untracked, endpoint.pre_dnat, endpoint.forward, endpoint.normal):
                owners.update(_asked(tiers))
        return all(self._same_owner(owner, owner, direction) for owner in owners for direction in Direction)


def _asked(tiers: Iterable[Tier]) -> Iterator[PolicyId]:
    for tier in tiers:
        yield from (*tier.ingress, *tier.egress)


def _owner(state: State, owner: _Owner) -> Policy | Profile | None:
    return state.policies.get(owner) if isinstance(owner, PolicyId) else state.profiles.get(owner)


def _rules(owner: Policy | Profile | None, direction: Direction) -> object:
    return None if owner is None else rules(owner, direction)


def _sets(owner: Policy | Profile, direction: Direction) -> Iterator[str]:
    for rule in rules(owner, direction):
        for side in (rule.source, rule.destination):
            yield from (*side.sets, *side.not_sets, *side.named_ports, *side.not_named_ports)
