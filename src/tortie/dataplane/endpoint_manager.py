"""Workload endpoints: their chains, the dispatch maps, and the list of sources that they may spoof."""

from collections.abc import Iterable, Mapping

from tortie.dataplane.manager import slices
from tortie.dataplane.render import names
from tortie.dataplane.render.config import Config
from tortie.dataplane.render.endpoint import render_endpoint, render_spoofing_allowance
from tortie.dataplane.render.static import dispatch_maps, render_spoofing_skip
from tortie.intent.endpoint import Endpoint
from tortie.intent.keys import EndpointId, PolicyId, ProfileId
from tortie.intent.messages import EndpointUpdate, Message, PolicyUpdate, ProfileUpdate
from tortie.intent.policy import Direction, Policy
from tortie.kernel.errors import KernelError
from tortie.kernel.nft import objects as nft
from tortie.kernel.nft.table import NftTable


class EndpointManager:
    """One pair of chains an interface. Of several endpoints that claim one interface the lowest id has it.

    An interface whose name does not begin with an InterfacePrefix is never led to the dispatch: an endpoint that names one is
    not put into force at all (no chains, no route), because it would be reachable without policy. `unpoliced` names them.
    """

    def __init__(self, table: NftTable) -> None:
        self._table = table
        self._config = Config()
        self._endpoints: dict[EndpointId, Endpoint] = {}
        self._claims: dict[str, set[EndpointId]] = {}
        self._active: dict[EndpointId, Endpoint] = {}
        self._policies: dict[PolicyId, Policy] = {}
        self._profiles: set[ProfileId] = set()
        self._changed_owners: set[PolicyId | ProfileId] = set()
        self._dirty: set[str] = set()
        self._told: dict[str, frozenset[str]] = {}
        self._started = False

    @property
    def active(self) -> Mapping[EndpointId, Endpoint]:
        """The endpoints that have their interface, as of the messages seen so far."""
        return self._active

    @property
    def rendered(self) -> dict[EndpointId, Endpoint]:
        """The active endpoints whose chains and dispatch entries the driver has been told."""
        return {
            endpoint_id: endpoint for endpoint_id, endpoint in self._active.items() if endpoint.interface not in self._dirty
        }

    @property
    def unpoliced(self) -> dict[EndpointId, str]:
        """Endpoints that are not in force for their interface's name, and what to do about each."""
        remedy = (
            f"begins with no InterfacePrefix ({', '.join(self._config.interface_prefixes)}): the endpoint has no policy and"
            " no route; add its prefix to FelixConfiguration spec.interfacePrefix"
        )
        return {
            endpoint_id: f"spec.interfaceName {endpoint.interface!r} {remedy}"
            for endpoint_id, endpoint in self._endpoints.items()
            if not self._is_workloads(endpoint.interface)
        }

    def configure(self, config: Config) -> None:
        """Marks and actions stand in every chain; the prefixes say which interfaces are ours."""
        self._config = config
        for interface in list(self._claims):
            self._settle(interface)

    def on_update(self, message: Message) -> None:
        """Endpoints; and of policies and profiles whether they exist and whether they are enforced."""
        match message:
            case EndpointUpdate(id=endpoint_id, endpoint=endpoint):
                self._replace(endpoint_id, endpoint)
            case PolicyUpdate(id=policy_id, policy=policy):
                before = self._policies.pop(policy_id, None)
                if policy is not None:
                    self._policies[policy_id] = policy
                if before is None or policy is None or before.staged != policy.staged:
                    self._changed_owners.add(policy_id)
            case ProfileUpdate(id=profile_id, profile=profile):
                if (profile is None) == (profile_id in self._profiles):
                    self._changed_owners.add(profile_id)
                    self._profiles ^= {profile_id}
            case _:
                pass

    async def apply(self) -> None:
        """Render the endpoints that changed, and those whose policies or profiles came, went or were staged."""
        maps = dispatch_maps()
        if not self._started:
            for spec in maps:
                self._table.put_set(spec, {})
            self._table.put_chain(render_spoofing_skip([]))
            self._started = True
        self._dirty.update(self._referring_to(self._changed_owners))
        self._changed_owners = set()
        if self._dirty:
            self._apply_spoofing()
        failures: list[Exception] = []
        async for interface in slices(sorted(self._dirty)):
            try:
                self._apply_interface(interface, maps)
            except KernelError as error:  # its interface stays unknown to the maps, and drops
                failures.append(error)
            else:
                self._dirty.discard(interface)
        if failures:
            raise ExceptionGroup(f"{len(failures)} endpoints cannot be programmed", failures)

    def _replace(self, endpoint_id: EndpointId, endpoint: Endpoint | None) -> None:
        before = self._endpoints.pop(endpoint_id, None)
        self._active.pop(endpoint_id, None)
        if before is not None:
            self._claims[before.interface].discard(endpoint_id)
            self._settle(before.interface)
        if endpoint is not None and endpoint.interface:
            self._endpoints[endpoint_id] = endpoint
            self._claims.setdefault(endpoint.interface, set()).add(endpoint_id)
            self._settle(endpoint.interface)

    def _settle(self, interface: str) -> None:
        """Decide who has the interface."""
        self._dirty.add(interface)
        claimants = self._claims[interface]
        for claimant in claimants:
            self._active.pop(claimant, None)
        if not claimants:
            del self._claims[interface]
        elif self._is_workloads(interface):
            self._active[min(claimants)] = self._endpoints[min(claimants)]

    def _is_workloads(self, interface: str) -> bool:
        return interface.startswith(self._config.interface_prefixes)

    def _referring_to(self, owners: set[PolicyId | ProfileId]) -> Iterable[str]:
        if not owners:
            return ()
        return [
            endpoint.interface
            for endpoint in self._endpoints.values()
            if not owners.isdisjoint(endpoint.profiles)
            or any(not owners.isdisjoint((*tier.ingress, *tier.egress)) for tier in endpoint.tiers)
        ]

    def _apply_interface(self, interface: str, maps: tuple[nft.SetSpec, nft.SetSpec]) -> None:
        chains: tuple[nft.Chain, ...] = ()
        if interface in self._claims and self._is_workloads(interface):
            endpoint = self._endpoints[min(self._claims[interface])]
            chains = render_endpoint(endpoint, policies=self._policies, profiles=self._profiles, config=self._config)
        for chain in chains:
            self._table.put_chain(chain)
        for spec, direction in zip(maps, (Direction.EGRESS, Direction.INGRESS), strict=True):
            if chains:
                self._table.add_members(spec.name, {interface: nft.Goto(names.endpoint_chain(interface, direction))})
            elif interface in self._told:
                self._table.remove_members(spec.name, [interface])
        wanted = frozenset(chain.name for chain in chains)
        for name in self._told.pop(interface, wanted) - wanted:
            self._table.remove_chain(name)
        if chains:
            self._told[interface] = wanted

    def _apply_spoofing(self) -> None:
        rules: list[nft.Rule] = []
        if self._config.source_spoofing:
            for _, endpoint in sorted(self.active.items()):
                rules += render_spoofing_allowance(endpoint)
        self._table.put_chain(render_spoofing_skip(rules))
