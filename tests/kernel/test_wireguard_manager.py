"""WireGuard between two nodes: encrypted once there is a session, in clear or not at all without a key, gone with no trace."""

import asyncio
import contextlib
import os
import re
import signal
import socket
import stat
import time

import pytest
from tests.kernel.wireguard_stage import (
    BLOCKS,
    DEVICES,
    MARK,
    NODES,
    ON,
    PODS,
    TABLES,
    TUNNELS,
    Node,
    exchange,
    introduce,
    meet,
    settle,
)

from tortie.agent import leaving
from tortie.base import process
from tortie.base.net import Family, parse_interface, parse_prefix
from tortie.dataplane import wireguard_manager
from tortie.dataplane.render.config import parse
from tortie.intent.messages import ClusterRouteUpdate, OverlayUpdate
from tortie.intent.routes import ClusterRoute, Overlay, Owner, Way
from tortie.kernel import netns, sysctl
from tortie.kernel.rule import Rule

pytestmark = pytest.mark.kernel
V4, V6 = Family.V4, Family.V6


def counts(node: Node, family: Family) -> int:
    """Bytes that a node's device has received."""
    return sum(state.received_bytes for state in node.wireguard.read(DEVICES[family]).peers.values())


@pytest.mark.parametrize("family", [V4, V6])
def test_pods_of_two_nodes_speak_through_the_device(nodes: tuple[Node, Node], family: Family) -> None:
    meet(nodes)
    settle(nodes, family)
    before = counts(nodes[1], family)
    exchange(nodes, family)
    assert counts(nodes[1], family) > before


def test_the_kernel_has_what_calico_would_have(nodes: tuple[Node, Node]) -> None:
    meet(nodes)
    settle(nodes, V4)
    settle(nodes, V6)
    node = nodes[0]
    for family in (V4, V6):
        device = node.wireguard.read(DEVICES[family])
        assert (device.port, device.mark) == (51820 if family is V4 else 51821, MARK)
        link = node.links.get(DEVICES[family])
        assert (link.up, link.mtu) == (True, 1440 if family is V4 else 1420)
        own = parse_interface(TUNNELS[family].format(1))
        assert [each.interface for each in node.links.addresses(link.name) if each.is_global] == [own]
        rules = [each.rule for each in node.rules.list(families=(family,)) if each.table == TABLES[family]]
        assert rules == [Rule(family=family, priority=99, table=TABLES[family], mark=MARK, mask=MARK, invert=True)]
        assert node.table(family) == {BLOCKS[family].format(2): DEVICES[family]}
    assert sysctl.read_in(node.fd, "net/ipv4/conf/all/src_valid_mark") == "1"


