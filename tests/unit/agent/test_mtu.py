"""Which interface counts as the uplink, and what is written where CNI reads it."""

import asyncio
import contextlib
import errno
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from tortie.agent.mtu import FALLBACK, MtuKeeper, uplink_mtu
from tortie.agent.parameters import Parameters, Source, effective
from tortie.api.felix_params import BY_NAME
from tortie.base.net import Family, parse_address
from tortie.cni.errors import CniError
from tortie.cni.gates import mtu_from_files
from tortie.dataplane.mtu import Mtus
from tortie.intent.messages import ConfigUpdate, OverlayUpdate
from tortie.intent.routes import Overlay, TunnelEnd, Way
from tortie.kernel.errors import Busy
from tortie.kernel.link import Link, LinkMonitor, Links

_PATTERN = BY_NAME["MTUIfacePattern"].default
_VXLAN = Overlay("n", None, None, (TunnelEnd(Way.VXLAN, Family.V4, parse_address("10.0.0.1"), ()),))


def link(name: str, mtu: int, *, running: bool = True) -> Link:
    return Link(1, name, "", True, running, name == "lo", "", mtu, None, None)


class _Machine:
    """Links that a test can change."""

    def __init__(self, *links: Link) -> None:
        self.links = links
        self.busy = False

    def list(self) -> tuple[Link, ...]:
        if self.busy:
            raise Busy("list links: changed while it was read", errno.EINTR)
        return self.links


def keeper(
    machine: _Machine, *files: Path, tell: Callable[[int], None] = lambda _: None, parameters: dict[str, str] | None = None
) -> MtuKeeper:
    found: Parameters = effective((Source("environment", parameters or {}),))
    return MtuKeeper(cast(Links, machine), parameters=lambda: found, files=files, tell=tell)


@pytest.mark.parametrize(
    ("links", "expected"),
    [
        ([link("eth0", 1500), link("lo", 65536)], (1500, "eth0")),
        ([link("eth0", 9000), link("enp3s0", 1400), link("cali123", 500)], (1400, "enp3s0")),
        ([link("eth0", 9000), link("eth1", 1300, running=False)], (9000, "eth0")),
        ([link("br0", 1500), link("docker0", 1500), link("vxlan.calico", 1450)], (FALLBACK, "")),
    ],
)
def test_the_narrowest_interface_that_is_up_and_matches_is_the_uplink(links: list[Link], expected: tuple[int, str]) -> None:
    assert uplink_mtu(links, _PATTERN) == expected


def test_new_pods_follow_the_uplink_and_the_mode_and_configuration(tmp_path: Path) -> None:
    file, told = tmp_path / "made" / "mtu", list[int]()
    machine = _Machine(link("eth0", 1500))
    mtu = keeper(machine, file, tell=told.append)
    assert mtu_from_files([file], required=True) == 1500
    mtu.on_messages([OverlayUpdate(_VXLAN)])
    assert mtu_from_files([file], required=True) == 1450
    assert mtu.describe()["because"] == "vxlan of IPv4"
    machine.links = (link("eth0", 9000),)
    mtu.look()
    assert mtu_from_files([file], required=True) == 8950
    mtu.on_messages([ConfigUpdate((("VXLANMTU", "1234"),))])
    assert mtu_from_files([file], required=True) == 1234
    mtu.on_messages([OverlayUpdate(Overlay("n", None, None))])
    assert mtu_from_files([file], required=True) == 9000
    assert told == [1500, 9000], "the dataplane hears of the uplink alone, and only when it changes"
    assert [path.name for path in file.parent.iterdir()] == ["mtu"], "nothing temporary is left"


def test_without_any_uplink_a_safe_size_is_assumed_and_said(tmp_path: Path) -> None:
    mtu = keeper(_Machine(link("br0", 1500)), tmp_path / "mtu")
    assert mtu_from_files([tmp_path / "mtu"], required=True) == FALLBACK < Mtus().host
    assert "MTUIfacePattern" in mtu.describe()["because"]


class _Monitor:
    """Says nothing."""

    def __init__(self) -> None:
        self._ends = os.pipe()

    def fileno(self) -> int:
        return self._ends[0]

    def close(self) -> None:
        for end in self._ends:
            os.close(end)


async def _run(mtu: MtuKeeper, until: Callable[[], bool]) -> None:
    running = asyncio.ensure_future(mtu.run(cast(LinkMonitor, _Monitor())))
    try:
        async with asyncio.timeout(30):
            while not until():
                await asyncio.sleep(0.01)
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


def test_links_that_cannot_be_read_fail_nobody_and_are_looked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tortie.agent.mtu._RETRY_SECONDS", 0.01)
    file, machine = tmp_path / "mtu", _Machine(link("eth0", 9000))
    machine.busy = True
    mtu = keeper(machine, file, parameters={"RequireMTUFile": "true"})
    assert not file.exists(), "nothing is guessed"
    assert "changed while it was read" in mtu.blocking
    machine.busy = False
    asyncio.run(_run(mtu, file.exists))
    assert (mtu_from_files([file], required=True), mtu.blocking) == (9000, "")
    machine.busy, machine.links = True, (link("eth0", 1500),)
    mtu.on_messages([ConfigUpdate(())])
    assert mtu_from_files([file], required=True) == 9000, "what was seen last stays"
    machine.busy = False
    asyncio.run(_run(mtu, lambda: mtu_from_files([file], required=True) == 1500))


def test_a_file_that_somebody_took_away_is_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tortie.agent.mtu._RETRY_SECONDS", 0.01)
    file = tmp_path / "mtu"
    mtu = keeper(_Machine(link("eth0", 1500)), file)
    file.unlink()
    asyncio.run(_run(mtu, file.exists))
    assert mtu_from_files([file], required=True) == 1500


def test_the_pattern_is_the_operators(tmp_path: Path) -> None:
    keeper(_Machine(link("br0", 1300), link("eth0", 1500)), tmp_path / "mtu", parameters={"MTUIfacePattern": "^br"})
    assert mtu_from_files([tmp_path / "mtu"], required=True) == 1300


@pytest.mark.parametrize("required", ["true", "false"])
def test_a_file_that_cannot_be_written_is_reported_and_stops_pods_only_where_it_is_required(
    tmp_path: Path, required: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "mtu").mkdir()
    (tmp_path / "mtu" / "in the way").touch()
    with caplog.at_level(logging.ERROR):
        mtu = keeper(_Machine(link("eth0", 1500)), tmp_path / "mtu", parameters={"RequireMTUFile": required})
    assert "cannot be written" in mtu.failure
    assert bool(mtu.blocking) == (required == "true")
    with pytest.raises(CniError):
        mtu_from_files([tmp_path / "mtu"], required=False)
