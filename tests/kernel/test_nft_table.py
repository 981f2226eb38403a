"""The driver against the kernel: what is written, what is left alone, what is repaired, what a failure leaves behind."""

import asyncio
import itertools
import random
import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from tests.kernel.nft_ground import Driven, Ground, driven, ground

from tortie.base.net import Family, Prefix, parse_address, parse_prefix
from tortie.kernel.errors import NftError
from tortie.kernel.nft.intervals import PrefixCover
from tortie.kernel.nft.objects import (
    ACCEPT,
    DROP,
    Chain,
    Counter,
    ElementType,
    Goto,
    Hook,
    IfNameVmap,
    Jump,
    L4Proto,
    NetIn,
    NfProto,
    Ports,
    Rule,
    SetSpec,
    Statement,
)

pytestmark = pytest.mark.kernel

V4 = Family.V4
INPUT = Hook("filter", "input", 0)
NETS = SetSpec("nets", ElementType.IPV4, interval=True)
HOSTS = SetSpec("hosts", ElementType.IPV4)
DISPATCH = SetSpec("dispatch", ElementType.IFNAME, is_verdict_map=True)
Make = Callable[[], Driven]


@pytest.fixture
def place() -> Iterator[Ground]:
    with ground() as made:
        yield made


@pytest.fixture
def make(place: Ground) -> Iterator[Make]:
    opened: list[Driven] = []
    yield driven(place, opened)
    for driver in opened:
        driver.close()


def rule(*statements: Statement, comment: str = "") -> Rule:
    return Rule(statements, comment)


def prefixes(*texts: str) -> list[Prefix]:
    return [parse_prefix(text) for text in texts]


def put_firewall(driver: Driven) -> None:
    """Some of everything: two chains, a set, a map."""
    table = driver.table
    table.put_set(NETS, prefixes("10.0.0.0/8", "10.1.0.0/16", "127.0.0.0/8"))
    table.put_set(DISPATCH, {"lo": Goto("workload")})
    table.put_chain(
        Chain(
            "workload",
            (
                rule(NfProto(V4), NetIn("source", V4, "nets"), Counter(), ACCEPT, comment="from the cluster"),
                rule(L4Proto(6), Ports("destination", ((80, 80), (443, 443))), Counter(), DROP),
            ),
        )
    )
    table.put_chain(Chain("input", (rule(IfNameVmap("iif", "dispatch")),), INPUT))


def send_one(place: Ground) -> None:
    with place.socket(socket.SOCK_DGRAM) as sender:
        sender.sendto(b"x", ("127.0.0.1", 9))


def test_a_second_process_with_the_same_wishes_changes_nothing(place: Ground, make: Make) -> None:
    first = make()
    put_firewall(first)
    assert first.apply().chains_written == 2
    send_one(place)
    before = first.counters()
    assert before["workload", "from the cluster"][0] > 0
    handles, listing = place.handles("workload"), place.nft("list", "ruleset")

    second = make()
    put_firewall(second)
    stats = second.apply()

    assert (stats.messages, stats.read_back) == (0, "first apply")
    assert place.handles("workload") == handles
    assert second.counters() == before
    assert place.nft("list", "ruleset") == listing


def test_a_restart_with_other_wishes_writes_only_the_chain_that_differs(place: Ground, make: Make) -> None:
    first = make()
    put_firewall(first)
    first.table.put_chain(Chain("leftover", (rule(Jump("older")),)))
    first.table.put_chain(Chain("older", (rule(DROP),)))
    first.table.put_set(HOSTS, prefixes("10.9.9.9/32"))
    first.apply()
    handles = place.handles("workload")

    second = make()
    put_firewall(second)
    second.table.put_chain(Chain("input", (rule(IfNameVmap("iif", "dispatch")), rule(Counter())), INPUT))
    stats = second.apply()

    assert (stats.chains_written, stats.chains_removed, stats.sets_removed) == (1, 2, 1)
    assert place.handles("workload") == handles
    listing = place.nft("list", "ruleset")
    assert "leftover" not in listing
    assert "older" not in listing
    assert "hosts" not in listing


