"""Who has which address on the fabric."""

from tortie.base.net import Family
from tortie.lab.fabric import gateway, node_addresses, node_interface
from tortie.lab.spec import LabSpec, NodeSpec


def test_a_rack_has_subnets_of_its_own() -> None:
    assert [str(node_interface(0, family)) for family in Family] == ["172.18.0.2/24", "fd18::2/64"]
    assert [str(node_interface(1, family, rack=3)) for family in Family] == ["172.18.3.3/24", "fd18:0:0:3::3/64"]
    assert [str(gateway(family, rack=3)) for family in Family] == ["172.18.3.1/24", "fd18:0:0:3::1/64"]


def test_every_address_has_one_node() -> None:
    spec = LabSpec(nodes=(NodeSpec(name="a"), NodeSpec(name="b", rack=1)))
    assert node_addresses(spec) == {"172.18.0.2": "a", "172.18.1.3": "b", "fd18::2": "a", "fd18:0:0:1::3": "b"}
