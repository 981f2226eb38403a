"""What is said of another node in WireGuard."""

import time
from dataclasses import replace

from tortie.base.net import Family, parse_address, parse_prefix
from tortie.dataplane.wireguard_status import Seen, report
from tortie.intent.routes import WireguardEnd, WireguardPeer
from tortie.kernel.wireguard.device import Peer, PeerState

PEER = WireguardPeer("n2", Family.V6, "KEY=", parse_address("fd00::2"), 51821, allowed=(parse_prefix("fd00:65::/122"),))
END = WireguardEnd(Family.V6, None, 51821)
STRICT = replace(END, strict=True)


def seen(*, age: float | None = 5.0, sent: int = 100, before: int = 100, ready: bool = True, available: bool = True) -> Seen:
    handshake = 0.0 if age is None else time.time() - age
    state = PeerState(Peer("KEY="), last_handshake=handshake, received_bytes=7, sent_bytes=sent)
    return Seen(available, frozenset({"n2"} if ready else ()), {"KEY=": state}, sent_before={"KEY=": before})


def test_a_peer_that_is_well_has_no_problem() -> None:
    found = report(PEER, END, seen())
    assert (found.endpoint, found.encrypted, found.problem) == ("[fd00::2]:51821", True, "")
    assert found.handshake_age is not None
    assert 4 < found.handshake_age < 60
    assert found.as_json()["receivedBytes"] == 7


def test_a_peer_that_we_send_to_and_that_says_nothing_has_one() -> None:
    assert report(PEER, END, seen(age=400, sent=300)).problem == "it has not answered for 400 s"
    assert report(PEER, END, seen(age=400)).problem == "", "nobody has asked it anything"
    assert report(PEER, END, seen(age=100, sent=300)).problem == ""


def test_a_handshake_is_missed_once_packets_are_led_there() -> None:
    assert report(PEER, END, seen(age=None)).problem == "there was no handshake with it yet"
    assert report(PEER, END, seen(age=None, ready=False)).problem == ""
    assert report(PEER, STRICT, seen(age=None, ready=False)).problem == "there was no handshake with it yet"


def test_without_a_key_it_is_in_clear_or_with_strict_not_reached() -> None:
    bare = replace(PEER, public_key="")
    assert report(bare, END, seen()).problem == "node n2 has no key: it is reached in clear"
    assert report(bare, STRICT, seen()).problem == "node n2 has no key: it is not reached (strict)"
    assert not report(bare, STRICT, seen()).encrypted


def test_what_calc_says_comes_first() -> None:
    twin = replace(PEER, problem="its key is also n3's")
    assert report(twin, END, seen()).problem == "its key is also n3's: it is reached in clear"
    assert report(twin, END, seen()).handshake_age is None


def test_without_a_device_the_peer_is_not_to_blame() -> None:
    found = report(PEER, END, seen(available=False))
    assert (found.encrypted, found.problem, found.handshake_age) == (False, "", None)


def test_a_clock_that_was_set_back_makes_no_negative_age() -> None:
    assert report(PEER, END, seen(age=-50)).handshake_age == 0