def test_tables_of_others_are_not_touched(place: Ground, make: Make) -> None:
    foreign = (
        "table ip nat { chain c { type nat hook postrouting priority 0; }\n }\ntable inet other { set s { type ipv4_addr; }\n }"
    )
    place.nft(script=foreign)
    before = place.nft("list", "ruleset")
    driver = make()
    put_firewall(driver)
    driver.apply()
    driver.delete()
    assert place.nft("list", "ruleset") == before


def test_a_jump_to_a_missing_chain_is_named_and_changes_nothing_until_it_is_put_right(place: Ground, make: Make) -> None:
    driver = make()
    put_firewall(driver)
    driver.apply()
    before = place.nft("-a", "list", "ruleset")
    driver.table.put_chain(Chain("extra", (rule(ACCEPT), rule(Jump("nowhere"), comment="policy default/web"))))
    driver.table.add_members("nets", prefixes("192.168.0.0/16"))

    with pytest.raises(NftError) as caught:
        driver.apply()
    for part in ("tortie", "rule 1 of chain 'extra'", "policy default/web", "'nowhere'"):
        assert part in str(caught.value)
    assert place.nft("-a", "list", "ruleset") == before
    assert driver.table.pending

    driver.table.put_chain(Chain("nowhere"))
    driver.apply()
    assert place.chain("extra") == ["accept", 'jump nowhere comment "policy default/web"']
    assert "192.168.0.0/16" in place.elements("nets")
    assert not driver.table.pending


def test_a_map_element_that_jumps_to_a_missing_chain_is_named(place: Ground, make: Make) -> None:
    driver = make()
    driver.table.put_set(DISPATCH, {"cali1": Goto("nowhere")})
    with pytest.raises(NftError, match=r"elements of set 'dispatch' .*'nowhere'"):
        driver.apply()
    assert place.nft("list", "ruleset") == ""


def test_a_chain_that_is_still_used_cannot_be_removed_and_the_error_says_which(place: Ground, make: Make) -> None:
    driver = make()
    driver.table.put_chain(Chain("used", (rule(ACCEPT),)))
    driver.table.put_chain(Chain("user", (rule(Jump("used")),)))
    driver.apply()
    driver.table.remove_chain("used")
    with pytest.raises(NftError, match="chain 'used'"):
        driver.apply()
    driver.table.remove_chain("user")
    driver.apply()
    assert "chain" not in place.nft("list", "ruleset")


def test_chains_refer_to_each_other_in_any_order_of_puts(place: Ground, make: Make) -> None:
    driver = make()
    for name, target in (("a", "c"), ("c", "b"), ("d", "a")):
        driver.table.put_chain(Chain(name, (rule(Jump(target)),)))
    driver.table.put_chain(Chain("b", (rule(DROP),)))
    driver.apply()
    driver.table.put_chain(Chain("d", (rule(Jump("new")),)))
    driver.table.put_chain(Chain("new", (rule(ACCEPT),)))
    for gone in "bca":
        driver.table.remove_chain(gone)
    driver.apply()
    assert place.chain("d") == ["jump new"]
    assert "chain a" not in place.nft("list", "ruleset")


def test_one_member_of_a_large_set_is_one_small_message(place: Ground, make: Make) -> None:
    driver = make()
    members = [Prefix(V4, (10 << 24) + 2 * index, 32) for index in range(10_000)]
    driver.table.put_set(NETS, members)
    driver.table.put_set(HOSTS, members)
    driver.apply()
    extra = prefixes("192.168.0.1/32")
    driver.table.add_members("nets", extra)
    driver.table.add_members("hosts", extra)
    stats = driver.apply()
    assert (stats.messages, stats.elements_added, stats.read_back) == (2, 2, "")
    assert stats.bytes < 400
    driver.table.put_set(NETS, members)  # the whole contents again: still only the difference is sent
    driver.table.remove_members("hosts", extra)
    stats = driver.apply()
    assert (stats.messages, stats.elements_removed) == (2, 2)
    assert stats.bytes < 400
    assert len(place.elements("hosts")) == 10_000


