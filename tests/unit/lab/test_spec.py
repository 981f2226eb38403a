"""lab.yaml: what it accepts, and that every mistake is named."""

from pathlib import Path

import pytest

from tortie.lab.spec import LabError, decode_spec, default_spec, load_spec


def written(folder: Path, text: str) -> Path:
    path = folder / "lab.yaml"
    path.write_text(text)
    return path


def test_the_demo_file_is_read_whole() -> None:
    spec = load_spec(Path(__file__).parents[3] / "src/tortie/lab/demo.yaml")
    assert [node.name for node in spec.nodes] == ["n1", "n2", "n3"]
    assert len(spec.pods) == 7
    assert spec.pods[0].labels == {"app": "database"}
    assert spec.families == (4, 6)


def test_policy_files_are_found_beside_the_lab_file(tmp_path: Path) -> None:
    spec = load_spec(written(tmp_path, "nodes: [{name: n1}]\napply: [policy.yaml]\n"))
    assert spec.apply == (str(tmp_path / "policy.yaml"),)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("nodes: [{name: n1, colour: red}]", "colour"),
        ("nodes: [{name: Bad_Name}]", "nodes[0].name"),
        ("name: a-name-that-is-much-too-long", "up to 15"),
        ("nodes: [{name: n1}]\npods: [{name: justapod}]", "pods[0].name"),
        ("nodes: [{name: n1}]\npods: [{name: a/b, node: n9}]", "no such node"),
        ("nodes: [{name: n1}]\npods: [{name: a/b, serve: [sctp:1]}]", "sctp:1"),
        ("nodes: [{name: n1}, {name: n1}]", "appears twice"),
        ("nodes: [{name: n1}]\nprobes: [{from: a/b, to: a/c}]", "probes[0].port"),
        ("families: []", "families"),
        ("nodes: [{name: n1}]\n---\nnodes: []", "one document"),
    ],
)
def test_a_mistake_is_refused_by_name(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(LabError, match=r"lab\.yaml") as caught:
        load_spec(written(tmp_path, text))
    assert named in str(caught.value)


def test_all_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    with pytest.raises(LabError) as caught:
        load_spec(written(tmp_path, "nodes: [{name: n1}]\npods: [{name: x}, {name: a/b, node: n7}]"))
    assert "pods[0].name" in str(caught.value)
    assert "pods[1].node" in str(caught.value)


def test_a_lab_without_a_file_has_numbered_nodes() -> None:
    assert [node.name for node in default_spec("lab", 2).nodes] == ["n1", "n2"]


def test_a_kubeconfig_goes_with_kubernetes_only() -> None:
    raw = {"apiVersion": "tortie.io/v1", "kind": "Lab", "nodes": [{"name": "n1"}], "kubeconfig": "/x"}
    assert decode_spec({**raw, "datastore": "kubernetes"}).kubeconfig == "/x"
    with pytest.raises(LabError, match="kubeconfig goes with datastore kubernetes, not with sqlite"):
        decode_spec(raw)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("nodes: [{name: n1, rack: 100}]", "nodes[0].rack"),
        ("nodes: [{name: n1, rack: -1}]", "nodes[0].rack"),
        ("mtu: 1000", "mtu 1000"),
        ("backend: frr", "backend"),
        ("felix: {wireguardIsOn: true}", "wireguardIsOn"),
        ("felix: {wireguardEnabled: perhaps}", "wireguardEnabled"),
        ("bgp: {nodeToNodeMeshEnabled: 5}", "nodeToNodeMeshEnabled"),
        ("pools: [{cidr: 10.0.0.0/16, vxlanMode: Sometimes}]", "vxlanMode"),
        ("pools: [{cidr: 10.0.0.0/16, vxlanMode: Always, ipipMode: Always}]", "ipipMode"),
        ("pools: [{cidr: nonsense}]", "nonsense"),
    ],
)
def test_a_mistake_in_the_network_is_refused_by_name(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(LabError, match=r"lab\.yaml") as caught:
        load_spec(written(tmp_path, text))
    assert named in str(caught.value)


def test_racks_modes_and_configurations_are_read() -> None:
    spec = decode_spec(
        {
            "backend": "vxlan",
            "mtu": 9000,
            "nodes": [{"name": "n1"}, {"name": "n2", "rack": 1, "asNumber": 65001, "routeReflectorClusterID": "10.0.0.1"}],
            "pools": [{"cidr": "10.0.0.0/16", "vxlanMode": "CrossSubnet"}],
            "felix": {"wireguardEnabled": True},
            "felixAnnotations": {"tortie.io/x": "y"},
            "bgp": {"nodeToNodeMeshEnabled": False},
        }
    )
    assert (spec.backend, spec.mtu, spec.nodes[1].rack, spec.nodes[1].as_number) == ("vxlan", 9000, 1, 65001)
    assert spec.nodes[1].route_reflector_cluster_id == "10.0.0.1"
    assert spec.pools[0].vxlan_mode == "CrossSubnet"
