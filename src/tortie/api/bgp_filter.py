"""BGPFilter: which routes are taken from and given to a BGP peer, and how they are changed (api.md, section 5)."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from tortie.api.resource import V3, Metadata, Resource, Value

ASNumber = Annotated[int, Meta(ge=0, le=0xFFFFFFFF)]
RoutePriority = Annotated[int, Meta(ge=1, le=2**31 - 2)]
MatchOperator = Literal["Equal", "NotEqual", "In", "NotIn"]


class CommunityMatch(Value, frozen=True, kw_only=True):
    """Routes that carry this community; exactly one value for now."""

    values: tuple[str, ...] = ()


class PrefixLengthV4(Value, frozen=True, kw_only=True):
    """How long the prefix of a matching IPv4 route is, both ends inclusive."""

    min: Annotated[int, Meta(ge=0, le=32)] | None = None
    max: Annotated[int, Meta(ge=0, le=32)] | None = None


class PrefixLengthV6(Value, frozen=True, kw_only=True):
    """How long the prefix of a matching IPv6 route is, both ends inclusive."""

    min: Annotated[int, Meta(ge=0, le=128)] | None = None
    max: Annotated[int, Meta(ge=0, le=128)] | None = None


class AddCommunity(Value, frozen=True, kw_only=True):
    """Adds a community to the route."""

    value: str


class PrependASPath(Value, frozen=True, kw_only=True):
    """Puts AS numbers before the route's path; the first of them ends up first."""

    prefix: tuple[ASNumber, ...]


class SetPriority(Value, frozen=True, kw_only=True):
    """Sets the metric with which the route stands in the kernel."""

    value: RoutePriority


class FilterOperation(Value, frozen=True, kw_only=True):
    """One change of an accepted route: exactly one of the fields is set."""

    add_community: AddCommunity | None = None
    prepend_as_path: PrependASPath | None = msgspec.field(default=None, name="prependASPath")
    set_priority: SetPriority | None = None


class BGPFilterRule(Value, frozen=True, kw_only=True):
    """What rules of both IP versions share. Fields that are set are ANDed; the first rule that matches decides."""

    action: Literal["Accept", "Reject"]
    as_path_prefix: tuple[ASNumber, ...] = msgspec.field(default=(), name="asPathPrefix")
    cidr: str = ""
    communities: CommunityMatch | None = None
    interface: str = ""
    match_operator: MatchOperator | None = None
    operations: tuple[FilterOperation, ...] = ()
    peer_type: Literal["eBGP", "iBGP"] | None = None
    priority: RoutePriority | None = None
    source: Literal["RemotePeers"] | None = None


class BGPFilterRuleV4(BGPFilterRule, frozen=True, kw_only=True):
    """A rule for IPv4 routes."""

    prefix_length: PrefixLengthV4 | None = None


class BGPFilterRuleV6(BGPFilterRule, frozen=True, kw_only=True):
    """A rule for IPv6 routes."""

    prefix_length: PrefixLengthV6 | None = None


class BGPFilterSpec(Value, frozen=True, kw_only=True):
    """Rules by direction and IP version."""

    export_v4: tuple[BGPFilterRuleV4, ...] = ()
    import_v4: tuple[BGPFilterRuleV4, ...] = ()
    export_v6: tuple[BGPFilterRuleV6, ...] = ()
    import_v6: tuple[BGPFilterRuleV6, ...] = ()


class BGPFilter(Resource, frozen=True, kw_only=True):
    """A filter, named by `spec.filters` of a BGPPeer."""

    api_version: str = V3
    kind: str = "BGPFilter"
    metadata: Metadata = Metadata()
    spec: BGPFilterSpec = BGPFilterSpec()
