"""What the lab's kubelet does next, case by case, and that it always comes to rest."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tortie.lab.kubelet_step import next_step
from tortie.lab.kubernetes_objects import running_status

NODES = {"n1", "n2"}


def pod(*, uid: str = "u1", node: str = "n1", leaving: bool = False, **spec: Any) -> dict[str, Any]:
    metadata = {"name": "p", "namespace": "x", "uid": uid, **({"deletionTimestamp": "2026-01-01T00:00:00Z"} if leaving else {})}
    return {"metadata": metadata, "spec": {"nodeName": node, "containers": [{"name": "main"}], **spec}, "status": {}}


def reported(document: dict[str, Any], *addresses: str) -> dict[str, Any]:
    return {**document, "status": running_status(document, addresses=addresses, host_addresses=("172.18.0.2",), now="now")}


def step(document: dict[str, Any] | None, *, uid: str = "", addresses: tuple[str, ...] = ()) -> str:
    return next_step(document, wired_uid=uid, addresses=addresses, nodes=NODES)


def test_a_pod_without_a_node_is_bound_unless_it_waits_for_a_scheduler_of_its_own_or_a_gate() -> None:
    assert step(pod(node="")) == "bind"
    assert step(pod(node="", schedulerName="theirs")) == "nothing"
    assert step(pod(node="", schedulingGates=[{"name": "later"}])) == "nothing"


def test_a_bound_pod_is_wired_and_then_reported_with_its_addresses_until_the_api_server_knows_them() -> None:
    assert step(pod()) == "wire"
    assert step(pod(), uid="u1", addresses=("10.0.0.1",)) == "report"
    assert step(reported(pod(), "10.0.0.9"), uid="u1", addresses=("10.0.0.1",)) == "report"
    assert step(reported(pod(), "10.0.0.1"), uid="u1", addresses=("10.0.0.1",)) == "nothing"


def test_pods_of_other_nodes_and_finished_ones_are_left_alone() -> None:
    assert step(pod(node="elsewhere")) == "nothing"
    assert step(pod(node="elsewhere", leaving=True)) == "nothing"
    assert step({**pod(), "status": {"phase": "Succeeded"}}) == "nothing"


def test_a_deleted_pod_is_unwired_before_it_is_finished() -> None:
    assert step(pod(leaving=True), uid="u1") == "unwire"
    assert step(pod(leaving=True)) == "finish"
    assert step(None, uid="u1") == "unwire"
    assert step(None) == "nothing"


def test_another_pod_of_the_same_name_waits_until_the_old_sandbox_is_gone() -> None:
    assert step(pod(uid="u2"), uid="u1", addresses=("10.0.0.1",)) == "unwire"
    assert step(pod(uid="u2")) == "wire"


def test_a_pod_in_its_nodes_network_is_reported_without_a_sandbox() -> None:
    assert step(pod(hostNetwork=True)) == "report"
    assert step(reported(pod(hostNetwork=True), "172.18.0.2")) == "nothing"


@given(
    wired=st.sampled_from(["", "u0"]),
    document=st.none()
    | st.builds(pod, node=st.sampled_from(["", "n1", "elsewhere"]), leaving=st.booleans(), hostNetwork=st.booleans())
    | st.builds(pod, uid=st.just("u0"), leaving=st.booleans(), hostNetwork=st.just(False)),
)
def test_whatever_it_finds_it_comes_to_rest_with_exactly_what_should_be_wired(
    wired: str, document: dict[str, Any] | None
) -> None:
    """Carry out each step as the real one would; at most five steps, and then nothing more is wanted."""
    for _ in range(6):
        addresses = ("10.0.0.1",) if wired else ()
        match step(document, uid=wired, addresses=addresses):
            case "nothing":
                break
            case "bind" if document is not None:
                document = {**document, "spec": {**document["spec"], "nodeName": "n2"}}
            case "wire":
                assert document is not None
                wired = document["metadata"]["uid"]
            case "report" if document is not None:
                document = reported(document, *(addresses or ("172.18.0.2",)))
            case "unwire":
                wired = ""
            case "finish":
                document = None
    else:
        raise AssertionError("it never rests")
    here = document is not None and document["spec"]["nodeName"] in NODES
    assert wired == (document["metadata"]["uid"] if here and document and not document["spec"]["hostNetwork"] else "")
