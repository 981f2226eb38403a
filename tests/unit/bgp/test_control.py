"""The control socket's protocol: the same replies come out however the bytes are split."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tortie.bgp.control import Control, Line, Reply, encode_command
from tortie.bgp.errors import ControlError

# `~` stands for the space at the end of a line.
SESSION = b"""0001 BIRD 2.0.12 ready.
1000-BIRD 2.0.12
1011-Router ID is 10.0.0.1
 Hostname is n1
+spontaneous remark
 Last reconfiguration on 2026-11-21 09:10:52.575
0013 Daemon is up and running
0000~
9001 syntax error, unexpected CF_SYM_UNDEFINED
""".replace(b"~", b" ")
REPLIES = [
    Reply((Line(1, "BIRD 2.0.12 ready."),)),
    Reply(
        (
            Line(1000, "BIRD 2.0.12"),
            Line(1011, "Router ID is 10.0.0.1"),
            Line(1011, "Hostname is n1"),
            Line(1011, "Last reconfiguration on 2026-11-21 09:10:52.575"),
            Line(13, "Daemon is up and running"),
        )
    ),
    Reply((Line(0, ""),)),
    Reply((Line(9001, "syntax error, unexpected CF_SYM_UNDEFINED"),)),
]


@given(st.lists(st.integers(0, len(SESSION)), max_size=20))
def test_any_split_gives_the_same_replies(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(SESSION)]
    control = Control()
    replies = [reply for first, last in pairwise(edges) for reply in control.receive(SESSION[first:last])]
    assert replies == REPLIES
    control.end()


def test_a_failure_is_raised_with_the_words_of_bird() -> None:
    assert not REPLIES[1].failed
    assert REPLIES[1].check() is REPLIES[1]
    with pytest.raises(ControlError, match="9001: syntax error"):
        REPLIES[3].check()


@pytest.mark.parametrize("data", [b"hello\n", b" continuation of nothing\n", b"123 short code\n", b"0001*odd\n", b"x" * 70000])
def test_what_is_not_the_protocol_is_refused(data: bytes) -> None:
    with pytest.raises(ControlError, match="control socket"):
        Control().receive(data)


@pytest.mark.parametrize("data", [b"1000-BIRD\n", b"00"])
def test_an_end_in_the_middle_of_a_reply_is_an_error(data: bytes) -> None:
    control = Control()
    control.receive(data)
    with pytest.raises(ControlError, match="middle of a reply"):
        control.end()


def test_a_command_is_one_line() -> None:
    assert encode_command("show status") == b"show status\n"
    for text in ("", "show status\ndown"):
        with pytest.raises(ControlError, match="one line"):
            encode_command(text)
