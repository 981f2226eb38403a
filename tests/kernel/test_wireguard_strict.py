"""WireGuard where nothing may leave in clear: until there is a session, after a key is lost, and when no device can be had."""

import asyncio
import contextlib
import socket
import threading

import pytest
from tests.kernel.own_time import OwnTime
from tests.kernel.wireguard_stage import (
    BLOCKS,
    DEVICES,
    NODES,
    PODS,
    Node,
    meet,
    settle,
)

from tortie.base.net import Family, parse_address, parse_prefix
from tortie.dataplane import wireguard_manager
from tortie.intent.messages import WireguardPeerUpdate
from tortie.intent.routes import WireguardPeer
from tortie.kernel.route import GUARD_PROTOCOL

pytestmark = pytest.mark.kernel
V4, V6 = Family.V4, Family.V6


@pytest.mark.parametrize("family", [V4, V6])
def test_strict_lets_nothing_out_to_a_node_that_loses_its_key_but_to_the_node_itself(
    nodes: tuple[Node, Node], family: Family
) -> None:
    meet(nodes, strict=True, host=True)
    settle(nodes, family)
    one, two = nodes
    one.tell(two.as_peer(family, "", host=True))
    node, block = str(parse_prefix(NODES[family].format(2))), BLOCKS[family].format(2)
    assert one.table(family) == {block: "unreachable", node: "throw"}
    with one.udp(PODS[family].format(1)) as ours, pytest.raises(OSError, match=r"[Uu]nreachable|No route"):
        ours.sendto(b"secret", (PODS[family].format(2), 4000))
    assert "it is not reached (strict)" in one.manager.problems[f"{DEVICES[family]} node-2"]


def test_strict_never_waits_in_clear_nor_sends_before_there_is_a_session(
    nodes: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wireguard_manager, "SESSION_SECONDS", 1.0)
    one, two = nodes
    block = BLOCKS[V4].format(2)
    one.tell(one.own(families=(V4,), strict=True), two.as_peer(V4, two.wireguard_key()))
    assert one.table(V4) == {block: "unreachable"}
    one.publish()
    assert one.table(V4) == {block: "unreachable"}
    asyncio.run(asyncio.sleep(1.05))
    assert one.manager.look()
    one.apply()
    assert one.table(V4) == {block: DEVICES[V4]}


def test_strict_has_a_session_soon_though_both_have_packets_to_send(nodes: tuple[Node, Node]) -> None:
    """Handshakes that these began would cross, again and again."""
    meet(nodes, strict=True)
    ended = threading.Event()
    with nodes[0].udp(PODS[V4].format(1)) as one, nodes[1].udp(PODS[V4].format(2)) as two:
        speakers = [
            threading.Thread(target=_repeat, args=(ours, PODS[V4].format(other), ended)) for ours, other in ((one, 2), (two, 1))
        ]
        for speaker in speakers:
            speaker.start()
        try:
            began = OwnTime(*(node.wireguard_pid(V4) for node in nodes))
            settle(nodes, V4)
            assert [ours.recv(100) for ours in (one, two)] == [b"hello"] * 2
            assert began.seconds() < 2.5
        finally:
            ended.set()
            for speaker in speakers:
                speaker.join()


def _repeat(ours: socket.socket, address: str, ended: threading.Event) -> None:
    while not ended.wait(0.01):
        with contextlib.suppress(OSError):
            ours.sendto(b"hello", (address, 4000))


def test_strict_lets_nothing_new_out_while_the_device_cannot_be_asked(nodes: tuple[Node, Node]) -> None:
    meet(nodes, strict=True)
    settle(nodes, V4)
    one, two = nodes
    (one.folder / "wireguard" / f"{DEVICES[V4]}.sock").unlink()
    new = WireguardPeer("node-3", V4, two.wireguard_key(), parse_address("172.30.9.3"), 51820, (parse_prefix("10.65.3.0/26"),))
    with pytest.raises(ExceptionGroup):
        one.tell(WireguardPeerUpdate("node-3", V4, new))
    assert one.table(V4)["10.65.3.0/26"] == "unreachable"
    held = one.routes.list(
        table=1, families=(V4,), protocol=GUARD_PROTOCOL
    )  # wireguard-go may notice, and take the device along
    assert {str(each.dst): each.kind for each in held} == {BLOCKS[V4].format(2): "blackhole"}


def test_without_any_wireguard_strict_sends_nothing_in_clear(nodes: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tortie.kernel.wireguard.userspace._PROGRAM", "no-such-wireguard-go")
    one, two = nodes
    one.tell(one.own(families=(V4,), strict=True), two.as_peer(V4, two.wireguard_key()))
    assert one.table(V4) == {BLOCKS[V4].format(2): "unreachable"}
    with one.udp(PODS[V4].format(1)) as ours, pytest.raises(OSError, match=r"[Uu]nreachable|No route"):
        ours.sendto(b"secret", (PODS[V4].format(2), 4000))
