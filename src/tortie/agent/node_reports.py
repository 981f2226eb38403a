"""CalicoNodeStatus: this node's report on BIRD, its sessions and its routes, to everyone who asks for one.

Whoever creates such a resource names a node and a period. The agent of that node fills in the status at once, again whenever
the period is over, and with a period of 0 only when the question changes.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import msgspec

from tortie.agent.bird import Bird
from tortie.api.node_status import (
    BIRDStatus,
    CalicoNodeStatus,
    CalicoNodeStatusStatus,
    NodeAgentStatus,
    NodeBGPStatus,
    NodePeerStatus,
    NodeRoute,
    NodeRouteStatus,
    RouteSource,
    SessionState,
)
from tortie.base import log
from tortie.base.errors import TortieError
from tortie.base.net import Family
from tortie.bgp.errors import BgpError
from tortie.bgp.status import DaemonStatus, PeerStatus, RouteStatus
from tortie.datastore.client import Client
from tortie.datastore.errors import DoesNotExist
from tortie.datastore.syncer import Batch

_log = log.get(__name__)
KINDS = ("CalicoNodeStatus",)
_POLL_SECONDS = 0.5
_RETRY_SECONDS = 5.0
_DEFAULT_PERIOD = 10
_STATES = frozenset({"Idle", "Connect", "Active", "OpenSent", "OpenConfirm", "Established", "Close"})
_TYPES = {"Mesh": "NodeMesh", "Node": "NodePeer", "Global": "GlobalPeer"}
_SOURCES = {"kernel": "Kernel", "static": "Static", "services": "Static", "direct": "Direct"}


@dataclass(slots=True)
class _Question:
    resource: CalicoNodeStatus
    due: float


class NodeReports:
    """A sink for `Syncer.run` over CalicoNodeStatus. `sessions` gives those of the status file, also the ones withheld."""

    def __init__(self, client: Client, node: str, *, bird: Bird, sessions: Callable[[], Sequence[Mapping[str, Any]]]) -> None:
        self._client = client
        self._node = node
        self._bird = bird
        self._sessions = sessions
        self._questions: dict[str, _Question] = {}

    async def on_batch(self, batch: Batch) -> None:
        """Take note of questions to this node; only another question, and not our answer to it, is answered anew."""
        for key, value in batch.updates:
            if not isinstance(value, CalicoNodeStatus) or value.spec.node != self._node:
                self._questions.pop(key.name, None)
                continue
            known = self._questions.get(key.name)
            if known is not None and known.resource.spec == value.spec:
                known.resource = value
            else:
                self._questions[key.name] = _Question(value, due=0.0)

    async def run(self) -> None:
        """Answer what is due, without end."""
        loop = asyncio.get_running_loop()
        while True:
            for name, question in list(self._questions.items()):
                if question.due <= loop.time():
                    await self._answer(name, question, loop.time())
            await asyncio.sleep(_POLL_SECONDS)

    async def _answer(self, name: str, question: _Question, now: float) -> None:
        period = question.resource.spec.update_period_seconds
        period = _DEFAULT_PERIOD if period is None or period < 0 else period
        asked = question.resource
        try:
            status = await self._status(asked.spec.classes)
            stored = await self._client.update(msgspec.structs.replace(asked, status=status))
        except DoesNotExist:
            self._questions.pop(name, None)
        except TortieError as error:
            # Somebody else's change in between: the watch brings the newer version before the next attempt.
            _log.debug("node status %s is not written, will be tried again: %s", name, error)
            question.due = now + min(_RETRY_SECONDS, period or _RETRY_SECONDS)
        else:
            if question.resource is asked and isinstance(stored, CalicoNodeStatus):
                question.resource = stored
            question.due = now + period if period else float("inf")

    async def _status(self, classes: Sequence[str]) -> CalicoNodeStatusStatus:
        found = CalicoNodeStatusStatus(last_updated=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
        if "Agent" in classes:
            try:
                daemon = daemon_status(await self._bird.status())
            except BgpError:
                daemon = BIRDStatus(state="NotReady")
            found = msgspec.structs.replace(found, agent=NodeAgentStatus(bird_v4=daemon, bird_v6=daemon))
        try:
            peers = await self._bird.peers()
            routes = await self._bird.routes() if "Routes" in classes else []
        except BgpError:
            peers, routes = [], []
        if "BGP" in classes:
            found = msgspec.structs.replace(found, bgp=session_status(peers, self._sessions()))
        if "Routes" in classes:
            found = msgspec.structs.replace(found, routes=route_status(routes, peers))
        return found


def daemon_status(daemon: DaemonStatus) -> BIRDStatus:
    """One BIRD serves both versions of IP, so this stands for both."""
    return BIRDStatus(
        state="Ready" if daemon.ready else "NotReady",
        version=daemon.version,
        router_id=daemon.router_id,
        last_boot_time=daemon.last_boot,
        last_reconfiguration_time=daemon.last_reconfiguration,
    )


def session_status(peers: Sequence[PeerStatus], sessions: Sequence[Mapping[str, Any]]) -> NodeBGPStatus:
    """All sessions. One that is wanted and not configured is Idle."""
    found: dict[Family, list[NodePeerStatus]] = {Family.V4: [], Family.V6: []}
    for peer in peers:
        if peer.address is not None:
            entry = _session(peer.name, str(peer.address), peer.state, since=peer.since)
            found[peer.address.family].append(entry)
    for line in sessions:
        if line["state"] == "NotConfigured":
            address = str(line["address"])
            family = Family.V6 if ":" in address else Family.V4
            found[family].append(_session(str(line["name"]), address, "Idle", since=""))
    four, six = found[Family.V4], found[Family.V6]
    up = [sum(entry.state == "Established" for entry in entries) for entries in (four, six)]
    return NodeBGPStatus(
        number_established_v4=up[0],
        number_established_v6=up[1],
        number_not_established_v4=len(four) - up[0],
        number_not_established_v6=len(six) - up[1],
        peers_v4=tuple(four),
        peers_v6=tuple(six),
    )


def _session(name: str, address: str, state: str, *, since: str) -> NodePeerStatus:
    known = state if state in _STATES else "Active" if state == "Passive" else "Idle"
    kind = cast(Any, _TYPES.get(name.partition("_")[0]))
    return NodePeerStatus(peer_ip=address, type=kind, state=cast(SessionState, known), since=since)


def route_status(routes: Sequence[RouteStatus], peers: Sequence[PeerStatus]) -> NodeRouteStatus:
    """All of BIRD's routes. The one in use of each destination is the kernel's (FIB)."""
    addresses = {peer.name: str(peer.address or "") for peer in peers}
    found: dict[Family, list[NodeRoute]] = {Family.V4: [], Family.V6: []}
    for route in routes:
        word = route.protocol.rstrip("0123456789")
        if route.protocol in addresses:
            kind = "NodeMesh" if route.protocol.startswith("Mesh_") else "BGPPeer"
            source = RouteSource(source_type=cast(Any, kind), peer_ip=addresses[route.protocol])
        else:
            source = RouteSource(source_type=cast(Any, _SOURCES.get(word)))
        found[route.prefix.family].append(
            NodeRoute(
                type="FIB" if route.best else "RIB",
                destination=str(route.prefix),
                gateway=str(route.gateway or "N/A"),
                interface=route.interface or "N/A",
                learned_from=source,
            )
        )
    return NodeRouteStatus(routes_v4=tuple(found[Family.V4]), routes_v6=tuple(found[Family.V6]))
