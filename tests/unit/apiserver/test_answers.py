"""What is answered: objects, lists, tables, pages, documents about the API."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from tortie.api.conditions import Condition, ConditionedStatus
from tortie.api.felix import FelixConfiguration, FelixConfigurationSpec
from tortie.api.ippool import IPPool, IPPoolSpec
from tortie.api.networkset import NetworkSet
from tortie.api.node_status import CalicoNodeStatus, CalicoNodeStatusSpec
from tortie.api.resource import Metadata
from tortie.api.tier import Tier, TierSpec
from tortie.apiserver import discovery
from tortie.apiserver.answers import Answers, unenforced_warnings, warnings
from tortie.apiserver.errors import Refusal
from tortie.apiserver.objects import MANAGED, admit, document, generated_name, resource_of
from tortie.apiserver.pages import Page, Pages
from tortie.apiserver.schema import list_types
from tortie.apiserver.served import Served, catalogue
from tortie.apiserver.tables import shape_of

CATALOGUE = catalogue(standalone=True)
POOLS = CATALOGUE["projectcalico.org", "v3", "ippools"]
SETS = CATALOGUE["projectcalico.org", "v3", "networksets"]
POLICIES = CATALOGUE["projectcalico.org", "v3", "networkpolicies"]


def sets(count: int) -> Sequence[NetworkSet]:
    return [NetworkSet(metadata=Metadata(name=f"s{number}", namespace="n", resource_version="1")) for number in range(count)]


def test_accept_headers_choose_the_shape() -> None:
    kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json"
    assert shape_of(kubectl) == "table"
    assert shape_of("application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json") == "metadata"
    assert shape_of("application/vnd.kubernetes.protobuf,application/json") == "object"
    assert shape_of("") == shape_of("*/*") == "object"
    with pytest.raises(Refusal) as refused:
        shape_of("application/vnd.kubernetes.protobuf")
    assert refused.value.code == 406


def test_a_table_has_a_cell_for_each_column_and_the_objects_metadata() -> None:
    metadata = Metadata(name="p", resource_version="3", creation_timestamp="2020-01-01T00:00:00Z")
    pool = IPPool(metadata=metadata, spec=IPPoolSpec(cidr="192.0.2.0/24"))
    table = json.loads(asyncio.run(Answers().list(POOLS, Page([pool], "9"), "table", "Metadata", whole=True)))
    row = dict(zip([column["name"] for column in table["columnDefinitions"]], table["rows"][0]["cells"], strict=True))
    assert row["Name"] == "p"
    assert row["CIDR"] == "192.0.2.0/24"
    assert row["Age"].endswith("d")
    assert table["rows"][0]["object"]["metadata"]["name"] == "p"
    assert table["metadata"]["resourceVersion"] == "9"
    bare = json.loads(asyncio.run(Answers().list(POOLS, Page([pool], "9"), "table", "None", whole=True)))
    assert bare["rows"][0]["object"] is None


def test_tables_have_the_columns_of_the_crds_and_tortie_gets_besides() -> None:
    def headings(served: Served) -> dict[int, list[str]]:
        table = json.loads(asyncio.run(Answers().list(served, Page([], "9"), "table", "None", whole=True)))
        found: dict[int, list[str]] = {0: [], 1: []}
        for column in table["columnDefinitions"]:
            found[column["priority"]].append(column["name"])
        return found

    assert headings(POLICIES) == {0: ["Name", "Tier", "Order"], 1: ["Selector", "Age"]}
    assert headings(POOLS) == {
        0: ["Name", "CIDR", "VXLAN", "IPIP", "NAT", "Allocatable", "Age"],
        1: ["Selector", "Disabled", "Disablebgpexport", "Assignmentmode"],
    }
    assert headings(SETS) == {0: ["Name", "Age"], 1: ["Nets"]}
    assert headings(CATALOGUE["projectcalico.org", "v3", "workloadendpoints"])[0][:2] == ["Name", "Workload"]


def test_cells_are_values_of_their_columns_types() -> None:
    ready = Condition(type="Ready", status="True", reason="Fine", message="", last_transition_time="2026-01-01T00:00:00Z")
    tier = Tier(metadata=Metadata(name="t"), spec=TierSpec(order=5), status=ConditionedStatus(conditions=(ready,)))
    status = CalicoNodeStatus(metadata=Metadata(name="s"), spec=CalicoNodeStatusSpec(node="n", classes=("Agent", "BGP")))
    tiers = CATALOGUE["projectcalico.org", "v3", "tiers"]
    statuses = CATALOGUE["projectcalico.org", "v3", "caliconodestatuses"]
    answers = Answers()
    first = json.loads(asyncio.run(answers.list(tiers, Page([tier], "9"), "table", "None", whole=True)))
    assert first["rows"][0]["cells"][:4] == ["t", 5, "Deny", "True"]
    second = json.loads(asyncio.run(answers.list(statuses, Page([status], "9"), "table", "None", whole=True)))
    assert second["rows"][0]["cells"][:3] == ["s", "n", '["Agent","BGP"]']
    none = Tier(metadata=Metadata(name="t"))
    bare = json.loads(asyncio.run(answers.list(tiers, Page([none], "9"), "table", "None", whole=True)))
    assert bare["rows"][0]["cells"][:4] == ["t", None, "Deny", None]


def test_after_a_dry_run_the_stored_object_is_still_what_is_answered() -> None:
    answers, stored = Answers(), NetworkSet(metadata=Metadata(name="x", namespace="n", resource_version="1", uid="u"))
    other = NetworkSet(metadata=Metadata(name="x", namespace="n", resource_version="1", uid="u", labels={"a": "b"}))
    rehearsed = json.loads(answers.object(SETS, other, "object", "Metadata", stored=False))
    assert rehearsed["metadata"]["labels"] == {"a": "b"}
    assert "labels" not in json.loads(answers.object(SETS, stored, "object", "Metadata"))["metadata"]


def test_pages_tell_how_many_remain_and_belong_to_who_asked() -> None:
    pages, items = Pages(), sets(5)
    first = pages.first("me", items, "7", limit=2)
    assert (len(first.items), first.remaining, first.revision) == (2, 3, "7")
    second = pages.following("me", first.token, limit=2)
    last = pages.following("me", second.token, limit=2)
    assert [*first.items, *second.items, *last.items] == items
    assert not last.token
    for scope, token in (("you", first.token), ("me", "nonsense"), ("me", "")):
        with pytest.raises(Refusal) as refused:
            pages.following(scope, token, limit=2)
        assert refused.value.code == 400


def test_a_page_of_a_listing_that_is_no_longer_held_is_expired() -> None:
    pages = Pages()
    token = pages.first("me", sets(3), "1", limit=1).token
    for _ in range(40):
        pages.first("me", sets(3), "1", limit=1)
    with pytest.raises(Refusal) as refused:
        pages.following("me", token, limit=1)
    assert (refused.value.code, refused.value.reason) == (410, "Expired")


def test_managers_are_kept_in_an_annotation_that_nobody_sees() -> None:
    entries = [{"manager": "m", "operation": "Update"}]
    body = {"metadata": {"name": "x", "namespace": "n", "annotations": {"a": "b"}, "managedFields": entries}}
    resource = resource_of(SETS, body)
    assert MANAGED in resource.metadata.annotations
    shown = document(resource)["metadata"]
    assert shown["annotations"] == {"a": "b"}
    assert shown["managedFields"] == entries
    forged = {"metadata": {"name": "x", "namespace": "n", "annotations": {MANAGED: "[]"}}}
    assert MANAGED not in resource_of(SETS, forged).metadata.annotations


def test_unknown_fields_are_dropped_or_refused() -> None:
    body: dict[str, Any] = {"metadata": {"name": "x", "managedFields": [{}]}, "spec": {"nets": ["192.0.2.1/32"], "wrong": 1}}
    found, said = admit(SETS, body, strictness="Warn")
    assert said == ['unknown field "spec.wrong"']
    assert found["spec"] == {"nets": ["192.0.2.1/32"]}
    assert found["metadata"]["managedFields"] == [{}]
    assert admit(SETS, body, strictness="Ignore")[1] == []
    with pytest.raises(Refusal, match="strict decoding error"):
        admit(SETS, body, strictness="Strict")
    with pytest.raises(Refusal, match="does not match the expected kind"):
        admit(SETS, {"kind": "Tier"}, strictness="Warn")


def test_warnings_are_quoted_and_cannot_break_the_header() -> None:
    assert warnings(['unknown field "a"', "two\r\nlines"]) == ['299 - "unknown field \\"a\\""']


def test_generated_names_fit() -> None:
    assert generated_name("a-").startswith("a-")
    assert len(generated_name("x" * 300)) == 253


def test_discovery_says_the_same_in_both_forms() -> None:
    old = discovery.resource_list(CATALOGUE, "projectcalico.org", "v3")["resources"]
    new = discovery.aggregated(CATALOGUE, core=False)["items"][0]["versions"][0]["resources"]
    assert {one["name"] for one in old if "/" not in one["name"]} == {one["resource"] for one in new}
    status = {one["resource"] for one in new if "subresources" in one}
    assert {one["name"].partition("/")[0] for one in old if "/" in one["name"]} == status
    assert "tiers" in status


def test_the_documents_refer_to_nothing_that_is_not_there_and_version_2_has_no_word_of_3() -> None:
    three = discovery.openapi_v3(CATALOGUE, "projectcalico.org", "v3")
    two = discovery.openapi_v2(CATALOGUE)
    for text, known, prefix in (
        (json.dumps(three), three["components"]["schemas"], "#/components/schemas/"),
        (json.dumps(two), two["definitions"], "#/definitions/"),
    ):
        referred = {part.partition('"')[0] for part in text.split(f'"$ref": "{prefix}')[1:]}
        assert referred
        assert referred <= set(known)
    assert '"nullable"' not in json.dumps(two)
    assert '"anyOf"' not in json.dumps(two)
    fields = two["definitions"]["io.projectcalico.v3.NetworkPolicy"]["properties"]["spec"]["properties"]
    assert {"selector", "ingress", "tier"} <= set(fields)


def test_lists_are_atomic_but_for_those_whose_schema_says_otherwise() -> None:
    list_type = list_types(POLICIES)
    assert list_type(("f:spec", "f:ingress")) is None
    assert list_type(("f:metadata", "f:finalizers")) == ()
    assert list_type(("f:metadata", "f:ownerReferences")) == ("uid",)
    tiers = list_types(CATALOGUE["projectcalico.org", "v3", "tiers"])
    assert tiers(("f:status", "f:conditions")) == ("type",)
    assert list_type(("f:nowhere", "f:list")) is None


def test_fields_that_nobody_acts_on_are_warned_of_by_name() -> None:
    assert unenforced_warnings(IPPool(metadata=Metadata(name="p"), spec=IPPoolSpec(cidr="10.0.0.0/16"))) == []
    (said,) = unenforced_warnings(FelixConfiguration(spec=FelixConfigurationSpec(bpf_enabled=True)))
    assert "spec.bpfEnabled" in said
    assert "not enforced" in said
