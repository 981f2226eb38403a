"""IPIP by the kernel's own device, which the machine outside has no module for; and our eBPF programs, face to face with it."""

import asyncio
import itertools
import platform
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kernel.ipip_stage import (
    Machine,
    Wire,
    cluster,
    datagram,
    hanging,
    hearing,
    is_ipip,
    is_repaired,
    narrowed,
    reaches,
    rfc2003,
    sends,
    transfers,
    without_id,
)

from tortie.kernel.bpf.build import object_file
from tortie.kernel.bpf.tunnel import BpfIpip
from tortie.kernel.ipip import KernelIpip
from tortie.kernel.link import Links

pytestmark = pytest.mark.vm
Cluster = tuple[Machine, Machine, int]
CARRIERS = [("kernel", "kernel"), ("kernel", "ebpf"), ("ebpf", "ebpf")]


@pytest.fixture(scope="module", autouse=True)
def own_devices_everywhere() -> None:
    """Module ipip would give each new namespace a tunl0; where our programs are to carry, the name must be free."""
    subprocess.run(["modprobe", "ipip"], check=True)
    Path("/proc/sys/net/core/fb_tunnels_only_for_init_net").write_text("2")


@pytest.fixture(scope="module", params=CARRIERS, ids="-".join)
def pair(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    with cluster("h4v-", *request.param) as made:
        yield made


@pytest.fixture
def by_kernel() -> Iterator[Cluster]:
    with cluster("h4w-", "kernel", "kernel") as made:
        yield made


def test_datagrams_of_every_size_cross_both_ways(pair: Cluster) -> None:
    one, two, _ = pair
    for here, there in ((one, two), (two, one)):
        assert reaches(here, there, size=1)
        assert reaches(here, there, size=1452)
        assert reaches(here, there, size=9000, may_fragment=True)


def test_streams_cross_whole_both_ways(pair: Cluster) -> None:
    one, two, _ = pair
    assert transfers(one, two, size=2 << 20)
    assert transfers(two, one, size=2 << 20)


@pytest.mark.parametrize(("sender", "receiver"), [("kernel", "ebpf"), ("ebpf", "kernel")])
def test_a_stream_crosses_whole_where_the_way_is_narrower_than_the_uplinks(sender: str, receiver: str) -> None:
    """The kernel's device hears of it from the kernel, our programs from their agent. What they have learned stays: hence
    nodes of this test's own."""
    with cluster("h4n-", sender, receiver) as (one, two, router), narrowed(router, 1400), hearing(one):
        assert transfers(one, two, size=2 << 20)


def test_programs_hang_where_this_kernel_has_a_place_for_them(pair: Cluster) -> None:
    """TCX is not looked for by a version; here the version tells what must have been found."""
    _, two, _ = pair
    release = tuple(int(number) for number in re.findall(r"\d+", platform.release())[:2])
    kinds = [] if two.carrier == "kernel" else ["tcx"] if release >= (6, 6) else ["clsact"]
    assert [list(each) for each in hanging(two).values()] == [kinds, kinds]


def test_both_put_the_same_bytes_on_the_wire(pair: Cluster) -> None:
    """What n1 sends is what RFC 2003 says, whoever carries; tests/kernel/test_bpf_ipip.py shows it of the other kernel."""
    one, two, router = pair
    # Congestion seen before the tunnel is left out: RFC 6040 copies it, the kernel's device tells ECT(0) instead.
    kinds = list(itertools.product((0, 1, 2, 0xB8), (0, 0x4000)))
    with Wire(router, "eth1") as wire:
        for tos, fragment in kinds:
            sends(one.pod_fd, datagram(one.workload, two.workload, 7, tos=tos, fragment=fragment))
        seen = wire.packets(lambda packet: is_ipip(packet) and packet[12:16] == one.uplink.address.packed, count=len(kinds))
    for (tos, fragment), outer in zip(kinds, seen, strict=True):
        inner = outer[20:]
        assert without_id(inner) == without_id(datagram(one.workload, two.workload, 7, tos=tos, ttl=63, fragment=fragment))
        expected = rfc2003(inner, one.uplink.address, two.uplink.address, may_fragment=one.carrier == "kernel")
        assert without_id(outer) == without_id(expected)


def test_those_bytes_are_understood(pair: Cluster) -> None:
    one, two, router = pair
    inner = datagram(one.workload, two.workload, 7, ttl=63)
    with Wire(two.pod_fd, "eth0") as wire:
        sends(router, rfc2003(inner, one.uplink.address, two.uplink.address))
        got = wire.packets(lambda packet: packet[12:16] == inner[12:16] and packet[20:] == inner[20:])[0]
    assert without_id(got) == without_id(datagram(one.workload, two.workload, 7, ttl=62))


@pytest.mark.parametrize(
    "damage",
    [
        "ip link set tunl0 down",
        "ip link set tunl0 mtu 1000",
        "ip addr flush dev tunl0",
        "ip addr add 10.65.1.9/24 dev tunl0",
        "ip route delete 10.65.2.0/26",
        "ip route replace blackhole 10.65.2.0/26 proto 80",
    ],
)
def test_what_others_break_is_repaired(by_kernel: Cluster, damage: str) -> None:
    one, two, _ = by_kernel
    is_repaired(one, two, damage)


def test_out_of_use_the_device_is_down_and_has_no_address(by_kernel: Cluster) -> None:
    one, two, _ = by_kernel
    one.stop()
    assert not one.links.get("tunl0").up
    assert one.links.addresses("tunl0") == ()
    assert not reaches(two, one)
    one.tell(two)
    assert reaches(two, one)


def test_the_kernels_device_goes_first_and_what_carries_already_goes_on(by_kernel: Cluster) -> None:
    """With both to be had a node takes the kernel's; one that is carried by our programs keeps them through a new agent."""
    one, two, _ = by_kernel
    one.stop()
    one.links.delete("tunl0")
    for expected, choice in (("kernel", ""), ("ebpf", "ebpf"), ("ebpf", ""), ("kernel", "kernel")):
        kernel, ebpf = KernelIpip(one.links), BpfIpip(object_file(), one.fd)
        carriers = [each for each in (kernel, ebpf) if choice in ("", each.name)]
        one.carried_by(*carriers, excluded=[each for each in (kernel, ebpf) if each not in carriers])
        if expected == "ebpf" and one.links.get("tunl0").kind == "ipip":
            one.links.delete("tunl0")  # a device that was made by name can go; the module's own cannot
        one.tell(two)
        assert one.manager.carrier == expected
        assert reaches(one, two)
        assert reaches(two, one)
        ebpf.close()


def test_the_modules_own_device_stays_where_our_programs_are_wanted(by_kernel: Cluster) -> None:
    one, two, _ = by_kernel
    one.stop()
    with Links(one.fd) as links:
        assert links.get("tunl0").kind == "ipip"
    ebpf = BpfIpip(object_file(), one.fd)
    one.carried_by(ebpf, excluded=(KernelIpip(one.links),))
    with pytest.raises(ExceptionGroup):
        one.tell(two)
    assert "tunl0 is a device of kind ipip" in one.manager.problems["tunl0"]
    asyncio.run(one.manager.retire())
    ebpf.close()
