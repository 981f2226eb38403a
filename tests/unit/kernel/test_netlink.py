"""Framing and attributes; sockets are tested where there is a kernel namespace for them."""

import contextlib
import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tortie.kernel import netlink
from tortie.kernel.errors import (
    AlreadyExists,
    Busy,
    Invalid,
    KernelError,
    NotFound,
    Overflow,
    PermissionDenied,
    Unsupported,
    kernel_error,
)

PAYLOADS = st.binary(max_size=40)


@given(st.lists(st.tuples(st.integers(1, 0x3FFF), PAYLOADS)))
def test_attributes_survive_the_way_there_and_back(attributes: list[tuple[int, bytes]]) -> None:
    packed = b"".join(netlink.attribute(kind, payload) for kind, payload in attributes)
    assert len(packed) % 4 == 0
    assert list(netlink.iterate_attributes(packed)) == attributes


@given(st.lists(st.tuples(st.integers(16, 0xFFFF), st.integers(0, 0xFFFF), st.lists(PAYLOADS, max_size=3))))
def test_messages_survive_the_way_there_and_back(messages: list[tuple[int, int, list[bytes]]]) -> None:
    bodies = [b"".join(netlink.attribute(1, part) for part in parts) for _, _, parts in messages]
    packed = b"".join(
        netlink.pack_message(kind, flags, sequence=index, body=bodies[index]) for index, (kind, flags, _) in enumerate(messages)
    )
    expected = [(kind, flags, index, 0, bodies[index]) for index, (kind, flags, _) in enumerate(messages)]
    assert list(netlink.split_messages(packed)) == expected


@given(st.binary(max_size=64))
def test_of_garbage_only_whole_messages_and_attributes_are_read(data: bytes) -> None:
    with contextlib.suppress(KernelError):
        for message in netlink.split_messages(data):
            assert len(message.body) <= len(data) - 16
    with contextlib.suppress(KernelError):
        for _, payload in netlink.iterate_attributes(data):
            assert len(payload) <= len(data) - 4


def test_a_length_beyond_the_end_is_an_error() -> None:
    with pytest.raises(KernelError, match="does not fit"):
        list(netlink.split_messages(struct.pack("=IHHII", 17, 1, 0, 0, 0)))
    with pytest.raises(KernelError, match="does not fit"):
        netlink.parse_attributes(struct.pack("=HH", 5, 1))


def test_integers_have_the_byte_order_of_their_protocol() -> None:
    assert netlink.be32(1, -5)[4:] == b"\xff\xff\xff\xfb"
    assert netlink.be16(1, 1)[4:] == b"\0\1\0\0"
    assert netlink.u32(1, 1)[4:] == struct.pack("=I", 1)
    assert netlink.string(netlink.text(1, "abc")[4:]) == "abc"


def test_an_acknowledgement_tells_errno_and_the_kernels_own_words() -> None:
    request = struct.pack("=IHHII", 20, 1, 1, 7, 0)
    tlvs = netlink.text(1, "no such thing") + netlink.u32(2, 24)
    flags = netlink.NLM_F_CAPPED | netlink.NLM_F_ACK_TLVS
    message = netlink.Message(netlink.NLMSG_ERROR, flags, 7, 0, struct.pack("=i", -errno.ENOENT) + request + tlvs)
    assert netlink.parse_acknowledgement(message) == (7, errno.ENOENT, "no such thing, attribute at byte 24")
    whole = struct.pack("=i", -errno.EPERM) + request + b"body" + tlvs
    uncapped = netlink.Message(netlink.NLMSG_ERROR, netlink.NLM_F_ACK_TLVS, 7, 0, whole)
    assert netlink.parse_acknowledgement(uncapped) == (7, errno.EPERM, "no such thing, attribute at byte 24")
    success = netlink.Message(netlink.NLMSG_ERROR, 0, 8, 0, struct.pack("=i", 0) + request)
    assert netlink.parse_acknowledgement(success) == (8, 0, "")


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOENT, NotFound),
        (errno.ESRCH, NotFound),
        (errno.EEXIST, AlreadyExists),
        (errno.EBUSY, Busy),
        (errno.EPERM, PermissionDenied),
        (errno.EINVAL, Invalid),
        (errno.EOPNOTSUPP, Unsupported),
        (errno.ENOBUFS, Overflow),
        (errno.EXDEV, KernelError),
    ],
)
def test_an_errno_becomes_the_error_of_its_kind_with_a_readable_text(number: int, kind: type[KernelError]) -> None:
    error = kernel_error(number, "add route 10.0.0.0/8", "the kernel's words")
    assert type(error) is kind
    assert error.errno == number
    assert str(error).startswith("add route 10.0.0.0/8: ")
    assert errno.errorcode[number] in str(error)
    assert str(error).endswith("the kernel's words")
