"""get --watch prints each change once, in every format of get."""

import json

import pytest

from tortie.api.documents import load_documents
from tortie.api.resource import Resource, Update
from tortie.cli.formats import FORMATS, read_form
from tortie.cli.watching import _change, _printer

SET = "apiVersion: projectcalico.org/v3\nkind: NetworkSet\nmetadata: {name: %s, namespace: shop}\nspec: {nets: [%s]}\n"


def netset(name: str, net: str = "10.0.0.0/8") -> Resource:
    return load_documents(SET % (name, net))[0].resource


@pytest.mark.parametrize(
    ("form", "lines"),
    [
        ("table", ["EVENT      NAMESPACE   NAME", "ADDED      shop        a", "DELETED    shop        a"]),
        ("wide", ["EVENT      NAMESPACE   NAME    NETS", "ADDED      shop        a       10.0.0.0/8"]),
        ("custom-columns=NETS", ["EVENT      NETS", "ADDED      10.0.0.0/8", "DELETED    10.0.0.0/8"]),
        ("name", ["added networkset/a", "deleted networkset/a"]),
        ("jsonpath={.metadata.name}", ["a", "a"]),
        ('go-template={{range .}}{{.Name}}{{"\\n"}}{{end}}', ["a", "a"]),
        ("yaml", ["---", "type: ADDED", "object:"]),
        ("json", ["{", '  "type": "ADDED",', '  "object": {']),
    ],
)
def test_each_format_has_its_lines(form: str, lines: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    printer = _printer(read_form(form), namespaces=True)
    printer([("ADDED", netset("a"))])
    printer([("DELETED", netset("a"))])
    assert capsys.readouterr().out.splitlines()[: len(lines)] == lines


def test_no_format_of_get_is_missing_here() -> None:
    assert len(FORMATS) == 10  # a new one belongs into the table above


def test_json_events_are_documents_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    _printer(read_form("json"), namespaces=False)([("MODIFIED", netset("a"))])
    assert json.loads(capsys.readouterr().out)["object"]["metadata"]["name"] == "a"


def test_what_is_listed_again_unchanged_after_a_lost_connection_is_no_change() -> None:
    known: dict[object, Resource] = {}
    one, other = netset("a"), netset("a", "11.0.0.0/8")
    updates = [Update(one.key, one), Update(one.key, one), Update(one.key, other), Update(one.key, None), Update(one.key, None)]
    found = [_change(update, known) for update in updates]  # type: ignore[arg-type]
    assert [change and change[0] for change in found] == ["ADDED", None, "MODIFIED", "DELETED", None]
