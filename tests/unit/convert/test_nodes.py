"""Kubernetes Nodes and their annotations."""

import pytest

from tortie.api.node import NodeAddress
from tortie.api.resource import Metadata
from tortie.convert.nodes import calico_node

P = "projectcalico.org/"


def test_annotations_become_fields() -> None:
    meta = Metadata(
        name="n1",
        labels={"zone": "k8s"},
        annotations={
            P + "IPv4Address": "172.18.0.2/24",
            P + "ASNumber": "65001",
            P + "IPv4VXLANTunnelAddr": "10.0.0.1",
            P + "labels": '{"zone": "calico", "rack": "r1"}',
        },
    )
    node = calico_node(meta, addresses=[("Hostname", "n1"), ("InternalIP", "172.18.0.2")])
    assert node.spec.bgp is not None
    assert (node.spec.bgp.ipv4_address, node.spec.bgp.as_number) == ("172.18.0.2/24", 65001)
    assert node.spec.ipv4_vxlan_tunnel_addr == "10.0.0.1"
    assert node.metadata.labels == {"zone": "k8s", "rack": "r1"}
    assert node.spec.addresses == (
        NodeAddress(address="172.18.0.2/24", type="CalicoNodeIP"),
        NodeAddress(address="172.18.0.2", type="InternalIP"),
    )
    assert node.spec.orch_refs[0].node_name == "n1"


@pytest.mark.parametrize("number", ["x", "4294967296", "9" * 5000])
def test_invalid_annotations_count_as_absent(number: str) -> None:
    bad = {P + "IPv4Address": "fd00::1/64", P + "ASNumber": number, P + "labels": "[", P + "Interfaces": "{}"}
    node = calico_node(Metadata(name="n1", annotations=bad))
    assert node.spec.bgp is None
    assert node.spec.interfaces == ()
    assert node.metadata.labels == {}


def test_the_tunnel_address_follows_from_the_pod_cidr_when_asked() -> None:
    pod_cidrs = ["fd00::/64", "255.255.255.255/32", "10.1.2.0/24"]
    node = calico_node(Metadata(name="n1"), pod_cidrs=pod_cidrs, use_pod_cidr=True)
    assert node.spec.bgp is not None
    assert node.spec.bgp.ipv4_ipip_tunnel_addr == "10.1.2.1"
    assert node.status is not None
    assert node.status.pod_cidrs == tuple(pod_cidrs)
