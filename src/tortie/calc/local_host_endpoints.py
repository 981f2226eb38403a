"""Which host endpoints are local. Remote ones count for IP sets only."""

from collections.abc import Callable

from tortie.api.hostendpoint import HostEndpoint
from tortie.api.resource import Key
from tortie.calc.endpoint_resolver import LocalHostEndpoint
from tortie.calc.labelled import Labelled
from tortie.calc.local_endpoints import INTERFACE, dscp_number
from tortie.calc.problems import Problems
from tortie.convert.qos import qos_controls
from tortie.intent.host_endpoints import EVERY_INTERFACE
from tortie.intent.keys import HostEndpointId

Listener = Callable[[HostEndpointId, LocalHostEndpoint | None, Labelled | None], None]


class LocalHostEndpoints:
    """`listener(id, endpoint, labelled)` for local host endpoints, the last two None when one is gone."""

    def __init__(self, is_local: Callable[[str], bool], listener: Listener, problems: Problems) -> None:
        self._is_local = is_local
        self._listener = listener
        self._problems = problems
        self._ids: dict[Key, HostEndpointId] = {}

    def on_endpoint(self, key: Key, endpoint: HostEndpoint | None, labelled: Labelled | None) -> None:
        """A host endpoint of the cluster came, changed or went."""
        old = self._ids.get(key)
        new: HostEndpointId | None = None
        problems: list[str] = []
        if endpoint is not None and labelled is not None and self._is_local(endpoint.spec.node):
            problems = _problems(endpoint, labelled)
            if not problems:
                new = HostEndpointId(endpoint.spec.node, key.name)
        self._problems.report(key, "local", problems)
        if old is not None and old != new:
            del self._ids[key]
            self._listener(old, None, None)
        if new is not None and endpoint is not None and labelled is not None:
            self._ids[key] = new
            self._listener(new, _local(new, endpoint, labelled), labelled)

    def is_empty(self) -> bool:
        """True if no host endpoint is local."""
        return not self._ids


def _problems(endpoint: HostEndpoint, labelled: Labelled) -> list[str]:
    """Why the endpoint can be none of an interface."""
    name = endpoint.spec.interface_name
    if name and name != EVERY_INTERFACE and not INTERFACE.fullmatch(name):
        return [f"spec.interfaceName: {name!r} is no device name; the endpoint protects nothing"]
    if not name and not labelled.nets:
        return ["spec: neither interfaceName nor an address in expectedIPs; the endpoint protects nothing"]
    return []


def _local(endpoint_id: HostEndpointId, endpoint: HostEndpoint, labelled: Labelled) -> LocalHostEndpoint:
    controls = qos_controls(endpoint.metadata.annotations)
    return LocalHostEndpoint(
        id=endpoint_id,
        interface=endpoint.spec.interface_name,
        expected_addresses=tuple(net.network for net in labelled.nets),
        profiles=endpoint.spec.profiles,
        dscp=None if controls is None else dscp_number(controls.dscp),
    )
