"""What is sent to a WireGuard device, and what is understood of its answer, for both back ends."""

import pytest

from tortie.base.net import parse_address, parse_prefix
from tortie.kernel.errors import AlreadyExists, Busy, KernelError
from tortie.kernel.netlink import Message, iterate_attributes, parse_attributes
from tortie.kernel.wireguard import generic, uapi
from tortie.kernel.wireguard.device import Change, Peer
from tortie.kernel.wireguard.keys import encode, generate

KEY = encode(bytes(range(32)))
OTHER = encode(bytes(range(1, 33)))
NETS = frozenset(map(parse_prefix, ("10.65.0.0/26", "10.65.9.1/32", "fd00:65::/122")))
PEER = Peer(KEY, (parse_address("172.30.0.3"), 51820), allowed=NETS, keepalive_seconds=25)


def told_by_kernel(change: Change) -> list[Message]:
    """A dump as the kernel would answer it if it held just this: requests and answers have one form."""
    return [Message(0, 0, 1, 0, bytes(4) + body) for body in generic.change_bodies(change)]


def test_the_kernel_is_told_a_peer_as_it_tells_it() -> None:
    key = generate()
    device = generic.parse_device(told_by_kernel(Change(private_key=key, port=51820, mark=0x200000, peers=(PEER,))))
    assert (device.private_key, device.port, device.mark) == (key, 51820, 0x200000)
    assert device.peers[KEY].peer == PEER


def test_an_endpoint_of_either_family_survives() -> None:
    for text in ("172.30.0.3", "fd00:172:30::3"):
        endpoint = (parse_address(text), 51821)
        assert generic.unpack_endpoint(generic.pack_endpoint(*endpoint)) == endpoint


def test_many_peers_go_in_several_messages_none_too_long() -> None:
    peers = tuple(
        Peer(encode(number.to_bytes(32, "big")), allowed=frozenset({parse_prefix(f"10.{number >> 8}.{number & 255}.0/24")}))
        for number in range(1, 1500)
    )
    bodies = list(generic.change_bodies(Change(port=1, peers=peers)))
    assert len(bodies) > 1
    assert max(map(len, bodies)) < 65536
    device = generic.parse_device(told_by_kernel(Change(port=1, peers=peers)))
    assert {state.peer for state in device.peers.values()} == set(peers)


def test_a_peer_with_many_networks_is_replaced_once_and_then_added_to() -> None:
    nets = frozenset(parse_prefix(f"10.{high}.{low}.0/24") for high in range(10) for low in range(250))
    peer = Peer(KEY, allowed=nets)
    messages = told_by_kernel(Change(peers=(peer,)))
    assert max(len(message.body) for message in messages) < 65536
    flags = [
        parse_attributes(entry).get(3)
        for message in messages
        for _, entry in iterate_attributes(parse_attributes(message.body, 4)[8])
    ]
    assert flags[0] is not None
    assert set(flags[1:]) == {None}
    assert generic.parse_device(messages).peers[KEY].peer == peer


def test_an_extended_peer_keeps_what_it_has() -> None:
    more = Peer(KEY, allowed=frozenset({parse_prefix("10.65.7.0/26")}))
    (message,) = told_by_kernel(Change(extended=(more,)))
    ((_, entry),) = iterate_attributes(parse_attributes(message.body, 4)[8])
    found = parse_attributes(entry)
    assert int.from_bytes(found[3], "little") == 4
    assert 4 not in found, "the endpoint stays"
    lines = uapi.set_request(Change(extended=(more,))).decode().splitlines()
    assert "update_only=true" in lines
    assert "replace_allowed_ips=true" not in lines
    assert not any(line.startswith("endpoint=") for line in lines)


def test_a_change_of_nothing_sends_nothing() -> None:
    assert not Change()
    assert list(generic.change_bodies(Change())) == []


def test_wireguard_go_is_told_removals_first() -> None:
    lines = uapi.set_request(Change(peers=(PEER,), removed=(OTHER,))).decode().splitlines()
    assert lines.index("remove=true") < lines.index("replace_allowed_ips=true")
    assert lines[0] == "set=1"
    assert "endpoint=172.30.0.3:51820" in lines
    assert {line for line in lines if line.startswith("allowed_ip=")} == {f"allowed_ip={net}" for net in NETS}


def test_wireguard_gos_answer_is_understood() -> None:
    key = generate()
    answer = (
        f"private_key={key.raw.hex()}\nlisten_port=51821\nfwmark=2097152\n"
        f"public_key={bytes(range(32)).hex()}\nendpoint=[fd00::3]:51821\nlast_handshake_time_sec=1700000000\n"
        "last_handshake_time_nsec=500000000\ntx_bytes=7\nrx_bytes=9\npersistent_keepalive_interval=0\n"
        "allowed_ip=10.65.0.0/26\nallowed_ip=fd00:65::/122\nprotocol_version=1\n"
        f"public_key={bytes(range(1, 33)).hex()}\nlast_handshake_time_sec=0\nlast_handshake_time_nsec=0\n"
        "errno=0\n\n"
    )
    device = uapi.parse_device(uapi.check_answer(answer.encode(), action="read"))
    assert (device.private_key, device.public_key, device.port, device.mark) == (key, key.public, 51821, 0x200000)
    state = device.peers[KEY]
    assert state.peer.endpoint == (parse_address("fd00::3"), 51821)
    assert state.peer.allowed == {parse_prefix("10.65.0.0/26"), parse_prefix("fd00:65::/122")}
    assert (state.last_handshake, state.sent_bytes, state.received_bytes) == (1700000000.5, 7, 9)
    assert device.peers[OTHER].last_handshake == 0
    assert device.peers[OTHER].peer == Peer(OTHER)


def test_a_device_without_a_key_has_none() -> None:
    device = uapi.parse_device(uapi.check_answer(b"listen_port=4711\nerrno=0\n\n", action="read"))
    assert (device.private_key, device.public_key, device.port) == (None, "", 4711)


@pytest.mark.parametrize(("number", "kind"), [(-98, AlreadyExists), (98, AlreadyExists), (16, Busy)])
def test_what_wireguard_go_refuses_is_an_error_of_its_kind(number: int, kind: type[KernelError]) -> None:
    with pytest.raises(kind, match="set the port"):
        uapi.check_answer(f"errno={number}\n\n".encode(), action="set the port")


def test_an_answer_that_breaks_off_is_no_success() -> None:
    with pytest.raises(KernelError, match="broke off"):
        uapi.check_answer(b"listen_port=1\n", action="read")


@pytest.mark.parametrize("line", ["private_key=zz", "listen_port=much", "public_key=0", "fwmark=", "private_key=0102"])
def test_a_device_that_is_not_understood_is_an_error_that_repeats_nothing(line: str) -> None:
    with pytest.raises(KernelError, match="is not understood") as caught:
        uapi.parse_device(uapi.check_answer(f"{line}\nerrno=0\n\n".encode(), action="read"))
    assert line.partition("=")[2] not in str(caught.value) or not line.partition("=")[2]


def test_an_error_number_that_is_none_is_an_error() -> None:
    with pytest.raises(KernelError, match="set"):
        uapi.check_answer(b"errno=what\n\n", action="set")