def test_a_table_that_was_deleted_by_hand_comes_back_whole(place: Ground, make: Make) -> None:
    driver = make()
    put_firewall(driver)
    driver.apply()
    wanted = place.nft("-n", "list", "ruleset")
    place.nft("delete", "table", "inet", "tortie")
    driver.table.invalidate("somebody deleted it")
    stats = driver.apply()
    assert stats.read_back == "somebody deleted it"
    assert place.nft("-n", "list", "ruleset") == wanted


@pytest.mark.parametrize(
    "damage",
    [
        "add rule inet tortie workload accept",
        "insert rule inet tortie input drop",
        "flush chain inet tortie workload",
        "add chain inet tortie stray",
        "add chain inet tortie input { policy drop; }",
        "add chain inet tortie stray { type filter hook forward priority 5; policy drop; }",
        "add set inet tortie stray { type ipv4_addr; flags timeout; }",
        "add element inet tortie nets { 1.2.3.4 }",
        "delete element inet tortie nets { 10.0.0.0/8 }",
        "delete element inet tortie nets { 10.0.0.0/8 }\nadd element inet tortie nets { 10.0.0.0/9 }",
        "add element inet tortie dispatch { stray0 : drop }",
        "delete element inet tortie dispatch { lo }",
        "delete element inet tortie dispatch { lo }\nadd element inet tortie dispatch { lo : accept }",
        "flush chain inet tortie input\ndelete map inet tortie dispatch",
        "flush chain inet tortie input\ndelete map inet tortie dispatch\n"
        "add map inet tortie dispatch { type iface_index : verdict; }\nadd rule inet tortie input iif vmap @dispatch",
        "add table inet tortie { flags dormant; }",
    ],
)
def test_damage_by_hand_is_repaired(place: Ground, make: Make, damage: str) -> None:
    driver = make()
    put_firewall(driver)
    driver.apply()
    wanted = sorted(place.nft("-n", "list", "ruleset").splitlines())
    place.nft(script=damage)
    assert sorted(place.nft("-n", "list", "ruleset").splitlines()) != wanted
    driver.table.invalidate("damage")
    driver.apply()
    assert sorted(place.nft("-n", "list", "ruleset").splitlines()) == wanted


def test_what_the_driver_did_not_know_of_is_found_by_its_retry(place: Ground, make: Make) -> None:
    driver = make()
    put_firewall(driver)
    driver.apply()
    place.nft("delete", "table", "inet", "tortie")
    driver.table.add_members("nets", prefixes("192.168.0.0/16"))  # nobody told the driver
    stats = driver.apply()
    assert stats.attempts > 1
    assert "192.168.0.0/16" in place.elements("nets")
    assert len(place.chain("workload")) == 2


def test_another_set_type_or_hook_replaces_the_object_and_keeps_its_users(place: Ground, make: Make) -> None:
    driver = make()
    put_firewall(driver)
    driver.apply()
    driver.table.put_set(SetSpec("nets", ElementType.IPV4, comment="now hosts"), prefixes("10.0.0.1/32"))
    driver.table.put_chain(Chain("input", (rule(IfNameVmap("iif", "dispatch")),), Hook("filter", "forward", -10, "drop")))
    driver.apply()
    assert place.elements("nets") == ["10.0.0.1"]
    assert 'comment "now hosts"' in place.nft("list", "set", "inet", "tortie", "nets")
    assert "@nets" in place.chain("workload")[0]
    assert "hook forward priority -10; policy drop" in place.nft("-n", "list", "chain", "inet", "tortie", "input")


def test_a_policy_changes_in_place(place: Ground, make: Make) -> None:
    driver = make()
    driver.table.put_chain(Chain("input", (rule(Counter()),), INPUT))
    driver.apply()
    handles = place.handles("input")
    driver.table.put_chain(Chain("input", (rule(Counter()),), Hook("filter", "input", 0, "drop")))
    driver.apply()
    assert "policy drop" in place.nft("list", "chain", "inet", "tortie", "input")
    assert place.handles("input") == handles


