"""Policies and profiles: a chain for each direction and layer in which an endpoint asks them. Staged policies have none."""

from collections.abc import Callable, Iterable

from tortie.dataplane.manager import slices
from tortie.dataplane.populated import Populated
from tortie.dataplane.references import References, Use
from tortie.dataplane.render import endpoint, host
from tortie.dataplane.render.config import Config
from tortie.dataplane.render.names import Layer
from tortie.dataplane.render.policy import render_closed, render_policy, render_profile
from tortie.intent.keys import PolicyId, ProfileId
from tortie.intent.messages import EndpointUpdate, HostEndpointUpdate, Message, PolicyUpdate, ProfileUpdate
from tortie.intent.policy import Direction, Policy, Profile
from tortie.kernel.errors import KernelError
from tortie.kernel.nft import objects as nft
from tortie.kernel.nft.table import NftTable

_CHAINS = tuple((layer, direction) for layer in Layer for direction in Direction)


class PolicyManager:
    """Renders each policy once a layer, however many endpoints it applies to. Goes behind the set manager."""

    def __init__(self, table: NftTable, populated: Populated) -> None:
        self._table = table
        self._populated = populated
        self._without: dict[PolicyId | ProfileId, set[str]] = {}
        self._pruned: dict[str, set[PolicyId | ProfileId]] = {}
        self._config = Config()
        self._policies: dict[PolicyId, Policy] = {}
        self._profiles: dict[ProfileId, Profile] = {}
        self._references = References()
        self._dirty: set[PolicyId | ProfileId] = set()
        self._told: dict[Use, tuple[str, ...]] = {}

    def configure(self, config: Config) -> None:
        """Marks and actions stand in every chain."""
        self._config = config
        self._dirty.update(self._policies)
        self._dirty.update(self._profiles)

    def on_update(self, message: Message) -> None:
        """Policies and profiles, and which of them endpoints ask."""
        match message:
            case PolicyUpdate(id=policy_id, policy=policy):
                self._policies.pop(policy_id, None)
                if policy is not None and not policy.staged:
                    self._policies[policy_id] = policy
                self._dirty.add(policy_id)
            case ProfileUpdate(id=profile_id, profile=profile):
                self._profiles.pop(profile_id, None)
                if profile is not None:
                    self._profiles[profile_id] = profile
                self._dirty.add(profile_id)
            case EndpointUpdate(id=endpoint_id, endpoint=workload):
                self._dirty |= self._references.replace(endpoint_id, endpoint.uses(workload) if workload else ())
            case HostEndpointUpdate(id=host_id, endpoint=host_endpoint):
                self._dirty |= self._references.replace(host_id, host.uses(host_endpoint) if host_endpoint else ())
            case _:
                pass

    async def apply(self) -> None:
        """Render what changed, remove what is gone. What cannot be programmed denies everything, and is reported."""
        failures: list[Exception] = []
        for name in self._populated.take_appeared():
            self._dirty |= self._pruned.get(name, set())
        async for owner in slices(sorted(self._dirty)):
            self._forget_pruning(owner)
            for layer, direction in _CHAINS:
                use = Use(owner, layer, direction)
                render = self._renderer(use)
                chains = render() if render is not None and use in self._references else ()
                failures += self._replace(use, chains)
            self._dirty.discard(owner)
        if failures:
            raise ExceptionGroup(f"{len(failures)} policy chains cannot be programmed and deny everything", failures)

    def _renderer(self, use: Use) -> Callable[[], tuple[nft.Chain, ...]] | None:
        match use.owner:
            case PolicyId():
                policy = self._policies.get(use.owner)
                if policy is None:
                    return None
                return lambda: render_policy(policy, use.direction, layer=use.layer, config=self._config)
            case ProfileId():
                profile = self._profiles.get(use.owner)
                if profile is None:
                    return None
                return lambda: render_profile(profile, use.direction, layer=use.layer, config=self._config)

    def _replace(self, use: Use, chains: Iterable[nft.Chain]) -> list[KernelError]:
        before = self._told.pop(use, ())
        failures: list[KernelError] = []
        names: list[str] = []
        for rendered in chains:
            chain, without = self._populated.prune(rendered)
            self._note_pruning(use.owner, without)
            names.append(chain.name)
            try:
                self._table.put_chain(chain)
            except KernelError as error:
                # Endpoints refer to this chain by name: it must be there, and may not be more permissive than what was asked.
                self._table.put_chain(render_closed(chain.name, str(error), self._config))
                failures.append(error)
        for name in before:
            if name not in names:
                self._table.remove_chain(name)
        if names:
            self._told[use] = tuple(names)
        return failures

    def _note_pruning(self, owner: PolicyId | ProfileId, without: frozenset[str]) -> None:
        if without:
            self._without.setdefault(owner, set()).update(without)
        for name in without:
            self._pruned.setdefault(name, set()).add(owner)

    def _forget_pruning(self, owner: PolicyId | ProfileId) -> None:
        for name in self._without.pop(owner, ()):
            owners = self._pruned[name]
            owners.discard(owner)
            if not owners:
                del self._pruned[name]
