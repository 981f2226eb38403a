"""A node with host endpoints: two neighbours on two uplinks, two pods, and short ways to say who reaches whom.

outside ── uplink │      │ cali1 ── pod 1
                  │ node │
second ── uplink2 │      │ cali2 ── pod 2
"""

import contextlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.kernel.dataplane_node import Node, endpoint, node
from tests.kernel.dataplane_stage import NODE, OUTSIDE, OUTSIDE_2, Pod, stage, tcp_passes, tcp_server, udp_arrives

from tortie.base.net import FAMILIES, Family, parse_address
from tortie.intent.endpoint import HostEndpoint, Tier
from tortie.intent.keys import HostEndpointId
from tortie.intent.messages import HostEndpointUpdate
from tortie.intent.policy import Action, Match, PortRange

TCP, UDP = 6, 17
ALLOW, DENY, PASS = ({"action": action} for action in (Action.ALLOW, Action.DENY, Action.PASS))
YES, NO = [True, True], [False, False]


def dport(*numbers: int, protocol: int = TCP) -> dict[str, Any]:
    """What a rule says that is about these destination ports."""
    return {"protocol": protocol, "destination": Match(ports=tuple(PortRange(number, number) for number in numbers))}


def sport(*numbers: int, protocol: int = TCP) -> dict[str, Any]:
    """What a rule says that is about these source ports."""
    return {"protocol": protocol, "source": Match(ports=tuple(PortRange(number, number) for number in numbers))}


def host_id(name: str = "uplink-hep") -> HostEndpointId:
    """A host endpoint of the node."""
    return HostEndpointId("node1", name)


def hep(
    *normal: Tier, name: str = "uplink-hep", interface: str = "uplink", expected: tuple[str, ...] = (), **kinds: Any
) -> HostEndpointUpdate:
    """A host endpoint with ordinary policy and, by keyword, other kinds of it."""
    addresses = tuple(parse_address(text) for text in expected)
    return HostEndpointUpdate(host_id(name), HostEndpoint(host_id(name), interface, addresses, normal=normal, **kinds))


def gone(name: str = "uplink-hep") -> HostEndpointUpdate:
    """It is deleted."""
    return HostEndpointUpdate(host_id(name), None)


@dataclass(frozen=True)
class Ground:
    """Everything of one test."""

    node: Node
    second: str
    a: Pod
    b: Pod

    @property
    def outside(self) -> str:
        """The first neighbour."""
        return self.node.stage.outside

    @property
    def host(self) -> str:
        """The node's own namespace."""
        return self.node.stage.node

    def tell(self, *messages: Any) -> None:
        """Hand over messages and apply them."""
        self.node.tell(*messages)

    def table(self) -> str:
        """Our table as nft shows it."""
        return self.node.stage.show(self.host, "nft", "list", "table", "inet", "tortie")

    def foreign(self, text: str) -> None:
        """Load a table that is not ours."""
        command = ["ip", "netns", "exec", self.host, "nft", "-f", "-"]
        subprocess.run(command, input=text, text=True, check=True)

    def translate(self, hook: str, rules: dict[Family, str]) -> None:
        """Have another program's tables translate destinations."""
        for family, rule in rules.items():
            table = "ip" if family is Family.V4 else "ip6"
            chain = f"chain c {{\ntype nat hook {hook} priority -100\n{rule}\n}}"
            self.foreign(f"table {table} foreign {{\n{chain}\n}}\n")

    def into_host(self, port: int, *, source: str = "") -> list[bool]:
        """Whether the first neighbour (or another) reaches a port of the node, in IPv4 and in IPv6."""
        return [tcp(source or self.outside, family, self.host, NODE[family], port) for family in FAMILIES]

    def out_of_host(self, port: int) -> list[bool]:
        """Whether the node reaches a port of the first neighbour."""
        return [tcp(self.host, family, self.outside, OUTSIDE[family], port) for family in FAMILIES]

    def forwarded(self, port: int) -> list[bool]:
        """Whether the first neighbour reaches the second one."""
        return [tcp(self.outside, family, self.second, OUTSIDE_2[family], port) for family in FAMILIES]

    def to_pod(self, port: int, *, source: str = "") -> list[bool]:
        """Whether the first neighbour (or another) reaches pod 1."""
        return [tcp(source or self.outside, family, self.a.netns, self.a.address(family), port) for family in FAMILIES]

    def udp_into_host(self, port: int) -> list[bool]:
        """The same as `into_host`, with a datagram."""
        return [udp_arrives(self.outside, family, self.host, NODE[family], port) for family in FAMILIES]

    def udp_out_of_host(self, port: int) -> list[bool]:
        """The same as `out_of_host`, with a datagram."""
        return [udp_arrives(self.host, family, self.outside, OUTSIDE[family], port) for family in FAMILIES]


def tcp(source: str, family: Family, target: str, address: str, port: int) -> bool:
    """True if a connection from one namespace to a server in another comes about."""
    with tcp_server(target, family, port):
        return tcp_passes(source, family, address, port)


@contextlib.contextmanager
def host_ground() -> Iterator[Ground]:
    """A started node with two pods that only their profile governs, and no host endpoint yet."""
    with stage("psd") as built, node(built) as made:
        a, b = built.pod(1), built.pod(2)
        second = built.second_outside()
        made.start(endpoint(a), endpoint(b))
        yield Ground(made, second, a, b)
