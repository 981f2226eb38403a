"""A lab that is a guest of a cluster which somebody else runs, elsewhere: here on the machine's own loopback."""

import pytest
from tests.kubernetes.control_plane import shared
from tests.lab.stage import tortie, unique_name

from tortie.lab.names import LabNames
from tortie.lab.residue import find_residue, look_at_machine

pytestmark = [pytest.mark.lab, pytest.mark.kubernetes, pytest.mark.timeout(240)]


def test_its_nodes_and_pods_are_the_clusters_and_nothing_of_them_stays() -> None:
    cluster = shared()
    name = unique_name()
    before = look_at_machine()
    try:
        arguments = ("--nodes", "2", "--kubeconfig", str(cluster.admin))
        tortie("lab", "up", "--name", name, *arguments, timeout=120).ok()
        tortie("lab", "pod", "add", "guests/one", "--name", name, "--node", "n2", "--serve", "tcp:80").ok()
        pod = cluster.get("-n", "guests", "pod", "one")
        assert pod["spec"]["nodeName"] == "n2"
        assert len(pod["status"]["podIPs"]) == 2
        nodes = tortie("lab", "kubectl", "--name", name, "get", "nodes", "-o", "name").ok().out.split()
        assert {"node/n1", "node/n2"} <= set(nodes)  # other tests' nodes may stand in the cluster too
    finally:
        tortie("lab", "down", "--name", name).ok()
    assert find_residue(LabNames(name), before) == []
    assert not {"n1", "n2"} & {node["metadata"]["name"] for node in cluster.get("nodes")["items"]}
    assert "NotFound" in cluster.kubectl_process("get", "namespace", "guests").stderr
