"""The values of `get -o` and what --export leaves out."""

import json
from pathlib import Path

import pytest
from tests.unit.cli.stage import Answer, Tortie, command_line

TWO = """\
apiVersion: projectcalico.org/v3
kind: NetworkSet
metadata: {name: a, namespace: shop, labels: {team: x}}
spec: {nets: [10.0.0.0/8, 11.0.0.0/8]}
---
apiVersion: projectcalico.org/v3
kind: NetworkSet
metadata: {name: b, namespace: shop}
"""


@pytest.fixture
def tortie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Tortie:
    call = command_line(tmp_path, monkeypatch, capsys)
    assert call("apply", "-f", "-", stdin=TWO).code == 0
    return call


@pytest.mark.parametrize(
    ("names", "output", "printed"),
    [
        ((), "jsonpath={.items[*].metadata.name}", "a b"),
        ((), 'jsonpath={.items[?(@.metadata.name=="a")].spec.nets[1]}', "11.0.0.0/8"),
        (("a",), "jsonpath={.metadata.labels.team}", "x"),
        (("a", "b"), 'jsonpath={range .items[*]}{.metadata.name}{"\\n"}{end}', "a\nb\n"),
        ((), "custom-columns=NAME", "NAME\na\nb\n\n"),
        ((), "custom-columns=name,namespace", "NAME    NAMESPACE\na       shop\nb       shop\n\n"),
        ((), "custom-columns=NAME,FIRST:.spec.nets[0]", "NAME    FIRST\na       10.0.0.0/8\nb       <none>\n\n"),
        ((), "custom-columns=NAME,T:.metadata.labels['team']", "NAME    T\na       x\nb       <none>\n\n"),
        ((), "wide", "NAMESPACE   NAME    NETS\nshop        a       10.0.0.0/8,11.0.0.0/8\nshop        b\n\n"),
    ],
)
def test_outputs(tortie: Tortie, names: tuple[str, ...], output: str, printed: str) -> None:
    assert tortie("get", "networkset", *names, "-n", "shop", "-o", output) == Answer(0, printed, "")


def test_a_template_may_stand_in_a_file(tortie: Tortie, tmp_path: Path) -> None:
    (tmp_path / "t").write_text("{.metadata.name}")
    assert tortie("get", "networkset", "a", "-n", "shop", "-o", "jsonpath-file=t").out == "a"


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("go-template=", "need to specify a template"),
        ("go-template-file=", "need to specify a template file"),
        ("go-template={{end}}", "template: unexpected {{end}}"),
        ("jsonpath=", "need to specify a template"),
        ("jsonpath-file=", "need to specify a template file"),
        ("jsonpath-file=none", "cannot read none: No such file"),
        ("jsonpath={.a", "jsonpath '{.a': column 4: } is expected"),
        ("custom-columns=", "need to specify at least one column"),
        ("custom-columns=NAME,", "need to specify at least one column"),
        ("custom-columns=NAME,X:", "write HEADING:.path.of.field"),
        ("custom-columns=NAME,COLOUR", "unknown heading COLOUR, valid values are: NAMESPACE, NAME, NETS"),
        ("csv", "unrecognized output format 'csv'"),
    ],
)
def test_outputs_that_do_not_exist_are_refused_by_name(tortie: Tortie, output: str, message: str) -> None:
    answer = tortie("get", "networkset", "-A", "-o", output)
    assert (answer.code, answer.out) == (1, "")
    assert message in answer.err


def test_a_go_template_sees_one_result_for_each_name_and_one_list_for_a_kind(tortie: Tortie) -> None:
    by_name = "go-template={{range .}}{{.ObjectMeta.Name}}{{end}}"
    assert tortie("get", "networkset", "a", "-n", "shop", "-o", by_name).out == "a"
    by_kind = "go-template={{range .}}{{range .Items}}{{.Name}} {{end}}{{end}}"
    assert "a" in tortie("get", "networkset", "-A", "-o", by_kind).out.split()


def test_export_leaves_out_what_belongs_to_this_cluster(tortie: Tortie) -> None:
    whole = json.loads(tortie("get", "networkset", "a", "-n", "shop", "-o", "json").out)["metadata"]
    exported = json.loads(tortie("get", "networkset", "a", "-n", "shop", "-o", "json", "--export").out)["metadata"]
    assert {"namespace", "uid", "resourceVersion", "creationTimestamp"} <= whole.keys()
    assert exported == {"name": "a", "labels": whole["labels"]}
    text = tortie("get", "networkset", "a", "-n", "shop", "-o", "yaml", "--export").out
    assert tortie("apply", "-n", "other", "-f", "-", stdin=text).code == 0
    listed = json.loads(tortie("get", "networkset", "-A", "-o", "json", "--export").out)
    assert [item["metadata"]["namespace"] for item in listed["items"]] == ["other", "shop", "shop"]
