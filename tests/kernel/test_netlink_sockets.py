"""Netlink sockets against the kernel: answers, refusals, dumps, lost notifications, the namespace they belong to."""

import errno
import struct
from collections.abc import Iterator

import pytest
from tests.kernel.netlink_faults import Fault, injected
from tests.kernel.nft_ground import Ground, ground

from tortie.kernel.errors import AlreadyExists, Invalid, NotFound, Overflow
from tortie.kernel.netlink import (
    NETLINK_NETFILTER,
    NETLINK_ROUTE,
    NLM_F_CREATE,
    NLM_F_EXCL,
    Request,
    RequestSocket,
    Subscription,
    attribute,
    parse_attributes,
    string,
)
from tortie.kernel.netns import in_netns

pytestmark = pytest.mark.kernel

_NEWADDR, _GETLINK, _GETADDR = 20, 18, 22
_IPV4_ADDRESSES = 5  # RTNLGRP_IPV4_IFADDR


@pytest.fixture
def place() -> Iterator[Ground]:
    with ground() as made:
        yield made


@pytest.fixture
def route(place: Ground) -> Iterator[RequestSocket]:
    made = in_netns(place.fd, lambda: RequestSocket(NETLINK_ROUTE, strict=True))
    yield made
    made.close()


def link(index: int) -> bytes:
    return struct.pack("=BxHiII", 0, 0, index, 0, 0)


def address(number: int) -> Request:
    """127.1.x.y/32 on the loopback."""
    packed = struct.pack(">I", (127 << 24) + (1 << 16) + number)
    body = struct.pack("=BBBBI", 2, 32, 0, 0, 1) + attribute(1, packed) + attribute(2, packed)
    return Request(_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, body)


def test_a_socket_belongs_to_the_namespace_that_it_was_opened_in(route: RequestSocket) -> None:
    links = route.dump(Request(_GETLINK, 0, link(0)), action="list links")
    assert "eth0" not in [string(parse_attributes(message.body, 16)[3]) for message in links]
    (loopback,) = route.request(Request(_GETLINK, 0, link(1)), action="read link 1")
    assert string(parse_attributes(loopback.body, 16)[3]) == "lo"


def test_a_refusal_names_the_action_and_is_of_its_kind(route: RequestSocket) -> None:
    with pytest.raises(NotFound, match=r"^read link 4711: No such device \(ENODEV\)"):
        route.request(Request(_GETLINK, 0, link(4711)), action="read link 4711")
    with pytest.raises(Invalid, match="read a link badly"):
        route.request(Request(_GETLINK, 0, b"\0\0\0\0"), action="read a link badly")
    route.request(address(1), action="add an address")
    with pytest.raises(AlreadyExists):
        route.request(address(1), action="add an address")


def test_many_requests_are_answered_one_by_one_and_a_bad_one_stops_none(route: RequestSocket) -> None:
    requests = [address(number) for number in range(1, 601)]
    requests[300] = address(1)
    answers = route.request_many(requests, window=100)
    assert [answer.sequence for answer in answers] == list(range(600))
    assert [answer.sequence for answer in answers if answer.errno] == [300]
    listed = route.dump(Request(_GETADDR, 0, struct.pack("=BBBBI", 2, 0, 0, 0, 0)), action="list addresses")
    assert len(listed) == 600  # 599 and 127.0.0.1


def test_a_subscription_hears_and_says_when_it_missed_something(place: Ground, route: RequestSocket) -> None:
    heard = in_netns(place.fd, lambda: Subscription(NETLINK_ROUTE, [_IPV4_ADDRESSES], receive_buffer=4096))
    try:
        assert heard.read() == []
        route.request(address(1), action="add an address")
        (message,) = heard.read()
        assert message.type == _NEWADDR
        route.request_many([address(number) for number in range(2, 500)])
        with pytest.raises(Overflow):
            heard.read()
        heard.read()
        route.request(address(1000), action="add an address")
        assert len(heard.read()) == 1, "after an overflow the subscription goes on"
    finally:
        heard.close()


def test_netfilter_speaks_the_same_framing(place: Ground) -> None:
    made = in_netns(place.fd, lambda: RequestSocket(NETLINK_NETFILTER))
    try:
        place.nft(script="table inet seen { }")
        (table,) = made.dump(Request(10 << 8 | 1, 0, b"\1\0\0\0"), action="list tables")
        assert string(parse_attributes(table.body, 4)[1]) == "seen"
    finally:
        made.close()


def test_a_dump_that_broke_off_does_not_stop_the_next(place: Ground) -> None:
    with injected() as injector:
        route = in_netns(place.fd, lambda: RequestSocket(NETLINK_ROUTE, strict=True))
        everything = Request(_GETADDR, 0, struct.pack("=BBBBI", 2, 0, 0, 0, 0))
        try:
            route.request_many([address(number) for number in range(3000)])
            for fault in (Fault("receive_truncates"), Fault("receive_fails", errno.ENOBUFS)):
                injector.arm(fault, at=1)
                with pytest.raises(Overflow):
                    route.dump(everything, action="list addresses")
                assert len(route.dump(everything, action="list addresses")) == 3001
        finally:
            route.close()