def test_a_regular_chain_becomes_a_base_chain_and_back_with_what_jumps_to_it(place: Ground, make: Make) -> None:
    driver = make()
    driver.table.put_set(DISPATCH, {"lo": Goto("part")})
    driver.table.put_chain(Chain("part", (rule(ACCEPT),)))
    driver.table.put_chain(Chain("user", (rule(Jump("part")),)))
    driver.apply()
    driver.table.put_set(DISPATCH, {})
    driver.table.put_chain(Chain("user"))
    driver.table.put_chain(Chain("part", (rule(ACCEPT),), INPUT))
    driver.apply()
    assert "hook input" in place.nft("list", "chain", "inet", "tortie", "part")
    driver.table.put_chain(Chain("part", (rule(ACCEPT),)))
    driver.table.put_chain(Chain("user", (rule(Jump("part")),)))
    driver.table.put_set(DISPATCH, {"lo": Goto("part")})
    driver.apply()
    assert place.chain("user") == ["jump part"]
    assert place.elements("dispatch", "map") == ['"lo" : goto part']


def test_a_map_element_moves_to_another_chain_while_its_old_one_goes(place: Ground, make: Make) -> None:
    driver = make()
    put_firewall(driver)
    driver.apply()
    driver.table.put_chain(Chain("next", (rule(ACCEPT),)))
    driver.table.add_members("dispatch", {"lo": Jump("next"), "cali0": DROP})
    driver.table.remove_chain("workload")
    driver.apply()
    assert sorted(place.elements("dispatch", "map")) == ['"cali0" : drop', '"lo" : jump next']


def test_overlapping_members_come_and_go_one_by_one(place: Ground, make: Make) -> None:
    """Random walks over nested, touching and extreme prefixes; the kernel always holds exactly the cover."""
    choice = random.Random(7)
    pool = [parse_prefix(f"10.0.0.{(1 << bits) * n % 256}/{32 - bits}", strict=False) for bits in range(4) for n in range(12)]
    pool += prefixes("0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1", "255.255.255.255/32", "255.255.255.0/24", "0.0.0.0/32")
    driver = make()
    driver.table.put_set(NETS, [])
    members: set[Prefix] = set()
    for _ in range(60):
        for member in choice.sample(pool, 4):
            if member in members:
                members.discard(member)
                driver.table.remove_members("nets", [member])
            else:
                members.add(member)
                driver.table.add_members("nets", [member])
        assert driver.apply().attempts in (0, 1)
        fresh = make()
        fresh.table.put_set(NETS, members)
        assert fresh.apply().messages == 0, "what a fresh process reads back is not what it wants"
        fresh.table.invalidate("check")
        expected = [str(p).removesuffix("/32") for p in PrefixCover(V4, members).cover()]
        assert _merged(place.elements("nets")) == _merged(expected)


def _merged(texts: list[str]) -> list[tuple[int, int]]:
    """nft prints touching ranges as it likes; compare the addresses."""
    ranges: list[tuple[int, int]] = []
    for text in texts:
        low, _, high = text.partition("-")
        first = parse_prefix(low)
        last = parse_prefix(high).last if high else first.last
        if ranges and ranges[-1][1] + 1 == first.value:
            ranges[-1] = (ranges[-1][0], last.value)
        else:
            ranges.append((first.value, last.value))
    return ranges


def test_ten_thousand_elements_span_several_messages_of_one_transaction(place: Ground, make: Make) -> None:
    spec = SetSpec("pairs", ElementType.IPV6_PORT)
    base = parse_address("fd00::").value
    members = [(parse_address("fd00::")._replace(value=base + n), 6, n % 65536) for n in range(5_000)]
    driver = make()
    driver.table.put_set(spec, members)
    stats = driver.apply()
    assert stats.elements_added == 5_000
    assert stats.messages > 3
    assert len(place.elements("pairs")) == 5_000


