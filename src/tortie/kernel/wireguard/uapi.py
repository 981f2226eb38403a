"""The text that wireguard-go speaks on its socket (its cross-platform interface): one request, one answer. Pure."""

import errno as numbers
from collections.abc import Iterator

from tortie.base.net import Address, Family, parse_address, parse_prefix
from tortie.kernel.errors import KernelError, kernel_error
from tortie.kernel.wireguard.device import Change, Device, Peer, PeerState
from tortie.kernel.wireguard.keys import PrivateKey, decode, encode

GET = b"get=1\n\n"
END = b"\n\n"


def set_request(change: Change) -> bytes:
    """The request that makes this change."""
    return ("set=1\n" + "".join(f"{line}\n" for line in _lines(change)) + "\n").encode()


def _lines(change: Change) -> Iterator[str]:
    if change.private_key is not None:
        yield f"private_key={change.private_key.raw.hex()}"
    if change.port is not None:
        yield f"listen_port={change.port}"
    if change.mark is not None:
        yield f"fwmark={change.mark}"
    for key in change.removed:
        yield f"public_key={decode(key).hex()}"
        yield "remove=true"
    for peer in change.extended:
        yield from _peer_lines(peer, "update_only=true")
    for peer in change.peers:
        yield from _peer_lines(peer, "replace_allowed_ips=true")


def _peer_lines(peer: Peer, how: str) -> Iterator[str]:
    yield f"public_key={decode(peer.public_key).hex()}"
    yield how
    if peer.endpoint is not None:
        yield f"endpoint={_endpoint_text(*peer.endpoint)}"
    yield f"persistent_keepalive_interval={peer.keepalive_seconds}"
    for prefix in sorted(peer.allowed):
        yield f"allowed_ip={prefix}"


def check_answer(answer: bytes, *, action: str) -> list[tuple[str, str]]:
    """The pairs of an answer without its errno. Raises the errno as KernelError."""
    pairs = []
    for line in answer.decode(errors="replace").splitlines():
        name, _, value = line.partition("=")
        if name != "errno":
            pairs += [(name, value)] if name else []
        elif value != "0":
            raise kernel_error(abs(int(value)) if value.lstrip("-").isdecimal() else numbers.EPROTO, action)
        else:
            return pairs
    raise KernelError(f"{action}: wireguard-go broke off its answer", numbers.EPROTO)


def parse_device(pairs: list[tuple[str, str]]) -> Device:
    """A device from the answer to GET. Raises KernelError for one that cannot be understood, and repeats nothing of it."""
    try:
        return _parse_device(pairs)
    except (ValueError, KeyError, KernelError):
        raise KernelError("wireguard-go describes its device in a way that is not understood", numbers.EPROTO) from None


def _parse_device(pairs: list[tuple[str, str]]) -> Device:
    private: PrivateKey | None = None
    port = mark = 0
    peers: list[list[tuple[str, str]]] = []
    for name, value in pairs:
        match name:
            case "private_key":
                private = PrivateKey(bytes.fromhex(value)) if value.strip("0") else None
            case "listen_port":
                port = int(value)
            case "fwmark":
                mark = int(value)
            case "public_key":
                peers.append([(name, value)])
            case _ if peers:
                peers[-1].append((name, value))
    states = [_parse_peer(lines) for lines in peers]
    return Device(
        private_key=private,
        public_key=private.public if private is not None else "",
        port=port,
        mark=mark,
        peers={state.peer.public_key: state for state in states},
    )


def _parse_peer(lines: list[tuple[str, str]]) -> PeerState:
    last = dict(lines)
    return PeerState(
        Peer(
            encode(bytes.fromhex(last["public_key"])),
            endpoint=_parse_endpoint(last["endpoint"]) if "endpoint" in last else None,
            allowed=frozenset(parse_prefix(value) for name, value in lines if name == "allowed_ip"),
            keepalive_seconds=int(last.get("persistent_keepalive_interval", "0")),
        ),
        last_handshake=int(last.get("last_handshake_time_sec", "0")) + int(last.get("last_handshake_time_nsec", "0")) / 1e9,
        received_bytes=int(last.get("rx_bytes", "0")),
        sent_bytes=int(last.get("tx_bytes", "0")),
    )


def _endpoint_text(address: Address, port: int) -> str:
    return f"{address}:{port}" if address.family is Family.V4 else f"[{address}]:{port}"


def _parse_endpoint(text: str) -> tuple[Address, int]:
    host, _, port = text.rpartition(":")
    return parse_address(host.strip("[]").partition("%")[0]), int(port)
