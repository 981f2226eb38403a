"""What BIRD cannot be told of one session. One value that it refuses would make it refuse the whole configuration."""

from tortie.base.net import Address, Family, is_peer_address, parse_address, parse_prefix
from tortie.intent.routing import Bgp, BgpPeer

_LINK_LOCAL = parse_prefix("fe80::/10")
_HOLD_SECONDS = 240
"""BIRD's hold time where none is configured; keepalives that come more rarely would end every session."""

_RESTART_SECONDS = 4095
"""The field on the wire has twelve bits."""


def why_refused(bgp: Bgp, peer: BgpPeer) -> str:
    """Why BIRD gets no such session, "" for one that it gets. The text names the field."""
    if peer.refused:
        return peer.refused
    where = peer.description
    if not is_peer_address(peer.address.address):
        return f"{where}: {peer.address.address} is no address of a peer some hops away (link-local, multicast or unspecified)"
    bounds = (
        ("the port of spec.peerIP", peer.port, (1, 65535)),
        ("spec.ttlSecurity", peer.ttl_security, (0, 255)),
        ("spec.maxRestartTime in seconds", peer.restart_seconds, (0, _RESTART_SECONDS)),
        ("spec.keepaliveTime in seconds", peer.keepalive_seconds, (1, _HOLD_SECONDS)),
        ("spec.numAllowedLocalASNumbers", peer.allowed_local_as, (0, (1 << 31) - 1)),
    )
    for field, value, (lowest, highest) in bounds:
        if value is not None and not lowest <= value <= highest:
            return f"{where}: {field} is {value} and must be from {lowest} to {highest}"
    if peer.rr_client and peer.as_number != (bgp.as_number if peer.local_as_number is None else peer.local_as_number):
        return f"{where}: AS {peer.as_number} is not this node's, and routes are reflected inside one AS only"
    if peer.workload is not None and bgp.bind_node_ip and is_link_local(peer.workload.virtual):
        return f"{where}: with bindMode NodeIP, spec.localWorkloadPeeringIPV6 {peer.workload.virtual} must not be link-local"
    if peer.rr_client and not _is_ipv4(bgp.cluster_id):
        return f"{where}: this node's spec.bgp.routeReflectorClusterID {bgp.cluster_id!r} is no IPv4 address"
    return ""


def is_link_local(address: Address) -> bool:
    """BIRD takes no such address for a session of several hops, neither to listen on nor as a next hop."""
    return address.family is Family.V6 and _LINK_LOCAL.contains(address)


def _is_ipv4(text: str) -> bool:
    try:
        return parse_address(text).family is Family.V4
    except ValueError:
        return False
