"""Names of the things that an agent enforces. All sort and hash by value."""

from typing import NamedTuple

SetId = str
"""IP set identity (selectors.md, section 5): `s:...` selector, `n:...` selector and named port, `svc:...` a service's
endpoints with their ports, `svcnoport:...` without."""


class PolicyId(NamedTuple):
    """A policy of any kind: NetworkPolicy, GlobalNetworkPolicy, KubernetesNetworkPolicy ...; namespace "" when global."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


class ProfileId(NamedTuple):
    """A profile by name."""

    name: str


class HostEndpointId(NamedTuple):
    """A host endpoint: the node it is on, and the HostEndpoint's name."""

    node: str
    name: str


class EndpointId(NamedTuple):
    """A workload endpoint: the node it is on, its namespace and the WorkloadEndpoint's name."""

    node: str
    namespace: str
    name: str


AnyEndpointId = EndpointId | HostEndpointId
"""Whatever policies select. The two never compare equal."""
