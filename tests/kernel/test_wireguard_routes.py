"""WireGuard's table and rule where others lay hands on them: the kernel, and whoever adds a route or takes a rule."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace

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
)

from tortie.base.net import Family, Interface, parse_address, parse_prefix, single
from tortie.base.process import run_blocking
from tortie.intent.endpoint import Endpoint
from tortie.intent.keys import EndpointId
from tortie.intent.messages import EndpointUpdate, OverlayUpdate
from tortie.kernel import netns
from tortie.kernel.route import THROW, Route, RouteMonitor
from tortie.kernel.rule import RuleMonitor

pytestmark = pytest.mark.kernel
V4, V6 = Family.V4, Family.V6


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
def test_a_rule_of_others_that_overtakes_ours_is_told_at_once_and_stays(nodes: tuple[Node, Node], family: Family) -> None:
    one, two = nodes
    with listening(one) as (rules, _):
        ip(one, family, "rule", "add", "priority", "200", "lookup", "main")
        one.tell(one.own(families=(family,)), two.as_peer(family, two.wireguard_key()))
        one.publish()
        name = f"{DEVICES[family]} rule"
        assert name not in one.manager.problems, "one behind ours takes nothing"
        rules.read()
        words = ("priority", "90", "lookup", "main", "suppress_prefixlength", "0")
        for extra in (("priority", "50", "to", BLOCKS[family].format(2), "lookup", "main"), words):
            ip(one, family, "rule", "add", *extra)
        assert one.manager.rules_changed(rules.read())
        one.apply()
        assert f"rule 50: from all to {BLOCKS[family].format(2)} lookup 254" in one.manager.problems[name]
        assert f"IPv{family.value} rule 90 to the main table" in one.manager.problems[name]
        assert "wireguardRoutingRulePriority" in one.manager.problems[name]
        assert "50:" in ip(one, family, "rule", "show")
        for priority in ("50", "90"):
            ip(one, family, "rule", "del", "priority", priority)
        assert one.manager.rules_changed(rules.read())
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


@contextlib.contextmanager
def listening(node: Node) -> Iterator[tuple[RuleMonitor, RouteMonitor]]:
    """As the node's agent listens."""
    rules = RuleMonitor(node.fd, ignore_port=node.rules.port_id)
    routes = RouteMonitor(node.fd, ignore_port=node.routes.port_id)
    with contextlib.closing(rules), contextlib.closing(routes):
        yield rules, routes


def ip(node: Node, family: Family, *words: str) -> str:
    command = ["ip", f"-{family.value}", *words]
    return run_blocking(command, netns_path=netns.path_of(node.space)).check().stdout.decode()


@pytest.mark.parametrize("family", [V4, V6])
def test_a_rule_that_somebody_takes_is_heard_of_and_comes_back_and_others_rules_stay(
    nodes: tuple[Node, Node], family: Family
) -> None:
    one, two = nodes
    with listening(one) as (rules, _):
        one.tell(one.own(families=(family,)), two.as_peer(family, two.wireguard_key(), host=True))
        one.publish()
        assert one.has_rule(family)
        assert rules.read() == (), "our own writes are nothing to hear of"
        for words in (["priority", "99", "lookup", "7"], ["priority", "98", "lookup", str(TABLES[family])]):
            ip(one, family, "rule", "add", *words)
        assert not one.manager.rules_changed(rules.read())
        whole = ip(one, family, "rule", "show")
        ip(one, family, "rule", "del", "priority", "99", "lookup", str(TABLES[family]))
        assert not one.has_rule(family)
        assert one.manager.rules_changed(rules.read())
        one.apply()
        assert sorted(ip(one, family, "rule", "show").splitlines()) == sorted(whole.splitlines())
        ip(one, family, "rule", "del", "priority", "98")
        assert not one.manager.rules_changed(rules.read()), "neither the repair nor what is another's"
        one.apply()
        assert "98:" not in ip(one, family, "rule", "show")


@pytest.mark.parametrize("family", [V4, V6])
def test_a_table_that_somebody_flushes_is_heard_of_and_comes_back(nodes: tuple[Node, Node], family: Family) -> None:
    one, two = nodes
    with listening(one) as (_, routes):
        one.tell(one.own(families=(family,), strict=True), two.as_peer(family, two.wireguard_key(), host=True))
        one.publish()
        one.manager.routes_changed(routes.read())  # the kernel has its own of a device that has come
        one.apply()
        assert routes.read() == (), "our own writes are nothing to hear of"
        before = one.table(family)
        assert before
        ip(one, family, "route", "flush", "table", str(TABLES[family]))
        assert one.table(family) == {}
        assert one.manager.routes_changed(routes.read())
        one.apply()
        assert one.table(family) == before
        unused = V6 if family is V4 else V4
        for each, table in ((family, 77), (unused, TABLES[unused])):
            ip(one, each, "route", "add", "blackhole", BLOCKS[each].format(7), "table", str(table))
        assert not one.manager.routes_changed(routes.read()), "neither the repair nor other tables"


@pytest.mark.parametrize("family", [V4, V6])
def test_a_pod_here_with_an_address_of_the_other_nodes_block_is_reached_here(nodes: tuple[Node, Node], family: Family) -> None:
    """Borrowed addresses are what a full block leads to; WireGuard's table, asked first, has the block of who lent it."""
    meet(nodes)
    settle(nodes, family)
    lent = parse_prefix(BLOCKS[family].format(2)).network
    address = lent._replace(value=lent.value + 9)
    pod = Endpoint(EndpointId("node-1", "ns", "pod"), "ns/pod", "cali1", addresses=(single(address),), tiers=(), profiles=())
    assert nodes[0].table(family) == {BLOCKS[family].format(2): DEVICES[family]}
    nodes[0].tell(EndpointUpdate(pod.id, pod))
    assert nodes[0].table(family) == {BLOCKS[family].format(2): DEVICES[family], str(single(address)): "throw"}
    nodes[0].tell(EndpointUpdate(pod.id, None))
    assert nodes[0].table(family) == {BLOCKS[family].format(2): DEVICES[family]}
