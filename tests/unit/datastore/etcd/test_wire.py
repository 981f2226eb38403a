"""Protocol buffers' wire format: known bytes, laws, and damaged input."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tortie.datastore.etcd.messages import (
    AuthenticateRequest,
    AuthenticateResponse,
    Compare,
    Event,
    Header,
    KeyValue,
    RangeRequest,
    RangeResponse,
    RequestOp,
    TxnRequest,
    WatchResponse,
)
from tortie.datastore.etcd.wire import WireError, decode, encode

int64 = st.integers(-(2**63), 2**63 - 1)
key_values = st.builds(KeyValue, st.binary(), int64, int64, int64, st.binary())
events = st.builds(Event, st.sampled_from([0, 1]), key_values)
watch_responses = st.builds(
    WatchResponse,
    st.builds(Header, int64, int64, int64, int64),
    int64,
    st.booleans(),
    st.booleans(),
    int64,
    st.text(),
    st.lists(events, max_size=4).map(tuple),
)


@pytest.mark.parametrize(
    ("message", "data"),
    [
        (RangeRequest(), b""),
        (RangeRequest(key=b"a", limit=300), b"\x0a\x01a\x18\xac\x02"),
        (RangeRequest(count_only=True), b"\x48\x01"),
        (Compare(key=b"a", version=0), b"\x1a\x01a\x20\x00"),
        (Compare(target=2, key=b"a", mod_revision=-1), b"\x10\x02\x1a\x01a\x30" + b"\xff" * 9 + b"\x01"),
        (TxnRequest(success=(RequestOp(range=RangeRequest()),)), b"\x12\x02\x0a\x00"),
        (AuthenticateRequest(name="ü", password="p"), b"\x0a\x02\xc3\xbc\x12\x01p"),
    ],
)
def test_messages_are_the_bytes_that_the_format_prescribes(message: RangeRequest, data: bytes) -> None:
    assert encode(message) == data
    assert decode(type(message), data) == message


@given(watch_responses)
def test_what_is_written_is_read_back(message: WatchResponse) -> None:
    assert decode(WatchResponse, encode(message)) == message


def test_unknown_fields_of_every_wire_type_are_skipped() -> None:
    unknown = b"\xa0\x06\x96\x01" + b"\xa1\x06" + bytes(8) + b"\xa2\x06\x03abc" + b"\xa5\x06" + bytes(4)
    assert decode(KeyValue, unknown + b"\x0a\x01a" + unknown) == KeyValue(key=b"a")


@given(watch_responses, st.data())
def test_a_message_that_is_cut_off_inside_a_field_is_refused_or_shorter(message: WatchResponse, data: st.DataObject) -> None:
    whole = encode(message)
    cut = whole[: data.draw(st.integers(0, len(whole)))]
    try:
        assert encode(decode(WatchResponse, cut)) == cut
    except WireError:
        pass


@pytest.mark.parametrize("data", [b"\x0a\x05ab", b"\x0a", b"\x80", b"\x0b", b"\x08\x01", b"\x11\x00", b"\x10" + b"\xff" * 11])
def test_damaged_messages_are_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        decode(RangeResponse if data[0] == 0x11 else KeyValue, data)


def test_passwords_and_tokens_are_not_shown() -> None:
    assert "secret" not in repr(AuthenticateRequest(name="u", password="secret"))
    assert "secret" not in repr(AuthenticateResponse(token="secret"))
