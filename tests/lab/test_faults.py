"""What goes wrong around a node, with counted traffic through all of it: the kernel goes on, and all converges after."""

import asyncio
import contextlib
import json
import os
import resource
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from tests.lab.faults_stage import SOAK, FaultyLab, eventually, faulty_lab, mounted_over, policy
from tests.lab.stage import is_running

from tortie.base.net import parse_address
from tortie.datastore.sqlite.client import SqliteClient
from tortie.ipam.allocator import Ipam

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900 if SOAK else 120)]

AWAY_SECONDS = 60.0 if SOAK else 1.0
STOPPED_SECONDS = 30.0 if SOAK else 1.0


@pytest.fixture(scope="module")
def sqlite_lab() -> Iterator[FaultyLab]:
    with faulty_lab("sqlite") as lab:
        yield lab


@pytest.fixture(scope="module")
def etcd_lab() -> Iterator[FaultyLab]:
    with faulty_lab("etcd") as lab:
        yield lab


@pytest.fixture
def lab(sqlite_lab: FaultyLab) -> FaultyLab:
    """Every test leaves it as it found it."""
    sqlite_lab.eventually_ready()
    sqlite_lab.eventually_connected()
    return sqlite_lab


def test_a_datastore_that_is_away_changes_nothing_and_is_followed_when_it_is_back(lab: FaultyLab) -> None:
    with lab.traffic():
        with lab.database_away("absent"):
            eventually(lambda: not lab.status("n2")["datastoreConnected"], "n2 notices")
            time.sleep(AWAY_SECONDS)
            lab.restart_agent("n1")
            assert not lab.database.exists(), "somebody has made an empty datastore in the old one's place"
        lab.follows_changes("after-away")


def test_an_empty_or_foreign_datastore_is_not_believed_and_the_old_one_is_followed_again(lab: FaultyLab) -> None:
    before = lab.table("n2")
    with lab.traffic():
        with lab.database_away("replaced"):
            lab.database.touch()
            eventually(lambda: "no cluster GUID" in lab.status("n2")["datastoreRefused"], "n2 refuses the empty datastore")
            lab.apply_policy("in-the-wrong-place")
            eventually(lambda: "it has cluster GUID" in lab.status("n2")["datastoreRefused"], "n2 refuses the foreign one")
            assert not lab.status("n2")["ready"]
            lab.restart_agent("n2")
            eventually(lambda: "--accept-datastore" in lab.status("n2")["datastoreRefused"], "the new agent refuses it too")
            time.sleep(AWAY_SECONDS)
            assert lab.table("n2") == before
        lab.follows_changes("after-replaced")
    assert lab.table("n2") == before


def test_an_older_copy_of_the_same_cluster_is_followed(lab: FaultyLab) -> None:
    copy, newer = lab.folder / "copy" / "tortie.sqlite", lab.folder / "newer" / "tortie.sqlite"
    with lab.traffic():
        lab.copy_database(copy)
        lab.apply_policy("not-in-the-copy")
        lab.eventually_enforced("n2", "not-in-the-copy")
        lab.move_database(lab.database, newer)
        lab.move_database(copy, lab.database)
        lab.eventually_enforced("n2", "not-in-the-copy", enforced=False)
        lab.follows_changes("after-roll-back")


def test_a_living_pod_that_the_older_copy_does_not_know_is_written_into_it_and_loses_nothing(lab: FaultyLab) -> None:
    copy, newer = lab.folder / "copy" / "tortie.sqlite", lab.folder / "newer" / "tortie.sqlite"
    with newer_pod(lab, copy) as (name, addresses), lab.traffic("newer"):
        lab.move_database(lab.database, newer)
        lab.move_database(copy, lab.database)
        eventually(lambda: "newer" in lab.tortie("get", "workloadendpoint", "-A", "-o", "json").ok().out, f"{name} is back")
        eventually(lambda: not any(key.startswith("WorkloadEndpoint") for key in lab.status("n2")["problems"]), "n2 is content")
        time.sleep(6)  # no hold of another node's things is left then
        for address in addresses:
            assert "newer" in lab.tortie("ipam", "show", f"--ip={address}").ok().out, f"{address} is not booked"
            assert address in lab.routes("n2")
        lab.follows_changes("after-rescue")


def test_a_living_pod_whose_address_the_older_copy_gives_to_another_yields(lab: FaultyLab) -> None:
    copy, newer = lab.folder / "copy" / "tortie.sqlite", lab.folder / "newer" / "tortie.sqlite"
    with newer_pod(lab, copy) as (name, addresses), lab.traffic():
        asyncio.run(book(copy, addresses))
        lab.move_database(lab.database, newer)
        lab.move_database(copy, lab.database)
        eventually(lambda: not any(address in lab.routes("n2") for address in addresses), f"{name} has no route any more")
        eventually(lambda: any("newer" in key for key in lab.status("n2")["problems"]), "n2 says so")
        told = [text for key, text in lab.status("n2")["problems"].items() if "newer" in key]
        assert "is of somebody.else now" in told[0]
        assert "newer" not in lab.tortie("get", "workloadendpoint", "-A", "-o", "json").ok().out
        lab.follows_changes("after-yielding")
    eventually(lambda: not any("newer" in key for key in lab.status("n2")["problems"]), "it is forgotten with its pod")


