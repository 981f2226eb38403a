"""tortie ipam pool migrate, check --fix and release --from-report, as an operator uses them."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from tests.unit.cli.stage import Tortie, command_line
from tests.unit.ipam.cluster import fill, node, pool

from tortie.base.net import parse_address
from tortie.datastore.sqlite.client import SqliteClient
from tortie.ipam.allocator import Ipam


@pytest.fixture
def tortie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Tortie:
    """Two pools; a pod and a tunnel have addresses of the old one, and no endpoint says so."""
    call = command_line(tmp_path, monkeypatch, capsys)

    async def prepare() -> None:
        client = SqliteClient(str(tmp_path / "store" / "t.sqlite"))
        await fill(
            client, node("n1", zone="a"), pool("old", "10.0.0.0/24", blockSize=28), pool("new", "10.1.0.0/24", blockSize=28)
        )
        await fill(client, pool("tiny", "10.2.0.0/32", blockSize=32), pool("west", "10.3.0.0/24", nodeSelector="zone == 'b'"))
        ipam = Ipam(client)
        pod = {"pod": "web", "namespace": "shop", "node": "n1"}
        await ipam.assign_ip(parse_address("10.0.0.17"), "k8s.web", attributes=pod, node="n1")
        tunnel = {"node": "n1", "type": "vxlanTunnelAddress"}
        await ipam.assign_ip(parse_address("10.0.0.18"), "vxlan-tunnel-addr-n1", attributes=tunnel, node="n1")
        await client.close()

    (tmp_path / "store").mkdir()
    asyncio.run(prepare())
    return call


def disabled(tortie: Tortie, name: str) -> str:
    return tortie("get", "ippool", name, "-o", "jsonpath={.spec.disabled}").out


def test_a_migration_disables_the_old_pool_and_names_the_pods_to_restart(tortie: Tortie) -> None:
    answer = tortie("ipam", "pool", "migrate", "old", "new")
    assert answer.code == 2
    assert answer.out.splitlines()[:4] == [
        "IP pool old gives no more addresses (--rollback undoes that).",
        "2 addresses of old are in use: 1 of pods, 1 of nodes' tunnels and others.",
        "Restart these pods (their owners make new ones, which get addresses of the new pool):",
        "  shop/web  10.0.0.17  on n1",
    ]
    assert disabled(tortie, "old") == "true"
    for address in ("10.0.0.17", "10.0.0.18"):
        tortie("ipam", "release", "--ip", address)
    answer = tortie("ipam", "pool", "migrate", "old", "new", "--delete", "--wait", "5s")
    assert (answer.code, answer.out.splitlines()[-1]) == (0, "IP pool old is deleted.")
    assert tortie("get", "ippool", "old").code == 1
    assert tortie("get", "blockaffinities", "-o", "name").out == ""


def test_a_rollback_makes_the_pool_what_it_was(tortie: Tortie) -> None:
    before = json.loads(tortie("get", "ippool", "old", "-o", "json").out)
    assert tortie("ipam", "pool", "migrate", "old", "new").code == 2
    assert tortie("ipam", "pool", "migrate", "old", "new", "--rollback").code == 0
    after = json.loads(tortie("get", "ippool", "old", "-o", "json").out)
    for one in (before, after):
        del one["metadata"]["resourceVersion"]
    assert after == before
    answer = tortie("ipam", "pool", "migrate", "old", "new", "--rollback")
    assert (answer.code, answer.err) == (1, "IP pool old is not being migrated: there is nothing to roll back\n")


@pytest.mark.parametrize(
    ("new", "words"),
    [
        ("old", "are the same"),
        ("none", "there is no IP pool none"),
        ("tiny", "tiny has 1 free addresses, and 2 of old are in use"),
        ("west", "spec.nodeSelector of west does not select n1"),
    ],
)
def test_what_stands_against_a_migration_is_told_and_nothing_changes(tortie: Tortie, new: str, words: str) -> None:
    answer = tortie("ipam", "pool", "migrate", "old", new)
    assert answer.code == 1
    assert words in answer.err
    assert disabled(tortie, "old") == ""


def test_a_look_before_changes_nothing(tortie: Tortie) -> None:
    assert tortie("ipam", "pool", "migrate", "old", "new", "--check").code == 0
    assert tortie("ipam", "pool", "migrate", "old", "west", "--check").code == 2
    assert disabled(tortie, "old") == ""


def test_check_fix_tells_first_and_wants_the_lock(tortie: Tortie) -> None:
    answer = tortie("ipam", "check", "--fix")
    assert answer.out.splitlines()[-4:] == [
        "2 things can be fixed:",
        "  release 10.0.0.17 of handle k8s.web",
        "  release 10.0.0.18 of handle vxlan-tunnel-addr-n1",
        "Nothing was changed; --yes does it.",
    ]
    answer = tortie("ipam", "check", "--fix", "--yes")
    assert answer.code == 1
    assert "not locked" in answer.err
    assert "is in use" in tortie("ipam", "show", "--ip", "10.0.0.17").out
    tortie("datastore", "migrate", "lock")
    assert "Fixed 2 of 2" in tortie("ipam", "check", "--fix", "--yes").out
    assert tortie("ipam", "check").out.endswith("found 0 problems.\n")
    assert tortie("ipam", "check", "--yes").code == 1


def test_a_report_releases_what_nobody_uses_and_only_under_the_lock(tortie: Tortie, tmp_path: Path) -> None:
    tortie("apply", "-f", "-", stdin="apiVersion: projectcalico.org/v3\nkind: Tier\nmetadata: {name: t}\nspec: {order: 1}\n")
    tortie("ipam", "check", "-o", "early")
    assert "not locked" in tortie("ipam", "release", "--from-report", "early").err
    tortie("datastore", "migrate", "lock")
    assert "no report is up to date" in tortie("ipam", "release", "--from-report", "early").err
    tortie("ipam", "check", "-o", "late")
    foreign = json.loads((tmp_path / "late").read_text()) | {"clusterGUID": "other"}
    (tmp_path / "foreign").write_text(json.dumps(foreign))
    assert "report is of cluster other" in tortie("ipam", "release", "--from-report", "foreign", "--force").err
    tortie("ipam", "release", "--ip", "10.0.0.18")
    answer = tortie("ipam", "release", "--from-report", "early", "--from-report", "late")
    assert answer.out.splitlines()[:2] == ["Released 1 IPs successfully", "1 IPs were left alone:"]
    assert tortie("ipam", "show", "--ip", "10.0.0.17").out == "10.0.0.17 is not assigned\n"
    assert tortie("ipam", "release").code == 1


@pytest.mark.parametrize(
    "damage",
    [
        {"leakedHandles": 5},
        {"leakedHandles": [5]},
        {"allocations": None},
        {"allocations": {"10.0.0.17": [{}]}},
        {"allocations": {"10.0.0.17": [{"inUse": False, "sequenceNumber": "x"}]}},
    ],
)
def test_a_damaged_report_releases_nothing(tortie: Tortie, tmp_path: Path, damage: dict[str, Any]) -> None:
    tortie("ipam", "check", "-o", "report")
    (tmp_path / "report").write_text(json.dumps(json.loads((tmp_path / "report").read_text()) | damage))
    answer = tortie("ipam", "release", "--from-report", "report", "--force")
    assert (answer.code, answer.out) == (1, "")
    assert "report is no report of `ipam check -o`: " in answer.err
    assert "is in use" in tortie("ipam", "show", "--ip", "10.0.0.17").out
