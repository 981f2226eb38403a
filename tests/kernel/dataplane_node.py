"""A LinuxDataplane in a stage's node, driven step by step, as an agent would."""

import asyncio
import contextlib
import os
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

from tests.kernel.dataplane_stage import Pod, Stage

from tortie.base.net import parse_prefix
from tortie.dataplane.linux import LinuxDataplane
from tortie.dataplane.reachability_manager import ReachabilityManager
from tortie.intent.endpoint import Endpoint, Tier
from tortie.intent.keys import EndpointId, PolicyId, ProfileId, SetId
from tortie.intent.messages import (
    ConfigUpdate,
    EndpointUpdate,
    InSync,
    Message,
    PolicyUpdate,
    PoolUpdate,
    ProfileUpdate,
    SetUpdate,
)
from tortie.intent.policy import Action, Direction, Origin, Policy, Profile, Rule
from tortie.intent.routing import Pool
from tortie.intent.sets import IPSet, Member, SetKind
from tortie.kernel import netns
from tortie.kernel.announce import Announcer
from tortie.kernel.arp_responder import ArpResponder
from tortie.kernel.conntrack import Conntrack
from tortie.kernel.forwarding import Forwarding
from tortie.kernel.link import Links
from tortie.kernel.nft.table import NftTable
from tortie.kernel.proxy_neighbours import ProxyNeighbours
from tortie.kernel.qdisc import Shaper
from tortie.kernel.route import Routes
from tortie.kernel.route_table import RouteTable

_T = TypeVar("_T")

PROFILE = ProfileId("kns.shop")


class Node:
    """One life of an agent's dataplane. Leaves the kernel as it is when it ends, as a killed agent does."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self._loop = asyncio.new_event_loop()
        self._fd = netns.open_named(stage.node)
        self.table = NftTable(netns_fd=self._fd)
        self.arp = NftTable(family="arp", netns_fd=self._fd)
        self.routes = Routes(self._fd)
        self.conntrack = Conntrack(self._fd)
        self.shaper = Shaper(self._fd)
        self.links = Links(self._fd)
        self.proxies = ProxyNeighbours(self._fd)
        self.announcer = Announcer(self._fd)
        self.responder = ArpResponder(self._fd)
        self.dataplane = LinuxDataplane(
            self.table,
            RouteTable(self.routes, grace_seconds=0.5),
            conntrack=self.conntrack,
            forwarding=Forwarding(self._fd),
            shaper=self.shaper,
            arp=self.arp,
            links=self.links,
            reachability=ReachabilityManager(self.links, self.proxies, self.announcer, responder=self.responder),
        )

    def run(self, work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Run a coroutine on the node's loop."""
        return self._loop.run_until_complete(work())

    def tell(self, *messages: Message) -> None:
        """Hand over messages and apply them."""
        self.dataplane.on_messages(messages)
        self.run(self.dataplane.apply)

    def start(self, *messages: Message) -> None:
        """The first flush: a profile that allows everything, what is given, InSync."""
        self.tell(ProfileUpdate(PROFILE, allow_all()), *messages, InSync())

    def close(self) -> None:
        """End, without touching the kernel."""
        self.run(self.table.close)
        self.run(self.arp.close)
        self.routes.close()
        self.conntrack.close()
        self.shaper.close()
        self.links.close()
        self.proxies.close()
        self.announcer.close()
        self.responder.close()
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()
        os.close(self._fd)


@contextlib.contextmanager
def node(stage: Stage) -> Iterator[Node]:
    """One life."""
    made = Node(stage)
    try:
        yield made
    finally:
        made.close()


# ---- messages ----
def allow_all() -> Profile:
    """A namespace's profile."""
    return Profile(
        PROFILE,
        (Rule(Action.ALLOW, Origin(PROFILE, Direction.INGRESS, 0)),),
        (Rule(Action.ALLOW, Origin(PROFILE, Direction.EGRESS, 0)),),
    )


def np(name: str) -> PolicyId:
    """A NetworkPolicy of namespace shop."""
    return PolicyId("NetworkPolicy", "shop", name)


def endpoint_id(pod: Pod) -> EndpointId:
    """A pod's endpoint."""
    return EndpointId("node1", "shop", f"node1-k8s-pod{pod.number}-eth0")


def endpoint(pod: Pod, *tiers: Tier, **overrides: Any) -> EndpointUpdate:
    """A pod's endpoint with profile and tiers."""
    fields: dict[str, Any] = {
        "id": endpoint_id(pod),
        "workload": f"shop/pod{pod.number}",
        "interface": pod.interface,
        "addresses": pod.addresses,
        "tiers": tiers,
        "profiles": (PROFILE,),
    } | overrides
    return EndpointUpdate(endpoint_id(pod), Endpoint(**fields))


def tier(
    *, name: str = "default", ingress: tuple[str, ...] = (), egress: tuple[str, ...] = (), default_pass: bool = False
) -> Tier:
    """A tier with NetworkPolicies of namespace shop."""
    return Tier(name, default_pass, tuple(map(np, ingress)), tuple(map(np, egress)))


def policy(name: str, *, ingress: tuple[dict[str, Any], ...] = (), egress: tuple[dict[str, Any], ...] = ()) -> PolicyUpdate:
    """A policy; rules are given as fields of Rule without the origin."""
    owner = np(name)

    def rules(direction: Direction, given: tuple[dict[str, Any], ...]) -> tuple[Rule, ...]:
        return tuple(Rule(origin=Origin(owner, direction, index), **fields) for index, fields in enumerate(given))

    return PolicyUpdate(owner, Policy(owner, "default", rules(Direction.INGRESS, ingress), rules(Direction.EGRESS, egress)))


def ipset(set_id: SetId, kind: SetKind, *members: Member) -> SetUpdate:
    """A set as a whole."""
    return SetUpdate(set_id, IPSet(set_id, kind, f"test {set_id}"), frozenset(members))


def pool(cidr: str, *, nat: bool) -> PoolUpdate:
    """A pool without encapsulation."""
    prefix = parse_prefix(cidr)
    return PoolUpdate(prefix, Pool(prefix, nat, "Never", "Never", disabled=False, disable_bgp_export=False))


def config(**values: str) -> ConfigUpdate:
    """Configuration by Calico's names."""
    return ConfigUpdate(tuple(sorted(values.items())))
