"""A node answers who asks for its status, as often as asked, and does not take its own answer for a question."""

import asyncio
from typing import Any, cast

import msgspec
import pytest

from tortie.agent.bird import Bird
from tortie.agent.node_reports import NodeReports, route_status, session_status
from tortie.api.node_status import CalicoNodeStatus, CalicoNodeStatusSpec
from tortie.api.resource import Metadata, Resource, Update
from tortie.base.net import parse_address, parse_prefix
from tortie.bgp.errors import ControlError
from tortie.bgp.status import DaemonStatus, PeerStatus, RouteStatus
from tortie.datastore.client import Client
from tortie.datastore.errors import DoesNotExist
from tortie.datastore.syncer import Batch

PEERS = [
    PeerStatus("Mesh_10_0_0_2", parse_address("10.0.0.2"), 64512, "Established", "12:00:00", "", 3, 4),
    PeerStatus("Node_10_0_0_3", parse_address("10.0.0.3"), 64512, "Passive", "12:00:01", "", 0, 0),
    PeerStatus("Global_fd00__9", parse_address("fd00::9"), 65001, "Connect", "12:00:02", "refused", 0, 0),
]
ROUTES = [
    RouteStatus(parse_prefix("10.1.0.0/26"), "unicast", "Mesh_10_0_0_2", 100, True, parse_address("10.0.0.2"), "eth0"),
    RouteStatus(parse_prefix("10.1.0.0/26"), "unicast", "Node_10_0_0_3", 100, False, parse_address("10.0.0.3"), "eth0"),
    RouteStatus(parse_prefix("10.2.0.0/26"), "blackhole", "static4", 200, True, None, ""),
    RouteStatus(parse_prefix("10.96.0.0/12"), "blackhole", "services4", 200, True, None, ""),
    RouteStatus(parse_prefix("fd00::/64"), "unicast", "direct1", 240, True, None, "eth0"),
]


class StubBird:
    """A BIRD that answers, or does not."""

    def __init__(self) -> None:
        self.dead = False

    async def status(self) -> DaemonStatus:
        if self.dead:
            raise ControlError("no answer")
        return DaemonStatus("2.0.12", "10.0.0.1", "12:00", ready=True, text="", last_boot="11:00")

    async def peers(self) -> list[PeerStatus]:
        if self.dead:
            raise ControlError("no answer")
        return PEERS

    async def routes(self) -> list[RouteStatus]:
        return ROUTES


class StubClient:
    """Takes updates."""

    def __init__(self) -> None:
        self.written: list[CalicoNodeStatus] = []
        self.gone = False

    async def update(self, resource: Resource) -> Resource:
        if self.gone:
            raise DoesNotExist(resource.key)
        assert isinstance(resource, CalicoNodeStatus)
        self.written.append(resource)
        return resource


def question(*classes: Any, node: str = "n1", period: int = 0) -> CalicoNodeStatus:
    spec = CalicoNodeStatusSpec(node=node, classes=classes, update_period_seconds=period)
    return CalicoNodeStatus(metadata=Metadata(name="ask"), spec=spec)


def answers(
    *resources: CalicoNodeStatus, dead: bool = False, gone: bool = False, seconds: float = 0.1
) -> list[CalicoNodeStatus]:
    """What is written when these arrive one after the other, each with time to be answered."""
    client, bird = StubClient(), StubBird()
    client.gone, bird.dead = gone, dead
    reports = NodeReports(cast(Client, client), "n1", bird=cast(Bird, bird), sessions=tuple)

    async def live() -> None:
        async with asyncio.TaskGroup() as group:
            for resource in resources:
                task = group.create_task(reports.run())
                await reports.on_batch(Batch((Update(resource.key, resource),), in_sync=True))
                await asyncio.sleep(seconds)
                task.cancel()

    asyncio.run(live())
    return client.written


def test_the_classes_that_are_asked_for_are_filled_in() -> None:
    (found,) = answers(question("Agent", "BGP", "Routes"))
    assert found.status is not None
    assert found.status.last_updated
    daemon = found.status.agent.bird_v4
    assert (daemon.state, daemon.version, daemon.router_id, daemon.last_boot_time) == ("Ready", "2.0.12", "10.0.0.1", "11:00")
    assert found.status.agent.bird_v6 == daemon
    assert found.status.bgp is not None
    assert found.status.bgp.number_established_v4 == 1
    assert len(found.status.routes.routes_v4) == 4
    (only,) = answers(question("Agent"))
    assert only.status is not None
    assert only.status.bgp is None
    assert only.status.routes.routes_v4 == ()


def test_an_answer_is_no_question_and_another_question_is() -> None:
    asked = question("Agent")
    (answered,) = answers(asked)
    assert len(answers(asked, answered, answered)) == 1
    assert len(answers(asked, msgspec.structs.replace(asked, spec=question("BGP").spec))) == 2


def test_a_period_asks_again_and_zero_does_not() -> None:
    assert len(answers(question("Agent", period=1), seconds=1.7)) >= 2
    assert len(answers(question("Agent", period=60), seconds=1.2)) == 1
    assert len(answers(question("Agent"), seconds=1.2)) == 1
    assert len(answers(question("Agent", period=-5), seconds=1.2)) == 1, "a period that is none would be answered without end"


def test_other_nodes_are_not_answered_for() -> None:
    assert answers(question("Agent", node="n2")) == []
    assert len(answers(question("Agent"), question("Agent", node="n2"), question("Agent"))) == 2


def test_without_bird_the_answer_says_so() -> None:
    (found,) = answers(question("Agent", "BGP", "Routes"), dead=True)
    assert found.status is not None
    assert found.status.agent.bird_v4.state == "NotReady"
    assert found.status.bgp is not None
    assert found.status.bgp.peers_v4 == ()


def test_a_question_that_is_taken_back_is_forgotten() -> None:
    assert answers(question("Agent", period=1), gone=True, seconds=0.6) == []


def test_sessions_by_version_type_and_state_and_those_that_are_not_configured() -> None:
    withheld = {"name": "Global_192_0_2_1", "address": "192.0.2.1", "state": "NotConfigured"}
    found = session_status(PEERS, [withheld])
    assert [(entry.peer_ip, entry.type, entry.state) for entry in found.peers_v4] == [
        ("10.0.0.2", "NodeMesh", "Established"),
        ("10.0.0.3", "NodePeer", "Active"),
        ("192.0.2.1", "GlobalPeer", "Idle"),
    ]
    assert [(entry.peer_ip, entry.type, entry.state) for entry in found.peers_v6] == [("fd00::9", "GlobalPeer", "Connect")]
    assert (found.number_established_v4, found.number_not_established_v4) == (1, 2)
    assert (found.number_established_v6, found.number_not_established_v6) == (0, 1)


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (0, ("FIB", "10.1.0.0/26", "10.0.0.2", "eth0", "NodeMesh", "10.0.0.2")),
        (1, ("RIB", "10.1.0.0/26", "10.0.0.3", "eth0", "BGPPeer", "10.0.0.3")),
        (2, ("FIB", "10.2.0.0/26", "N/A", "N/A", "Static", "")),
        (3, ("FIB", "10.96.0.0/12", "N/A", "N/A", "Static", "")),
    ],
)
def test_routes_say_where_they_come_from(index: int, expected: tuple[str, ...]) -> None:
    route = route_status(ROUTES, PEERS).routes_v4[index]
    source = route.learned_from
    assert (route.type, route.destination, route.gateway, route.interface, source.source_type, source.peer_ip) == expected
