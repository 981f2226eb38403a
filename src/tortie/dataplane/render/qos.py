"""Limits of a workload endpoint, and the DSCP of packets that leave the cluster. Pure.

What a limit counts lives in its rule and begins anew when the rule is written again. So each limit has a chain of its own,
which a change of policy does not touch: the connections that are there go on being counted.

    mangle postrouting   source has a DSCP, destination is neither in a pool nor a node: write it
"""

from collections.abc import Iterable

from tortie.base.net import FAMILIES, Family
from tortie.dataplane.render import names
from tortie.dataplane.render.static import address_set
from tortie.intent.endpoint import Endpoint
from tortie.intent.policy import Direction
from tortie.kernel.nft import objects as nft

_TCP = 6
_POSTROUTING = nft.Hook("filter", "postrouting", -150)


def render_packet_rate(endpoint: Endpoint, direction: Direction) -> nft.Chain | None:
    """The chain that drops what is faster than the endpoint's packet rate; None if there is no limit.

    IPv4 and IPv6 share the rate.
    """
    ingress = direction is Direction.INGRESS
    rate = endpoint.ingress_packet_rate if ingress else endpoint.egress_packet_rate
    if rate is None:
        return None
    limit = nft.Limit(rate.packets_per_second, burst=rate.burst, over=True)
    rule = nft.Rule((limit, nft.Counter(), nft.DROP), f"over the {direction.value.lower()} packet rate")
    return nft.Chain(names.packet_rate_chain(endpoint.interface, direction), (rule,))


def render_connections(endpoint: Endpoint, direction: Direction) -> nft.Chain | None:
    """The chain that resets TCP connections beyond the endpoint's number of them; None if there is no limit.

    To be asked about packets of new connections only. IPv4 and IPv6 are counted together.
    """
    ingress = direction is Direction.INGRESS
    most = endpoint.ingress_max_connections if ingress else endpoint.egress_max_connections
    if most is None:
        return None
    statements = nft.L4Proto(_TCP), nft.Connections(most), nft.Counter(), nft.Reject(tcp_reset=True)
    rule = nft.Rule(statements, f"over the {direction.value.lower()} connection limit")
    return nft.Chain(names.connections_chain(endpoint.interface, direction), (rule,))


def dscp_set(value: int, family: Family) -> nft.SetSpec:
    """The addresses whose packets carry this value out of the cluster."""
    return address_set(names.dscp_set(value), family, comment=f"DSCP {value}")


def render_dscp(values: Iterable[int]) -> nft.Chain:
    """The base chain that writes these values. It needs their sets, those of the pools and those of the nodes."""
    rules = [
        nft.Rule(
            (
                nft.NfProto(family),
                nft.NetIn("source", family, names.set_name(names.dscp_set(value), family)),
                nft.NetIn("destination", family, names.set_name(names.POOLS, family), "!="),
                nft.NetIn("destination", family, names.set_name(names.ALL_HOSTS, family), "!="),
                nft.SetDscp(family, value),
            ),
            f"DSCP {value}",
        )
        for family in FAMILIES
        for value in sorted(values)
    ]
    return nft.Chain(names.MANGLE_DSCP, tuple(rules), _POSTROUTING)
