"""The table of family arp: no answer that tells a workload that its own address is somebody else's. Pure.

The node answers ARP for whatever it has a route to. While a workload's address leads away from its interface (its virtual
machine moves to another node, or a route is wrong), the node would answer for that too, and the workload would hear that
another has its address.

    arp output   to a workload: an answer that speaks for one of its own addresses is dropped
"""

from tortie.base.net import Family
from tortie.dataplane.render import names
from tortie.intent.endpoint import Endpoint
from tortie.kernel.nft import objects as nft

DISPATCH = nft.SetSpec(names.ARP_DISPATCH, nft.ElementType.IFNAME, is_verdict_map=True)
_OUTPUT = nft.Hook("filter", "output", 0)


def render_output() -> nft.Chain:
    """The base chain. It needs the map."""
    return nft.Chain(names.ARP_OUTPUT, (nft.Rule((nft.IfNameVmap("oif", names.ARP_DISPATCH),)),), _OUTPUT)


def render_arp(endpoint: Endpoint) -> nft.Chain:
    """The chain of answers to one workload."""
    rules = [
        nft.Rule(
            (nft.ArpReply(), nft.ArpSender(prefix.network), nft.Counter(), nft.DROP),
            names.comment(f"for {endpoint.workload}'s own address"),
        )
        for prefix in endpoint.addresses
        if prefix.family is Family.V4
    ]
    return nft.Chain(names.arp_chain(endpoint.interface), tuple(rules))
