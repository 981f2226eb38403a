"""The selector language: what parses, what it means, its canonical text, its restrictions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tortie.api import selector_syntax as syntax
from tortie.api.selector import SelectorError, length_limited_id, normalise, parse_selector, unique_id

LABELS = {"a": "b", "empty": "", "x.y/z-1": "q", "in": "x", "has": "x"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True),
        (" \t ", True),
        ("all()", True),
        ("all( )", True),
        ("global(\t)", True),
        ('a == "b"', True),
        ("a=='b'", True),
        ('a == "c"', False),
        ('missing == ""', False),
        ('a != "b"', False),
        ('missing != "b"', True),
        ('a in {"x", "b"}', True),
        ('a in{"b"}', True),
        ('a in {"b",}', True),
        ("a in {}", False),
        ("missing in {}", False),
        ("a not in {}", True),
        ('missing not in {"b"}', True),
        ('a notin{"b"}', False),
        ('a not \t in {"b"}', False),
        ("has(a)", True),
        ("has( empty )", True),
        ("has(missing)", False),
        ('a contains ""', True),
        ('missing contains ""', False),
        ('a startswith"b"', True),
        ('a starts  with "c"', False),
        ('a ends with "b"', True),
        ('a contains "B"', False),
        ('!(missing == "b")', True),
        ("!has(missing)", True),
        ("! ! has(a)", True),
        ("!!!has(a)", False),
        ('!a == "b"', False),
        ('in == "x"', True),
        ('has == "x"', True),
        ('x.y/z-1 == "q"', True),
        ('missing == "1" || has(a) && has(missing)', False),
        ("has(a) || has(a) && has(missing)", True),
        ("(has(a) || has(a)) && has(missing)", False),
    ],
)
def test_selector_selects_as_documented(text: str, expected: bool) -> None:
    assert parse_selector(text).matches(LABELS) is expected


@pytest.mark.parametrize(
    ("text", "column", "hint"),
    [
        ("\n", 1, "expected a label"),
        ('a\n== "b"', 2, "after label 'a'"),
        ("has (a)", 5, "after label 'has'"),
        ("all ()", 5, "after label 'all'"),
        ('a = "b"', 3, "after label 'a'"),
        ("a", 2, "has(a)"),
        ("a inx", 5, "expected {"),
        ("a not in b", 10, "expected {"),
        ("a == b", 6, "string in quotes"),
        ('a == "b', 6, "not closed"),
        ('a == "b" & has(c)', 10, "&& or ||"),
        ('a == "b" has(c)', 10, "&& or ||"),
        ("(has(a)", 8, "expected )"),
        ("has(a))", 7, "&& or ||"),
        ('a in {"x" "y"}', 11, "expected }"),
        ("a in {,}", 7, "string in quotes"),
        ('a in {"x",,}', 11, "string in quotes"),
        ("has(a) &&", 10, "expected a label"),
        ("has()", 5, "expected a label"),
        ("é == 'x'", 1, "expected a label"),
        ("x" * 513 + " == 'a'", 1, "longer than 512"),
        ("(" * 101 + "has(a)" + ")" * 101, 102, "nested"),
    ],
)
def test_bad_selector_names_column_and_expectation(text: str, column: int, hint: str) -> None:
    with pytest.raises(SelectorError) as caught:
        parse_selector(text)
    assert caught.value.column == column
    assert hint in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "all()"),
        ("a=='b'", 'a == "b"'),
        ("a == 'say \"hi\"'", "a == 'say \"hi\"'"),
        ('a in {"z","b", "b"}', 'a in {"b", "z"}'),
        ("a notin {}", "a not in {}"),
        ("a startswith 'x'", 'a starts with "x"'),
        ("has(a)&&has(b)&&has(c)", "(has(a) && has(b) && has(c))"),
        ("has(a) && (has(b) && has(c))", "(has(a) && (has(b) && has(c)))"),
        ("((has(a)))", "has(a)"),
        ("! ( has(a) || has(b) )", "!(has(a) || has(b))"),
        ("!!has(a)", "has(a)"),
        ("!(!has(a))", "has(a)"),
        ("has(a) || has(b) && has(c)", "(has(a) || (has(b) && has(c)))"),
    ],
)
def test_canonical_text(text: str, expected: str) -> None:
    assert parse_selector(text).text == expected


def test_selectors_are_equal_and_hash_alike_when_their_canonical_texts_agree() -> None:
    one, other = parse_selector("a=='b'"), parse_selector(' a  == "b" ')
    assert one == other
    assert len({one, other}) == 1
    assert one.id == other.id
    assert one.id == unique_id("s", 'a == "b"')
    assert len(one.id) == 40
    assert one != parse_selector("a == 'c'")


def test_id_is_the_documented_digest_of_prefix_and_canonical_text() -> None:
    assert parse_selector("").id == "s:5y5I3VdRZfDU01O--xXAPx2yxCQQqMf0M6IWug"


def test_normalise_keeps_text_that_cannot_be_parsed() -> None:
    assert normalise("  a=='b'\n") == 'a == "b"'
    assert normalise("  what is this ") == "what is this"


def test_prefixed_changes_label_names_only() -> None:
    selector = parse_selector('a == "a" && !has(a) && a in {"a"} && all()').prefixed("pcns.")
    assert selector.text == '(pcns.a == "a" && !has(pcns.a) && pcns.a in {"a"} && all())'
    assert parse_selector("has(x) || global()").prefixed("p.").text == "(has(p.x) || global())"


def test_length_limited_id_keeps_what_fits() -> None:
    assert length_limited_id("cali-", "abc", 8) == "cali-abc"
    assert length_limited_id("cali-", "", 10) == "cali-_"
    shortened = length_limited_id("cali-", "abcd", 8)
    assert len(shortened) == 8
    assert shortened.startswith("cali-_")
    # Exactly full and starting with an underscore: hashed, so that it cannot equal a shortened one.
    assert length_limited_id("p", "_xy", 4) != "p_xy"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a == 'x'", ((("a", "x"),),)),
        ("a in {'x','y'} && b == 'z'", ((("a", "x"), ("a", "y")), (("b", "z"),))),
        ("a == 'x' || b == 'y'", ((("a", "x"), ("b", "y")),)),
        ("a == 'x' || has(b) && c == 'y'", ((("a", "x"), ("c", "y")),)),
        ("a contains 'x' || a == 'x'", ((("a", None), ("a", "x")),)),
    ],
)
def test_coverings(text: str, expected: tuple[tuple[tuple[str, str | None], ...], ...]) -> None:
    assert parse_selector(text).coverings() == expected


@pytest.mark.parametrize(
    "text", ["all()", "a != 'x'", "a not in {'x'}", "!(a == 'x')", "!has(a)", "has(a) || !has(a)", "has(a) || b != 'x'"]
)
def test_no_covering_where_none_can_be_given(text: str) -> None:
    assert parse_selector(text).coverings() == ()


_NAMES = st.sampled_from(["a", "b", "c-d", "in", "not"])
_VALUES = st.sampled_from(["", "x", "y", "xy", 'q"q', "it's"])
_LEAVES: st.SearchStrategy[syntax.Node] = st.one_of(
    st.builds(syntax.Compare, _NAMES, st.sampled_from(["==", "!=", "contains", "starts with", "ends with"]), _VALUES),
    st.builds(
        lambda label, values, negated: syntax.Member(label, tuple(sorted(values)), negated),
        _NAMES,
        st.sets(_VALUES, max_size=3),
        st.booleans(),
    ),
    st.builds(syntax.Has, _NAMES),
    st.builds(syntax.Everything, st.sampled_from(["all", "global"])),
)


def _branches(children: st.SearchStrategy[syntax.Node]) -> st.SearchStrategy[syntax.Node]:
    several = st.lists(children, min_size=2, max_size=4).map(tuple)
    negatable = children.filter(lambda node: not isinstance(node, syntax.Not))
    return st.one_of(st.builds(syntax.And, several), st.builds(syntax.Or, several), st.builds(syntax.Not, negatable))


_NODES = st.recursive(_LEAVES, _branches, max_leaves=12)
_LABEL_SETS = st.dictionaries(_NAMES, _VALUES)


def _naive(node: syntax.Node, labels: dict[str, str]) -> bool:
    """The table of meanings, written down once more without any speed in mind."""
    match node:
        case syntax.Compare(label, operator, value):
            found = labels.get(label)
            if found is None:
                return operator == "!="
            return {
                "==": found == value,
                "!=": found != value,
                "contains": value in found,
                "starts with": found[: len(value)] == value,
                "ends with": found[len(found) - len(value) :] == value if len(value) <= len(found) else False,
            }[operator]
        case syntax.Member(label, values, negated):
            return (label in labels and labels[label] in values) is not negated
        case syntax.Has(label):
            return label in labels
        case syntax.Everything():
            return True
        case syntax.Not(operand):
            return not _naive(operand, labels)
        case syntax.And(operands):
            return all(_naive(operand, labels) for operand in operands)
        case syntax.Or(operands):
            return any(_naive(operand, labels) for operand in operands)


@given(_NODES)
def test_canonical_text_parses_to_itself(node: syntax.Node) -> None:
    text = syntax.canonical(node)
    assert syntax.parse(text) == node
    assert parse_selector(text).text == text


@given(_NODES, _LABEL_SETS)
def test_evaluation_agrees_with_the_table_of_meanings(node: syntax.Node, labels: dict[str, str]) -> None:
    assert parse_selector(syntax.canonical(node)).matches(labels) is _naive(node, labels)


@given(_NODES, _LABEL_SETS)
def test_what_is_selected_meets_one_demand_of_every_covering(node: syntax.Node, labels: dict[str, str]) -> None:
    selector = parse_selector(syntax.canonical(node))
    if not selector.matches(labels):
        return
    for covering in selector.coverings():
        assert any(label in labels and value in (None, labels[label]) for label, value in covering)


@given(_NODES, _LABEL_SETS)
def test_prefixing_commutes_with_prefixing_the_labels(node: syntax.Node, labels: dict[str, str]) -> None:
    selector = parse_selector(syntax.canonical(node))
    renamed = {f"pcns.{label}": value for label, value in labels.items()}
    assert selector.prefixed("pcns.").matches(renamed) is selector.matches(labels)


@given(st.text(alphabet="ab (){}!=&|\"',inot.has\t\n", max_size=40))
def test_arbitrary_text_parses_or_is_refused_with_a_column_inside(text: str) -> None:
    problem = None
    try:
        selector = parse_selector(text)
    except SelectorError as error:
        problem = error
    if problem is None:
        assert parse_selector(selector.text) == selector
    else:
        assert 1 <= problem.column <= len(text) + 1
