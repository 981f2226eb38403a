"""What comes in while wireguard-go has no processor waits for it."""

import errno
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kernel.wireguard_stage import DEVICES, PODS, Node, meet, settle, two_nodes

from tortie.base.net import Family
from tortie.kernel.errors import PermissionDenied
from tortie.kernel.wireguard import receive_buffers
from tortie.kernel.wireguard.device import Change

pytestmark = pytest.mark.kernel
_PACKETS = 1500
_SO_RCVBUFFORCE = 33


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[tuple[Node, Node]]:
    with two_nodes(tmp_path) as found:
        yield found


def _pid(node: Node, family: Family) -> int:
    return int((node.folder / "wireguard" / f"{DEVICES[family]}.pid").read_text())


@pytest.mark.parametrize("family", Family)
def test_nothing_is_lost_while_the_process_stands_still(nodes: tuple[Node, Node], family: Family) -> None:
    one, two = nodes
    meet(nodes)
    settle(nodes, family)
    two.manager.look()
    pid = _pid(two, family)
    source, target = (PODS[family].format(number) for number in (1, 2))
    with one.udp(source) as sender, two.udp(target, timeout=2) as receiver:
        receiver.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 16 << 20)
        os.kill(pid, signal.SIGSTOP)
        try:
            for number in range(_PACKETS):
                sender.sendto(number.to_bytes(2, "big").ljust(1300), (target, 4000))
            _eventually_sent(one, family)
        finally:
            os.kill(pid, signal.SIGCONT)
        received = {int.from_bytes(receiver.recv(1500)[:2], "big") for _ in range(_PACKETS)}
    assert received == set(range(_PACKETS))


def _eventually_sent(node: Node, family: Family) -> None:
    """Its wireguard-go has encrypted all that was given to it."""
    device, before = DEVICES[family], -1
    while (sent := sum(state.sent_bytes for state in node.wireguard.read(device).peers.values())) != before:
        before = sent
        time.sleep(0.2)


def test_sockets_of_a_new_port_are_widened_too(nodes: tuple[Node, Node]) -> None:
    node = nodes[0]
    meet(nodes)
    settle(nodes, Family.V4)
    pid = _pid(node, Family.V4)
    node.wireguard.write(DEVICES[Family.V4], Change(port=51900))
    assert receive_buffers.widen(pid) > 0, "sockets are new with a port"
    node.wireguard.write(DEVICES[Family.V4], Change(port=51901))
    node.manager.look()
    assert receive_buffers.widen(pid) == 0, "the manager has widened them before"


def test_where_it_is_forbidden_it_is_said_once_and_the_device_works(
    nodes: tuple[Node, Node], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(pid: int) -> int:
        raise PermissionDenied(f"widen the receive buffers of process {pid}: refused", errno.EPERM)

    monkeypatch.setattr(receive_buffers, "widen", refused)
    meet(nodes)
    settle(nodes, Family.V4)
    for _ in range(3):
        assert not nodes[0].manager.look()
    told = [record.getMessage() for record in caplog.records if "will lose packets under load" in record.getMessage()]
    assert sorted(line.split()[2] for line in told) == sorted([*DEVICES.values()] * 2), "once for each device of each node"
