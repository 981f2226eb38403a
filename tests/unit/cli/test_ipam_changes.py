"""tortie ipam release, configure, split, show --show-borrowed and the report of a check; the lock of the datastore."""

import asyncio
import json
from pathlib import Path

import pytest
from tests.unit.cli.stage import Answer, Tortie, command_line
from tests.unit.ipam.cluster import fill, node, pool

from tortie.base.net import parse_address
from tortie.datastore.sqlite.client import SqliteClient
from tortie.ipam.allocator import Ipam


@pytest.fixture
def tortie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Tortie:
    """One pool, one block of node n1, in which n2 has an address too."""
    call = command_line(tmp_path, monkeypatch, capsys)

    async def prepare() -> None:
        client = SqliteClient(str(tmp_path / "store" / "t.sqlite"))
        await fill(client, node("n1"), node("n2"), pool("p", "10.0.0.0/24", blockSize=28))
        ipam = Ipam(client)
        for name, place, text in (("web", "n1", "10.0.0.17"), ("db", "n2", "10.0.0.18")):
            attributes = {"pod": name, "namespace": "shop", "node": place, "timestamp": "then"}
            await ipam.assign_ip(parse_address(text), f"k8s.{name}", attributes=attributes, node=place)
        await client.close()

    (tmp_path / "store").mkdir()
    asyncio.run(prepare())
    return call


def test_an_address_is_released_once(tortie: Tortie) -> None:
    assert tortie("ipam", "release", "--ip", "10.0.0.17") == Answer(0, "Successfully released IP address 10.0.0.17\n", "")
    assert tortie("ipam", "show", "--ip", "10.0.0.17").out == "10.0.0.17 is not assigned\n"
    assert tortie("ipam", "release", "--ip", "10.0.0.17") == Answer(1, "", "IP address 10.0.0.17 is not assigned\n")
    assert tortie("ipam", "release", "--ip", "ten").err == "Error executing command: invalid IP address specified: ten\n"


def test_borrowed_addresses_name_borrower_and_owner(tortie: Tortie) -> None:
    lines = tortie("ipam", "show", "--show-borrowed").out.splitlines()
    assert [cell.strip() for cell in lines[3].strip("|").split("|")] == [
        "10.0.0.18", "n2", "10.0.0.16/28", "n1", "Workload", "shop/db",
    ]  # fmt: skip
    assert len(lines) == 5


def test_the_configuration_is_shown_and_changed(tortie: Tortie) -> None:
    assert "| StrictAffinity               | false   |" in tortie("ipam", "configure", "show").out
    answer = tortie("ipam", "configure", "--strictaffinity=true", "--max-blocks-per-host", "4", "--ip-cooldown-seconds=30")
    assert answer.out.splitlines() == [
        "Successfully set StrictAffinity to: true",
        "Successfully set MaxBlocksPerHost to: 4",
        "Successfully set IPCooldownSeconds to: 30",
    ]
    assert tortie("ipam", "configure", "--max-blocks-per-host=5", "--ip-cooldown-seconds=-1").code == 0
    # A node that may have only so many blocks must not borrow: the two go together.
    assert tortie("ipam", "configure", "--strictaffinity=false").code == 1
    shown = tortie("ipam", "show", "--show-configuration").out
    assert tortie("ipam", "configure", "show").out == shown
    values = dict(line.strip("| ").split("|") for line in shown.splitlines()[3:-1])
    assert {key.strip(): value.strip() for key, value in values.items()} == {
        "StrictAffinity": "true",
        "AutoAllocateBlocks": "true",
        "MaxBlocksPerHost": "5",
        "KubeVirtVMAddressPersistence": "<unset>",
        "IPCooldownSeconds": "30",
    }


@pytest.mark.parametrize("arguments", [(), ("--ip-cooldown-seconds=-1",)])
def test_configuring_nothing_is_an_error(tortie: Tortie, arguments: tuple[str, ...]) -> None:
    assert tortie("ipam", "configure", *arguments).err == "at least one configuration option must be specified\n"


def test_a_pool_is_split_while_the_datastore_is_locked(tortie: Tortie) -> None:
    assert "not locked" in tortie("ipam", "split", "2", "--name", "p").err
    assert tortie("datastore", "migrate", "lock").out == "Datastore locked.\n"
    assert "there is no IP pool 11.0.0.0/24" in tortie("ipam", "split", "2", "--cidr", "11.0.0.0/24").err
    assert "power of two" in tortie("ipam", "split", "3", "--name", "p").err
    assert "say which pool" in tortie("ipam", "split", "2").err
    answer = tortie("ipam", "split", "2", "--cidr", "10.0.0.0/24")
    assert answer.code == 0, answer.err
    assert tortie("get", "pools", "-o", "jsonpath={.items[*].spec.cidr}").out == "10.0.0.0/25 10.0.0.128/25"
    assert "10.0.0.17 is in use" in tortie("ipam", "show", "--ip", "10.0.0.17").out
    assert tortie("datastore", "migrate", "unlock").out == "Datastore unlocked.\n"
    assert tortie("get", "clusterinfo", "default", "-o", "jsonpath={.spec.datastoreReady}").out == "true"


def test_the_report_of_a_check_tells_each_address(tortie: Tortie) -> None:
    answer = tortie("ipam", "check", "--show-all-ips", "--show-problem-ips", "-o", "report.json")
    assert answer.code == 0
    assert "  10.0.0.18 in block 10.0.0.16/28, handle k8s.db: in use by nobody\n" in answer.out
    assert "Check complete; found 2 problems.\n" in answer.out
    found = json.loads(Path("report.json").read_text())
    assert sorted(found["allocations"]) == ["10.0.0.17", "10.0.0.18"]
    entry = found["allocations"]["10.0.0.18"][0]
    assert isinstance(entry.pop("sequenceNumber"), int)
    assert entry == {
        "ip": "10.0.0.18", "handle": "k8s.db", "pod": "db", "namespace": "shop", "node": "n2", "type": "",
        "creationTimestamp": "then", "inUse": False, "borrowed": True, "coolingDown": False, "owners": [],
    }  # fmt: skip
    assert (found["datastoreLocked"], found["leakedHandles"]) == (False, [])


def test_a_report_that_cannot_be_written_is_an_error(tortie: Tortie) -> None:
    assert "cannot write no/r.json" in tortie("ipam", "check", "-o", "no/r.json").err
