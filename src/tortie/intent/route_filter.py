"""Route filters of BGP peers: what BGPFilter asks for, parsed and checked, so that rendering cannot fail on it."""

from dataclasses import dataclass

from tortie.base.net import Prefix

Community = tuple[int, ...]
"""Two parts: an ordinary community; three: a large one."""


@dataclass(frozen=True, slots=True)
class NetMatch:
    """Routes by destination. `exact` asks for this prefix itself; with lengths, for any prefix inside it that long."""

    prefix: Prefix
    exact: bool
    negated: bool
    lengths: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Operation:
    """One change of an accepted route: exactly one of the fields is set."""

    add_community: Community | None = None
    prepend: tuple[int, ...] = ()
    metric: int | None = None


@dataclass(frozen=True, slots=True)
class FilterRule:
    """All matches that are set must hold; the first rule that holds decides."""

    accept: bool
    net: NetMatch | None = None
    from_peers: bool = False
    interface: str = ""
    community: Community | None = None
    as_path_prefix: tuple[int, ...] = ()
    metric: int | None = None
    internal: bool | None = None
    """True only on sessions inside one AS, False only on others, None on both."""
    operations: tuple[Operation, ...] = ()


@dataclass(frozen=True, slots=True)
class RouteFilter:
    """One BGPFilter. A list without rules lets everything pass on to what follows."""

    name: str
    export_v4: tuple[FilterRule, ...] = ()
    import_v4: tuple[FilterRule, ...] = ()
    export_v6: tuple[FilterRule, ...] = ()
    import_v6: tuple[FilterRule, ...] = ()
