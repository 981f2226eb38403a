"""Sets of services' endpoints follow the slices."""

import random
from collections.abc import Iterable

import msgspec
import pytest
from tests.graph.states import endpoint_slice

from tortie.api.resource import Key
from tortie.api.services import EndpointSlice, SliceEndpoint
from tortie.base.net import parse_address, parse_prefix
from tortie.calc.services import ServiceName, ServiceSets, ServiceSpec
from tortie.intent.sets import Member, PortMember

WEB = ServiceSpec(ServiceName("ns", "web"), with_ports=True)
WEB_ADDRESSES = ServiceSpec(ServiceName("ns", "web"), with_ports=False)
SPECS = (WEB, WEB_ADDRESSES, ServiceSpec(ServiceName("ns", "db"), with_ports=True))


def port_member(address: str, port: int, protocol: int = 6) -> PortMember:
    return PortMember(parse_address(address), protocol, port)


class Recorder:
    """What a consumer knows who asks once and then listens."""

    def __init__(self, *specs: ServiceSpec) -> None:
        self.sets = ServiceSets(self.hear)
        self.known: dict[str, set[Member]] = {}
        for spec in specs:
            self.use(spec)

    def use(self, spec: ServiceSpec) -> None:
        self.sets.add(spec.ipset.id, spec)
        self.known[spec.ipset.id] = set(self.sets.members(spec.ipset.id))

    def hear(self, set_id: str, member: Member, present: bool) -> None:
        assert (member in self.known[set_id]) != present, "a member is said twice"
        (self.known[set_id].add if present else self.known[set_id].discard)(member)

    def show(self, *slices: EndpointSlice) -> None:
        for each in slices:
            self.sets.on_slice(each.key, each)

    def members(self, spec: ServiceSpec) -> set[Member]:
        assert self.known[spec.ipset.id] == self.sets.members(spec.ipset.id)
        return self.known[spec.ipset.id]


@pytest.mark.shows("PS-7.34", "PS-7.35")
def test_members_are_all_endpoints_of_all_slices_with_all_ports() -> None:
    recorder = Recorder(WEB, WEB_ADDRESSES)
    recorder.show(
        endpoint_slice("a", "web", "10.0.0.1", "10.0.0.2", ports=[80, {"port": 53, "protocol": "UDP"}]),
        endpoint_slice("b", "web", "fd00::1", ports=[81]),
        endpoint_slice("c", "db", "10.0.0.3"),
        endpoint_slice("d", "web", "10.0.0.4", ns="far"),
        endpoint_slice("e", "", "10.0.0.5"),
    )
    assert recorder.members(WEB) == {
        *(port_member(f"10.0.0.{last}", 80) for last in (1, 2)),
        *(port_member(f"10.0.0.{last}", 53, 17) for last in (1, 2)),
        port_member("fd00::1", 81),
    }
    assert {str(each) for each in recorder.members(WEB_ADDRESSES)} == {"10.0.0.1/32", "10.0.0.2/32", "fd00::1/128"}


def test_readiness_is_not_asked_for() -> None:
    recorder = Recorder(WEB_ADDRESSES)
    value = endpoint_slice("a", "web", "10.0.0.1")
    document = {"addresses": ["10.0.0.2"], "conditions": {"ready": False, "serving": False, "terminating": True}}
    unready = (msgspec.convert(document, SliceEndpoint),)
    recorder.show(msgspec.structs.replace(value, endpoints=value.endpoints + unready))
    assert len(recorder.members(WEB_ADDRESSES)) == 2


def test_names_odd_protocols_and_ports_without_a_number_are_no_members() -> None:
    recorder = Recorder(WEB, WEB_ADDRESSES)
    odd = [{"name": "all"}, {"port": 0}, {"port": 70000}, {"port": 1, "protocol": "ICMP"}, {"port": 1, "protocol": "?"}]
    recorder.show(
        endpoint_slice("a", "web", "example.com", "10.0.0.0/8", ""), endpoint_slice("b", "web", "10.0.0.1", ports=odd)
    )
    assert recorder.members(WEB) == set()
    assert recorder.members(WEB_ADDRESSES) == {parse_prefix("10.0.0.1")}


def test_an_endpoint_of_several_slices_goes_with_the_last() -> None:
    recorder = Recorder(WEB)
    slices = [endpoint_slice(name, "web", "10.0.0.1", "10.0.0.1") for name in "ab"]
    recorder.show(*slices)
    recorder.show(endpoint_slice("a", "web"))
    assert recorder.members(WEB) == {port_member("10.0.0.1", 80)}
    recorder.sets.on_slice(slices[1].key, None)
    assert recorder.members(WEB) == set()


def test_a_slice_that_changes_its_service_moves_its_endpoints() -> None:
    recorder = Recorder(*SPECS)
    recorder.show(endpoint_slice("a", "web", "10.0.0.1"))
    recorder.show(endpoint_slice("a", "db", "10.0.0.1", "10.0.0.2"))
    assert recorder.members(WEB) == set()
    assert len(recorder.members(SPECS[2])) == 2
    recorder.show(endpoint_slice("a", "", "10.0.0.1"))
    assert recorder.members(SPECS[2]) == set()


def chosen_slice(chance: random.Random) -> EndpointSlice:
    addresses = [f"10.0.0.{chance.randrange(4)}" for _ in range(chance.randrange(4))]
    service = chance.choice(["web", "db", ""])
    return endpoint_slice(chance.choice("abc"), service, *addresses, ports=chance.choice([(80,), (80, 81), ()]))


def expected(slices: Iterable[EndpointSlice], spec: ServiceSpec) -> set[Member]:
    found: set[Member] = set()
    for each in slices:
        if each.metadata.labels.get("kubernetes.io/service-name") != spec.service.name:
            continue
        for address in (address for endpoint in each.endpoints for address in endpoint.addresses):
            if not spec.with_ports:
                found.add(parse_prefix(address))
            found.update(port_member(address, port.port or 0) for port in each.ports if spec.with_ports)
    return found


@pytest.mark.parametrize("seed", range(20))
def test_whatever_the_way_members_are_what_the_slices_say_and_nothing_is_left_in_the_end(seed: int) -> None:
    chance = random.Random(seed)
    recorder = Recorder(SPECS[0])
    held: dict[Key, EndpointSlice] = {}
    for step in range(60):
        if step == 30:
            for spec in SPECS[1:]:
                recorder.use(spec)
        value = chosen_slice(chance)
        if chance.random() < 0.2:
            held.pop(value.key, None)
            recorder.sets.on_slice(value.key, None)
        else:
            held[value.key] = value
            recorder.show(value)
        for spec in SPECS if step >= 30 else SPECS[:1]:
            assert recorder.members(spec) == expected(held.values(), spec)
    for spec in SPECS:
        recorder.sets.remove(spec.ipset.id)
    for key in held:
        recorder.sets.on_slice(key, None)
    assert recorder.sets.is_empty()
