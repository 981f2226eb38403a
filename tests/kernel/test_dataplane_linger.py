"""A tunnel that is not in use any more stays for those who have not heard of it yet."""

import asyncio
import os
import secrets
import time
from collections.abc import Iterator, Mapping, Set

import pytest

from tortie.base.net import Family, parse_address, parse_interface
from tortie.dataplane import linux
from tortie.dataplane.linux import LinuxDataplane
from tortie.dataplane.render.config import Config
from tortie.intent.messages import ConfigUpdate, InSync, Message, OverlayUpdate
from tortie.intent.routes import ClusterRoute, Overlay, TunnelEnd, Way
from tortie.kernel import netns
from tortie.kernel.conntrack import Conntrack
from tortie.kernel.nft.table import NftTable
from tortie.kernel.route import Route, Routes
from tortie.kernel.route_table import RouteTable

pytestmark = pytest.mark.kernel


class Tunnel:
    """Counts how often it was asked to go."""

    way: Way | None = Way.VXLAN
    problems: Mapping[str, str] = {}

    def __init__(self) -> None:
        self.retired = 0

    def configure(self, config: Config) -> None: ...

    def on_update(self, message: Message) -> None: ...

    async def apply(self) -> None: ...

    async def retire(self) -> None:
        self.retired += 1

    def route(self, route: ClusterRoute) -> Route | None:
        return None

    def links_changed(self, names: Set[str]) -> bool:
        return False

    def addresses_changed(self) -> bool:
        return False

    def invalidate(self) -> None: ...


@pytest.fixture
def tunnel() -> Tunnel:
    return Tunnel()


@pytest.fixture
def dataplane(tunnel: Tunnel) -> Iterator[LinuxDataplane]:
    name = f"h6{os.getpid()}{secrets.token_hex(3)}"
    netns.create(name)
    try:
        with netns.opened(name) as space:
            table, routes, conntrack = NftTable(netns_fd=space), Routes(space), Conntrack(space)
            try:
                yield LinuxDataplane(table, RouteTable(routes), conntrack=conntrack, overlays=[tunnel])
            finally:
                asyncio.run(table.close())
                routes.close()
                conntrack.close()
    finally:
        netns.delete(name)


def ends(*ways: Way) -> OverlayUpdate:
    tunnels = tuple(TunnelEnd(way, Family.V4, parse_address("10.0.0.1"), ()) for way in ways)
    return OverlayUpdate(Overlay("n1", parse_interface("172.18.0.2/24"), None, tunnels))


def tell(dataplane: LinuxDataplane, *messages: Message) -> None:
    dataplane.on_messages(messages)
    asyncio.run(dataplane.apply())


def test_a_tunnel_goes_some_time_after_it_fell_out_of_use(
    dataplane: LinuxDataplane, tunnel: Tunnel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linux, "LINGER_SECONDS", 1.0)
    tell(dataplane, ConfigUpdate(()), ends(Way.VXLAN), InSync())
    asked = tunnel.retired
    tell(dataplane, ends())
    due = dataplane.due_in()
    assert tunnel.retired == asked
    assert due is not None
    assert 0 < due <= 1.0
    time.sleep(1.05)
    tell(dataplane)
    assert tunnel.retired == asked + 1
    assert dataplane.due_in() is None


def test_what_an_agent_before_us_left_and_what_stays_in_use_is_not_waited_for(
    dataplane: LinuxDataplane, tunnel: Tunnel
) -> None:
    tell(dataplane, ConfigUpdate(()), ends(), InSync())
    assert tunnel.retired == 1
    tell(dataplane, ends(Way.VXLAN))
    tell(dataplane, ends(Way.VXLAN, Way.IPIP))
    assert tunnel.retired == 3
    assert dataplane.due_in() is None


def test_one_that_comes_back_meanwhile_is_one_in_use(dataplane: LinuxDataplane, tunnel: Tunnel) -> None:
    tell(dataplane, ConfigUpdate(()), ends(Way.VXLAN), InSync())
    tell(dataplane, ends())
    asked = tunnel.retired
    tell(dataplane, ends(Way.VXLAN))
    assert tunnel.retired == asked
