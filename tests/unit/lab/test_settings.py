"""What a lab's datastore holds before its agents start."""

from tortie.api.bgp import BGPConfiguration
from tortie.api.felix import FelixConfiguration
from tortie.api.ippool import IPPool
from tortie.lab.settings import configurations, node_resource, pools
from tortie.lab.spec import LabSpec, NodeSpec, PoolSpec


def test_a_plain_lab_says_its_as_number_and_nothing_of_felix() -> None:
    (only,) = configurations(LabSpec(as_number=64600))
    assert isinstance(only, BGPConfiguration)
    assert only.spec.as_number == 64600


def test_what_lab_yaml_says_is_in_the_configurations() -> None:
    spec = LabSpec(
        bgp={"asNumber": 65000, "nodeToNodeMeshEnabled": False}, felix={"vxlanVNI": 77}, felix_annotations={"a": "b"}
    )
    bgp, felix = configurations(spec)
    assert isinstance(bgp, BGPConfiguration)
    assert isinstance(felix, FelixConfiguration)
    assert (bgp.spec.as_number, bgp.spec.node_to_node_mesh_enabled) == (65000, False)
    assert (felix.metadata.name, felix.metadata.annotations, felix.spec.vxlan_vni) == ("default", {"a": "b"}, 77)


def test_pools_carry_their_modes_and_those_of_absent_families_are_left_out() -> None:
    spec = LabSpec(families=(4,), pools=(PoolSpec(cidr="10.0.0.0/16", ipip_mode="CrossSubnet"), PoolSpec(cidr="fd00::/56")))
    (only,) = pools(spec)
    assert isinstance(only, IPPool)
    assert (only.spec.cidr, only.spec.ipip_mode, only.spec.vxlan_mode) == ("10.0.0.0/16", "CrossSubnet", "Never")


def test_a_reflector_is_one_before_its_agent_starts() -> None:
    node = node_resource(NodeSpec(name="n1", route_reflector_cluster_id="1.0.0.1", as_number=65001))
    assert node.spec.bgp is not None
    assert (node.spec.bgp.route_reflector_cluster_id, node.spec.bgp.as_number) == ("1.0.0.1", 65001)
    assert node_resource(NodeSpec(name="n2")).spec.bgp is None
