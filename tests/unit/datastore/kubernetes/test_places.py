"""Where kinds are served, which group is in use, and what the revision of several resources looks like."""

import json

import pytest

from tortie.api.kinds import KINDS
from tortie.api.resource import V3
from tortie.datastore.errors import InvalidRequest
from tortie.datastore.kubernetes.places import (
    CRD_V1,
    choose_group,
    is_custom,
    place_of,
    read_positions,
    sources_of,
    write_positions,
)


def discovery(*groups: str) -> bytes:
    return json.dumps({"kind": "APIGroupList", "groups": [{"name": name} for name in groups]}).encode()


def test_the_native_group_is_used_only_where_the_other_is_not_served() -> None:
    assert choose_group(discovery("apps", "projectcalico.org")) == V3
    assert choose_group(discovery("projectcalico.org", "crd.projectcalico.org")) == CRD_V1
    assert choose_group(discovery("crd.projectcalico.org")) == CRD_V1
    assert choose_group(discovery("apps")) is None
    assert choose_group(b"no answer") == CRD_V1


def test_paths_of_objects() -> None:
    assert place_of("NetworkSet", CRD_V1).path("n", "a") == "/apis/crd.projectcalico.org/v1/namespaces/n/networksets/a"
    assert place_of("IPAMConfiguration", CRD_V1).path("", "default") == "/apis/crd.projectcalico.org/v1/ipamconfigs/default"
    assert place_of("IPAMConfiguration", V3).path() == "/apis/projectcalico.org/v3/ipamconfigurations"
    assert place_of("Node", V3).path("", "a") == "/api/v1/nodes/a"
    assert place_of("Tier", V3).path("", "a/../b") == "/apis/projectcalico.org/v3/tiers/a%2F..%2Fb"


def test_a_resource_is_read_once_whatever_it_is_read_for() -> None:
    sources = sources_of(["WorkloadEndpoint", "Pod", "Profile", "Namespace"], CRD_V1)
    assert {source.place.name: source.kinds for source in sources} == {
        "pods": ("Pod", "WorkloadEndpoint"),
        "namespaces": ("Namespace", "Profile"),
        "serviceaccounts": ("Profile",),
    }


def test_every_kind_has_a_place() -> None:
    for group in (CRD_V1, V3):
        names = [source.place.name for source in sources_of(KINDS, group)]
        assert len(set(names)) == len(names)
    assert not any(is_custom(kind) for kind in ("Pod", "Node", "Profile", "WorkloadEndpoint", "KubernetesNetworkPolicy"))


def test_positions_are_written_and_read_back() -> None:
    sources = sources_of(["NetworkSet", "Pod"], CRD_V1)
    names = [source.place.name for source in sources]
    positions = dict(zip(names, ("12", "-"), strict=True))
    assert read_positions(write_positions(positions), sources) == positions
    assert read_positions("7", sources) == dict.fromkeys(names, "7")
    assert write_positions({"pods": "7"}) == "7"
    with pytest.raises(InvalidRequest, match="pods"):
        read_positions("networksets.crd.projectcalico.org=12", sources)
    with pytest.raises(InvalidRequest, match="list first"):
        read_positions("", sources)
