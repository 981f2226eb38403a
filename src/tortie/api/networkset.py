"""NetworkSet and GlobalNetworkSet: named lists of CIDRs with labels (api.md, section 3)."""

from tortie.api.resource import V3, Metadata, Resource, Value


class NetworkSetSpec(Value, frozen=True, kw_only=True):
    """`nets`: CIDRs or addresses, host bits tolerated."""

    nets: tuple[str, ...] = ()


class NetworkSet(Resource, frozen=True, kw_only=True):
    """A set in one namespace; it inherits the labels of that namespace's profile."""

    api_version: str = V3
    kind: str = "NetworkSet"
    metadata: Metadata = Metadata()
    spec: NetworkSetSpec = NetworkSetSpec()


class GlobalNetworkSet(Resource, frozen=True, kw_only=True):
    """A set for the whole cluster."""

    api_version: str = V3
    kind: str = "GlobalNetworkSet"
    metadata: Metadata = Metadata()
    spec: NetworkSetSpec = NetworkSetSpec()
