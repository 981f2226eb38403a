"""Routes in batches, and the driver that keeps ours as desired."""

import random
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from tests.kernel.spaces import named_space, spaces

from tortie.base.net import parse_address, parse_interface, parse_prefix
from tortie.base.process import run_blocking
from tortie.kernel import netns
from tortie.kernel.errors import AlreadyExists, Invalid, NotFound
from tortie.kernel.link import Links
from tortie.kernel.route import BLACKHOLE, MAIN_TABLE, METRIC, PROTOCOL, THROW, UNREACHABLE, Route, RouteMonitor, Routes
from tortie.kernel.route_table import RouteTable

pytestmark = pytest.mark.kernel

STATIC = 4


@pytest.fixture
def space() -> Iterator[int]:
    """A node with two pods' devices, an uplink, and a static route of somebody else."""
    with spaces("tc", 1) as (fd,):
        with Links(fd) as links, Routes(fd) as routes:
            for name in ("cali1", "cali2", "up0"):
                links.create_veth(name, f"{name}p")
                links.set_up(name)
                links.set_up(f"{name}p")
            links.add_address("up0", parse_interface("192.0.2.1/24"))
            links.add_address("up0", parse_interface("2001:db8::1/64"))
            assert routes.add([foreign("203.0.113.0/24"), foreign("2001:db8:f::/64", via="2001:db8::2")]) == ()
            until_link_local(routes, 6)
        yield fd


def until_link_local(routes: Routes, count: int) -> None:
    """The kernel gives each end of a cable its link-local network when it has noticed the carrier, in its own time."""
    deadline = time.monotonic() + 30
    while sum(route.dst == parse_prefix("fe80::/64") for route in routes.list()) < count:
        assert time.monotonic() < deadline, "a device has no link-local network yet"
        time.sleep(0.01)


def foreign(dst: str, *, via: str = "192.0.2.2", metric: int = 0) -> Route:
    return Route(dst=parse_prefix(dst), via=parse_address(via), device="up0", protocol=STATIC, metric=metric)


def workload(dst: str, device: str = "cali1") -> Route:
    return Route(dst=parse_prefix(dst), device=device, metric=METRIC)


def ours(fd: int) -> set[str]:
    with Routes(fd) as routes:
        return {str(route) for route in routes.list(protocol=PROTOCOL)}


def others(fd: int) -> set[str]:
    with Routes(fd) as routes:
        return {str(route) for route in routes.list() if route.protocol != PROTOCOL}


KINDS = [
    workload("10.1.0.1/32"),
    workload("fd00::1/128"),
    Route(dst=parse_prefix("10.2.0.0/26"), via=parse_address("192.0.2.9"), device="up0", onlink=True),
    Route(dst=parse_prefix("fd01::/122"), via=parse_address("2001:db8::9"), device="up0", onlink=True),
    Route(dst=parse_prefix("10.3.0.0/26"), kind=BLACKHOLE),
    Route(dst=parse_prefix("fd02::/122"), kind=BLACKHOLE),
    Route(dst=parse_prefix("10.4.0.0/26"), kind=THROW),
    Route(dst=parse_prefix("fd04::/122"), kind=THROW),
    Route(dst=parse_prefix("10.4.1.0/26"), kind=UNREACHABLE),
    Route(dst=parse_prefix("fd04::100/122"), kind=UNREACHABLE),
    Route(dst=parse_prefix("0.0.0.0/0"), via=parse_address("192.0.2.9"), device="up0", metric=77),
    Route(dst=parse_prefix("10.5.0.0/24"), via=parse_address("192.0.2.9"), device="up0", source=parse_address("192.0.2.1")),
    Route(dst=parse_prefix("10.6.0.0/24"), via=parse_address("2001:db8::9"), device="up0"),
]


@pytest.mark.parametrize("route", KINDS, ids=str)
def test_the_kernel_lists_a_route_as_it_was_given(space: int, route: Route) -> None:
    with Routes(space) as routes:
        assert routes.add([route]) == ()
        assert list(routes.list(protocol=PROTOCOL)) == [route.as_kernel()]
        assert routes.delete([route]) == ()
        assert routes.delete([route]) == ()
        assert routes.list(protocol=PROTOCOL) == ()


def test_ip_route_shows_what_we_wrote() -> None:
    with named_space("tc") as name, netns.opened(name) as fd:
        with Links(fd) as links, Routes(fd) as routes:
            links.create_veth("cali1", "p")
            links.set_up("cali1")
            assert routes.add([workload("10.1.0.1/32"), Route(dst=parse_prefix("fd02::/122"), kind=BLACKHOLE)]) == ()
        shown = [
            run_blocking(["ip", family, "route", "show", "proto", "80"], netns_path=netns.path_of(name)).check().stdout.decode()
            for family in ("-4", "-6")
        ]
    assert shown[0].startswith("10.1.0.1 dev cali1 scope link metric 1024")
    assert shown[1].startswith("blackhole fd02::/122 dev lo metric 1024")


