"""Why a session is down, in words."""

from tortie.agent.bird_peers import SignatureCounts, Withheld, describe, read_signature_counts
from tortie.base.net import parse_interface
from tortie.bgp.status import PeerStatus
from tortie.intent.routing import BgpPeer

SIGNED = ("fabric", "password")


def wanted(**changes: object) -> BgpPeer:
    fields: dict[str, object] = {
        "name": "Mesh_10_0_0_2",
        "address": parse_interface("10.0.0.2/32"),
        "as_number": 64512,
        "port": 179,
        "description": "node n2",
    }
    return BgpPeer(**(fields | changes))  # type: ignore[arg-type]


def found(state: str, *, reason: str = "") -> PeerStatus:
    address = parse_interface("10.0.0.2/32").address
    return PeerStatus("Mesh_10_0_0_2", address, 64512, state, "12:00", reason, 0, 0)


def reason(peer: PeerStatus, intent: BgpPeer | None, counts: SignatureCounts | None = None) -> str:
    (line,) = describe([peer], [intent] if intent is not None else [], withheld=(), counts=counts or SignatureCounts())
    return str(line["reason"])


def counted(name: str) -> SignatureCounts:
    counts = SignatureCounts()
    counts.sample(0.0, {name: 5})
    counts.sample(1.0, {name: 6})
    return counts


def test_a_session_that_is_up_has_no_reason_even_while_signatures_fail() -> None:
    assert reason(found("Established"), wanted(password_ref=SIGNED), counted("TCPMD5Failure")) == ""


def test_what_bird_says_comes_first() -> None:
    assert reason(found("Active", reason="Received: Administrative shutdown"), wanted()) == "Received: Administrative shutdown"


def test_every_state_but_established_has_a_reason() -> None:
    for state in ("Idle", "Active", "Connect", "OpenSent", "OpenConfirm", "Down", "Flying"):
        assert reason(found(state), wanted())
    assert "waits for the other end" in reason(found("Active"), wanted(passive=True))
    assert reason(found("Idle"), None)


def test_a_wrong_signature_is_told_to_sessions_that_it_can_concern() -> None:
    failure, unexpected = counted("TCPMD5Failure"), counted("TCPMD5Unexpected")
    assert "passwords of the two ends differ" in reason(found("Connect"), wanted(password_ref=SIGNED), failure)
    assert "password" not in reason(found("Connect"), wanted(), failure)
    assert "the other end has one" in reason(found("Connect"), wanted(), unexpected)
    assert "the other end has one" not in reason(found("Connect"), wanted(password_ref=SIGNED), unexpected)
    assert "has no password" in reason(found("Connect"), wanted(password_ref=SIGNED), counted("TCPMD5NotFound"))


def test_counts_from_before_the_first_sample_and_from_long_ago_say_nothing() -> None:
    counts = SignatureCounts()
    counts.sample(0.0, {"TCPMD5Failure": 1000})
    assert counts.words(has_password=True) == ""
    counts.sample(1.0, {"TCPMD5Failure": 1001})
    assert counts.words(has_password=True) != ""
    counts.sample(500.0, {"TCPMD5Failure": 1001})
    assert counts.words(has_password=True) == ""


def test_a_withheld_session_stands_among_the_others_by_name() -> None:
    withheld = Withheld(
        wanted(name="Global_10_0_0_9", password_ref=SIGNED), "secret 'fabric', key 'password': there is no file"
    )
    lines = describe([found("Established")], [wanted()], withheld=[withheld], counts=SignatureCounts())
    assert [(line["name"], line["state"], line["established"]) for line in lines] == [
        ("Global_10_0_0_9", "NotConfigured", False),
        ("Mesh_10_0_0_2", "Established", True),
    ]
    assert "fabric" in lines[0]["reason"]


def test_the_kernels_counts_are_read_as_numbers() -> None:
    assert all(count >= 0 for count in read_signature_counts().values())
