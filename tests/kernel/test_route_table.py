"""The driver of routes: many at once, other protocols, other metrics, and connections of addresses that move."""

import asyncio
import time
from collections.abc import Collection, Iterator
from dataclasses import replace

import pytest
from tests.kernel.spaces import spaces

from tortie.base.net import Address, Family, Prefix, parse_address, parse_interface, parse_prefix
from tortie.kernel.errors import KernelError
from tortie.kernel.link import Links
from tortie.kernel.route import BLACKHOLE, METRIC, PROTOCOL, Route, Routes
from tortie.kernel.route_table import BIRD_PROTOCOL, RouteTable

pytestmark = pytest.mark.kernel

BOOT, OTHER = 3, 81
GATEWAYS = {Family.V4: parse_address("192.0.2.9"), Family.V6: parse_address("2001:db8::9")}


@pytest.fixture
def space() -> Iterator[int]:
    with spaces("h2", 1) as (fd,):
        with Links(fd) as links:
            for name in ("cali1", "cali2", "up0"):
                links.create_veth(name, f"{name}p")
                links.set_up(name)
                links.set_up(f"{name}p")
            links.add_address("up0", parse_interface("192.0.2.1/24"))
            links.add_address("up0", parse_interface("2001:db8::1/64"))
        yield fd


def workload(dst: str, device: str = "cali1", *, protocol: int = PROTOCOL) -> Route:
    return Route(dst=parse_prefix(dst), device=device, metric=METRIC, protocol=protocol).as_kernel()


def remote(dst: str, *, metric: int = 0, protocol: int = PROTOCOL) -> Route:
    prefix = parse_prefix(dst)
    via = GATEWAYS[prefix.family]
    return Route(dst=prefix, via=via, device="up0", onlink=True, metric=metric, protocol=protocol).as_kernel()


def listed(fd: int, *protocols: int) -> set[Route]:
    with Routes(fd) as routes:
        return {route for protocol in protocols or (PROTOCOL,) for route in routes.list(protocol=protocol)}


def many(count: int) -> list[Route]:
    block = parse_prefix("10.0.0.0/26")
    dsts = [Prefix(block.family, block.value + (n << 6), block.length) for n in range(count)]
    return [Route(dst=dst, via=GATEWAYS[Family.V4], device="up0", onlink=True).as_kernel() for dst in dsts]


@pytest.mark.parametrize("dst", ["10.2.0.0/26", "fd02::/122"])
def test_a_changed_mtu_is_put_into_the_kernel_and_repaired(space: int, dst: str) -> None:
    with Routes(space) as routes, Routes(space) as vandal:
        table = RouteTable(routes)
        for mtu in (1450, 1400, 0):
            wanted = replace(remote(dst, metric=1023), mtu=mtu)
            table.put(wanted)
            table.apply()
            assert listed(space) == {wanted}
            vandal.replace([replace(wanted, mtu=1300)])
            table.distrust()
            table.apply()
            assert listed(space) == {wanted}


def test_while_thousands_are_written_and_read_back_others_run(space: int) -> None:
    wanted = many(5000)
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def scenario(table: RouteTable) -> list[int]:
        seen = []
        async with asyncio.TaskGroup() as group:
            counting = group.create_task(count_turns())
            for _ in range(3):
                before = turns
                await table.apply_in_slices()
                seen.append(turns - before)
                table.distrust()
            counting.cancel()
        return seen

    with Routes(space) as routes:
        table = RouteTable(routes)
        for route in wanted:
            table.put(route)
        assert min(asyncio.run(scenario(table))) > 5
        assert listed(space) == set(wanted)


def test_whatever_changes_while_the_kernel_is_read_the_next_apply_makes_it_right(space: int) -> None:
    wanted = many(3000)

    async def scenario(table: RouteTable, vandal: Routes) -> None:
        for each in (wanted[10], wanted[2500]):
            table.distrust()
            async with asyncio.TaskGroup() as group:
                applying = group.create_task(table.apply_in_slices())
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                vandal.delete([each])
                table.distrust()
                await applying
            await table.apply_in_slices()
            assert listed(space) == set(wanted)

    with Routes(space) as routes, Routes(space) as vandal:
        table = RouteTable(routes)
        for route in wanted:
            table.put(route)
        table.apply()
        asyncio.run(scenario(table, vandal))


def test_who_is_interrupted_reads_again_and_the_socket_goes_on_working(space: int) -> None:
    wanted = many(3000)

    async def scenario(table: RouteTable) -> None:
        for turns in range(1, 12):
            table.distrust()
            async with asyncio.TaskGroup() as group:
                applying = group.create_task(table.apply_in_slices())
                for _ in range(turns):
                    await asyncio.sleep(0)
                applying.cancel()
        await table.apply_in_slices()

    with Routes(space) as routes:
        table = RouteTable(routes)
        for route in wanted:
            table.put(route)
        asyncio.run(scenario(table))
    assert listed(space) == set(wanted)