def test_another_table_is_kept_apart_from_the_main_one(space: int) -> None:
    route = Route(dst=parse_prefix("10.1.0.0/26"), device="up0", table=1000)
    with Routes(space) as routes:
        assert routes.list(table=1000) == ()
        assert routes.add([route]) == ()
        assert routes.list(table=1000) == (route.as_kernel(),)
        assert routes.list(protocol=PROTOCOL) == ()
        assert route.as_kernel() in routes.list(table=0)


def test_one_bad_route_does_not_stop_a_batch_longer_than_the_window(space: int) -> None:
    good = [workload(f"10.9.{n // 256}.{n % 256}/32") for n in range(600)]
    bad = [workload("10.8.0.1/32", "absent"), Route(dst=parse_prefix("10.8.0.2/32"), via=parse_address("198.51.100.1"))]
    with Routes(space) as routes:
        failures = routes.add([*good[:300], *bad, *good[300:], good[0]])
        assert [failure.route for failure in failures] == [bad[0], bad[1], good[0]]
        assert isinstance(failures[0].error, NotFound)
        assert "absent" in str(failures[0].error)
        assert isinstance(failures[2].error, AlreadyExists)
        assert len(routes.list(protocol=PROTOCOL)) == 600
        assert routes.delete(good) == ()
        assert routes.list(protocol=PROTOCOL) == ()


def test_delete_does_not_take_a_foreign_route_with_the_same_destination(space: int) -> None:
    with Routes(space) as routes:
        assert routes.delete([Route(dst=parse_prefix("203.0.113.0/24"), via=parse_address("192.0.2.2"), device="up0")]) == ()
    assert any("203.0.113.0/24" in route for route in others(space))


def test_a_monitor_hears_of_foreign_changes_but_not_of_its_own(space: int) -> None:
    with Routes(space) as mine, Routes(space) as theirs:
        monitor = RouteMonitor(space, ignore_port=mine.port_id)
        try:
            mine.add([workload("10.1.0.1/32")])
            theirs.delete([workload("10.1.0.1/32")])
            changes = [change for change in monitor.read() if change.route.protocol == PROTOCOL]  # others are the kernel's own
            assert [(str(change.route.dst), change.present) for change in changes] == [("10.1.0.1/32", False)]
        finally:
            monitor.close()


# ---- the driver ----
def test_the_kernel_follows_what_is_put_and_removed(space: int) -> None:
    before = others(space)
    with Routes(space) as routes:
        table = RouteTable(routes)
        states = [KINDS[:2], KINDS[2:6], [], KINDS[1:11], KINDS[:1], KINDS[:1]]
        for state in states:
            for dst in list(table.desired):
                table.remove(dst)
            for route in state:
                table.put(route)
            table.apply()
            assert set(routes.list(protocol=PROTOCOL)) == {route.as_kernel() for route in state}
            assert others(space) == before
            assert table.pending == frozenset()


def test_another_table_is_kept_as_desired_and_the_main_one_is_left_alone(space: int) -> None:
    with Routes(space) as routes:
        assert routes.add([workload("10.1.0.1/32")]) == ()
        before = set(routes.list())
        table = RouteTable(routes, table=1, workload_prefixes=())
        state = [replace(route, table=1) for route in KINDS]
        for route in state:
            table.put(route)
        table.apply()
        assert set(routes.list(table=1)) == {route.as_kernel() for route in state}
        for route in state[1:]:
            table.remove(route.dst)
        table.distrust()
        table.apply()
        assert routes.list(table=1) == (state[0].as_kernel(),)
        assert set(routes.list()) == before


def test_a_changed_route_replaces_the_old_one(space: int) -> None:
    with Routes(space) as routes:
        table = RouteTable(routes)
        for text in ("10.1.0.1/32", "fd00::1/128"):
            for wanted in (
                workload(text),
                workload(text, "cali2"),
                Route(dst=parse_prefix(text), kind=BLACKHOLE, metric=METRIC),
            ):
                table.put(wanted)
                table.apply()
                assert list(routes.list(protocol=PROTOCOL)) == [wanted.as_kernel()]
            table.remove(parse_prefix(text))
            table.apply()
            assert routes.list(protocol=PROTOCOL) == ()


def test_a_new_process_adopts_keeps_and_sweeps(space: int) -> None:
    kept, stale = workload("10.1.0.1/32"), Route(dst=parse_prefix("10.3.0.0/26"), kind=BLACKHOLE)
    other_metric = Route(dst=kept.dst, device="up0", metric=5)
    with Routes(space) as routes:
        assert routes.add([kept, stale, other_metric]) == ()
        table = RouteTable(routes)
        table.put(kept)
        table.apply()
        assert routes.list(protocol=PROTOCOL) == (kept.as_kernel(),)


def test_an_unclaimed_route_of_a_pod_has_time_to_be_claimed(space: int) -> None:
    route = workload("10.1.0.1/32")
    with Routes(space) as routes:
        assert routes.add([route]) == ()
        table = RouteTable(routes, grace_seconds=1.0)
        table.apply()
        assert ours(space) == {str(route.as_kernel())}
        due = table.due_in()
        assert due is not None
        assert 0 < due <= 1.0
        time.sleep(due)
        table.apply()
        assert ours(space) == set()
        assert table.due_in() is None


