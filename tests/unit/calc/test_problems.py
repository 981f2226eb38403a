"""Problems by key."""

from tortie.api.resource import Key
from tortie.calc.problems import Problems

KEY = Key("Tier", "", "t")


def test_each_stage_replaces_what_it_said_and_nothing_else() -> None:
    problems = Problems()
    problems.report(KEY, "one", ["a", "b"])
    problems.report(KEY, "two", ["c"])
    assert problems.by_key() == {KEY: "a; b; c"}
    problems.report(KEY, "one", ["d"])
    problems.report(KEY, "two", ())
    assert problems.by_key() == {KEY: "d"}
    problems.report(KEY, "one", ())
    problems.report(KEY, "never", ())
    assert problems.is_empty()
