"""JSONPath templates as kubectl prints them, and that any text is a template or an error."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tortie.cli.jsonpath import JsonPathError, Template, as_text

DOCUMENT: dict[str, Any] = {
    "kind": "List",
    "items": [
        {"metadata": {"name": "a", "labels": {"x.y/z": "1", "k.l": "q"}}, "n": 1, "ok": True, "nets": ["10.0.0.0/8", "::/0"]},
        {"metadata": {"name": "b"}, "n": 2, "ok": False},
        {"metadata": {"name": "c"}, "n": 2.5},
    ],
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{.kind}", "List"),
        (".kind", "List"),
        ("kind", "List"),
        ("{$.kind} and {@.kind}", "List and List"),
        ("{.items[*].metadata.name}", "a b c"),
        ("{.items[0].n}", "1"),
        ("{.items[-1].n}", "2.5"),
        ("{.items[9].n}", ""),
        ("{.nothing.at.all}", ""),
        ("{.items[0,2].n}", "1 2.5"),
        ("{.items[1:].n}", "2 2.5"),
        ("{.items[:2].n}", "1 2"),
        ("{.items[::2].n}", "1 2.5"),
        ("{.items[0].metadata.labels['x.y/z']}", "1"),
        ("{.items[0].metadata.labels.k\\.l}", "q"),
        ("{.items[0]['n','ok']}", "1 true"),
        ("{.items[0].nets}", '["10.0.0.0/8","::/0"]'),
        ("{..name}", "a b c"),
        ("{.items[0].metadata.labels.*}", "1 q"),
        ('{.items[?(@.metadata.name=="b")].n}', "2"),
        ("{.items[?(@.metadata.name != 'b')].n}", "1 2.5"),
        ("{.items[?(@.n>=2)].metadata.name}", "b c"),
        ("{.items[?(@.n<2)].metadata.name}", "a"),
        ("{.items[?(@.ok==true)].metadata.name}", "a"),
        ("{.items[?(@.n==true)].metadata.name}", ""),
        ("{.items[?(@.nets)].metadata.name}", "a"),
        ("{.items[?(@.n==$.items[1].n)].metadata.name}", "b"),
        ('{range .items[*]}{.metadata.name}{"\\t"}{.n}{"\\n"}{end}', "a\t1\nb\t2\nc\t2.5\n"),
        ("{range .items[*]}{range .nets[*]}<{.}>{end}{end}", "<10.0.0.0/8><::/0>"),
        ("plain text: {'quoted'}", "plain text: quoted"),
    ],
)
def test_a_template_prints_what_kubectl_would(template: str, text: str) -> None:
    assert Template(template).text(DOCUMENT) == text


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{.items[", "a number"),
        ("{.items[0}", "] is expected"),
        ("{.a", "} is expected"),
        ("{.a..}", "a field's name is expected"),
        ("{range .items[*]}x", "{range} without {end}"),
        ("{end}", "{end} without {range}"),
        ("{'open}", "the quote does not end"),
        ("{.a[?(@.b==)]}", "a path begins"),
        ("{.a[?(@.b]}", ") is expected"),
        ("{}", "a path begins"),
        ("{.a[::0]}", "step"),
    ],
)
def test_a_template_that_cannot_be_read_names_the_column(template: str, reason: str) -> None:
    with pytest.raises(JsonPathError, match=r"column [0-9]+: ") as raised:
        Template(template)
    assert reason in str(raised.value)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1, max_size=3), inner, max_size=3),
)


@given(st.text("{}[]().*@$?'\"\\ ab0-:,=<>!rangeend", max_size=25), VALUES)
def test_any_text_is_a_template_or_an_error(text: str, document: Any) -> None:
    try:
        template = Template(text)
    except JsonPathError:
        return
    assert isinstance(template.text(document), str)


@given(VALUES)
def test_the_path_to_each_leaf_finds_it(document: Any) -> None:
    def walk(value: Any, path: str) -> None:
        assert Template("{" + (path or "@") + "}").values(document) == [value]
        if isinstance(value, dict):
            for key, child in value.items():
                walk(child, f"{path}[{_quoted(key)}]")
        elif isinstance(value, list):
            for index, child in enumerate(value):
                walk(child, f"{path}[{index}]")
                walk(child, f"{path}[{index - len(value)}]")

    walk(document, "")


@given(st.lists(VALUES, max_size=5), st.integers(-7, 7), st.integers(-7, 7))
def test_slices_are_pythons(items: list[Any], start: int, end: int) -> None:
    assert Template(f"{{[{start}:{end}]}}").values(items) == items[start:end]


@given(st.lists(VALUES, max_size=4))
def test_a_range_prints_every_item_once(items: list[Any]) -> None:
    assert Template("{range [*]}{.}|{end}").text(items) == "".join(f"{as_text(item)}|" for item in items)


def _quoted(key: str) -> str:
    escaped = key.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def test_what_is_not_text_is_printed_as_json() -> None:
    assert json.loads(as_text({"a": [1, None, True]})) == {"a": [1, None, True]}
