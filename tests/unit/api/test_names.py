"""Names of workload endpoints, there and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tortie.api.endpoint import WorkloadEndpointSpec
from tortie.api.names import EndpointName, parse_workload_endpoint_name, workload_endpoint_name, workload_endpoint_prefix


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        (WorkloadEndpointSpec(node="n", orchestrator="k8s", pod="p-0", endpoint="eth0"), "n-k8s-p--0-eth0"),
        (WorkloadEndpointSpec(node="n", orchestrator="cni", container_id="abc", endpoint="eth0"), "n-cni-abc-eth0"),
        (WorkloadEndpointSpec(node="n", orchestrator="libnetwork", endpoint="e"), "n-libnetwork-libnetwork-e"),
        (WorkloadEndpointSpec(node="a-b", orchestrator="o", workload="w", endpoint="e"), "a--b-o-w-e"),
    ],
)
def test_name_follows_from_the_spec(spec: WorkloadEndpointSpec, name: str) -> None:
    assert workload_endpoint_name(spec) == name


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        (WorkloadEndpointSpec(orchestrator="k8s", pod="p", endpoint="e"), "spec.node is required"),
        (WorkloadEndpointSpec(node="n", orchestrator="k8s", endpoint="e"), "spec.pod is required"),
        (WorkloadEndpointSpec(node="n", orchestrator="cni", endpoint="e"), "spec.containerID is required"),
        (WorkloadEndpointSpec(node="n", orchestrator="x", workload="w-", endpoint="e"), "dash"),
    ],
)
def test_name_needs_all_its_parts(spec: WorkloadEndpointSpec, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        workload_endpoint_name(spec)


def test_prefix_is_as_long_as_the_spec_allows() -> None:
    assert workload_endpoint_prefix(WorkloadEndpointSpec(node="n")) == "n-"
    assert workload_endpoint_prefix(WorkloadEndpointSpec(node="n", orchestrator="k8s", pod="p-0")) == "n-k8s-p--0-"
    whole = WorkloadEndpointSpec(node="n", orchestrator="k8s", pod="p", endpoint="e")
    assert workload_endpoint_prefix(whole) == workload_endpoint_name(whole)
    with pytest.raises(ValueError, match=r"spec\.node"):
        workload_endpoint_prefix(WorkloadEndpointSpec(pod="p"))


@pytest.mark.parametrize("name", ["", "a", "a-b-c", "a-b-c-d-e", "a-b--c-d"])
def test_other_text_is_no_name(name: str) -> None:
    with pytest.raises(ValueError, match="four parts"):
        parse_workload_endpoint_name(name)


_PART = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,6}[a-z0-9])?", fullmatch=True)


@given(_PART, _PART, _PART)
def test_parsing_undoes_naming(node: str, workload: str, endpoint: str) -> None:
    spec = WorkloadEndpointSpec(node=node, orchestrator="k8s", pod=workload, endpoint=endpoint)
    assert parse_workload_endpoint_name(workload_endpoint_name(spec)) == EndpointName(node, "k8s", workload, endpoint)
