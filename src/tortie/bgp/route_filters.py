"""BGPFilter as functions of BIRD 2: accept or reject where a rule says so, return where none does."""

import hashlib
import re
from collections.abc import Iterable, Iterator

from tortie.base.net import Family
from tortie.bgp.errors import ConfigError
from tortie.intent.route_filter import Community, FilterRule, NetMatch, Operation, RouteFilter

MIRROR = (1 << 31) - 1
"""metric + local preference."""

_LONGEST_NAME = 45
"""A longer one, with what stands around it, would be no symbol of BIRD's (64 characters)."""


def render_functions(filters: Iterable[RouteFilter], family: Family) -> Iterator[str]:
    """The functions of one family. A filter without rules for a direction has none for it."""
    for each in filters:
        for direction in ("import", "export"):
            rules = _rules(each, direction, family=family)
            if not rules:
                continue
            yield f"function {_symbol(each.name, direction, family=family)}(bool same_as)"
            yield "{"
            for rule in rules:
                yield f"  {_rule(rule)}"
            yield "}"


def calls(names: Iterable[str], filters: Iterable[RouteFilter], *, direction: str, family: Family, internal: bool) -> list[str]:
    """The calls of a session's filters, in order. Raises ConfigError for a filter that is not there."""
    by_name = {each.name: each for each in filters}
    found = []
    for name in names:
        if name not in by_name:
            raise ConfigError(f"BGPFilter {name!r} is named by a session and is not there")
        if _rules(by_name[name], direction, family=family):
            found.append(f"{_symbol(name, direction, family=family)}({'true' if internal else 'false'});")
    return found


def community_text(community: Community) -> str:
    """A community as BIRD writes it."""
    return f"({','.join(map(str, community))})"


def add_community(community: Community) -> str:
    """The statement that adds one."""
    kind = "bgp_community" if len(community) == 2 else "bgp_large_community"
    return f"{kind}.add({community_text(community)});"


def _rules(each: RouteFilter, direction: str, *, family: Family) -> tuple[FilterRule, ...]:
    if direction == "import":
        return each.import_v4 if family is Family.V4 else each.import_v6
    return each.export_v4 if family is Family.V4 else each.export_v6


def _symbol(name: str, direction: str, *, family: Family) -> str:
    """Quoted, because names have dots and hyphens; a name that cannot be quoted is replaced by its hash."""
    if len(name) > _LONGEST_NAME or not re.fullmatch(r"[0-9A-Za-z_.:-]+", name):
        digest = hashlib.sha256(name.encode()).hexdigest()[:16].upper()
        name = re.sub(r"[^0-9A-Za-z_.:-]", "_", name[:28]) + "_" + digest
    return f"'bgp_{name}_{direction}FilterV{family.value}'"


def _rule(rule: FilterRule) -> str:
    conditions = list(_conditions(rule))
    body = " ".join([*(_operation(each) for each in rule.operations), "accept;" if rule.accept else "reject;"])
    return f"if {' && '.join(conditions)} then {{ {body} }}" if conditions else body


def _conditions(rule: FilterRule) -> Iterator[str]:
    if rule.internal is not None:
        yield "same_as" if rule.internal else "! same_as"
    if rule.net is not None:
        yield _net(rule.net)
    if rule.from_peers:
        yield "source = RTS_BGP"
    if rule.interface:
        yield f'defined(ifname) && ifname ~ "{rule.interface}"'
    if rule.community is not None:
        kind = "bgp_community" if len(rule.community) == 2 else "bgp_large_community"
        yield f"{community_text(rule.community)} ~ {kind}"
    if rule.as_path_prefix:
        yield f"bgp_path ~ [= {' '.join(map(str, rule.as_path_prefix))} * =]"
    if rule.metric is not None:
        yield f"defined(bgp_local_pref) && bgp_local_pref = {MIRROR - rule.metric}"


def _net(match: NetMatch) -> str:
    """With lengths the prefix is a set, of which BIRD asks membership whatever the operator of the rule was."""
    if match.lengths is not None:
        shortest, longest = match.lengths
        return f"net {'!~' if match.negated else '~'} [ {match.prefix}{{{shortest},{longest}}} ]"
    if match.exact:
        return f"net {'!=' if match.negated else '='} {match.prefix}"
    return f"net {'!~' if match.negated else '~'} {match.prefix}"


def _operation(operation: Operation) -> str:
    if operation.add_community is not None:
        return add_community(operation.add_community)
    if operation.metric is not None:
        return f"bgp_local_pref = {MIRROR - operation.metric};"
    return " ".join(f"bgp_path.prepend({number});" for number in reversed(operation.prepend))
