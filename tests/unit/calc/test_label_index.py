"""The label index agrees with evaluating every selector against every item, and evaluates far less."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tortie.api.selector import parse_selector
from tortie.calc.label_index import LabelIndex

SELECTORS = [
    "all()",
    "a == 'x'",
    "a != 'x'",
    "has(b)",
    "!has(b)",
    "a in {'x', 'y'} && b == 'x'",
    "a == 'x' || b == 'y'",
    "a in {}",
    "has(p) && a == 'y'",
    "p == 'x'",
    "p starts with 'x' || !has(a)",
]
LABELS = st.dictionaries(st.sampled_from("abp"), st.sampled_from(["x", "y", ""]), max_size=3)
PROFILES = st.lists(st.sampled_from(["P", "Q"]), max_size=2).map(tuple)
ITEMS = st.sampled_from(range(5))
OPERATIONS = st.one_of(
    st.tuples(st.just("item"), ITEMS, LABELS, PROFILES),
    st.tuples(st.just("remove item"), ITEMS),
    st.tuples(st.just("profile"), st.sampled_from(["P", "Q"]), st.none() | LABELS),
    st.tuples(st.just("selector"), st.sampled_from(SELECTORS)),
    st.tuples(st.just("remove selector"), st.sampled_from(SELECTORS)),
)


class Model:
    """The same by brute force, beside the index; what the listener said is added up."""

    def __init__(self) -> None:
        self.items: dict[int, tuple[dict[str, str], tuple[str, ...]]] = {}
        self.profiles: dict[str, dict[str, str]] = {}
        self.selectors: set[str] = set()
        self.heard: set[tuple[str, int]] = set()
        self.index: LabelIndex[int] = LabelIndex(self.listen)

    def listen(self, text: str, item: int, selected: bool) -> None:
        assert ((text, item) in self.heard) != selected, "said twice"
        (self.heard.add if selected else self.heard.discard)((text, item))

    def expected(self) -> set[tuple[str, int]]:
        found = set()
        for item, (own, profiles) in self.items.items():
            labels: dict[str, str] = {}
            for name in profiles:
                labels = self.profiles.get(name, {}) | labels
            labels |= own
            found |= {(text, item) for text in self.selectors if parse_selector(text).matches(labels)}
        return found

    def do(self, operation: tuple[Any, ...]) -> None:
        match operation:
            case ("item", item, labels, profiles):
                self.items[item] = (labels, profiles)
                self.index.set_item(item, frozenset(labels.items()), profiles)
            case ("remove item", item):
                self.items.pop(item, None)
                self.index.remove_item(item)
            case ("profile", name, labels):
                self.profiles[name] = labels or {}
                self.index.set_profile(name, labels)
            case ("selector", raw):
                text = parse_selector(raw).text
                self.selectors.add(text)
                self.index.add_selector(parse_selector(raw))
                self.heard |= {(text, item) for item in self.index.items_of(text)}
            case ("remove selector", raw):
                text = parse_selector(raw).text
                if text in self.selectors:
                    self.selectors.discard(text)
                    self.index.remove_selector(text)
                    self.heard = {pair for pair in self.heard if pair[0] != text}


@settings(max_examples=300, deadline=None)
@given(st.lists(OPERATIONS, max_size=30))
def test_it_agrees_with_brute_force_after_every_step_and_is_empty_in_the_end(operations: list[tuple[Any, ...]]) -> None:
    model = Model()
    for operation in operations:
        model.do(operation)
        expected = model.expected()
        assert model.heard == expected
        assert {(text, item) for text in model.selectors for item in model.index.items_of(text)} == expected
        for item in model.items:
            assert set(model.index.selectors_of(item)) == {text for text, each in expected if each == item}
    for item in list(model.items):
        model.do(("remove item", item))
    for name in ("P", "Q"):
        model.do(("profile", name, None))
    for text in list(model.selectors):
        model.do(("remove selector", text))
    assert model.index.is_empty()


def labels(**values: str) -> frozenset[tuple[str, str]]:
    return frozenset(values.items())


def test_an_item_with_known_labels_costs_no_evaluation() -> None:
    index: LabelIndex[str] = LabelIndex(lambda *_: None)
    index.set_item("first", labels(app="a"), ("P",))
    for number in range(50):
        index.add_selector(parse_selector(f"app == 'a' && x != '{number}'"))
    before = index.evaluations
    index.set_item("second", labels(app="a"), ("P",))
    index.remove_item("second")
    assert index.evaluations == before


@pytest.mark.parametrize("template", ["app == 'a{}'", "k == 'v' && app == 'a{}'", "app in {{'a{}', 'nobody'}}"])
def test_new_labels_are_evaluated_only_against_selectors_that_could_select_them(template: str) -> None:
    index: LabelIndex[str] = LabelIndex(lambda *_: None)
    for number in range(100):
        index.add_selector(parse_selector(template.format(number)))
    index.set_item("item", labels(app="a7", k="v"), ())
    assert index.evaluations <= 2


def test_a_new_selector_is_evaluated_only_against_labels_that_it_could_select() -> None:
    index: LabelIndex[int] = LabelIndex(lambda *_: None)
    for number in range(100):
        index.set_item(number, labels(app=f"a{number}", k="v"), ())
    index.add_selector(parse_selector("k == 'v' && app == 'a7'"))
    assert list(index.items_of('(k == "v" && app == "a7")')) == [7]
    assert index.evaluations == 1