@contextlib.contextmanager
def newer_pod(lab: FaultyLab, copy: Path) -> Iterator[tuple[str, list[str]]]:
    """A copy of the datastore, and then a pod on n2, `default/newer`, that it does not know; its addresses."""
    lab.copy_database(copy)
    lab.lab("pod add", "default/newer", "--node", "n2", "--labels", "app=open").ok()
    try:
        ips = lab.pods()["default/newer"]["result"]["ips"]
        yield "default/newer", [entry["address"].partition("/")[0] for entry in ips]
    finally:
        lab.lab("pod rm", "default/newer").ok()


async def book(database: Path, addresses: Sequence[str]) -> None:
    """As another node would have booked them."""
    client = SqliteClient(str(database))
    try:
        for address in addresses:
            await Ipam(client).assign_ip(parse_address(address), "somebody.else", attributes={"node": "n1"}, node="n1")
    finally:
        await client.close()


def test_a_datastore_that_became_read_only_changes_nothing(lab: FaultyLab) -> None:
    with lab.traffic():
        with mounted_over(lab.database.parent, lab.database.parent, "ro"):
            refused = lab.tortie("apply", "-f", "-", stdin=json.dumps(policy("read-only")))
            assert refused.code != 0
            assert "Read-only file system" in refused.err
            assert "Traceback" not in refused.err
            eventually(lambda: not lab.status("n2")["datastoreConnected"], "n2 notices")
        lab.follows_changes("after-read-only")


@contextlib.contextmanager
def filled(ballast: Path) -> Iterator[None]:
    """The file system of `ballast` has no byte left while the block runs.

    Unbuffered: a buffer that holds what found no room would be written, and fail, once more at closing.
    """
    try:
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(b"\0" * 65536):
                pass
        yield
    finally:
        ballast.unlink()


def test_a_full_disk_stops_writers_and_nothing_else(lab: FaultyLab) -> None:
    with lab.traffic():
        with filled(lab.folder.parent / "ballast"):
            refused = lab.tortie("apply", "-f", "-", stdin=json.dumps(policy("disk-full")))
            assert refused.code != 0
            assert "Traceback" not in refused.err
            assert is_running(lab.agent("n2"))
        lab.follows_changes("after-disk-full")


@contextlib.contextmanager
def limited(pid: int, what: int, limit: int) -> Iterator[None]:
    """A process with less of something while the block runs."""
    before = resource.prlimit(pid, what)
    resource.prlimit(pid, what, (limit, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, what, before)


def test_an_agent_that_can_write_no_file_enforces_all_the_same(lab: FaultyLab) -> None:
    pid = lab.agent("n2")
    with lab.traffic():
        with limited(pid, resource.RLIMIT_FSIZE, 0):
            lab.apply_policy("unwritten")
            lab.eventually_enforced("n2", "unwritten")
        lab.tortie("delete", "networkpolicy", "unwritten", "-n", "default").ok()
        lab.follows_changes("after-no-files")
    assert lab.agent("n2") == pid


def always_open(pid: int) -> set[int]:
    """The descriptors that a process does not close again in a moment."""
    looks = []
    for _ in range(20):
        looks.append({int(entry.name) for entry in Path(f"/proc/{pid}/fd").iterdir()})
        time.sleep(0.05)
    return set.intersection(*looks)


@pytest.mark.parametrize("left", [0, 4], ids=["none", "too few"])
def test_an_agent_out_of_descriptors_goes_on_and_refuses_pods_cleanly(lab: FaultyLab, left: int) -> None:
    processes = [lab.agent("n2"), lab.bird("n2")]
    links = lab.on("node/n2", "ip", "-br", "link").ok().out
    used = always_open(processes[0])
    unused = [number for number in range(max(used) + 16) if number not in used]
    with lab.traffic():
        with limited(processes[0], resource.RLIMIT_NOFILE, unused[left]):
            lab.apply_policy("undescribed")
            refused = lab.lab("pod add", "default/late", "--node", "n2")
            assert refused.code != 0
            assert "code 11:" in refused.err
        lab.eventually_enforced("n2", "undescribed")
        assert lab.on("node/n2", "ip", "-br", "link").ok().out == links
        lab.tortie("delete", "networkpolicy", "undescribed", "-n", "default").ok()
        lab.follows_changes("after-descriptors")
        lab.lab("pod add", "default/late", "--node", "n2").ok()
        lab.lab("pod rm", "default/late").ok()
    assert [lab.agent("n2"), lab.bird("n2")] == processes


def test_agent_and_bird_that_are_stopped_for_a_while_lose_nothing(lab: FaultyLab) -> None:
    stopped = [lab.agent("n2"), lab.bird("n2")]
    with lab.traffic():
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        try:
            lab.apply_policy("meanwhile")
            time.sleep(STOPPED_SECONDS)
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)
        lab.eventually_enforced("n2", "meanwhile")
        lab.tortie("delete", "networkpolicy", "meanwhile", "-n", "default").ok()
        lab.follows_changes("after-stop")
    assert [lab.agent("n2"), lab.bird("n2")] == stopped


