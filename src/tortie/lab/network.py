"""The network of a lab as it is at this moment: what its datastore asks for, and the ways that its nodes' kernels have."""

from collections import Counter
from dataclasses import dataclass

from tortie.api.felix import FelixConfiguration, FelixConfigurationSpec
from tortie.api.ipam import BlockAffinity
from tortie.api.ippool import IPPool, IPPoolSpec
from tortie.base.net import Family, Prefix, parse_prefix
from tortie.datastore.client import Client
from tortie.kernel import netns
from tortie.kernel.route import PROTOCOL, UNICAST, Route, Routes
from tortie.lab.names import LabNames

PROTOCOL_BIRD = 12
WIREGUARD = {Family.V4: "wireguard.cali", Family.V6: "wg-v6.cali"}
_WAYS = {"vxlan.calico": "vxlan", "vxlan-v6.calico": "vxlan", "tunl0": "ipip"} | dict.fromkeys(WIREGUARD.values(), "wireguard")
_UNUSED = ("", "Never")


@dataclass(frozen=True, slots=True)
class Network:
    """Blocks and their nodes, pools by their network, FelixConfiguration `default`."""

    blocks: dict[Prefix, str]
    pools: dict[Prefix, IPPoolSpec]
    felix: FelixConfigurationSpec

    def is_encapsulated(self, block: Prefix) -> bool:
        """True if the block's pool has an overlay, if only between subnets."""
        pool = next((pool for cidr, pool in self.pools.items() if cidr.contains(block)), None)
        return pool is not None and (pool.ipip_mode not in _UNUSED or pool.vxlan_mode not in _UNUSED)

    def is_encrypted(self, family: Family) -> bool:
        """True if WireGuard is asked for."""
        return bool(self.felix.wireguard_enabled if family is Family.V4 else self.felix.wireguard_enabled_v6)

    def describe(self) -> list[str]:
        """A line for each pool, and one for WireGuard, for people."""
        lines = []
        for cidr, pool in sorted(self.pools.items()):
            overlays = [
                f"{name} {mode}" for name, mode in (("VXLAN", pool.vxlan_mode), ("IPIP", pool.ipip_mode)) if mode not in _UNUSED
            ]
            lines.append(f"{cidr}: {', '.join(overlays) or 'no encapsulation'}")
        encrypted = [f"IPv{family.value}" for family in Family if self.is_encrypted(family)]
        return lines + ([f"WireGuard: {', '.join(encrypted)}"] if encrypted else [])


async def read_network(client: Client) -> Network:
    """What the datastore says."""
    affinities = (await client.list("BlockAffinity")).items
    pools = (await client.list("IPPool")).items
    felix = (await client.list("FelixConfiguration")).items
    return Network(
        {
            parse_prefix(item.spec.cidr): item.spec.node
            for item in affinities
            if isinstance(item, BlockAffinity) and item.spec.state in ("", "confirmed")
        },
        {parse_prefix(item.spec.cidr): item.spec for item in pools if isinstance(item, IPPool)},
        next(
            (item.spec for item in felix if isinstance(item, FelixConfiguration) and item.metadata.name == "default"),
            FelixConfigurationSpec(),
        ),
    )


def cluster_routes(names: LabNames, node: str) -> list[Route]:
    """A node's ways to what is elsewhere: of the agent's and of BIRD's routes all but those to its own pods; all tables."""
    with netns.opened(names.node(node)) as descriptor, Routes(netns_fd=descriptor) as routes:
        return [
            route
            for route in routes.list(table=0)
            if route.protocol in (PROTOCOL, PROTOCOL_BIRD)
            and route.kind in (UNICAST, "multipath")
            and not (route.device or "").startswith("cali")
        ]


def count_ways(routes: list[Route]) -> dict[str, int]:
    """How many routes go which way: vxlan, ipip, wireguard, direct (the agent's, without a tunnel), bgp (BIRD's)."""
    return dict(
        Counter("bgp" if route.protocol == PROTOCOL_BIRD else _WAYS.get(route.device or "", "direct") for route in routes)
    )
