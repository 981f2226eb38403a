"""Frames of the CNI socket."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tortie.cni.protocol import (
    HEADER,
    LIMIT,
    Answer,
    FrameReader,
    ProtocolError,
    pack_answer,
    pack_call,
    pack_frame,
    parse_answer,
    parse_call,
)


def read(data: bytes, sizes: list[int]) -> bytes | None:
    """Feed as a socket would: never more than is wanted."""
    reader = FrameReader()
    body = None
    index = 0
    while data and body is None:
        size = max(1, min(reader.wanted, sizes[index % len(sizes)]))
        index += 1
        body = reader.feed(data[:size])
        data = data[size:]
    return body


@given(st.binary(max_size=2000), st.lists(st.integers(1, 700), min_size=1, max_size=5))
def test_a_frame_in_any_pieces_is_the_same_frame(body: bytes, sizes: list[int]) -> None:
    assert read(pack_frame(body), sizes) == body


@given(st.dictionaries(st.from_regex(r"CNI_[A-Z]{1,8}", fullmatch=True), st.text()), st.text())
def test_a_call_comes_back_as_it_was(environment: dict[str, str], config: str) -> None:
    body = read(pack_call({**environment, "PATH": "/bin"}, config), [4096])
    assert body is not None
    call = parse_call(body)
    assert (call.env, call.config) == (environment, config)


@given(st.integers(0, 255), st.sampled_from([b"", b"{}", b'{"a":[1,"}"]}', b"[null]"]))
def test_an_answer_comes_back_as_it_was(status: int, result: bytes) -> None:
    body = read(pack_answer(Answer(status, result)), [4096])
    assert body is not None
    assert parse_answer(body) == Answer(status, result)


@given(st.binary(min_size=HEADER.size, max_size=HEADER.size))
def test_no_header_makes_the_reader_want_more_than_the_limit(header: bytes) -> None:
    reader = FrameReader()
    try:
        reader.feed(header)
    except ProtocolError:
        return
    assert reader.wanted <= LIMIT


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"HTTP" + bytes(8), "not a frame"),
        (HEADER.pack(b"TCNI", 1, LIMIT + 1), "at most"),
        (HEADER.pack(b"TCNI", 0, 0), "version 0"),
        (pack_frame(b"x") + b"y", "more bytes"),
    ],
)
def test_what_is_no_frame_is_refused_at_once(data: bytes, word: str) -> None:
    with pytest.raises(ProtocolError, match=word):
        FrameReader().feed(data)


def test_a_body_that_is_too_long_is_not_sent() -> None:
    with pytest.raises(ProtocolError, match="at most"):
        pack_frame(bytes(LIMIT + 1))


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"\xff", b'{"version":1,"command":"ADD","env":{"A":1},"config":""}'])
def test_a_body_that_is_no_call_is_refused(body: bytes) -> None:
    with pytest.raises(ProtocolError, match="cannot be read"):
        parse_call(body)
