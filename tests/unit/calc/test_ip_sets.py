"""Members of IP sets: by selector, by named port, counted by source."""

import pytest

from tortie.api.resource import Key
from tortie.api.selector import parse_selector
from tortie.base.net import parse_address, parse_prefix
from tortie.calc.ip_sets import IPSets, SetSpec
from tortie.calc.labelled import Labelled, NamedPort
from tortie.intent.sets import Member, PortMember, SetKind

A, B = Key("WorkloadEndpoint", "ns", "a"), Key("NetworkSet", "ns", "b")


def item(*nets: str, ports: tuple[NamedPort, ...] = (), profiles: tuple[str, ...] = (), **labels: str) -> Labelled:
    return Labelled(frozenset(labels.items()), profiles, tuple(parse_prefix(net) for net in nets), ports)


class Recorder:
    """An IPSets and what it said."""

    def __init__(self, *specs: SetSpec) -> None:
        self.said: list[tuple[str, str, bool]] = []
        self.sets = IPSets(self.hear)
        for spec in specs:
            self.sets.add(spec.ipset.id, spec)

    def hear(self, set_id: str, member: Member, present: bool) -> None:
        self.said.append((set_id, text(member), present))


def text(member: Member) -> str:
    return f"{member.address},{member.protocol},{member.port}" if isinstance(member, PortMember) else str(member)


WEB = SetSpec(parse_selector("app == 'web'"))


def test_members_come_and_go_with_labels_and_addresses() -> None:
    recorder = Recorder(WEB)
    recorder.sets.on_item(A, item("10.0.0.1/32", "fd00::1/128", app="web"))
    assert recorder.sets.members(WEB.ipset.id) == {parse_prefix("10.0.0.1"), parse_prefix("fd00::1")}
    recorder.said.clear()
    recorder.sets.on_item(A, item("10.0.0.2/32", "fd00::1/128", app="web"))
    assert recorder.said == [(WEB.ipset.id, "10.0.0.2/32", True), (WEB.ipset.id, "10.0.0.1/32", False)]
    recorder.sets.on_item(A, item("10.0.0.3/32", app="db"))
    assert recorder.sets.members(WEB.ipset.id) == frozenset()


def test_a_member_of_two_sources_stays_until_the_last_is_gone() -> None:
    recorder = Recorder(WEB)
    recorder.sets.on_item(A, item("10.0.0.1/32", app="web"))
    recorder.sets.on_item(B, item("10.0.0.1/32", "10.0.0.1/32", app="web"))
    recorder.sets.on_item(A, None)
    recorder.sets.on_item(B, item("10.0.0.1/32", app="web"))
    assert recorder.said == [(WEB.ipset.id, "10.0.0.1/32", True)]
    recorder.sets.on_item(B, None)
    assert recorder.said[1:] == [(WEB.ipset.id, "10.0.0.1/32", False)]


def test_inherited_labels_count_and_own_labels_win() -> None:
    recorder = Recorder(WEB)
    recorder.sets.on_item(A, item("10.0.0.1/32", profiles=("P", "Q")))
    recorder.sets.on_item(B, item("10.0.0.2/32", profiles=("P",), app="db"))
    recorder.sets.on_profile("Q", {"app": "web"})
    assert recorder.sets.members(WEB.ipset.id) == {parse_prefix("10.0.0.1")}
    recorder.sets.on_profile("P", {"app": "other"})
    assert recorder.sets.members(WEB.ipset.id) == frozenset()


@pytest.mark.shows("PS-7.17", "PS-7.18", "PS-7.41")
def test_a_named_port_set_holds_address_protocol_and_port() -> None:
    tcp = SetSpec(parse_selector("all()"), 6, "dns")
    whichever = SetSpec(parse_selector("all()"), None, "dns")
    recorder = Recorder(tcp, whichever)
    ports = (NamedPort("dns", 6, 53), NamedPort("dns", 17, 5353), NamedPort("web", 6, 80))
    recorder.sets.on_item(A, item("10.0.0.1/32", ports=ports))
    address = parse_address("10.0.0.1")
    assert tcp.ipset.kind is SetKind.IP_PORT
    assert recorder.sets.members(tcp.ipset.id) == {PortMember(address, 6, 53)}
    assert recorder.sets.members(whichever.ipset.id) == {PortMember(address, 6, 53), PortMember(address, 17, 5353)}
    recorder.sets.on_item(A, item("10.0.0.1/32", ports=ports[2:]))
    assert recorder.sets.members(tcp.ipset.id) == frozenset()


def test_a_set_that_is_added_late_knows_what_was_there_and_says_nothing() -> None:
    recorder = Recorder()
    recorder.sets.on_item(A, item("10.0.0.1/32", app="web"))
    recorder.sets.add(WEB.ipset.id, WEB)
    assert recorder.sets.members(WEB.ipset.id) == {parse_prefix("10.0.0.1")}
    recorder.sets.remove(WEB.ipset.id)
    recorder.sets.on_item(A, None)
    assert recorder.said == []
    assert recorder.sets.is_empty()


@pytest.mark.shows("PS-7.40")
def test_equal_selectors_share_an_id_and_say_where_they_came_from() -> None:
    assert SetSpec(parse_selector("app=='web'")).ipset == WEB.ipset
    assert WEB.ipset.origin == 'app == "web"'
    assert SetSpec(parse_selector("all()"), 6, "web").ipset.origin == "all(), tcp, web"
