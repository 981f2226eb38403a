"""What a user wrote about BGP and this release does not do, or cannot read: one sentence a field."""

from collections.abc import Iterator

from tortie.api.bgp import BGPConfiguration, BGPPeer
from tortie.api.selector import SelectorError, parse_selector
from tortie.calc.bgp_peers import parse_as_number, parse_peer_ip
from tortie.calc.bgp_settings import advertisement_problems, bfd_problems, peering_problems


def configuration_problems(configuration: BGPConfiguration) -> Iterator[str]:
    """Problems of a BGPConfiguration."""
    spec = configuration.spec
    yield from peering_problems(spec)
    if spec.program_cluster_routes in ("Enabled", "EnabledIPIPOnly"):
        yield "spec.programClusterRoutes gives IPIP routes to BIRD, which BIRD 2 cannot program: the agent does"
    if spec.as_number is not None and parse_as_number(spec.as_number) is None:
        yield f"spec.asNumber {spec.as_number!r} is no AS number and counts as not set"
    if spec.listen_port is not None and not 1 <= spec.listen_port <= 65535:
        yield f"spec.listenPort {spec.listen_port} is no port and counts as not set"
    for field, metric in (("ipv4", spec.ipv4_normal_route_priority), ("ipv6", spec.ipv6_normal_route_priority)):
        if metric is not None and not 1 <= metric <= (1 << 31) - 2:
            yield f"spec.{field}NormalRoutePriority {metric} is no metric and counts as not set"
    yield from advertisement_problems(spec)
    yield from bfd_problems(configuration.metadata.annotations)


def peer_problems(peer: BGPPeer) -> Iterator[str]:
    """Problems of a BGPPeer; the first kind means that it has no session at all."""
    spec = peer.spec
    if spec.local_workload_selector and spec.as_number is None:
        yield "spec.localWorkloadSelector needs spec.asNumber: no session with workloads"
    if spec.peer_ip and parse_peer_ip(spec.peer_ip) is None:
        yield f"spec.peerIP {spec.peer_ip!r} is neither an address nor an address with a port: no session"
    selectors = (
        ("peerSelector", spec.peer_selector),
        ("nodeSelector", spec.node_selector),
        ("localWorkloadSelector", spec.local_workload_selector),
    )
    for field, selector in selectors:
        try:
            parse_selector(selector)
        except SelectorError as error:
            yield f"spec.{field} selects nothing: {error}"
    for field, number in (("asNumber", spec.as_number), ("localASNumber", spec.local_as_number)):
        if number is not None and parse_as_number(number) is None:
            yield f"spec.{field} {number!r} is no AS number"
    yield from bfd_problems(peer.metadata.annotations)
