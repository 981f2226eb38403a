"""WireGuard's table where others lay hands on it: the kernel, and whoever adds a route."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.kernel.wireguard_stage import (
    BLOCKS,
    DEVICES,
    NODES,
    TABLES,
    TUNNELS,
    Node,
    exchange,
    meet,
    settle,
    two_nodes,
)

from tortie.base.net import Family, Interface, parse_address, parse_prefix
from tortie.intent.messages import OverlayUpdate
from tortie.kernel.route import THROW, Route

pytestmark = pytest.mark.kernel
V4, V6 = Family.V4, Family.V6


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[tuple[Node, Node]]:
    with two_nodes(tmp_path) as found:
        yield found


@pytest.mark.parametrize("family", [V4, V6])
def test_a_route_of_others_in_our_table_is_told_and_stays(nodes: tuple[Node, Node], family: Family) -> None:
    """The rule leads every packet of the node there: a default route would take them all."""
    one, two = nodes
    one.tell(one.own(families=(family,)), two.as_peer(family, two.wireguard_key()))
    one.publish()
    assert not any("table" in name for name in one.manager.problems)
    everything = parse_prefix("0.0.0.0/0" if family is V4 else "::/0")
    theirs = Route(
        dst=everything, via=parse_address(NODES[family].format(2)), device="eth0", protocol=3, table=TABLES[family], metric=1024
    )
    harmless = replace(theirs, dst=parse_prefix(BLOCKS[family].format(9)), kind=THROW, via=None, device=None)
    assert one.routes.add([theirs, harmless]) == ()
    one.manager.invalidate()
    one.apply()
    name = f"{DEVICES[family]} table {TABLES[family]}"
    assert str(theirs) in one.manager.problems[name]
    assert BLOCKS[family].format(9) not in one.manager.problems[name]
    assert "routeTableRanges" in one.manager.problems[name]
    assert theirs.dst in {route.dst for route in one.routes.list(table=TABLES[family], families=(family,), protocol=3)}
    one.routes.delete([theirs])
    one.manager.invalidate()
    one.apply()
    assert name not in one.manager.problems


@pytest.mark.parametrize("family", [V4, V6])
def test_a_device_without_its_address_for_a_while_keeps_its_routes(nodes: tuple[Node, Node], family: Family) -> None:
    meet(nodes)
    settle(nodes, family)
    one, _ = nodes
    before = one.table(family)
    message = one.own()
    assert isinstance(message, OverlayUpdate)
    assert message.overlay is not None
    bare = tuple(replace(end, address=None) for end in message.overlay.wireguard)
    one.tell(OverlayUpdate(replace(message.overlay, wireguard=bare)))
    assert one.table(family) == before
    one.tell(message)
    assert one.table(family) == before
    one.links.delete_address(DEVICES[family], Interface(parse_address(TUNNELS[family].format(1)), family.bits))
    assert one.manager.addresses_changed()
    one.apply()
    assert one.table(family) == before
    exchange(nodes, family)
