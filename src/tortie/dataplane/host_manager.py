"""Host endpoints: which interface each has, their chains, and the maps that lead to them."""

from collections.abc import Set

from tortie.base import log
from tortie.base.net import Address
from tortie.dataplane.render.config import Config
from tortie.dataplane.render.hooks import frame_of
from tortie.dataplane.render.host import Dispatch, render_dispatch, render_failsafes, render_host_endpoint
from tortie.dataplane.render.policy import render_closed
from tortie.intent.endpoint import HostEndpoint
from tortie.intent.host_endpoints import EVERY_INTERFACE, resolve
from tortie.intent.keys import HostEndpointId, PolicyId, ProfileId
from tortie.intent.messages import HostEndpointUpdate, Message, PolicyUpdate, ProfileUpdate
from tortie.intent.policy import Policy
from tortie.kernel.errors import KernelError
from tortie.kernel.link import Links, check_name
from tortie.kernel.nft import objects as nft
from tortie.kernel.nft.table import NftTable

_log = log.get(__name__)


class HostManager:
    """Renders all host endpoints of the node whenever anything about one changes: they are few.

    Interfaces are looked at only while an endpoint goes by addresses. One that names its interface has its chains before the
    interface comes, so that there is no moment without policy. Without `links` none goes by addresses.
    """

    def __init__(self, table: NftTable, links: Links | None = None) -> None:
        self._table = table
        self._links = links
        self._config = Config()
        self._endpoints: dict[HostEndpointId, HostEndpoint] = {}
        self._policies: dict[PolicyId, Policy] = {}
        self._profiles: set[ProfileId] = set()
        self._interfaces: dict[str, frozenset[Address]] | None = None if links is not None else {}
        self._interfaces_stale = links is not None
        self._owners: dict[str, HostEndpoint] = {}
        self._problems: dict[HostEndpointId, str] = {}
        self._told_chains: set[str] = set()
        self._told_maps: set[str] = set()
        self._dirty = True

    @property
    def active(self) -> dict[str, HostEndpointId]:
        """The endpoint of each interface that has one, and under "*" that of all others."""
        return {interface: endpoint.id for interface, endpoint in self._owners.items()}

    @property
    def problems(self) -> dict[HostEndpointId, str]:
        """Endpoints, or parts of them, that are not in force, and why."""
        return self._problems

    def configure(self, config: Config) -> None:
        """Marks, actions and failsafe ports stand in the chains; the prefixes say which interfaces are no candidates."""
        self._config = config
        self._dirty = True

    def on_update(self, message: Message) -> None:
        """Host endpoints; and of policies and profiles whether they exist and whether they are enforced."""
        match message:
            case HostEndpointUpdate(id=host_id, endpoint=endpoint):
                self._endpoints.pop(host_id, None)
                if endpoint is not None:
                    self._endpoints[host_id] = endpoint
                self._dirty = True
            case PolicyUpdate(id=policy_id, policy=policy):
                before = self._policies.pop(policy_id, None)
                if policy is not None:
                    self._policies[policy_id] = policy
                self._dirty |= before is None or policy is None or before.staged != policy.staged
            case ProfileUpdate(id=profile_id, profile=profile):
                if (profile is None) == (profile_id in self._profiles):
                    self._profiles ^= {profile_id}
                    self._dirty = True
            case _:
                pass

    def links_changed(self, names: Set[str]) -> bool:
        """Interfaces came, went or changed. True if an endpoint may have another one now."""
        concerned = self._goes_by_addresses and any(not name.startswith(self._config.interface_prefixes) for name in names)
        self._interfaces_stale |= concerned
        return concerned

    def addresses_changed(self) -> bool:
        """Addresses came or went. True if an endpoint may have another interface now."""
        self._interfaces_stale |= self._goes_by_addresses
        return self._goes_by_addresses

    def invalidate(self) -> None:
        """Look at the interfaces again at the next `apply`."""
        self._interfaces_stale |= self._goes_by_addresses

    async def apply(self) -> None:
        """Render. Raises KernelError, with nothing changed, if the interfaces cannot be read for the first time.

        Afterwards a failure to read leaves every endpoint the interface that it has.
        """
        failures: list[Exception] = []
        if self._goes_by_addresses and self._interfaces_stale:
            try:
                self._look()
            except KernelError as error:
                if self._interfaces is None:
                    raise
                failures.append(error)
        if self._dirty:
            failures += self._render()
            self._dirty = False
        if failures:
            raise ExceptionGroup("host endpoints are not as they should be", failures)

    @property
    def _goes_by_addresses(self) -> bool:
        return self._links is not None and any(not endpoint.interface for endpoint in self._endpoints.values())

    def _look(self) -> None:
        assert self._links is not None
        self._interfaces_stale = False  # before the reading: what changes during it is read next time
        try:
            found = interfaces_of(self._links)
        except KernelError:
            self._interfaces_stale = True
            raise
        if found != self._interfaces:
            self._interfaces = found
            self._dirty = True

    def _render(self) -> list[Exception]:
        self._owners = self._resolve()
        frame = frame_of(self._endpoints.values(), (), service_nets=(), config=self._config)
        chains = render_failsafes(frame, self._config)
        dispatches = render_dispatch(self._owners, frame, self._config)
        chains += [dispatch.chain for dispatch in dispatches]
        for interface, endpoint in self._owners.items():
            chains += render_host_endpoint(
                endpoint, interface, policies=self._policies, profiles=self._profiles, config=self._config
            )
        return self._tell(chains, dispatches)

    def _tell(self, chains: list[nft.Chain], dispatches: list[Dispatch]) -> list[Exception]:
        failures: list[Exception] = []
        for dispatch in dispatches:
            self._table.put_set(dispatch.spec, dispatch.members)
        for chain in chains:
            try:
                self._table.put_chain(chain)
            except KernelError as error:
                self._table.put_chain(render_closed(chain.name, str(error), self._config))
                failures.append(error)
        wanted_chains, wanted_maps = {chain.name for chain in chains}, {dispatch.spec.name for dispatch in dispatches}
        for name in self._told_maps - wanted_maps:
            self._table.remove_set(name)
        for name in self._told_chains - wanted_chains:
            self._table.remove_chain(name)
        self._told_chains, self._told_maps = wanted_chains, wanted_maps
        return failures

    def _resolve(self) -> dict[str, HostEndpoint]:
        problems: dict[HostEndpointId, str] = {}
        candidates: list[HostEndpoint] = []
        for host_id, endpoint in sorted(self._endpoints.items()):
            problem = self._problem_of(endpoint)
            if problem:
                problems[host_id] = problem
            if not problem or endpoint.interface == EVERY_INTERFACE:
                candidates.append(endpoint)
        prefixes = self._config.interface_prefixes
        interfaces: dict[str, frozenset[Address]] = {
            endpoint.interface: frozenset()
            for endpoint in candidates
            if endpoint.interface and endpoint.interface != EVERY_INTERFACE
        }
        interfaces |= {name: each for name, each in (self._interfaces or {}).items() if not name.startswith(prefixes)}
        for host_id, problem in problems.items():
            if self._problems.get(host_id) != problem:
                _log.warning("host endpoint %s: %s", host_id.name, problem)
        self._problems = problems
        return resolve(candidates, interfaces)

    def _problem_of(self, endpoint: HostEndpoint) -> str:
        name = endpoint.interface
        if name == EVERY_INTERFACE:
            return "spec.interfaceName '*': untracked policy has no effect on it" if endpoint.untracked else ""
        if name.startswith(self._config.interface_prefixes):
            return f"spec.interfaceName {name!r} begins with an InterfacePrefix: workloads' interfaces have workload endpoints"
        if not name:
            return "" if self._links is not None else "spec.expectedIPs: this node's interfaces cannot be looked at"
        try:
            check_name(name)
        except KernelError as error:
            return f"spec.interfaceName: {error}"
        return ""


def interfaces_of(links: Links) -> dict[str, frozenset[Address]]:
    """The namespace's interfaces and their addresses."""
    names = {link.index: link.name for link in links.list()}
    found: dict[str, set[Address]] = {name: set() for name in names.values()}
    for entry in links.addresses():
        if entry.index in names:  # it may have come in between
            found[names[entry.index]].add(entry.interface.address)
    return {name: frozenset(addresses) for name, addresses in found.items()}