def test_puts_during_an_apply_go_to_the_next_one(place: Ground, make: Make) -> None:
    driver = make()
    table = driver.table

    async def scenario() -> None:
        table.put_chain(Chain("early"))
        running = asyncio.ensure_future(table.apply())
        await asyncio.sleep(0)
        table.put_chain(Chain("late"))
        await running
        assert "late" not in place.nft("list", "ruleset")
        assert table.pending
        await table.apply()

    asyncio.run(scenario())
    assert "late" in place.nft("list", "ruleset")


def test_a_cancelled_apply_loses_nothing(place: Ground, make: Make) -> None:
    driver = make()
    put_firewall(driver)

    async def cancelled() -> None:
        running = [asyncio.ensure_future(driver.table.apply()) for _ in range(2)]
        await asyncio.sleep(0)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    asyncio.run(cancelled())
    driver.table.put_chain(Chain("after"))
    driver.apply()
    assert len(place.chain("workload")) == 2
    assert "chain after" in place.nft("list", "ruleset")


def test_equal_puts_leave_nothing_pending(make: Make) -> None:
    driver = make()
    put_firewall(driver)
    driver.apply()
    driver.table.put_chain(Chain("input", (rule(IfNameVmap("iif", "dispatch")),), INPUT))
    driver.table.remove_chain("never there")
    driver.table.remove_set("never there")
    assert not driver.table.pending
    assert driver.apply().messages == 0


def test_deleting_a_table_that_is_not_there_is_fine(place: Ground, make: Make) -> None:
    driver = make()
    driver.delete()
    put_firewall(driver)
    driver.apply()
    driver.delete()
    driver.delete()
    assert place.nft("list", "ruleset") == ""
    assert driver.counters() == {}


def test_counters_are_told_by_comment_and_by_index(place: Ground, make: Make) -> None:
    driver = make()
    long = "a comment that the kernel's copy does not hold to its end, " * 5
    rules = (rule(Counter(), comment=long), rule(Counter()), rule(ACCEPT), rule(Counter(), comment=long))
    driver.table.put_chain(Chain("input", rules, INPUT))
    driver.apply()
    send_one(place)
    counters = driver.counters()
    assert set(counters) == {("input", long), ("input", 1)}
    assert counters["input", 1][0] >= 1
    assert counters["input", long] == counters["input", 1], "the fourth rule stands behind an accept and adds nothing"


def test_bad_input_is_refused_when_it_is_put_and_leaves_what_was_wanted(place: Ground, make: Make) -> None:
    driver = make()
    put_firewall(driver)
    with pytest.raises(NftError, match=r"chain 'workload', rule 0 .*port range 90-80"):
        driver.table.put_chain(Chain("workload", (rule(Ports("source", ((90, 80),))),)))
    with pytest.raises(NftError, match=r"set 'nets': fd00::/8 is not a member of type ipv4_addr"):
        driver.table.add_members("nets", prefixes("fd00::/8"))
    with pytest.raises(NftError, match=r"set 'hosts': 10.0.0.0/8 is not a member"):
        driver.table.put_set(HOSTS, prefixes("10.0.0.0/8"))
    with pytest.raises(NftError, match=r"the element cali0 needs a verdict"):
        driver.table.add_members("dispatch", ["cali0"])
    with pytest.raises(NftError, match=r"set 'unheard': put_set must come"):
        driver.table.add_members("unheard", ["x"])
    driver.apply()
    assert len(place.chain("workload")) == 2


def test_transactions_of_others_in_between_do_no_harm(place: Ground, make: Make) -> None:
    """A read-back is only acted on if nothing came between; on a busy machine that must not starve."""
    busy = place.table("busy")
    stop = threading.Event()

    def churn() -> None:
        for number in itertools.count():
            if stop.is_set():
                return
            busy.table.put_chain(Chain("spin", (rule(Counter(), comment=str(number)),)))
            busy.apply()

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        driver = make()
        for number in range(30):
            put_firewall(driver)
            driver.table.put_chain(Chain("number", (rule(Counter(), comment=str(number)),)))
            driver.table.invalidate("try the read-back")
            driver.apply()
        assert place.chain("number") == ['counter packets 0 bytes 0 comment "29"']
    finally:
        stop.set()
        thread.join()
        busy.close()
