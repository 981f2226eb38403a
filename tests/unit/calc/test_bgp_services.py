"""Which service addresses a node advertises (the table of bird.md, section 7), and that it costs nothing while unused."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tortie.api.bgp import BGPConfigurationSpec, ServiceCIDR
from tortie.api.resource import Metadata
from tortie.api.services import SERVICE_NAME_LABEL, EndpointConditions, EndpointSlice, Service, ServiceSpec, SliceEndpoint
from tortie.calc.bgp_services import EXCLUSION_LABEL, ServiceAdvertisements


def cidrs(*texts: str) -> tuple[ServiceCIDR, ...]:
    return tuple(ServiceCIDR(cidr=text) for text in texts)


ALL = BGPConfigurationSpec(
    service_cluster_ips=cidrs("10.96.0.0/12", "fd96::/112"),
    service_external_ips=cidrs("203.0.113.0/24", "198.51.100.7/32"),
    service_load_balancer_ips=cidrs("192.0.2.0/24", "198.51.100.8/32"),
)
SEPARATE = BGPConfigurationSpec(
    service_cluster_ips=ALL.service_cluster_ips,
    service_external_ips=ALL.service_external_ips,
    service_load_balancer_ips=ALL.service_load_balancer_ips,
    service_load_balancer_aggregation="Disabled",
)
RANGES = {"10.96.0.0/12", "fd96::/112", "203.0.113.0/24", "192.0.2.0/24"}


def service(name: str = "web", *, ingress: tuple[str, ...] = (), **fields: Any) -> Service:
    spec = ServiceSpec(**({"cluster_ip": "10.96.0.7", "cluster_ips": ("10.96.0.7",)} | fields))
    status = {"loadBalancer": {"ingress": [{"ip": text} for text in ingress]}}
    return Service(metadata=Metadata(name=name, namespace="default"), spec=spec, status=status)


def slice_of(name: str, node: str, *, ready: bool | None = True, kind: str = "IPv4", number: int = 1) -> EndpointSlice:
    endpoint = SliceEndpoint(addresses=("10.0.0.5",), node_name=node, conditions=EndpointConditions(ready=ready))
    labels = {SERVICE_NAME_LABEL: name}
    metadata = Metadata(name=f"{name}-{number}", namespace="default", labels=labels)
    return EndpointSlice(metadata=metadata, address_type=kind, endpoints=(endpoint,))


def told(spec: BGPConfigurationSpec, *things: Service | EndpointSlice, labels: dict[str, str] | None = None) -> set[str]:
    stage = ServiceAdvertisements("n1")
    stage.on_configuration(spec)
    for thing in things:
        if isinstance(thing, Service):
            stage.on_service(thing.key, thing)
        else:
            stage.on_slice(thing.key, thing)
    return {str(prefix) for prefix in stage.routes(labels or {}).advertised}


def test_ranges_are_advertised_as_they_are_and_single_addresses_wait_for_their_service() -> None:
    assert told(ALL) == RANGES
    assert told(SEPARATE) == RANGES - {"192.0.2.0/24"}, "load balancers' addresses one by one"


LOCAL: dict[str, Any] = {"type": "LoadBalancer", "external_traffic_policy": "Local", "external_ips": ("203.0.113.9", "8.8.8.8")}


@pytest.mark.parametrize(
    ("slices", "advertised"),
    [
        ((slice_of("web", "n1"),), True),
        ((slice_of("web", "n1", ready=None),), True),
        ((slice_of("web", "n1", ready=False),), False),
        ((slice_of("web", "n2"),), False),
        ((slice_of("web", "n2"), slice_of("web", "n1", number=2)), True),
        ((slice_of("web", "n1", kind="IPv6"),), False),
        ((slice_of("other", "n1"),), False),
        ((), False),
    ],
)
def test_a_local_service_is_advertised_from_nodes_with_a_ready_endpoint(
    slices: tuple[EndpointSlice, ...], advertised: bool
) -> None:
    web = service(ingress=("192.0.2.5", "9.9.9.9"), ip_families=("IPv4",), **LOCAL)
    expected = {"10.96.0.7/32", "203.0.113.9/32", "192.0.2.5/32"} if advertised else set()
    assert told(ALL, web, *slices) - RANGES == expected


def test_a_service_of_the_cluster_is_covered_by_the_ranges_unless_they_are_not_aggregated() -> None:
    web = service(type="LoadBalancer", ingress=("192.0.2.5",))
    assert told(ALL, web, slice_of("web", "n2")) == RANGES
    assert "192.0.2.5/32" in told(SEPARATE, web, slice_of("web", "n2"))
    assert "192.0.2.5/32" not in told(SEPARATE, web), "nobody serves it"


def test_an_address_that_is_a_range_of_its_own_is_always_advertised() -> None:
    assert "198.51.100.7/32" in told(ALL, service(external_ips=("198.51.100.7",)))
    assert "198.51.100.8/32" in told(ALL, service(type="LoadBalancer", ingress=("198.51.100.8",)))
    assert told(ALL, service(ingress=("198.51.100.8",))) == RANGES, "no load balancer"


@pytest.mark.parametrize("fields", [{"type": "ExternalName"}, {"cluster_ip": "None"}, {"cluster_ip": ""}])
def test_a_service_without_addresses_is_not_advertised(fields: dict[str, Any]) -> None:
    assert told(ALL, service(**(LOCAL | fields)), slice_of("web", "n1")) == RANGES


def test_an_excluded_node_advertises_nothing_and_keeps_the_ranges_out_of_its_kernel() -> None:
    stage = ServiceAdvertisements("n1")
    stage.on_configuration(ALL)
    routes = stage.routes({EXCLUSION_LABEL: "true"})
    assert routes.advertised == ()
    assert {str(prefix) for prefix in routes.ranges} == RANGES | {"198.51.100.7/32", "198.51.100.8/32"}
    assert stage.routes({EXCLUSION_LABEL: "yes"}).advertised != ()


def test_without_ranges_no_service_changes_anything() -> None:
    stage = ServiceAdvertisements("n1")
    web, its = service(**LOCAL), slice_of("web", "n1")
    assert stage.on_service(web.key, web) is False
    assert stage.on_slice(its.key, its) is False
    assert stage.on_configuration(ALL) is True
    assert "10.96.0.7/32" in {str(prefix) for prefix in stage.routes({}).advertised}
    assert stage.on_slice(its.key, slice_of("web", "n1")) is False, "the same endpoints again"


THINGS = (
    service(**LOCAL),
    slice_of("web", "n1"),
    service("api", **(LOCAL | {"cluster_ip": "10.96.0.8"})),
    slice_of("api", "n2"),
)


@given(st.permutations([*THINGS, ALL, slice_of("api", "n1")]))
def test_the_routes_depend_on_the_last_state_alone_and_removal_leaves_nothing(order: list[Any]) -> None:
    stage = ServiceAdvertisements("n1")
    for thing in order:
        if isinstance(thing, BGPConfigurationSpec):
            stage.on_configuration(thing)
        elif isinstance(thing, Service):
            stage.on_service(thing.key, thing)
        else:
            stage.on_slice(thing.key, thing)
    last = [thing for thing in order if isinstance(thing, EndpointSlice) and thing.metadata.name == "api-1"][-1]
    assert {str(prefix) for prefix in stage.routes({}).advertised} == told(ALL, *THINGS[:3], last)
    for thing in order:
        if isinstance(thing, Service):
            stage.on_service(thing.key, None)
        elif isinstance(thing, EndpointSlice):
            stage.on_slice(thing.key, None)
    stage.on_configuration(None)
    assert stage.is_empty()
