"""Policy routing rules: what the kernel has is what was wanted, and others' rules are left alone."""

import contextlib
from collections.abc import Iterator

import pytest
from tests.kernel.spaces import named_space

from tortie.base.net import FAMILIES, Family, parse_prefix
from tortie.base.process import run_blocking
from tortie.kernel import netns
from tortie.kernel.errors import KernelError
from tortie.kernel.rule import Rule, RuleMonitor, Rules, RuleTable

pytestmark = pytest.mark.kernel

PRIORITY, TABLE = 99, 1
SOURCES = {Family.V4: "10.65.0.0/16", Family.V6: "fd00:65::/64"}


@pytest.fixture
def space() -> Iterator[str]:
    with named_space("h2") as name:
        yield name


@pytest.fixture
def rules(space: str) -> Iterator[Rules]:
    with netns.opened(space) as fd, Rules(fd) as made:
        yield made


def rule(family: Family, **more: object) -> Rule:
    return Rule(family=family, priority=PRIORITY, table=TABLE, **more)  # type: ignore[arg-type]


def ip_rule(space: str, *words: str) -> str:
    return run_blocking(["ip", *words], netns_path=netns.path_of(space)).check().stdout.decode()


def some(family: Family) -> list[Rule]:
    prefix = parse_prefix(SOURCES[family])
    return [
        rule(family, mark=0x10, mask=0x10, invert=True),
        rule(family, mark=0x10, mask=0x30),
        rule(family),
        rule(family, source=prefix),
        rule(family, destination=prefix, mark=0, mask=0x10),
        Rule(family=family, priority=PRIORITY, table=100000, source=prefix),
    ]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_kernel_lists_a_rule_as_it_was_given_and_takes_it_away_again(rules: Rules, family: Family) -> None:
    before = rules.list()
    for wanted in some(family):
        rules.add(wanted)
        (found,) = [each for each in rules.list() if each.priority == PRIORITY]
        assert found.rule == wanted
        rules.delete(found)
        rules.delete(found)
        assert rules.list() == before


@pytest.mark.parametrize("family", FAMILIES)
def test_ip_rule_shows_what_we_wrote(space: str, rules: Rules, family: Family) -> None:
    rules.add(some(family)[0])
    shown = ip_rule(space, f"-{family.value}", "rule", "show", "priority", "99")
    assert " ".join(shown.split()) == "99: not from all fwmark 0x10/0x10 lookup 1 proto 80"


@pytest.mark.parametrize("family", FAMILIES)
def test_the_kernel_follows_what_is_wanted_and_leaves_other_rules_alone(space: str, rules: Rules, family: Family) -> None:
    flag = f"-{family.value}"
    ip_rule(space, flag, "rule", "add", "priority", "99", "lookup", "7")
    ip_rule(space, flag, "rule", "add", "priority", "98", "fwmark", "0x10", "lookup", "1")
    before = set(rules.list())
    choice = some(family)[:5]
    table = RuleTable(rules, family=family, priority=PRIORITY, table=TABLE)
    for wanted in (choice[:1], choice[1:4], choice[:2], choice, choice[2:3], choice[1:2], []):
        table.want(wanted)
        table.apply()
        ours = [each.rule for each in rules.list() if (each.priority, each.table) == (PRIORITY, TABLE)]
        assert len(ours) == len(wanted)
        assert set(ours) == set(wanted)
        assert before <= set(rules.list())


def test_a_new_process_sweeps_what_one_before_it_left_and_repairs_what_others_did(space: str, rules: Rules) -> None:
    wanted = rule(Family.V4, mark=0x10, mask=0x10, invert=True)
    ip_rule(space, "rule", "add", "priority", "99", "not", "fwmark", "0x20/0x20", "lookup", "1")
    ip_rule(space, "rule", "add", "priority", "99", "iif", "lo", "lookup", "1", "protocol", "80")
    table = RuleTable(rules, family=Family.V4, priority=PRIORITY, table=TABLE)
    table.want([wanted])
    table.apply()
    assert [each.rule for each in rules.list() if each.priority == PRIORITY] == [wanted]
    ip_rule(space, "rule", "del", "priority", "99")
    table.distrust()
    table.apply()
    assert [each.rule for each in rules.list() if each.priority == PRIORITY] == [wanted]


def test_another_programs_rule_of_our_priority_and_table_stays(space: str, rules: Rules) -> None:
    ip_rule(space, "rule", "add", "priority", "99", "from", "10.9.9.9", "lookup", "1")
    ip_rule(space, "rule", "add", "priority", "99", "iif", "lo", "lookup", "1")
    before = set(rules.list())
    table = RuleTable(rules, family=Family.V4, priority=PRIORITY, table=TABLE)
    for wanted in ([rule(Family.V4, mark=0x10, mask=0x10, invert=True)], []):
        table.want(wanted)
        table.apply()
        assert before <= set(rules.list())
        assert len(rules.list()) == len(before) + len(wanted)


def test_a_rule_of_another_place_is_not_taken(rules: Rules) -> None:
    table = RuleTable(rules, family=Family.V4, priority=PRIORITY, table=TABLE)
    for wrong in (rule(Family.V6), Rule(family=Family.V4, priority=98, table=TABLE)):
        with pytest.raises(KernelError, match="priority 99 and table 1"):
            table.want([wrong])


@pytest.mark.parametrize("family", FAMILIES)
def test_what_others_do_to_rules_is_told_and_what_we_do_is_not(space: str, family: Family) -> None:
    flag, words = f"-{family.value}", ["priority", "99", "fwmark", "0x10", "lookup", "1"]
    with (
        netns.opened(space) as fd,
        Rules(fd) as rules,
        contextlib.closing(RuleMonitor(fd, ignore_port=rules.port_id)) as monitor,
    ):
        table = RuleTable(rules, family=family, priority=PRIORITY, table=TABLE)
        for wanted in (some(family)[:5], []):
            table.want(wanted)
            table.apply()
        assert monitor.read() == ()
        ip_rule(space, flag, "rule", "add", *words)
        ip_rule(space, flag, "rule", "del", *words)
        changes = monitor.read()
    assert [each.present for each in changes] == [True, False]
    assert {each.found.rule for each in changes} == {rule(family, mark=0x10, mask=0xFFFFFFFF)}