def test_one_bad_route_among_thousands_stops_no_other(space: int) -> None:
    wanted = many(2000)
    with Routes(space) as routes:
        table = RouteTable(routes)
        for route in (
            *wanted[:1000],
            Route(dst=parse_prefix("203.0.113.0/24"), via=parse_address("198.51.100.1")),
            *wanted[1000:],
        ):
            table.put(route)
        for _ in range(2):
            with pytest.raises(ExceptionGroup) as caught:
                table.apply()
            assert [str(error).partition(":")[0] for error in caught.value.exceptions] == [
                "add route 203.0.113.0/24 via 198.51.100.1 proto 80"
            ]
            assert listed(space) == set(wanted)


def test_a_device_that_vanishes_takes_only_its_own_routes_and_they_come_back_with_it(space: int) -> None:
    wanted = many(200)
    pod = workload("10.99.0.1/32")
    with Routes(space) as routes, Links(space) as links:
        table = RouteTable(routes)
        for route in (*wanted, pod):
            table.put(route)
        table.apply()
        links.delete("up0")
        table.link_changed("up0")
        table.apply()
        assert listed(space) == {pod}
        assert table.pending == {route.dst for route in wanted}
        links.create_veth("up0", "up0p")
        links.set_up("up0")
        links.set_up("up0p")
        links.add_address("up0", parse_interface("192.0.2.1/24"))
        table.link_changed("up0")
        table.apply()
        assert listed(space) == {*wanted, pod}
        assert table.pending == frozenset()


@pytest.mark.parametrize("dst", ["10.2.0.0/26", "fd02::/122"])
def test_a_route_of_another_metric_and_owner_stands_beside_ours(space: int, dst: str) -> None:
    bird = remote(dst, metric=1024, protocol=BIRD_PROTOCOL)
    ours = remote(dst, metric=0 if ":" not in dst else 1023)
    with Routes(space) as routes:
        assert routes.add([bird]) == ()
        table = RouteTable(routes)
        table.put(ours)
        table.apply()
        assert listed(space, PROTOCOL, BIRD_PROTOCOL) == {bird, ours}
        table.remove(ours.dst)
        table.apply()
        assert listed(space, PROTOCOL, BIRD_PROTOCOL) == {bird}


def test_after_the_protocol_changed_ours_are_moved_over_and_others_are_left_alone(space: int) -> None:
    foreign = remote("203.0.113.0/24", protocol=4)
    wanted = [workload("10.1.0.1/32"), workload("fd00::1/128"), remote("10.2.0.0/26")]
    stale = remote("10.3.0.0/26")
    with Routes(space) as routes:
        assert routes.add([foreign, stale]) == ()
        table = RouteTable(routes)
        for route in wanted:
            table.put(route)
        for protocol in (OTHER, PROTOCOL):
            table.configure(protocol=protocol)
            table.apply()
            assert listed(space, PROTOCOL, OTHER) == {replace(route, protocol=protocol) for route in wanted}
            assert listed(space, 4) == {foreign}
    with Routes(space) as routes:  # a new process, configured otherwise from the beginning
        table = RouteTable(routes)
        table.configure(protocol=OTHER)
        for route in wanted:
            table.put(replace(route, protocol=OTHER))
        table.apply()
        assert listed(space, PROTOCOL, OTHER) == {replace(route, protocol=OTHER) for route in wanted}


def test_what_an_earlier_life_had_under_another_protocol_is_moved_or_swept_once(space: int) -> None:
    wanted, stale = remote("10.2.0.0/26"), remote("10.3.0.0/26", protocol=OTHER)
    with Routes(space) as routes:
        assert routes.add([replace(wanted, protocol=OTHER), stale]) == ()
        table = RouteTable(routes, earlier=[OTHER])
        table.put(wanted)
        table.apply()
        assert listed(space, PROTOCOL, OTHER) == {wanted}
        assert table.protocols == {PROTOCOL}
        assert routes.add([stale]) == ()
        table.distrust()
        table.apply()
        assert listed(space, PROTOCOL, OTHER) == {wanted, stale}


