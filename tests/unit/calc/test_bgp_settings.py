"""Communities of advertised prefixes, and the annotation for BFD."""

from typing import Any

import msgspec
import pytest
from tests.unit.calc.test_bgp import N1, N2, NO_MESH, calculate, peering, settings

from tortie.api.bgp import BGPConfiguration, BGPConfigurationSpec, Community, PrefixAdvertisement
from tortie.api.resource import Metadata
from tortie.base.net import parse_prefix
from tortie.calc.bgp_settings import BFD_ANNOTATION, advertisement_problems, bfd_problems, parse_bfd
from tortie.intent.routing import Advertisement, Bfd


def advertises(cidr: str, *communities: str) -> PrefixAdvertisement:
    return PrefixAdvertisement(cidr=cidr, communities=communities)


NAMED = Community(name="gold", value="65000:7")


def test_names_are_resolved_and_a_nodes_own_list_wins_for_its_family() -> None:
    shared = settings(
        communities=(NAMED,),
        prefix_advertisements=(advertises("10.0.0.0/16", "gold", "65000:1", "gold"), advertises("fd00::/48", "1:2:3")),
    )
    four, six = parse_prefix("10.0.0.0/16"), parse_prefix("fd00::/48")
    assert calculate(N1, shared).advertisements == (
        Advertisement(four, ((65000, 1), (65000, 7))),
        Advertisement(six, ((1, 2, 3),)),
    )
    own = settings("node.n1", prefix_advertisements=(advertises("10.1.0.0/16", "gold"),))
    assert calculate(N1, shared, own).advertisements == (
        Advertisement(parse_prefix("10.1.0.0/16"), ((65000, 7),)),
        Advertisement(six, ((1, 2, 3),)),
    )


def test_what_cannot_be_read_is_said_and_left_out() -> None:
    spec = BGPConfigurationSpec(prefix_advertisements=(advertises("nonsense", "1:1"), advertises("10.0.0.0/16", "70000:1")))
    assert len(list(advertisement_problems(spec))) == 2
    assert calculate(N1, BGPConfiguration(metadata=Metadata(name="default"), spec=spec)).advertisements == (
        Advertisement(parse_prefix("10.0.0.0/16"), ()),
    )


@pytest.mark.parametrize(
    ("text", "expected"), [("Enabled", Bfd(100, 3)), ("enabled", Bfd(100, 3)), ("Disabled", None), ("300ms*5", Bfd(300, 5))]
)
def test_bfd_is_on_off_or_as_fast_as_asked(text: str, expected: Bfd | None) -> None:
    assert parse_bfd(text) == expected


@pytest.mark.parametrize("text", ["", "yes", "5ms*3", "100ms*1", "100ms*256", "1s*3"])
def test_an_annotation_that_cannot_be_read_is_a_problem(text: str) -> None:
    assert list(bfd_problems({BFD_ANNOTATION: text}))


def annotated(resource: Any, text: str) -> Any:
    annotations = {BFD_ANNOTATION: text}
    return msgspec.structs.replace(resource, metadata=Metadata(name=resource.metadata.name, annotations=annotations))


def test_bfd_of_the_cluster_holds_where_a_peer_does_not_say_otherwise() -> None:
    tor = peering("tor", peer_ip="192.0.2.1", as_number=65001)
    everyone = annotated(settings(), "Enabled")

    def bfd(*resources: Any) -> dict[str, Bfd | None]:
        return {peer.name: peer.bfd for peer in calculate(N1, N2, *resources).peers if ":" not in str(peer.address)}

    assert bfd(tor) == {"Global_192_0_2_1": None, "Mesh_172_18_0_2": None}
    assert bfd(tor, everyone) == {"Global_192_0_2_1": Bfd(100, 3), "Mesh_172_18_0_2": Bfd(100, 3)}
    assert bfd(annotated(tor, "Disabled"), everyone)["Global_192_0_2_1"] is None
    assert bfd(annotated(tor, "50ms*4"), NO_MESH) == {"Global_192_0_2_1": Bfd(50, 4)}