def test_nothing_leads_into_the_device_before_there_is_a_session(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    one.tell(one.own(families=(V4,)))
    two.tell(two.own(families=(V4,)))
    one.publish()
    one.tell(two.as_peer(V4, two.manager.public_keys[V4]))
    assert one.table(V4) == {BLOCKS[V4].format(2): "throw"}
    exchange(nodes, V4)
    two.publish()
    two.tell(one.as_peer(V4, one.manager.public_keys[V4]))
    settle(nodes, V4)
    assert one.wireguard.read(DEVICES[V4]).peers[two.manager.public_keys[V4]].last_handshake > 0


def test_the_first_session_comes_by_itself_whoever_is_told_first(
    nodes: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wireguard_manager, "SESSION_SECONDS", 60.0)
    for first in (nodes, nodes[::-1]):
        meet(first)
        settle(nodes, V4)
        settle(nodes, V6)
        for node in nodes:
            node.tell(*(other.as_peer(family, "") for other in nodes if other is not node for family in Family))


def test_a_node_with_a_key_that_never_answers_is_not_reached_in_clear_for_long(
    nodes: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wireguard_manager, "SESSION_SECONDS", 1.0)
    one, two = nodes
    one.tell(one.own(families=(V4,)))
    one.publish()
    one.tell(two.as_peer(V4, two.wireguard_key()))
    assert one.table(V4) == {BLOCKS[V4].format(2): "throw"}
    assert one.manager.restless
    asyncio.run(asyncio.sleep(1.05))
    assert one.manager.look()
    one.apply()
    assert one.table(V4) == {BLOCKS[V4].format(2): DEVICES[V4]}
    assert one.manager.problems == {f"{DEVICES[V4]} node-2": "there was no handshake with it yet"}


def test_no_session_is_awaited_before_others_can_know_our_key(
    nodes: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wireguard_manager, "SESSION_SECONDS", 0.0)
    one, two = nodes
    one.tell(one.own(families=(V4,)), two.as_peer(V4, two.wireguard_key()))
    one.manager.look()
    one.manager.invalidate()
    one.apply()
    assert one.table(V4) == {BLOCKS[V4].format(2): "throw"}


@pytest.mark.parametrize("family", [V4, V6])
def test_a_node_that_loses_its_key_is_reached_in_clear(nodes: tuple[Node, Node], family: Family) -> None:
    meet(nodes)
    settle(nodes, family)
    one, two = nodes
    one.tell(two.as_peer(family, ""))
    assert one.table(family) == {BLOCKS[family].format(2): "throw"}
    assert one.wireguard.read(DEVICES[family]).peers == {}
    assert "has no key: it is reached in clear" in one.manager.problems[f"{DEVICES[family]} node-2"]
    two.tell(two.own(families=()))
    exchange(nodes, family)


def test_two_nodes_with_one_key_are_no_peers(nodes: tuple[Node, Node]) -> None:
    one, two = nodes
    one.tell(one.own(families=(V4,)), two.as_peer(V4, two.wireguard_key(), problem="its key is another's too"))
    assert one.wireguard.read(DEVICES[V4]).peers == {}
    assert one.table(V4) == {BLOCKS[V4].format(2): "throw"}
    assert one.manager.problems[f"{DEVICES[V4]} node-2"] == "its key is another's too: it is reached in clear"


def test_what_is_here_is_not_looked_for_behind_another_node(nodes: tuple[Node, Node]) -> None:
    meet(nodes)
    settle(nodes, V4)
    borrowed = parse_prefix("10.65.2.9/32")
    route = ClusterRoute(borrowed, Way.LOCAL, Owner.NOBODY, "node-1")
    nodes[0].tell(ClusterRouteUpdate(borrowed, route))
    assert nodes[0].table(V4) == {BLOCKS[V4].format(2): DEVICES[V4], "10.65.2.9/32": "throw"}
    nodes[0].tell(ClusterRouteUpdate(borrowed, None))
    assert nodes[0].table(V4) == {BLOCKS[V4].format(2): DEVICES[V4]}


@pytest.mark.parametrize("family", [V4, V6])
def test_hosts_speak_through_the_device_too_where_that_is_asked_for(nodes: tuple[Node, Node], family: Family) -> None:
    meet(nodes, host=True)
    settle(nodes, family)
    here, there = (NODES[family].format(number) for number in (1, 2))
    before = counts(nodes[1], family)
    with nodes[0].udp(here) as ours, nodes[1].udp(there) as theirs:
        ours.sendto(b"question", (there, 4000))
        assert theirs.recvfrom(100)[1][0] == here
        theirs.sendto(b"answer", (here, 4000))
        assert ours.recv(100) == b"answer"
    assert counts(nodes[1], family) > before


@pytest.mark.parametrize("family", [V4, V6])
def test_a_node_answers_the_pod_of_another(nodes: tuple[Node, Node], family: Family) -> None:
    meet(nodes)
    settle(nodes, family)
    pod, host = PODS[family].format(1), NODES[family].format(2)
    with nodes[0].udp(pod) as ours, nodes[1].udp(host) as theirs:
        ours.sendto(b"question", (host, 4000))
        assert theirs.recvfrom(100)[1][0] == pod
        theirs.sendto(b"answer", (pod, 4000))
        assert ours.recv(100) == b"answer"


def test_a_new_agent_takes_over_without_a_new_session(nodes: tuple[Node, Node]) -> None:
    meet(nodes)
    settle(nodes, V4)
    one, two = nodes
    before, index = one.wireguard.read(DEVICES[V4]), one.links.get(DEVICES[V4]).index
    one.agent()
    one.tell(one.own(), *(two.as_peer(family, two.manager.public_keys[family]) for family in (V4, V6)))
    after = one.wireguard.read(DEVICES[V4])
    assert one.links.get(DEVICES[V4]).index == index
    assert after.public_key == before.public_key
    key = two.manager.public_keys[V4]
    assert after.peers[key].last_handshake == before.peers[key].last_handshake > 0
    assert one.table(V4) == {BLOCKS[V4].format(2): DEVICES[V4]}
    exchange(nodes, V4)


def test_a_wireguard_go_that_dies_comes_back_with_its_key(nodes: tuple[Node, Node]) -> None:
    meet(nodes)
    settle(nodes, V4)
    one = nodes[0]
    key = one.manager.public_keys[V4]
    pid = int((one.folder / "wireguard" / f"{DEVICES[V4]}.pid").read_text())
    os.kill(pid, 9)
    while process.is_alive(pid):
        pass
    assert one.manager.links_changed({DEVICES[V4]})
    one.apply()
    assert one.manager.public_keys[V4] == key
    assert one.table(V4) == {BLOCKS[V4].format(2): DEVICES[V4]}
    exchange(nodes, V4)


def test_a_new_agent_that_finds_no_device_sends_nothing_in_clear_that_was_encrypted(nodes: tuple[Node, Node]) -> None:
    meet(nodes)
    settle(nodes, V4)
    one, two = nodes
    asyncio.run(one.wireguard.delete(DEVICES[V4]))
    one.agent()
    one.tell(one.own(families=(V4,)), two.as_peer(V4, two.manager.public_keys[V4]))
    assert one.table(V4) == {BLOCKS[V4].format(2): DEVICES[V4]}


@pytest.mark.parametrize("family", [V4, V6])
def test_nothing_leaves_in_clear_while_a_device_is_gone(nodes: tuple[Node, Node], family: Family) -> None:
    meet(nodes)
    settle(nodes, family)
    one, two = nodes
    asyncio.run(one.wireguard.delete(DEVICES[family]))
    with one.udp(PODS[family].format(1)) as ours, two.udp(PODS[family].format(2), timeout=0.3) as theirs:
        with contextlib.suppress(OSError):
            ours.sendto(b"secret", (PODS[family].format(2), 4000))
        with pytest.raises(TimeoutError):
            theirs.recv(100)
    assert one.manager.links_changed({DEVICES[family]})
    one.apply()
    exchange(nodes, family)


def test_switched_off_the_rule_goes_at_once_and_the_device_soon(
    nodes: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wireguard_manager, "LINGER_SECONDS", 1.0)
    meet(nodes)
    settle(nodes, V4)
    one = nodes[0]
    one.tell(one.own(families=()))
    assert not one.has_rule(V4)
    assert one.table(V4) == {}
    assert one.manager.public_keys == {V4: "", V6: ""}
    assert one.links.find(DEVICES[V4]) is not None
    assert one.manager.restless
    asyncio.run(asyncio.sleep(1.05))
    assert one.manager.look()
    one.apply()
    assert [one.manager.restless, one.manager.look()] == [False, False]
    for family in (V4, V6):
        assert one.links.find(DEVICES[family]) is None
        assert not one.has_rule(family)
        assert one.routes.list(table=TABLES[family]) == ()
    assert list((one.folder / "keys").iterdir()) == []


def test_uninstalling_leaves_no_device_no_process_no_rule_and_no_route(nodes: tuple[Node, Node]) -> None:
    meet(nodes)
    settle(nodes, V4)
    one = nodes[0]
    pids = [int((one.folder / "wireguard" / f"{device}.pid").read_text()) for device in DEVICES.values()]
    asyncio.run(leaving.uninstall(one.folder, netns_fd=one.fd))
    assert not any(process.is_alive(pid) for pid in pids)
    for family in (V4, V6):
        assert one.links.find(DEVICES[family]) is None
        assert not one.has_rule(family)
        assert one.routes.list(table=TABLES[family], families=(family,)) == ()


def test_an_agent_that_finds_what_nobody_wants_any_more_removes_it(nodes: tuple[Node, Node]) -> None:
    meet(nodes)
    settle(nodes, V4)
    one = nodes[0]
    one.agent({})
    one.tell(OverlayUpdate(Overlay("node-1", None, None)))
    assert one.links.find(DEVICES[V4]) is None
    assert not one.has_rule(V4)
    assert one.table(V4) == {}


def test_a_new_key_takes_the_old_ones_place_and_nothing_goes_in_clear(nodes: tuple[Node, Node]) -> None:
    meet(nodes)
    settle(nodes, V4)
    one, two = nodes
    old = one.manager.public_keys[V4]
    one.manager.rotate()
    one.apply()
    new = one.manager.public_keys[V4]
    assert new != old
    kept = one.files.read(DEVICES[V4])
    assert kept is not None
    assert kept.public == new
    one.publish()
    introduce(nodes)
    assert two.table(V4) == {BLOCKS[V4].format(1): DEVICES[V4]}
    assert set(two.wireguard.read(DEVICES[V4]).peers) == {new}
    exchange(nodes, V4)


def test_a_key_that_somebody_else_sets_is_ours_from_then_on(nodes: tuple[Node, Node]) -> None:
    meet(nodes)
    one = nodes[0]
    key = one.set_foreign_key()
    assert one.manager.look()
    one.apply()
    assert one.manager.public_keys[V4] == key
    kept = one.files.read(DEVICES[V4])
    assert kept is not None
    assert kept.public == key


def test_names_table_and_priority_change_while_it_runs(nodes: tuple[Node, Node]) -> None:
    meet(nodes)
    settle(nodes, V4)
    one, two = nodes
    moved = {"WireguardInterfaceName": "wg0", "RouteTableRanges": "40-50", "WireguardRoutingRulePriority": "77"}
    one.manager.configure(parse({**ON, **moved}))
    one.apply()
    assert one.links.find(DEVICES[V4]) is None
    assert one.links.find("wg0") is not None
    assert not one.has_rule(V4)
    assert [(each.priority, each.table) for each in one.rules.list(families=(V4,)) if each.table in (1, 40)] == [(77, 40)]
    assert one.table(V4) == {}
    two.tell(one.as_peer(V4, one.manager.public_keys[V4]))


def test_rules_of_an_earlier_priority_are_swept(nodes: tuple[Node, Node]) -> None:
    one = nodes[0]
    one.rules.add(Rule(family=V4, priority=55, table=1, mark=MARK, mask=MARK, invert=True))
    one.rules.add(Rule(family=V4, priority=56, table=1, source=parse_prefix("10.9.0.0/16")))
    other = ["ip", "rule", "add", "priority", "57", "not", "fwmark", "0x10/0x10", "lookup", "1"]
    process.run_blocking(other, netns_path=netns.path_of(one.space)).check()
    one.tell(one.own(families=(V4,)))
    assert [each.priority for each in one.rules.list(families=(V4,)) if each.table == 1] == [56, 57, 99]


def test_what_others_break_is_mended(nodes: tuple[Node, Node]) -> None:
    meet(nodes)
    settle(nodes, V4)
    one = nodes[0]
    device = DEVICES[V4]
    one.links.set_mtu(device, 1300)
    one.links.delete_address(device, parse_interface(TUNNELS[V4].format(1)))
    for found in one.rules.list(families=(V4,)):
        if found.table == 1:
            one.rules.delete(found)
    one.routes.delete(one.routes.list(table=1))
    one.manager.invalidate()
    one.apply()
    assert one.links.get(device).mtu == 1440
    assert [str(each.interface) for each in one.links.addresses(device) if each.is_global] == [f"{TUNNELS[V4].format(1)}/32"]
    assert one.has_rule(V4)
    exchange(nodes, V4)


def test_a_wireguard_go_that_hangs_is_told_and_not_waited_for_at_every_look(
    nodes: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tortie.kernel.wireguard.userspace._ANSWER_SECONDS", 0.2)
    monkeypatch.setattr("tortie.dataplane.wireguard_device._SILENCE_SECONDS", 1.5)
    one = nodes[0]
    one.tell(one.own(families=(V4,)))  # alone: what lingers is something to do for a look once it is over
    pid = int((one.folder / "wireguard" / f"{DEVICES[V4]}.pid").read_text())
    os.kill(pid, signal.SIGSTOP)
    try:
        assert not one.manager.look()
        assert "does not answer" in one.manager.problems[DEVICES[V4]]
        began = time.monotonic()
        assert not any(one.manager.look() for _ in range(30))
        assert time.monotonic() - began < 4.0, "every look was waited for"
    finally:
        os.kill(pid, signal.SIGCONT)
    deadline = time.monotonic() + 30
    while DEVICES[V4] in one.manager.problems:
        assert time.monotonic() < deadline, one.manager.problems
        time.sleep(0.1)
        one.manager.look()


def test_the_status_says_how_each_peer_is(nodes: tuple[Node, Node]) -> None:
    meet(nodes)
    settle(nodes, V4)
    exchange(nodes, V4)
    one = nodes[0]
    one.manager.look()
    report = next(each for each in one.manager.describe() if each["family"] == 4)
    assert (report["device"], report["port"], report["problem"]) == (DEVICES[V4], 51820, "")
    (peer,) = report["peers"]
    assert peer["node"] == "node-2"
    assert peer["endpoint"] == "172.30.9.2:51820"
    assert peer["encrypted"]
    assert 0 <= peer["lastHandshakeSeconds"] < 30
    assert peer["receivedBytes"] > 0
    private = one.files.read(DEVICES[V4])
    assert private is not None
    assert private.raw.hex() not in repr(report)
    assert not re.search(re.escape(repr(private.raw)), repr(report))


def test_without_any_wireguard_it_is_said_and_the_network_stays(
    nodes: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tortie.kernel.wireguard.userspace._PROGRAM", "no-such-wireguard-go")
    one, two = nodes
    one.tell(one.own(families=(V4,)), two.as_peer(V4, two.wireguard_key()))
    assert "install the package wireguard-go" in one.manager.problems[DEVICES[V4]]
    assert not one.has_rule(V4)
    assert one.manager.public_keys[V4] == ""
    exchange(nodes, V4)


@pytest.mark.parametrize("strict", [False, True])
def test_a_port_that_others_have_is_told_and_no_key_is_published(nodes: tuple[Node, Node], strict: bool) -> None:
    one, two = nodes
    with netns.in_netns(one.fd, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as other:
        other.bind(("0.0.0.0", 51820))
        with pytest.raises(ExceptionGroup):
            one.tell(one.own(families=(V4,), strict=strict), two.as_peer(V4, two.wireguard_key()))
        assert V4 not in one.manager.public_keys, "it may be for a moment only"
        for _ in range(3):
            with pytest.raises(ExceptionGroup):
                one.apply()
        assert one.manager.public_keys[V4] == ""
        assert "Address already in use" in one.manager.problems[DEVICES[V4]]
        assert one.table(V4) == ({BLOCKS[V4].format(2): "unreachable"} if strict else {})
    one.apply()
    assert one.manager.public_keys[V4]
    assert DEVICES[V4] not in one.manager.problems


def test_keys_on_disk_are_roots_alone(nodes: tuple[Node, Node]) -> None:
    meet(nodes)
    folder = nodes[0].folder / "keys"
    assert {path.name for path in folder.iterdir()} == {f"{device}.key" for device in DEVICES.values()}
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