def test_routes_of_others_into_workloads_are_swept_if_that_is_asked_for_but_not_those_of_bird(space: int) -> None:
    manual = Route(dst=parse_prefix("198.51.100.0/24"), device="cali1", protocol=BOOT).as_kernel()
    learned = Route(dst=parse_prefix("198.51.101.0/24"), device="cali1", protocol=BIRD_PROTOCOL).as_kernel()
    elsewhere = Route(dst=parse_prefix("198.51.102.0/24"), device="up0", protocol=BOOT).as_kernel()
    pod = workload("10.1.0.1/32")
    everything = {manual, learned, elsewhere}
    with Routes(space) as routes:
        assert routes.add(everything) == ()
        assert routes.add([workload("10.1.0.1/32", protocol=BOOT)]) == ()
        table = RouteTable(routes, grace_seconds=1.0)
        table.configure(protocol=PROTOCOL, sweep_workloads=True)
        table.put(pod)
        table.apply()
        assert listed(space, PROTOCOL, BOOT, BIRD_PROTOCOL) == {*everything, pod}, "others have their time"
        time.sleep(table.due_in() or 0)
        table.apply()
        assert listed(space, PROTOCOL, BOOT, BIRD_PROTOCOL) == {learned, elsewhere, pod}
        assert routes.add([manual]) == ()
        table.configure(protocol=PROTOCOL)
        table.apply()
        time.sleep(1.05)
        table.apply()
        assert listed(space, PROTOCOL, BOOT, BIRD_PROTOCOL) == {*everything, pod}


# ---- connections of addresses that move ----
class Forgotten:
    """Notes what is forgotten, and which routes there were at that moment."""

    def __init__(self, fd: int, *, failures: int = 0) -> None:
        self.calls: list[tuple[set[str], set[Route]]] = []
        self.failures = failures
        self._fd = fd

    def __call__(self, addresses: Collection[Address]) -> None:
        if self.failures:
            self.failures -= 1
            raise KernelError("no connections today")
        self.calls.append((set(map(str, addresses)), listed(self._fd)))


def apply(table: RouteTable, forget: Forgotten) -> None:
    asyncio.run(table.apply_in_slices(forget))


MOVES = [
    pytest.param("10.1.0.1/32", workload("10.1.0.1/32"), workload("10.1.0.1/32", "cali2"), id="between pods"),
    pytest.param("10.1.0.1/32", workload("10.1.0.1/32"), remote("10.1.0.1/32"), id="to another node"),
    pytest.param("10.1.0.1/32", remote("10.1.0.1/32"), workload("10.1.0.1/32"), id="from another node"),
    pytest.param("fd00::1/128", remote("fd00::1/128", metric=1023), workload("fd00::1/128"), id="from another node, IPv6"),
]


@pytest.mark.parametrize("adopted", [False, True])
@pytest.mark.parametrize(("dst", "before", "after"), MOVES)
def test_a_moved_address_gets_its_new_route_after_its_connections_are_forgotten(
    space: int, dst: str, before: Route, after: Route, adopted: bool
) -> None:
    forget = Forgotten(space)
    with Routes(space) as routes:
        table = RouteTable(routes)
        if adopted:
            assert routes.add([before]) == ()
        else:
            table.put(before)
            apply(table, forget)
        assert forget.calls == []
        table.put(after)
        apply(table, forget)
        assert forget.calls == [({dst.partition("/")[0]}, set())]
        assert listed(space) == {after}
        table.distrust()
        apply(table, forget)
        assert len(forget.calls) == 1


def test_the_connections_of_a_removed_pod_are_forgotten_even_if_its_route_went_first(space: int) -> None:
    forget = Forgotten(space)
    pod = workload("10.1.0.1/32")
    with Routes(space) as routes, Routes(space) as plugin:
        table = RouteTable(routes)
        table.put(pod)
        apply(table, forget)
        plugin.delete([pod])
        table.distrust()
        table.remove(pod.dst)
        apply(table, forget)
    assert forget.calls == [({"10.1.0.1"}, set())]


def test_blocks_and_remote_addresses_that_take_another_way_keep_their_connections(space: int) -> None:
    forget = Forgotten(space)
    with Routes(space) as routes:
        table = RouteTable(routes)
        states = [
            [remote("10.2.0.0/26"), remote("10.1.0.1/32")],
            [
                Route(dst=parse_prefix("10.2.0.0/26"), kind=BLACKHOLE).as_kernel(),
                Route(dst=parse_prefix("10.1.0.1/32"), device="up0").as_kernel(),
            ],
            [],
        ]
        for state in states:
            for dst in list(table.desired):
                table.remove(dst)
            for route in state:
                table.put(route)
            apply(table, forget)
            assert listed(space) == set(state)
    assert forget.calls == []


def test_connections_that_cannot_be_forgotten_are_reported_and_do_not_keep_a_pod_unreachable(space: int) -> None:
    forget = Forgotten(space, failures=4)
    with Routes(space) as routes:
        table = RouteTable(routes)
        table.put(workload("10.1.0.1/32"))
        apply(table, forget)
        table.put(workload("10.1.0.1/32", "cali2"))
        with pytest.raises(ExceptionGroup) as caught:
            apply(table, forget)
        assert "no connections today" in str(caught.value.exceptions[0])
        assert listed(space) == {workload("10.1.0.1/32", "cali2")}
        apply(table, forget)
        assert [addresses for addresses, _ in forget.calls] == [{"10.1.0.1"}]
