"""Documents in and out: YAML as people write it, every error with its line, nothing lost on the way."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tortie.api.documents import decode, encode, from_json, load_documents, load_raw, to_json, to_yaml
from tortie.api.errors import DocumentError, UnknownKindError, ValidationError
from tortie.api.ipam import IPAMBlock, IPAMBlockSpec
from tortie.api.kinds import KINDS
from tortie.api.kubernetes import KubernetesNetworkPolicy, Pod
from tortie.api.policy import EntityRule, NetworkPolicy, NetworkPolicySpec, Rule, ServiceAccountMatch
from tortie.api.profile import Profile, ProfileSpec
from tortie.api.resource import Key, Metadata

POLICY = """\
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata:
  name: p
  namespace: n
spec:
  order: 100
  ingress:
  - action: Allow
    protocol: TCP
    destination:
      ports: [80, "8000:8080", http]
"""


def _document(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "projectcalico.org/v3", "kind": "NetworkPolicy", "metadata": {"name": "p"}, "spec": spec}


def test_policy_is_loaded_with_the_lines_of_its_fields() -> None:
    (document,) = load_documents("# a comment\n" + POLICY, origin="p.yaml")
    assert document.resource == NetworkPolicy(
        metadata=Metadata(name="p", namespace="n"),
        spec=NetworkPolicySpec(
            order=100,
            ingress=(Rule(action="Allow", protocol="TCP", destination=EntityRule(ports=(80, "8000:8080", "http"))),),
        ),
    )
    assert (document.origin, document.line) == ("p.yaml", 2)
    assert document.positions["spec", "ingress", 0, "action"] == 10
    assert document.positions["spec", "ingress", 0, "destination", "ports", 1] == 13


def test_every_misfit_of_every_document_is_reported_with_path_value_and_line() -> None:
    text = (
        POLICY.replace("order: 100", "order: high\n  selektor: all()").replace("Allow", "allow")
        + "---\n"
        + POLICY.replace("80,", "80, {a: 1},").replace("spec:", "Spec: 1\nspec:")
    )
    with pytest.raises(ValidationError) as caught:
        load_documents(text, origin="p.yaml")
    assert str(caught.value).splitlines() == [
        "error with the following fields:",
        "-  spec.order = 'high' (must be a number) at p.yaml:7",
        "-  spec.selektor (field in document is not recognized or is in the wrong location) at p.yaml:8",
        "-  spec.ingress[0].action = 'allow' (must be one of Allow, Deny, Log, Pass) at p.yaml:10",
        "-  Spec (unknown field; did you mean spec?) at p.yaml:20",
        "-  spec.ingress[0].destination.ports[1] = '{'a': 1}' (must be an integer or text) at p.yaml:27",
    ]


def test_one_misfit_has_the_short_form() -> None:
    with pytest.raises(ValidationError) as caught:
        decode(_document(tier=5), where="there")
    assert str(caught.value) == "error with field spec.tier = '5' (must be text; put it in quotes)"
    assert caught.value.errors[0].origin == "there"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("on", "on"),
        ("yes", "yes"),
        ("010", "010"),
        ("12:30:45", "12:30:45"),
        ("2024-01-01", "2024-01-01"),
        ("1_000", "1_000"),
        (".nan", ".nan"),
        (".", "."),
        ("e0", "e0"),
        ("-E12", "-E12"),
        (".e5", ".e5"),
        ("1.e5", 100000.0),
        ("'5'", "5"),
        ("!!str 5", "5"),
        ("10.0.0.1", "10.0.0.1"),
        ("5", 5),
        ("-5", -5),
        ("0xff", 255),
        ("0o17", 15),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("null", None),
        ("'null'", "null"),
    ],
)
def test_scalars_mean_what_they_look_like(text: str, expected: Any) -> None:
    (document,) = load_raw(f"a: {text}")
    assert document["a"] == expected
    assert type(document["a"]) is type(expected)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\nb: 2\na: 3\n", "f.yaml:3: key 'a' occurs twice"),
        ("a: [1\nb: 2\n", "f.yaml:2"),
        ("a: !!python/name:os.system x\n", "f.yaml:1: cannot read"),
        ("a: !!binary aGk=\n", "f.yaml:1: cannot read"),
        ("? [a]\n: 1\n", "a key must be text"),
        ("a: &x [*x]\n", "nested too deeply"),
        ("a: " + "[" * 200 + "]" * 200, "nested too deeply"),
    ],
)
def test_text_that_cannot_be_read_names_file_and_line(text: str, problem: str) -> None:
    with pytest.raises(DocumentError) as caught:
        load_raw(text, origin="f.yaml")
    assert problem in str(caught.value)


def test_aliases_are_followed_but_cannot_explode() -> None:
    assert load_raw("a: &x [1]\nb: *x\n") == [{"a": [1], "b": [1]}]
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    for level in range(1, 9):
        bomb += f"a{level}: &a{level} [" + ", ".join([f"*a{level - 1}"] * 9) + "]\n"
    with pytest.raises(DocumentError, match="aliases that expand too far"):
        load_raw(bomb)


def test_empty_documents_are_skipped() -> None:
    assert load_documents("---\n---\n# nothing\n---\n") == []
    assert len(load_documents("---\n" + POLICY + "---\n")) == 1


def test_lists_of_every_form_are_expanded() -> None:
    item = json.loads(json.dumps(_document()))
    bare = {key: value for key, value in item.items() if key not in ("apiVersion", "kind")}
    forms: list[Any] = [
        {"apiVersion": "v1", "kind": "List", "items": [item, item]},
        {"apiVersion": "projectcalico.org/v3", "kind": "NetworkPolicyList", "items": [item, bare]},
        [item, item],
    ]
    for form in forms:
        documents = load_documents(json.dumps(form, indent=1), origin="list.json")
        assert [document.resource.key for document in documents] == [Key("NetworkPolicy", "", "p")] * 2
        assert documents[1].line > documents[0].line
        assert documents[1].positions["metadata", "name"] > documents[1].line


def test_error_in_a_list_item_has_the_path_inside_the_item_and_its_own_line() -> None:
    text = "kind: List\napiVersion: v1\nitems:\n- {apiVersion: projectcalico.org/v3, kind: Tier, metadata: {}, spec: {x: 1}}\n"
    with pytest.raises(ValidationError, match=r"spec.x \(field .*\) at l.yaml:4"):
        load_documents(text, origin="l.yaml")


def test_json_with_escaped_surrogates_is_read() -> None:
    text = json.dumps(_document() | {"metadata": {"name": "p", "annotations": {"a": "\N{CAT FACE}"}}})
    assert "\\ud83d" in text
    assert load_documents(text)[0].resource.metadata.annotations == {"a": "\N{CAT FACE}"}


def test_json_with_half_a_surrogate_pair_is_refused_with_its_line() -> None:
    text = (
        '{"apiVersion": "projectcalico.org/v3", "kind": "Tier",\n "metadata": {"name": "t", "annotations": {"a": "\\ud800"}}}'
    )
    with pytest.raises(DocumentError, match=r"t\.json:2: "):
        load_documents(text, origin="t.json")


def test_a_null_in_a_list_is_refused_by_name() -> None:
    rule = {"action": "Deny", "protocol": "TCP", "destination": {"ports": [80, None]}}
    with pytest.raises(ValidationError, match=r"spec\.ingress\[0\]\.destination\.ports\[1\].*must be an integer or text"):
        decode(_document(ingress=[rule]))


def test_nulls_count_as_absent_everywhere() -> None:
    resource = decode(_document(ingress=None, selector=None, egress=[{"action": "Allow", "source": None, "protocol": None}]))
    assert isinstance(resource, NetworkPolicy)
    assert resource.spec == NetworkPolicySpec(egress=(Rule(action="Allow"),))


def test_unknown_kinds_and_missing_kinds_are_refused() -> None:
    with pytest.raises(UnknownKindError, match=r"unknown resource type \(Widget\) and/or version \(v1\)"):
        decode({"apiVersion": "v1", "kind": "Widget"})
    with pytest.raises(ValidationError, match=r"kind \(is required\)"):
        decode({"apiVersion": "v1"})
    with pytest.raises(ValidationError, match=r"kind = 'Widget' \(unknown .*\) at w.yaml:2"):
        load_documents("apiVersion: v1\nkind: Widget\n", origin="w.yaml")


def test_kubernetes_objects_may_have_fields_that_we_do_not_read() -> None:
    pod = decode(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "a", "managedFields": [{}], "selfLink": "/x"},
            "spec": {"nodeName": "n1", "restartPolicy": "Always", "containers": [{"name": "c", "env": []}]},
        }
    )
    assert isinstance(pod, Pod)
    assert pod.spec.node_name == "n1"
    assert pod.metadata == Metadata(name="a")


def test_typo_in_a_kubernetes_policy_is_refused() -> None:
    document = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "a"},
        "spec": {"podSelector": {}, "policyType": ["Ingress"]},
    }
    with pytest.raises(ValidationError, match=r"spec\.policyType"):
        decode(document)
    document["spec"] = {"podSelector": {}, "policyTypes": ["Ingress"]}
    policy = decode(document)
    assert isinstance(policy, KubernetesNetworkPolicy)
    assert policy.key == Key("KubernetesNetworkPolicy", "", "a")
    assert encode(policy) == document


def test_stored_kubernetes_policy_is_a_valid_document_and_comes_back_under_our_kind() -> None:
    policy = KubernetesNetworkPolicy(metadata=Metadata(name="a", namespace="b", resource_version="7"))
    stored = to_json(policy)
    assert json.loads(stored)["kind"] == "NetworkPolicy"
    assert from_json("KubernetesNetworkPolicy", stored) == policy


def test_encode_leaves_defaults_out_but_shows_what_people_expect() -> None:
    policy = NetworkPolicy(
        metadata=Metadata(name="p", uid="u", resource_version="3"),
        spec=NetworkPolicySpec(
            order=5, ingress=(Rule(action="Allow", source=EntityRule(service_accounts=ServiceAccountMatch())),)
        ),
    )
    assert encode(policy) == {
        "apiVersion": "projectcalico.org/v3",
        "kind": "NetworkPolicy",
        "metadata": {"name": "p", "uid": "u", "resourceVersion": "3"},
        "spec": {"tier": "default", "order": 5, "ingress": [{"action": "Allow", "source": {"serviceAccounts": {}}}]},
    }
    assert list(encode(policy)) == ["apiVersion", "kind", "metadata", "spec"]


def test_encoding_does_not_depend_on_where_a_default_came_from() -> None:
    stored = (
        b'{"kind":"NetworkPolicy","metadata":{"name":"p","labels":{}},"spec":{"tier":"default","selector":"","ingress":[]}}'
    )
    assert encode(from_json("NetworkPolicy", stored)) == encode(NetworkPolicy(metadata=Metadata(name="p")))


def test_a_stored_object_with_nulls_and_fields_of_a_later_release_is_read() -> None:
    stored = (
        b'{"apiVersion":"projectcalico.org/v3","kind":"NetworkPolicy","metadata":{"name":"p","creationTimestamp":null,"later":1},'
        b'"spec":{"ingress":null,"later":{"x":[1]}},"later":null}'
    )
    assert from_json("NetworkPolicy", stored) == NetworkPolicy(metadata=Metadata(name="p"))


def test_stored_values_survive_nulls_that_other_writers_leave() -> None:
    stored = b'{"kind":"NetworkPolicy","metadata":{"name":"p","creationTimestamp":null},"spec":{"ingress":null,"order":null}}'
    assert from_json("NetworkPolicy", stored) == NetworkPolicy(metadata=Metadata(name="p"))
    with pytest.raises(DocumentError, match="not JSON"):
        from_json("NetworkPolicy", b"{")
    with pytest.raises(ValidationError, match=r"spec\.order"):
        from_json("NetworkPolicy", b'{"spec":{"order":"x"}}')


def test_ipam_block_keeps_free_slots() -> None:
    block = IPAMBlock(metadata=Metadata(name="b"), spec=IPAMBlockSpec(cidr="10.0.0.0/30", allocations=(None, 0, None, None)))
    assert from_json("IPAMBlock", to_json(block)) == block
    assert decode(encode(block)) == block


_TEXT = st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\x85\u2028\u2029"), max_size=12)
_TRICKY = st.sampled_from(
    ["on", "010", "1e3", "0x1F", "0o17", "null", "~", "", "1:30", "true", ".5", "e0", "a: b", "- x", "#c", "\n", " x ", "12"]
)


@given(st.dictionaries(_TRICKY | _TEXT, _TRICKY | _TEXT, max_size=4))
def test_yaml_that_we_write_reads_back_the_same(labels: dict[str, str]) -> None:
    profile = Profile(metadata=Metadata(name="p"), spec=ProfileSpec(labels_to_apply=labels))
    assert [document.resource for document in load_documents(to_yaml([profile, profile]))] == [profile, profile]
    assert from_json("Profile", to_json(profile)) == profile
    assert decode(encode(profile)) == profile


def test_every_kind_survives_all_forms() -> None:
    specs: dict[str, dict[str, Any]] = {
        "IPAMBlock": {"cidr": "10.0.0.0/26"},
        "IPAMHandle": {"handleID": "h"},
        "BlockAffinity": {"state": "", "node": "n", "cidr": "10.0.0.0/26"},
    }
    for kind in KINDS.values():
        metadata = {"name": "a"} | ({"namespace": "b"} if kind.namespaced else {})
        resource = decode(
            {"apiVersion": kind.api_version, "kind": kind.document_kind, "metadata": metadata}
            | ({"spec": specs[kind.kind]} if kind.kind in specs else {})
        )
        assert type(resource) is kind.struct
        assert decode(encode(resource)) == resource
        assert from_json(kind.kind, to_json(resource)) == resource
        assert load_documents(to_yaml([resource]))[0].resource == resource


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        ("GlobalNetworkPolicy", "tier", "default"),
        ("IPPool", "nodeSelector", "all()"),
        ("IPPool", "assignmentMode", "Automatic"),
        ("Tier", "defaultAction", "Deny"),
        ("StagedNetworkPolicy", "stagedAction", "Set"),
        ("BGPConfiguration", "logSeverityScreen", "Info"),
        ("IPAMConfiguration", "autoAllocateBlocks", True),
    ],
)
def test_defaults_that_the_schemas_fill_in_are_stored_and_shown(kind: str, field: str, value: object) -> None:
    bare = decode({"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": {"name": "x"}, "spec": {}})
    assert json.loads(to_json(bare))["spec"][field] == value
    assert encode(bare)["spec"][field] == value
    assert from_json(kind, to_json(bare)) == bare
