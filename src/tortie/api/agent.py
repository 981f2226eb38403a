"""AgentStatus: what the agent of one node says of itself in the datastore. A kind of our own."""

from tortie.api.resource import Metadata, Resource, Value

TORTIE_V1 = "tortie.io/v1"
"""apiVersion of kinds of our own."""


class AgentStatusSpec(Value, frozen=True, kw_only=True):
    """A report that is older than `ttl_seconds` (by `reported_at`) says only that the agent is not heard of any more."""

    node: str = ""
    ready: bool = False
    in_sync: bool = False
    reported_at: str = ""
    uptime_seconds: int = 0
    ttl_seconds: int = 0
    reasons: tuple[str, ...] = ()
    """Why the agent is not ready."""
    problems: tuple[str, ...] = ()
    """Resources and parameters that are not enforced as they are written, at most the first hundred."""
    local_endpoints: int = 0
    endpoints: dict[str, str] = {}
    """`namespace/name` of a workload endpoint to up or down; only where EndpointReportingEnabled says so."""


class AgentStatus(Resource, frozen=True, kw_only=True):
    """metadata.name is the node's name. Written by the agent alone."""

    api_version: str = TORTIE_V1
    kind: str = "AgentStatus"
    metadata: Metadata = Metadata()
    spec: AgentStatusSpec = AgentStatusSpec()
