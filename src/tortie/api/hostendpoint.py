"""HostEndpoint: an interface of a node itself (api.md, section 3)."""

import msgspec

from tortie.api.policy import ProtocolText
from tortie.api.resource import V3, Metadata, Resource, Value


class HostEndpointPort(Value, frozen=True, kw_only=True):
    """A port of the host that rules can name."""

    name: str
    protocol: ProtocolText
    port: int


class HostEndpointSpec(Value, frozen=True, kw_only=True):
    """Which interface of `node`: the one of that name, all of them (`*`), or the one that has one of `expected_ips`.

    A name beats the addresses, which then only say what rules of others match when they select this endpoint.
    """

    node: str = ""
    interface_name: str = ""
    expected_ips: tuple[str, ...] = msgspec.field(default=(), name="expectedIPs")
    profiles: tuple[str, ...] = ()
    ports: tuple[HostEndpointPort, ...] = ()


class HostEndpoint(Resource, frozen=True, kw_only=True):
    """One interface, or all, of a node; its labels are what policies select. Annotation qos.projectcalico.org/dscp counts."""

    api_version: str = V3
    kind: str = "HostEndpoint"
    metadata: Metadata = Metadata()
    spec: HostEndpointSpec = HostEndpointSpec()
