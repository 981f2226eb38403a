"""CNI where an endpoint is its pod: asked twice, checked, relabelled, deleted twice, and a finished pod."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.lab.faults_stage import eventually
from tests.lab.kubernetes_stage import KubernetesLab, kubernetes_lab

from tortie.kernel import netns
from tortie.lab.names import LabNames
from tortie.lab.runtime import Runtime, Sandbox
from tortie.lab.spec import LabError
from tortie.lab.state import load_kubelet_pods

pytestmark = [pytest.mark.lab, pytest.mark.kubernetes, pytest.mark.timeout(240)]
CNI = "cni.projectcalico.org/"


@pytest.fixture(scope="module")
def lab() -> Iterator[KubernetesLab]:
    with kubernetes_lab(1, filled=False) as lab:
        lab.kubectl("-n", "default", "wait", "--for=create", "serviceaccount/default", "--timeout=50s").ok()
        yield lab


def add_pod(lab: KubernetesLab, name: str, *words: str) -> Sandbox:
    """A pod that runs."""
    lab.lab("pod add", f"default/{name}", "--node", "n1", *words).ok()
    return load_kubelet_pods(LabNames(lab.name))[f"default/{name}"].sandbox


def annotations(lab: KubernetesLab, name: str) -> dict[str, Any]:
    return dict(lab.get("pod", name)["metadata"].get("annotations", {}))


def test_add_repeated_gives_the_same_addresses_and_check_finds_all_in_order(lab: KubernetesLab) -> None:
    sandbox = add_pod(lab, "twice")
    runtime = Runtime(LabNames(lab.name))
    again = asyncio.run(runtime.add(sandbox))
    assert again.result == sandbox.result
    asyncio.run(runtime.check(sandbox))
    notes = annotations(lab, "twice")
    assert notes[f"{CNI}containerID"] == sandbox.container_id
    assert notes[f"{CNI}podIPs"].split(",") == [f"{address}/{128 if ':' in address else 32}" for address in sandbox.addresses]


def checks(runtime: Runtime, sandbox: Sandbox) -> bool:
    """CHECK succeeds."""
    try:
        asyncio.run(runtime.check(sandbox))
    except LabError:
        return False
    return True


def test_a_new_container_of_a_pod_takes_the_old_ones_place_and_the_old_ones_delete_harms_nothing(lab: KubernetesLab) -> None:
    """As when a sandbox dies: the runtime makes a new one, and deletes the old one after."""
    old = add_pod(lab, "reborn")
    names = LabNames(lab.name)
    runtime, space = Runtime(names), names.pod("default", "reborn-again")
    netns.create(space)
    try:
        new = asyncio.run(runtime.add(Sandbox(old.namespace, old.pod, old.node, "b" * 32, space, {})))
        asyncio.run(runtime.delete(old))
        notes = annotations(lab, "reborn")
        assert notes[f"{CNI}containerID"] == new.container_id
        assert notes[f"{CNI}podIP"].partition("/")[0] == new.addresses[0]
        # What a pod's status says goes before annotations: the kubelet reports the new addresses.
        status = {"podIP": new.addresses[0], "podIPs": [{"ip": address} for address in new.addresses]}
        patch = json.dumps({"status": status})
        lab.kubectl("patch", "pod", "reborn", "--subresource=status", "--type=merge", f"-p={patch}").ok()
        # The agent hears of the status by its watch.
        eventually(lambda: checks(runtime, new), "the new container is not as it was set up")
        handles = [item["metadata"]["name"] for item in lab.get("ipamhandles.crd.projectcalico.org")["items"]]
        assert not [name for name in handles if old.container_id in name], "the old container's addresses were not given back"
        asyncio.run(runtime.delete(new))
        assert not annotations(lab, "reborn")[f"{CNI}podIP"]
    finally:
        netns.delete(space)
        lab.kubectl("delete", "pod", "reborn", "--timeout=50s").ok()


def test_delete_repeated_and_for_a_pod_that_is_gone_succeeds(lab: KubernetesLab) -> None:
    sandbox = add_pod(lab, "gone")
    lab.lab("pod rm", "default/gone").ok()
    asyncio.run(Runtime(LabNames(lab.name)).delete(sandbox))
    assert sandbox.container_id not in lab.tortie("ipam", "check", "--show-all-ips").out, "an address is left behind"


def test_a_relabelled_pod_meets_the_policy_of_its_new_labels(lab: KubernetesLab) -> None:
    add_pod(lab, "moving", "--labels", "app=open")
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "closed", "namespace": "default"},
        "spec": {"podSelector": {"matchLabels": {"app": "closed"}}, "policyTypes": ["Ingress"]},
    }
    lab.apply(policy)
    assert "closed" not in lab.table("n1")
    lab.kubectl("label", "pod", "moving", "app=closed", "--overwrite").ok()
    lab.eventually_enforced("n1", "closed")
    lab.kubectl("label", "pod", "moving", "app=open", "--overwrite").ok()
    lab.eventually_enforced("n1", "closed", enforced=False)


def test_a_pod_whose_containers_have_ended_is_no_endpoint_any_more(lab: KubernetesLab) -> None:
    add_pod(lab, "ending")
    status = json.dumps({"status": {"phase": "Succeeded"}})
    lab.kubectl("patch", "pod", "ending", "--subresource=status", "--type=merge", f"-p={status}").ok()
    eventually(lambda: "ending" not in lab.tortie("get", "workloadendpoints", "-n", "default").ok().out, "it is no endpoint")
