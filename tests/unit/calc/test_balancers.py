"""Which addresses are load balancers', and which nodes may answer for them."""

import itertools

from tortie.api.resource import Metadata, Resource
from tortie.api.services import SERVICE_NAME_LABEL, EndpointConditions, EndpointSlice, Service, ServiceSpec, SliceEndpoint
from tortie.base.net import Address
from tortie.calc.balancers import Balancers
from tortie.intent.routing import Balancer


def service(name: str, *ingress: str, asked: str = "", policy: str = "Cluster", kind: str = "LoadBalancer") -> Service:
    spec = ServiceSpec(type=kind, load_balancer_ip=asked, external_traffic_policy=policy)
    status = {"loadBalancer": {"ingress": [{"ip": text} for text in ingress]}}
    return Service(metadata=Metadata(name=name, namespace="shop"), spec=spec, status=status)


def slice_of(name: str, *nodes: str, ready: bool | None = True, number: int = 1) -> EndpointSlice:
    endpoints = tuple(SliceEndpoint(node_name=node, conditions=EndpointConditions(ready=ready)) for node in nodes)
    metadata = Metadata(name=f"{name}-{number}", namespace="shop", labels={SERVICE_NAME_LABEL: name})
    return EndpointSlice(metadata=metadata, address_type="IPv4", endpoints=endpoints)


class Known:
    """What the stage said so far."""

    def __init__(self) -> None:
        self.now: dict[str, set[str] | None] = {}
        self.stage = Balancers(self.hear)

    def hear(self, address: Address, balancer: Balancer | None) -> None:
        if balancer is None:
            self.now.pop(str(address), None)
        else:
            assert balancer.address == address
            self.now[str(address)] = set(balancer.nodes) if balancer.nodes is not None else None

    def feed(self, *resources: Resource) -> None:
        for each in resources:
            if isinstance(each, Service):
                self.stage.on_service(each.key, each)
            else:
                assert isinstance(each, EndpointSlice)
                self.stage.on_slice(each.key, each)

    def forget(self, *resources: Resource) -> None:
        for each in resources:
            if isinstance(each, Service):
                self.stage.on_service(each.key, None)
            else:
                self.stage.on_slice(each.key, None)


def test_assigned_and_asked_for_addresses_count_of_load_balancers_alone() -> None:
    known = Known()
    known.feed(service("a", "192.0.2.7", "fd00::7", "nonsense", asked="192.0.2.8"), service("b", "192.0.2.9", kind="NodePort"))
    assert known.now == {"192.0.2.7": None, "fd00::7": None, "192.0.2.8": None}
    known.feed(service("a", "192.0.2.7"))
    assert known.now == {"192.0.2.7": None}
    known.feed(service("a", "192.0.2.7", kind="ClusterIP"))
    assert known.now == {}


def test_where_only_nodes_with_endpoints_may_take_traffic_they_are_named_in_whatever_order_it_is_told() -> None:
    things = (
        service("a", "192.0.2.7", policy="Local"),
        slice_of("a", "n1"),
        slice_of("a", "n2", "n3", number=2),
        slice_of("a", "n9", ready=False, number=3),
        slice_of("a", "n4", ready=None, number=4),
    )
    for order in itertools.permutations(things):
        known = Known()
        known.feed(*order)
        assert known.now == {"192.0.2.7": {"n1", "n2", "n3", "n4"}}
        known.forget(*order[:3])
        known.feed(*order)
        assert known.now == {"192.0.2.7": {"n1", "n2", "n3", "n4"}}
        known.forget(*order)
        assert known.now == {}
        assert known.stage.is_empty()


def test_an_address_of_two_services_is_there_until_both_are_gone() -> None:
    known = Known()
    local, anywhere = service("a", "192.0.2.7", policy="Local"), service("b", "192.0.2.7")
    known.feed(local, slice_of("a", "n1"))
    assert known.now == {"192.0.2.7": {"n1"}}
    known.feed(anywhere)
    assert known.now == {"192.0.2.7": None}
    known.forget(anywhere)
    assert known.now == {"192.0.2.7": {"n1"}}
    known.forget(local)
    assert known.now == {}
