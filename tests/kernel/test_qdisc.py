"""Rate limits of devices: what is set is there, and traffic keeps to it."""

import contextlib
import socket
import time
from collections.abc import Iterator

import pytest
from tests.kernel.spaces import spaces

from tortie.base.net import parse_interface
from tortie.kernel import netns
from tortie.kernel.errors import NotFound
from tortie.kernel.link import Links
from tortie.kernel.qdisc import NO_LIMITS, Bucket, Limits, Shaper, ifb_name

pytestmark = pytest.mark.kernel

NODE, POD = "10.9.0.1", "10.9.0.2"
EIGHT_MEGABIT = Bucket(rate=1_000_000, burst=64_000)


@pytest.fixture
def cable() -> Iterator[tuple[int, int]]:
    """A node and a pod with a cable; descriptors of their namespaces."""
    with spaces("tcq", 2) as (node, pod):
        with Links(node) as here, Links(pod) as there:
            here.create_veth("cali1", "eth0", peer_netns=pod)
            for links, device, address in ((here, "cali1", NODE), (there, "eth0", POD)):
                links.set_up("lo")
                links.set_up(device)
                links.add_address(device, parse_interface(f"{address}/24"))
        yield node, pod


def seconds_for(source: int, target: int, address: str, size: int) -> float:
    """How long so many bytes take over TCP."""
    server = netns.in_netns(target, lambda: socket.create_server((address, 0)))
    with contextlib.closing(server):
        port = server.getsockname()[1]
        client = netns.in_netns(source, lambda: socket.create_connection((address, port), timeout=20))
        peer, _ = server.accept()
        with contextlib.closing(client), contextlib.closing(peer):
            peer.settimeout(20)
            client.setblocking(False)
            left, missing = size, size
            begin = time.monotonic()
            while missing:
                with contextlib.suppress(BlockingIOError):
                    if left:
                        left -= client.send(b"x" * min(left, 65536))
                peer.settimeout(20 if not left else 0.001)
                with contextlib.suppress(TimeoutError):
                    missing -= len(peer.recv(1 << 20))
            return time.monotonic() - begin


def test_limits_are_read_back_and_a_second_apply_replaces_them(cable: tuple[int, int]) -> None:
    with Shaper(cable[0]) as shaper:
        assert shaper.read("cali1") == NO_LIMITS
        for limits in (
            Limits(received=Bucket(125_000, 20_000), sent=Bucket(250_000, 30_000)),
            Limits(received=Bucket(500_000, 40_000, 1_000_000, 5_000)),
            Limits(sent=Bucket(6_000_000_000, 1_000_000)),
            NO_LIMITS,
        ):
            shaper.apply("cali1", limits)
            shaper.apply("cali1", limits)
            assert shaper.has("cali1", limits)
            assert not shaper.has("cali1", Limits(received=Bucket(1_000, 9_000)))
            found = shaper.read("cali1")
            for wanted, got in ((limits.received, found.received), (limits.sent, found.sent)):
                assert (wanted is None) == (got is None)
                if wanted is not None and got is not None:
                    assert (got.rate, got.peak_rate) == (wanted.rate, wanted.peak_rate)
                    assert got.burst == pytest.approx(wanted.burst, rel=0.05)
            assert shaper.detours() == ({ifb_name("cali1")} if limits.sent else set())


def test_a_bucket_smaller_than_a_frame_still_lets_frames_pass(cable: tuple[int, int]) -> None:
    with Shaper(cable[0]) as shaper:
        tiny = Bucket(1_000_000, 125, 2_000_000, 125)
        shaper.apply("cali1", Limits(received=tiny, sent=tiny))
    assert seconds_for(cable[0], cable[1], POD, 20_000) < 10
    assert seconds_for(cable[1], cable[0], NODE, 20_000) < 10


@pytest.mark.parametrize("way", ["received", "sent"])
def test_a_pod_gets_its_rate_and_no_more_than_twice_of_it_in_either_direction(cable: tuple[int, int], way: str) -> None:
    size = 1_500_000
    ends = (cable[0], cable[1], POD) if way == "received" else (cable[1], cable[0], NODE)
    with Shaper(cable[0]) as shaper:
        shaper.apply("cali1", Limits(**{way: EIGHT_MEGABIT}))
        limited = seconds_for(*ends, size)
        shaper.apply("cali1", NO_LIMITS)
        free = seconds_for(*ends, size)
    lasting = (size - EIGHT_MEGABIT.burst) / EIGHT_MEGABIT.rate
    assert limited > lasting / 2
    assert limited < lasting * 8
    assert free < limited / 2


def test_the_other_direction_is_not_limited(cable: tuple[int, int]) -> None:
    with Shaper(cable[0]) as shaper:
        shaper.apply("cali1", Limits(sent=Bucket(20_000, 4_000)))
        # Only acknowledgements go the limited way.
        assert seconds_for(cable[0], cable[1], POD, 1_000_000) < 1_000_000 / 20_000 / 4


def test_a_device_that_is_gone_is_not_found_and_its_detour_can_be_removed(cable: tuple[int, int]) -> None:
    with Shaper(cable[0]) as shaper, Links(cable[0]) as links:
        shaper.apply("cali1", Limits(sent=EIGHT_MEGABIT))
        links.delete("cali1")
        with pytest.raises(NotFound):
            shaper.apply("cali1", NO_LIMITS)
        assert shaper.detours() == {ifb_name("cali1")}
        shaper.remove_detour(ifb_name("cali1"))
        shaper.remove_detour(ifb_name("cali1"))
        assert shaper.detours() == frozenset()
