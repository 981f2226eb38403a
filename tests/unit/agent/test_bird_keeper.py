"""Which sessions BIRD is given: those whose secrets can be read."""

import asyncio
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.agent.test_bird_peers import wanted

from tortie.agent.bird import Bird
from tortie.agent.bird_keeper import BirdKeeper, resolve, sieve
from tortie.agent.secrets import SecretsDirectory
from tortie.base.net import parse_interface
from tortie.bgp.config import Passwords
from tortie.bgp.errors import ConfigError
from tortie.intent.route_filter import FilterRule, RouteFilter
from tortie.intent.routing import Bgp, BgpPeer


def intent(*peers: BgpPeer) -> Bgp:
    return Bgp(
        node="n1",
        as_number=64512,
        router_id="10.0.0.1",
        ipv4=parse_interface("10.0.0.1/24"),
        ipv6=None,
        listen_port=179,
        bind_node_ip=False,
        log_level="Info",
        blocks=(),
        pools=(),
        peers=peers,
        ignored_interfaces=(),
        cluster_id="",
        ipv4_priority=1024,
        ipv6_priority=1024,
        programs_no_encap=True,
    )


def secret(folder: Path, name: str, text: str, *, mode: int = 0o600) -> None:
    (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / name / "key").write_text(text)
    (folder / name / "key").chmod(mode)


BIRD = shutil.which("bird", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
OPEN, SIGNED = wanted(name="open"), wanted(name="signed", password_ref=("s", "key"))
MAY_LACK = wanted(name="may lack", password_ref=("s", "key"), password_optional=True)


def test_sessions_without_a_password_do_not_ask_for_secrets(tmp_path: Path) -> None:
    assert resolve(intent(OPEN), SecretsDirectory(tmp_path)) == (intent(OPEN), {}, ())


def test_a_session_gets_its_password(tmp_path: Path) -> None:
    secret(tmp_path, "s", "sesame")
    resolved = resolve(intent(OPEN, SIGNED, MAY_LACK), SecretsDirectory(tmp_path))
    assert resolved == (intent(OPEN, SIGNED, MAY_LACK), {("s", "key"): "sesame"}, ())


def test_a_session_that_lacks_its_password_is_left_out_and_the_others_stay(tmp_path: Path) -> None:
    resolved = resolve(intent(OPEN, SIGNED, MAY_LACK), SecretsDirectory(tmp_path))
    assert resolved.bgp == intent(OPEN, MAY_LACK)
    assert [item.peer for item in resolved.withheld] == [SIGNED]


def test_optional_means_absent_and_not_unreadable(tmp_path: Path) -> None:
    secret(tmp_path, "s", "sesame", mode=0o644)
    resolved = resolve(intent(SIGNED, MAY_LACK), SecretsDirectory(tmp_path))
    assert resolved.bgp.peers == ()
    assert resolved.passwords == {}
    assert "sesame" not in str(resolved.withheld)


@given(st.lists(st.booleans(), max_size=40).filter(lambda good: good.count(False) <= 20))
def test_of_all_sessions_exactly_those_are_left_out_that_bird_refuses(good: list[bool]) -> None:
    peers = tuple(wanted(name=f"p{number}") for number in range(len(good)))
    bad = {peer.name for peer, is_good in zip(peers, good, strict=True) if not is_good}
    asked = 0

    async def refusal(bgp: Bgp) -> str:
        nonlocal asked
        asked += 1
        return "a word that it does not know" if any(peer.name in bad for peer in bgp.peers) else ""

    found = asyncio.run(sieve(intent(*peers), refusal))
    assert [item.peer.name for item in found] == [peer.name for peer in peers if peer.name in bad]
    assert all("a word that it does not know" in item.reason for item in found)
    assert asked <= 2 + 2 * len(bad) * (1 + len(good).bit_length())


def test_what_bird_refuses_for_all_or_without_any_session_is_no_sessions_fault() -> None:
    many = intent(*(wanted(name=f"p{number}") for number in range(50)))

    async def without_any(_: Bgp) -> str:
        return "no"

    async def with_each(bgp: Bgp) -> str:
        return "no" if bgp.peers else ""

    assert asyncio.run(sieve(many, without_any)) == ()
    assert asyncio.run(sieve(many, with_each)) == ()


class ObedientBird(Bird):
    """Asks the real BIRD what it would take, and runs nothing."""

    applied: Bgp | None = None

    async def apply(self, bgp: Bgp, *, passwords: Passwords | None = None) -> None:
        words = await self.refusal(bgp, passwords or {})
        if words:
            raise ConfigError(words)
        self.applied = bgp


@pytest.mark.skipif(BIRD is None, reason="bird2 is not installed")
def test_a_session_that_bird_itself_refuses_does_not_keep_the_others_from_their_changes(tmp_path: Path) -> None:
    """Two of one name, and one whose filter breaks out: what no check foresaw."""
    fine, twin = wanted(name="one"), wanted(name="one", address=parse_interface("10.0.0.3/32"))
    odd = wanted(name="odd", address=parse_interface("10.0.0.4/32"), filters=("breaks",))
    last = wanted(name="fourth", address=parse_interface("10.0.0.5/32"))
    breaks = RouteFilter("breaks", export_v4=(FilterRule(accept=True, interface='eth0" then accept'),))
    bird = ObedientBird(tmp_path)
    keeper = BirdKeeper(bird, SecretsDirectory(tmp_path), lambda _: _yes())

    async def live() -> None:
        keeper.want(replace(intent(fine, twin, odd, last), filters=(breaks,)))
        async with asyncio.TaskGroup() as tasks, asyncio.timeout(20):
            running = tasks.create_task(keeper.run())
            while not keeper.ready:
                await asyncio.sleep(0.05)
            running.cancel()

    asyncio.run(live())
    assert bird.applied is not None
    assert bird.applied.peers == (fine, last)
    assert bird.applied.filters == ()
    assert keeper.failure == ""
    assert list(tmp_path.iterdir()) == []


async def _yes() -> bool:
    return True
