"""What a user wrote about BGP and this release does not do, or cannot read: one sentence a field."""

import re
from collections.abc import Iterator

from tortie.api.bgp import BGPConfiguration, BGPPeer
from tortie.api.node import Node
from tortie.api.selector import SelectorError, parse_selector
from tortie.base.net import Family, is_peer_address, parse_interface
from tortie.calc.bgp_peers import parse_as_number, parse_peer_ip, parse_seconds
from tortie.calc.bgp_settings import advertisement_problems, bfd_problems, peering_problems

_INTERFACE = re.compile(r"(?!\*+$)[a-zA-Z0-9_.*-]{1,15}")
_LONGEST_RESTART = 4095
"""Seconds; the field on the wire has twelve bits."""


def is_interface_pattern(text: str) -> bool:
    """True for an interface, possibly with *. One that stands for all would leave BIRD no way to any peer."""
    return _INTERFACE.fullmatch(text) is not None


def restart_seconds(text: str | None) -> int | None:
    """nodeMeshMaxRestartTime; one that no session can have counts as not set, or there would be no mesh."""
    seconds = parse_seconds(text)
    return seconds if seconds is not None and seconds <= _LONGEST_RESTART else None


def node_problems(node: Node) -> Iterator[str]:
    """Problems of a Node as a peer."""
    bgp = node.spec.bgp
    if bgp is None:
        return
    for family, text in ((Family.V4, bgp.ipv4_address), (Family.V6, bgp.ipv6_address)):
        try:
            address = parse_interface(text).address if text else None
            usable = address is None or (address.family is family and is_peer_address(address))
        except ValueError:
            usable = False
        if not usable:
            field = f"spec.bgp.ipv{family.value}Address"
            yield f"{field} {text!r} is no IPv{family.value} address by which others reach the node: BGP does without it"


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
    if spec.node_mesh_max_restart_time and restart_seconds(spec.node_mesh_max_restart_time) is None:
        yield f"spec.nodeMeshMaxRestartTime must be a duration of at most {_LONGEST_RESTART}s; it counts as not set"
    for pattern in spec.ignored_interfaces:
        if not is_interface_pattern(pattern):
            yield f"spec.ignoredInterfaces {pattern!r} is no interface, possibly with *, and counts as not there"
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
    for field, duration in (("maxRestartTime", spec.max_restart_time), ("keepaliveTime", spec.keepalive_time)):
        if duration and parse_seconds(duration) is None:
            yield f"spec.{field} {duration[:40]!r} is no duration such as 90s; it counts as not set"
    yield from bfd_problems(peer.metadata.annotations)