def test_a_claimed_route_stays_and_is_removed_at_once_when_it_is_unwanted(space: int) -> None:
    route = workload("10.1.0.1/32")
    with Routes(space) as routes:
        assert routes.add([route]) == ()
        table = RouteTable(routes, grace_seconds=60)
        table.apply()
        table.put(route)
        table.apply()
        assert table.due_in() is None
        table.remove(route.dst)
        table.apply()
        assert ours(space) == set()


def test_a_route_that_the_cni_plugin_added_meanwhile_is_not_a_failure(space: int) -> None:
    route = workload("10.1.0.1/32")
    with Routes(space) as routes, Routes(space) as plugin:
        table = RouteTable(routes)
        table.apply()
        assert plugin.add([route, workload("10.1.0.2/32", "cali2")]) == ()
        table.put(route)
        table.put(workload("10.1.0.2/32", "cali1"))
        table.apply()
        assert ours(space) == {str(route.as_kernel()), str(workload("10.1.0.2/32", "cali1").as_kernel())}


def test_a_foreign_route_in_the_way_is_reported_and_left_and_the_others_are_programmed(space: int) -> None:
    taken = foreign("10.1.0.1/32", metric=METRIC)
    with Routes(space) as routes:
        assert routes.add([taken]) == ()
        table = RouteTable(routes)
        table.put(workload("10.1.0.1/32"))
        table.put(workload("10.1.0.2/32"))
        with pytest.raises(ExceptionGroup) as caught:
            table.apply()
        assert len(caught.value.exceptions) == 1
        assert "10.1.0.1/32" in str(caught.value.exceptions[0])
        assert ours(space) == {str(workload("10.1.0.2/32").as_kernel())}
        assert taken.as_kernel() in routes.list()
        assert routes.delete([taken]) == ()
        table.apply()
        assert len(ours(space)) == 2


@pytest.mark.parametrize("dst", ["10.1.0.1/32", "fd00::1/128"])
def test_a_route_waits_for_its_device_to_appear_and_to_be_up(space: int, dst: str) -> None:
    route = workload(dst, "cali9")
    with Routes(space) as routes, Links(space) as links:
        table = RouteTable(routes)
        table.put(route)
        table.apply()
        assert table.pending == {route.dst}
        links.create_veth("cali9", "cali9p")
        table.apply()
        assert table.pending == {route.dst}
        links.set_up("cali9")
        links.set_up("cali9p")
        table.link_changed("cali9")
        table.apply()
        assert table.pending == frozenset()
        assert ours(space) == {str(route.as_kernel())}
        links.set_down("cali9")
        table.link_changed("cali9")
        table.apply()
        assert table.pending == {route.dst}


def test_distrust_repairs_what_others_did(space: int) -> None:
    wanted = [workload("10.1.0.1/32"), workload("fd00::1/128")]
    with Routes(space) as routes, Routes(space) as vandal:
        table = RouteTable(routes)
        for route in wanted:
            table.put(route)
        table.apply()
        vandal.delete(wanted[:1])
        vandal.replace([workload("fd00::1/128", "cali2"), Route(dst=parse_prefix("10.7.0.0/16"), kind=BLACKHOLE)])
        table.distrust()
        table.apply()
        assert ours(space) == {str(route.as_kernel()) for route in wanted}


def test_a_route_of_another_owner_cannot_be_put(space: int) -> None:
    with Routes(space) as routes:
        table = RouteTable(routes)
        with pytest.raises(Invalid, match="protocol 80"):
            table.put(foreign("10.1.0.1/32"))
        with pytest.raises(Invalid, match=f"table {MAIN_TABLE}"):
            table.put(Route(dst=parse_prefix("10.1.0.1/32"), device="up0", table=99))


def test_after_any_changes_by_us_and_by_others_one_apply_makes_it_right(space: int) -> None:
    dice = random.Random(7)
    texts = ["10.1.0.1/32", "10.1.0.2/32", "fd00::1/128", "10.1.0.0/26", "fd00::/122"]

    def any_route() -> Route:
        dst = parse_prefix(dice.choice(texts))
        if dice.random() < 0.3:
            return Route(dst=dst, kind=BLACKHOLE, metric=dice.choice([5, METRIC]))
        return Route(dst=dst, device=dice.choice(["cali1", "cali2", "up0"]), metric=dice.choice([5, METRIC]))

    with Routes(space) as routes, Routes(space) as vandal:
        before = others(space)
        table = RouteTable(routes, workload_prefixes=())
        for _ in range(60):
            for _ in range(dice.randrange(4)):
                route = any_route()
                if dice.random() < 0.5:
                    table.put(route)
                else:
                    table.remove(route.dst)
            if dice.random() < 0.5:
                dice.choice([vandal.replace, vandal.delete])([any_route()])
                table.distrust()
            table.apply()
            assert set(routes.list(protocol=PROTOCOL)) == set(table.desired.values())
        assert others(space) == before
