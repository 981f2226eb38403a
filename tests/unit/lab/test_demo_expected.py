"""The hand-written tables say what the demo's policy says."""

from tortie.lab.demo_expected import AFTER_5432, AFTER_8080, BEFORE, EXPECTED_AFTER, EXPECTED_BEFORE, names_of


def test_tables_name_the_same_seven_pods_in_the_same_order() -> None:
    assert len(names_of(BEFORE)) == 7
    assert names_of(BEFORE) == names_of(AFTER_5432) == names_of(AFTER_8080)


def test_before_the_policy_everything_is_open() -> None:
    assert all(all(table.values()) for table in EXPECTED_BEFORE.values())
    assert all(len(table) == 7 * 6 for table in EXPECTED_BEFORE.values())


def test_the_policy_leaves_the_database_to_its_backends_and_nothing_else_changes() -> None:
    open_pairs = {pair for pair, allowed in EXPECTED_AFTER[5432].items() if allowed and pair[1] == "prod/database"}
    assert open_pairs == {("prod/backend-1", "prod/database"), ("prod/backend-2", "prod/database")}
    assert not any(allowed for pair, allowed in EXPECTED_AFTER[8080].items() if pair[1] == "prod/database")
    assert all(allowed for table in EXPECTED_AFTER.values() for pair, allowed in table.items() if pair[1] != "prod/database")
