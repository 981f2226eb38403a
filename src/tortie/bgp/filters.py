"""Which routes BIRD takes, gives away and programs: the functions and filters of one family.

Calico's rules in BIRD 2's language. The kernel metric and BGP's local preference carry the same number, mirrored at 2^31 - 1,
so that a better (lower) metric on one node is a better (higher) preference on every other.
"""

from collections.abc import Iterable, Iterator

from tortie.base.net import Family, Prefix
from tortie.bgp.route_filters import MIRROR, add_community, render_functions
from tortie.intent.routing import Bgp, Block, Pool


def render_filters(bgp: Bgp, family: Family) -> Iterator[str]:
    """Lines of all functions and filters of one family, definitions before uses."""
    priority = bgp.ipv4_priority if family is Family.V4 else bgp.ipv6_priority
    pools = [pool for pool in bgp.pools if pool.cidr.family is family]
    yield from _aggregation(bgp.blocks, family, priority)
    yield from render_functions(bgp.filters, family)
    yield from _metric(family, priority)
    yield from _communities(bgp, family)
    yield from _export(pools, family, services=_told_services(bgp, family))
    yield from _import(family, priority)
    yield from _kernel(bgp, family, pools=pools, priority=priority)
    yield from _learn(family, bgp.agent_protocol)


def _told_services(bgp: Bgp, family: Family) -> list[Prefix]:
    """Service addresses that peers are told of; a route reflector passes on those of others."""
    told = [*bgp.services.advertised, *(bgp.services.reflected if bgp.cluster_id else ())]
    return [prefix for prefix in dict.fromkeys(told) if prefix.family is family]


def _aggregation(blocks: Iterable[Block], family: Family, priority: int) -> Iterator[str]:
    """Own blocks stand for the workloads in them; only a workload on the move (better metric) is told one by one."""
    own = [block.cidr for block in blocks if block.cidr.family is family and block.confirmed]
    yield f"function tortie_aggregate{family.value}()"
    yield "{"
    if own:
        yield f"  if net ~ {_set(own)} then accept;"
        yield f"  if net ~ {_set(own, '+')} then {{ if krt_metric < {priority} then accept; reject; }}"
    yield "}"


def _set(prefixes: Iterable[Prefix], suffix: str = "") -> str:
    """A set of BIRD's, in which a route is looked up in one step: a line for each of thousands would take BIRD seconds."""
    return f"[ {', '.join(f'{prefix}{suffix}' for prefix in prefixes)} ]"


def _metric(family: Family, priority: int) -> Iterator[str]:
    """A learned IPv4 route without a metric arrives with metric 0, which is no sign of a workload on the move."""
    yield f"function tortie_metric{family.value}()"
    yield "{"
    yield "  if source = RTS_BGP && defined(bgp_local_pref) then"
    yield f"    krt_metric = {MIRROR} - bgp_local_pref;"
    yield "  else {"
    yield f"    if ! defined(krt_metric) || krt_metric = 0 then krt_metric = {priority};"
    yield f"    bgp_local_pref = {MIRROR} - krt_metric;"
    yield "  }"
    yield "}"


def _communities(bgp: Bgp, family: Family) -> Iterator[str]:
    yield f"function tortie_communities{family.value}()"
    yield "{"
    for entry in bgp.advertisements:
        if entry.prefix.family is family and entry.communities:
            yield f"  if net ~ {entry.prefix} then {{ {' '.join(map(add_community, entry.communities))} }}"
    yield "}"


def _export(pools: Iterable[Pool], family: Family, *, services: Iterable[Prefix]) -> Iterator[str]:
    """What peers are told unless a filter of theirs decided: blocks of this node, borrowed addresses, services, and what came
    from other peers; nothing else.

    Towards an internal peer a route through a tunnel device is not told: it leads to the node that tells it itself.
    """
    ordered = sorted(pools, key=lambda pool: str(pool.cidr))
    yield f"function tortie_export{family.value}(bool same_as)"
    yield "{"
    for pool in ordered:
        if pool.disable_bgp_export:
            yield f"  if net ~ {pool.cidr} then reject;"
    yield "  if same_as && defined(ifname) then {"
    yield '    if ifname ~ "*.cali" || ifname ~ "*.calico" || ifname = "tunl0" then reject;'
    yield "  }"
    yield f"  tortie_communities{family.value}();"
    yield f"  tortie_aggregate{family.value}();"
    told = list(services)
    if told:
        yield f"  if net ~ {_set(told, '+')} then accept;"
    for pool in ordered:
        if not pool.disable_bgp_export:
            yield f"  if net ~ {pool.cidr} then accept;"
    yield "  reject;"
    yield "}"


def _import(family: Family, priority: int) -> Iterator[str]:
    """What peers tell is taken; a better metric than normal beats even static routes, as a moved workload must."""
    yield f"function tortie_import{family.value}()"
    yield "{"
    yield f"  if defined(bgp_local_pref) && bgp_local_pref > {MIRROR - priority} then preference = 200;"
    yield "  accept;"
    yield "}"


def _kernel(bgp: Bgp, family: Family, *, pools: Iterable[Pool], priority: int) -> Iterator[str]:
    """What BIRD programs: everything but services, and the pools whose routes the agent programs (`calc.routes` decides).

    Packets to services are translated before they are routed; a blackhole would be in the way where they are not. The subnets
    of interfaces are only there to resolve next hops; the kernel made its own routes for them. Of pools within one another the
    narrowest decides, as for the agent.
    """
    yield f"filter tortie_kernel{family.value}"
    yield "{"
    yield "  if source = RTS_DEVICE then reject;"
    for prefix in bgp.services.ranges:
        if prefix.family is family:
            yield f"  if net ~ {prefix} then reject;"
    yield f'  if proto = "services{family.value}" then reject;'
    yield "  if ! defined(krt_metric) then {"
    yield f"    krt_metric = {priority};"
    yield f"    if source = RTS_BGP && defined(bgp_local_pref) then krt_metric = {MIRROR} - bgp_local_pref;"
    yield "  }"
    exceptions = [prefix for prefix in bgp.exceptions if prefix.family is family]
    if exceptions:
        yield f"  if net ~ {_set(exceptions)} then accept;"
    for pool in sorted(pools, key=lambda pool: (-pool.cidr.length, str(pool.cidr))):
        encapsulated = pool.vxlan_mode != "Never" or (family is Family.V4 and pool.ipip_mode != "Never")
        verdict = "accept" if bgp.programs_no_encap and not encapsulated else "reject"
        yield f"  if net ~ {pool.cidr} then {verdict};"
    yield "  accept;"
    yield "}"


def _learn(family: Family, agent_protocol: int) -> Iterator[str]:
    """What BIRD takes from the kernel: the agent's routes to workloads, and whatever others put there.

    The agent's routes to other nodes (a gateway) and its blackholes are no news to anybody: told to peers, they would lead
    through this node, and would outlive what BGP itself knows of them.
    """
    yield f"filter tortie_learn{family.value}"
    yield "{"
    yield f"  if krt_source = {agent_protocol} && (dest != RTD_UNICAST || gw != ::) then reject;"
    yield "  accept;"
    yield "}"
