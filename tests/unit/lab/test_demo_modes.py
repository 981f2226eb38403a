"""What counts as a proof on the wire: each way in which a mode may be broken is told."""

from tortie.base.net import Address, parse_address
from tortie.lab.capture import Cover, Crossing
from tortie.lab.demo_modes import MARKER, VNI, judge
from tortie.lab.modes import MODES

PODS = parse_address("10.244.0.1"), parse_address("10.244.1.1")
NODES = parse_address("172.18.0.2"), parse_address("172.18.1.3")


def packet(ends: tuple[Address, Address] = PODS, frame: bytes = MARKER) -> Crossing:
    return Crossing(*ends, 17, 4000, 5432, False, frame=frame)


def covered(cover: Cover, *, ends: tuple[Address, Address] = NODES, vni: int = VNI) -> Crossing:
    if cover == "vxlan":
        return Crossing(*ends, 17, 5000, 4789, True, packet(), vni, MARKER)
    if cover == "ipip":
        return Crossing(*ends, 4, 0, 0, True, packet(), None, MARKER)
    return Crossing(*ends, 17, 51820, 51820, False, frame=b"\x04\0\0\0 nothing that can be read")


def problem(seen: list[Crossing], cover: Cover) -> str:
    return judge(seen, cover, pods=PODS, nodes=NODES)[1]


def test_each_cover_is_content_with_itself_alone() -> None:
    seen: dict[Cover, Crossing] = {
        "plain": packet(), "vxlan": covered("vxlan"), "ipip": covered("ipip"), "wireguard": covered("wireguard"),
    }  # fmt: skip
    for cover in seen:
        for other, crossing in seen.items():
            assert (problem([crossing], cover) == "") == (cover == other), (cover, other)
    assert "no packet" in problem([], "plain")
    assert "no packet" in problem([], "wireguard")


def test_one_packet_in_another_way_is_enough() -> None:
    assert "in another way (plain)" in problem([covered("vxlan"), packet()], "vxlan")
    assert "in another way (ipip)" in problem([packet(), covered("ipip")], "plain")
    assert "can be read" in problem([covered("wireguard"), packet(frame=b"")], "wireguard")


def test_a_tunnel_between_other_ends_or_of_another_number_is_told() -> None:
    assert "not the two nodes" in problem([covered("vxlan", ends=(NODES[0], PODS[1]))], "vxlan")
    assert "is 7, not" in problem([covered("vxlan", vni=7)], "vxlan")


def test_what_a_pod_said_must_cross_and_under_wireguard_must_not_be_read() -> None:
    assert "did not cross" in problem([packet(frame=b"")], "plain")
    stranger = Crossing(*NODES, 17, 1, 2, False, frame=b"..." + MARKER)
    assert "in clear" in problem([covered("wireguard"), stranger], "wireguard")


def test_every_mode_has_a_lab_of_its_families() -> None:
    from tortie.lab.spec import load_spec

    for mode in MODES.values():
        spec = load_spec(mode.lab_file)
        assert set(spec.families) == set(mode.within), mode.name
        racks = {node.rack for node in spec.nodes}
        assert (len(racks) > 1) == bool(mode.across), mode.name
        assert {"prod/database", "prod/backend-1", "prod/backend-2", "prod/frontend-1"} == {pod.name for pod in spec.pods}
