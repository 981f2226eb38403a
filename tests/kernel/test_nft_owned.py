"""A table that the kernel keeps for its driver: nobody else changes it, nor does it go when the driver ends."""

import subprocess
from collections.abc import Callable, Iterator

import pytest
from tests.kernel.nft_ground import Driven, Ground, ground

from tortie.base.net import parse_prefix
from tortie.kernel.errors import NftError
from tortie.kernel.nft import objects as nft
from tortie.kernel.nft import uapi
from tortie.kernel.nft.table import NftTable

pytestmark = pytest.mark.kernel

HOSTS = nft.SetSpec("hosts", nft.ElementType.IPV4)
MEDDLING = [
    "delete table inet tortie",
    "flush table inet tortie",
    "add rule inet tortie input accept",
    "insert rule inet tortie input accept",
    "flush chain inet tortie input",
    "add chain inet tortie stray { type filter hook input priority -5; }",
    "add element inet tortie hosts { 10.0.0.2 }",
    "flush set inet tortie hosts",
    "add table inet tortie { flags dormant; }",
]


@pytest.fixture
def place() -> Iterator[Ground]:
    with ground() as made:
        yield made


@pytest.fixture
def make(place: Ground) -> Iterator[Callable[[bool], Driven]]:
    """A driver of a table, owned or not; one that is left open is closed at the end."""
    opened: list[Driven] = []

    def made(owned: bool) -> Driven:
        opened.append(Driven(NftTable(netns_fd=place.fd, owned=owned)))
        put(opened[-1])
        return opened[-1]

    yield made
    for driver in opened:
        driver.close()


def put(driver: Driven) -> None:
    driver.table.put_set(HOSTS, [parse_prefix("10.0.0.1/32")])
    rule = nft.Rule((nft.L4Proto(17), nft.Ports("destination", ((7001, 7001),)), nft.Counter(), nft.DROP), "shut")
    driver.table.put_chain(nft.Chain("input", (rule,), nft.Hook("filter", "input", 0)))


def meddle(place: Ground, command: str) -> bool:
    """True if the kernel lets the nft program do this."""
    done = subprocess.run(
        ["ip", "netns", "exec", place.name, "nft", command], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0 or "Operation not permitted" in done.stderr, done.stderr
    return done.returncode == 0


def rules(place: Ground) -> str:
    """What the nft program lists of the table."""
    return place.nft("-s", "list", "table", "inet", "tortie")


@pytest.mark.parametrize("command", MEDDLING)
def test_nobody_else_changes_an_owned_table(place: Ground, make: Callable[[bool], Driven], command: str) -> None:
    driver = make(True)
    driver.apply()
    before = rules(place)
    assert not meddle(place, command)
    assert rules(place) == before
    assert meddle(place, "add table inet theirs")
    assert meddle(place, "flush ruleset"), "it takes what it may"
    assert rules(place) == before
    driver.table.put_set(HOSTS, [parse_prefix("10.0.0.9/32")])
    assert driver.apply().read_back == "", "the driver itself goes on as ever"
    assert place.elements("hosts") == ["10.0.0.9"]


def test_it_stays_when_its_driver_ends_and_the_next_takes_it_over_as_it_is(
    place: Ground, make: Callable[[bool], Driven]
) -> None:
    first = make(True)
    first.apply()
    handles = place.handles("input")
    first.close()
    assert "dport 7001" in rules(place)
    second = make(True)
    stats = second.apply()
    assert (stats.messages, stats.chains_written, stats.sets_created) == (1, 0, 0)
    assert place.handles("input") == handles
    assert not meddle(place, "delete table inet tortie")
    second.table.invalidate("looked at again")
    assert second.apply().messages == 0


def test_without_its_driver_anybody_may_change_it_and_the_next_repairs_it(
    place: Ground, make: Callable[[bool], Driven]
) -> None:
    first = make(True)
    first.apply()
    before = rules(place)
    first.close()
    assert meddle(place, "flush chain inet tortie input")
    second = make(True)
    second.apply()
    assert rules(place) == before
    second.close()
    assert meddle(place, "delete table inet tortie")


@pytest.mark.parametrize("owned", [True, False])
def test_a_life_that_owns_follows_one_that_does_not_and_the_other_way_round(
    place: Ground, make: Callable[[bool], Driven], owned: bool
) -> None:
    first = make(not owned)
    first.apply()
    first.close()
    second = make(owned)
    assert second.apply().chains_written == 1, "made anew, in one transaction"
    assert meddle(place, "flush ruleset")
    assert ("dport 7001" in place.nft("list", "ruleset")) is owned


def test_two_lives_at_once_do_not_share_a_table(make: Callable[[bool], Driven]) -> None:
    first, second = make(True), make(True)
    first.apply()
    second.table.put_set(HOSTS, [parse_prefix("10.0.0.9/32")])
    with pytest.raises(NftError, match="not permitted"):
        second.apply()


def test_a_kernel_that_cannot_keep_it_has_a_table_that_anybody_may_change(
    place: Ground, make: Callable[[bool], Driven], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uapi.Table, "PERSIST", 1 << 20)  # a flag that no kernel knows
    driver = make(True)
    assert driver.apply().attempts == 2
    assert "dport 7001" in rules(place)
    assert meddle(place, "add rule inet tortie input accept")
    driver.table.invalidate("damage")
    driver.apply()
    assert len(place.chain("input")) == 1


def test_its_driver_deletes_it_and_so_does_one_that_owns_nothing_later(place: Ground, make: Callable[[bool], Driven]) -> None:
    first = make(True)
    first.apply()
    first.delete()
    put(first)
    first.apply()
    first.close()
    leaving = place.table()
    leaving.delete()
    leaving.close()
    assert "tortie" not in place.nft("list", "tables")
