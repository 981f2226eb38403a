"""Policies and profiles: two chains each. Staged policies have none."""

from tortie.dataplane.manager import slices
from tortie.dataplane.render import names
from tortie.dataplane.render.config import Config
from tortie.dataplane.render.policy import render_closed, render_policy, render_profile
from tortie.intent.keys import PolicyId, ProfileId
from tortie.intent.messages import Message, PolicyUpdate, ProfileUpdate
from tortie.intent.policy import Direction, Policy, Profile
from tortie.kernel.errors import KernelError
from tortie.kernel.nft import objects as nft
from tortie.kernel.nft.table import NftTable


class PolicyManager:
    """Renders each policy once, however many endpoints it applies to."""

    def __init__(self, table: NftTable) -> None:
        self._table = table
        self._config = Config()
        self._policies: dict[PolicyId, Policy] = {}
        self._profiles: dict[ProfileId, Profile] = {}
        self._dirty_policies: set[PolicyId] = set()
        self._dirty_profiles: set[ProfileId] = set()

    def configure(self, config: Config) -> None:
        """Marks and actions stand in every chain."""
        self._config = config
        self._dirty_policies.update(self._policies)
        self._dirty_profiles.update(self._profiles)

    def on_update(self, message: Message) -> None:
        """Policies and profiles."""
        match message:
            case PolicyUpdate(id=policy_id, policy=policy):
                if policy is None or policy.staged:
                    self._policies.pop(policy_id, None)
                else:
                    self._policies[policy_id] = policy
                self._dirty_policies.add(policy_id)
            case ProfileUpdate(id=profile_id, profile=profile):
                if profile is None:
                    self._profiles.pop(profile_id, None)
                else:
                    self._profiles[profile_id] = profile
                self._dirty_profiles.add(profile_id)
            case _:
                pass

    async def apply(self) -> None:
        """Render what changed, remove what is gone. What cannot be programmed denies everything, and is reported."""
        failures: list[Exception] = []
        async for policy_id in slices(sorted(self._dirty_policies)):
            policy = self._policies.get(policy_id)
            for direction in Direction:
                if policy is None:
                    self._table.remove_chain(names.policy_chain(policy_id, direction))
                else:
                    failures += self._put(render_policy(policy, direction, self._config))
            self._dirty_policies.discard(policy_id)
        async for profile_id in slices(sorted(self._dirty_profiles)):
            profile = self._profiles.get(profile_id)
            for direction in Direction:
                if profile is None:
                    self._table.remove_chain(names.profile_chain(profile_id, direction))
                else:
                    failures += self._put(render_profile(profile, direction, self._config))
            self._dirty_profiles.discard(profile_id)
        if failures:
            raise ExceptionGroup(f"{len(failures)} policy chains cannot be programmed and deny everything", failures)

    def _put(self, chain: nft.Chain) -> list[KernelError]:
        try:
            self._table.put_chain(chain)
        except KernelError as error:
            # Endpoints refer to this chain by name: it must be there, and may not be more permissive than what was asked.
            self._table.put_chain(render_closed(chain.name, str(error), self._config))
            return [error]
        return []
