"""The form of custom resources is Calico's: tests/golden/kubernetes holds resources and what each group stores of them."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tortie.api import documents
from tortie.api.networkset import NetworkSet
from tortie.api.policy import NetworkPolicy
from tortie.api.resource import V3, Key, Metadata, Resource
from tortie.datastore.kubernetes import stored
from tortie.datastore.kubernetes.objects import Reader, View
from tortie.datastore.kubernetes.places import CRD_V1, GROUPS, sources_of
from tortie.datastore.unreadable import Unreadable, stand_in

FILES = sorted(Path("tests/golden/kubernetes").glob("*.json"))
ANNOTATION = "projectcalico.org/metadata"


def resource_of(golden: dict[str, Any]) -> Resource:
    return documents.decode(golden["resource"])


def shown(data: bytes) -> Any:
    """A stored object, the JSON in its annotation opened."""
    found = json.loads(data)
    annotations = found["metadata"].get("annotations", {})
    if ANNOTATION in annotations:
        annotations[ANNOTATION] = json.loads(annotations[ANNOTATION])
    return found


def as_sent(object_: dict[str, Any]) -> bytes:
    """The object as the API server sends it."""
    metadata = object_["metadata"]
    annotations = {
        name: text if isinstance(text, str) else json.dumps(text) for name, text in metadata.get("annotations", {}).items()
    }
    server = {"creationTimestamp": "2027-01-01T00:00:00Z", "generation": 3, "managedFields": [{"manager": "x"}]}
    return json.dumps(object_ | {"metadata": server | metadata | {"annotations": annotations}}).encode()


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_what_is_stored_has_calicos_shape_and_is_read_back(file: Path, group: str) -> None:
    golden = json.loads(file.read_text())
    resource = resource_of(golden)
    assert shown(stored.encode(resource, group)) == golden[group]
    read = stored.decode(file.stem, as_sent(golden[group]), group)
    if file.stem == "BlockAffinity":  # labels by which others find it are added
        read = msgspec.structs.replace(read, metadata=msgspec.structs.replace(read.metadata, labels={}))
    assert read == resource


def test_an_object_without_the_annotation_is_read_as_kubernetes_has_it() -> None:
    uid = b"354ae56a-7d8c-4519-afcf-02f1dddc5a6e"
    data = b'{"metadata":{"name":"default.a","namespace":"n","labels":{"x":"y"},"uid":"%s"},"spec":{}}' % uid
    read = stored.decode("NetworkPolicy", data, CRD_V1)
    assert read.key == Key("NetworkPolicy", "n", "a")
    assert read.metadata.labels == {"x": "y"}
    assert read.metadata.uid == "ac52a756-be31-4598-aff3-408fbb3b5a76"
    assert stored.decode("NetworkPolicy", data.replace(b'"spec":{}', b'"spec":{"tier":"x"}'), CRD_V1).key.name == "default.a"
    assert stored.decode("NetworkPolicy", data, V3).key.name == "default.a"


def test_nulls_that_go_writes_are_empty() -> None:
    for kind, body in (("NetworkSet", '"spec":{"nets":null}'), ("KubernetesEndpointSlice", '"endpoints":null,"ports":null')):
        read = stored.decode(kind, f'{{"metadata":{{"name":"a","namespace":"n"}},{body}}}'.encode(), V3)
        assert read.key == Key(kind, "n", "a")


def test_what_cannot_be_read_is_named_and_stands_in_with_its_labels() -> None:
    sets = NetworkSet(metadata=Metadata(name="a", namespace="n", labels={"role": "db"}))
    raw = json.loads(stored.encode(sets, CRD_V1))
    raw["spec"] = {"nets": ["10.0.0.0/8", 5]}
    found = stored.read("NetworkSet", json.dumps(raw).encode(), CRD_V1)
    assert isinstance(found, Unreadable)
    assert "nets" in found.reason
    instead = stand_in(found)
    assert isinstance(instead, NetworkSet)
    assert instead.metadata.labels == {"role": "db"}
    assert instead.spec.nets == ("10.0.0.0/8",)


def test_labels_of_the_user_are_kept_off_the_v1_object() -> None:
    policy = NetworkPolicy(metadata=Metadata(name="a", namespace="n", labels={"team": "x", "projectcalico.org/tier": "t"}))
    assert json.loads(stored.encode(policy, CRD_V1))["metadata"]["labels"] == {"projectcalico.org/tier": "t"}


def test_a_node_that_cannot_be_read_is_named() -> None:
    (source,) = sources_of(["Node"], CRD_V1)
    (found,) = Reader(source, View(CRD_V1)).read(b'{"metadata":{"name":"n","resourceVersion":"3"},"spec":{"podCIDRs":5}}')
    assert isinstance(found.value, Unreadable)
    assert (found.key, found.value.revision) == (Key("Node", "", "n"), "3")
    assert "podCIDRs" in found.value.reason