def test_a_clock_that_jumps_changes_nothing(lab: FaultyLab, tmp_path: Path) -> None:
    clock = tmp_path / "clock"
    clock.write_text("+0")
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    faked = {"LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_NO_CACHE": "1"}
    # The kernel's monotonic clock does not jump with the wall clock, so neither does the faked one.
    steady = {"FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1"}
    with lab.traffic():
        lab.restart_agent("n2", environment={**faked, **steady})
        lab.eventually_ready()
        for number, jump in enumerate(("+36000", "-36000", "-86400000", "+0")):
            (tmp_path / "next").write_text(jump)
            (tmp_path / "next").replace(clock)  # the agent reads it all the time
            lab.follows_changes(f"after-jump-{number}")
            lab.lab("pod add", f"default/jump-{number}", "--node", "n2").ok()
            lab.lab("pod rm", f"default/jump-{number}").ok()
        lab.restart_agent("n2", environment=dict.fromkeys((*faked, *steady)))
        lab.follows_changes("after-jumps")
    lines = (lab.folder / "n2" / "agent.log").read_text().splitlines()
    assert any(line.startswith("202") and abs(_year(line) - time.gmtime().tm_year) >= 2 for line in lines), "no jump was seen"


def _year(line: str) -> int:
    return int(line[:4])


@pytest.mark.etcd
def test_an_etcd_that_hangs_or_dies_changes_nothing_and_is_followed_when_it_is_back(etcd_lab: FaultyLab) -> None:
    etcd_lab.eventually_ready()
    etcd_lab.eventually_connected()
    with etcd_lab.traffic():
        etcd = etcd_lab.etcd()
        os.kill(etcd, signal.SIGSTOP)
        try:
            time.sleep(STOPPED_SECONDS)
        finally:
            os.kill(etcd, signal.SIGCONT)
        etcd_lab.follows_changes("after-hanging")
        with etcd_lab.dead_etcd():
            eventually(lambda: not etcd_lab.status("n2")["datastoreConnected"], "n2 notices", seconds=60)
            time.sleep(AWAY_SECONDS)
        etcd_lab.follows_changes("after-death")


@pytest.mark.etcd
def test_an_etcd_that_lost_its_data_is_not_believed(etcd_lab: FaultyLab) -> None:
    etcd_lab.eventually_ready()
    etcd_lab.eventually_connected()
    data, away, empty = (etcd_lab.folder / "etcd" / name for name in ("data", "away", "empty"))
    before = etcd_lab.table("n2")
    with etcd_lab.traffic():
        with etcd_lab.dead_etcd():
            os.rename(data, away)
        try:
            eventually(lambda: "no cluster GUID" in etcd_lab.status("n2")["datastoreRefused"], "n2 refuses it", seconds=60)
            time.sleep(AWAY_SECONDS)
            assert etcd_lab.table("n2") == before
        finally:
            with etcd_lab.dead_etcd():
                os.rename(data, empty)
                os.rename(away, data)
        etcd_lab.follows_changes("after-loss")


@pytest.mark.etcd
def test_a_living_pod_that_an_older_snapshot_of_etcd_does_not_know_is_written_again_and_loses_nothing(
    etcd_lab: FaultyLab, tmp_path: Path
) -> None:
    """Before the agents see it others have written more than it lacks: no revision that it has is too low."""
    etcd_lab.eventually_ready()
    etcd_lab.eventually_connected()
    snapshot, names = tmp_path / "snapshot", [f"busy-{number}" for number in range(40)]
    kind = {"apiVersion": "projectcalico.org/v3", "kind": "GlobalNetworkSet"}
    sets = {"apiVersion": "v1", "kind": "List", "items": [{**kind, "metadata": {"name": name}} for name in names]}
    etcd_lab.save_etcd(snapshot)
    etcd_lab.lab("pod add", "default/newer", "--node", "n2", "--labels", "app=open").ok()
    addresses = [entry["address"].partition("/")[0] for entry in etcd_lab.pods()["default/newer"]["result"]["ips"]]
    try:
        with etcd_lab.traffic("newer"):
            with etcd_lab.stopped_agents():
                etcd_lab.put_back_etcd(snapshot)
                etcd_lab.tortie("apply", "-f", "-", stdin=json.dumps(sets)).ok()
            eventually(lambda: "newer" in etcd_lab.tortie("get", "workloadendpoint", "-A", "-o", "json").ok().out, "it is back")
            eventually(lambda: not any("newer" in key for key in etcd_lab.status("n2")["problems"]), "n2 is content")
            for address in addresses:
                assert "newer" in etcd_lab.tortie("ipam", "show", f"--ip={address}").ok().out, f"{address} is not booked"
                assert address in etcd_lab.routes("n2")
            etcd_lab.follows_changes("after-snapshot")
    finally:
        etcd_lab.lab("pod rm", "default/newer").ok()
