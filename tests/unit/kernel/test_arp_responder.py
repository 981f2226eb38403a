"""Which requests are answered, byte by byte."""

import pytest

from tortie.base.net import parse_address
from tortie.kernel.arp_responder import Answers, answer

_OURS, _THEIRS = "02:00:00:00:00:01", "02:00:00:00:00:02"
_ANSWERS = Answers(_OURS, frozenset((parse_address("192.0.2.7"), parse_address("fd00::7"))))


def request(target: str, *, sender: str = "192.0.2.2", operation: int = 1, hardware: int = 1) -> bytes:
    mac = bytes.fromhex(_THEIRS.replace(":", ""))
    head = hardware.to_bytes(2, "big") + b"\x08\x00\x06\x04" + operation.to_bytes(2, "big")
    ends = mac + parse_address(sender).packed + b"\0" * 6 + parse_address(target).packed
    return b"\xff" * 6 + mac + b"\x08\x06" + head + ends


def test_a_request_for_an_address_of_ours_is_answered_with_our_mac() -> None:
    reply = answer(request("192.0.2.7"), _ANSWERS)
    assert reply is not None
    ours, theirs = (bytes.fromhex(each.replace(":", "")) for each in (_OURS, _THEIRS))
    assert reply[:14] == theirs + ours + b"\x08\x06"
    assert reply[20:22] == b"\0\2"
    assert reply[22:] == ours + parse_address("192.0.2.7").packed + theirs + parse_address("192.0.2.2").packed


@pytest.mark.parametrize(
    "frame",
    [
        request("192.0.2.8"),
        request("192.0.2.7", operation=2),
        request("192.0.2.7", hardware=6),
        request("192.0.2.7", sender="192.0.2.7"),
        request("192.0.2.7")[:-1],
        b"",
    ],
)
def test_nothing_else_is_answered(frame: bytes) -> None:
    assert answer(frame, _ANSWERS) is None
    assert answer(request("192.0.2.7"), None) is None
