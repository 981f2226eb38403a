"""tortie ipam, as a person sees it."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.unit.ipam.cluster import fill, pool

from tortie.api.ippool import IPReservation, IPReservationSpec
from tortie.api.resource import Metadata
from tortie.base.net import parse_address
from tortie.cli.ipam import ipam
from tortie.cli.main import run as command_line
from tortie.datastore.sqlite.client import SqliteClient
from tortie.ipam.allocator import Ipam

Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`tortie ipam ...` on a datastore with one pool and one address in use."""
    database = str(tmp_path / "test.db")
    monkeypatch.setenv("DATASTORE_TYPE", "sqlite")
    monkeypatch.setenv("TORTIE_SQLITE_PATH", database)

    async def prepare() -> None:
        client = SqliteClient(database)
        reserved = IPReservation(metadata=Metadata(name="r"), spec=IPReservationSpec(reserved_cidrs=("10.0.0.0/28",)))
        await fill(client, pool("p", "10.0.0.0/24", blockSize=28), reserved)
        attributes = {"pod": "web-1", "namespace": "shop"}
        await Ipam(client).assign_ip(parse_address("10.0.0.17"), "k8s-pod-network.abc", attributes=attributes, node="n1")
        await client.close()

    asyncio.run(prepare())

    def invoke(*arguments: str) -> str:
        result = CliRunner().invoke(ipam, arguments)
        assert result.exit_code == 0, result.output
        return result.output

    return invoke


def test_show_draws_the_table_of_calicoctl(run: Run) -> None:
    assert run("show", "--show-blocks") == (
        "+----------+--------------+-----------+------------+--------------+-----------+\n"
        "| GROUPING |     CIDR     | IPS TOTAL | IPS IN USE | IPS RESERVED | IPS FREE  |\n"
        "+----------+--------------+-----------+------------+--------------+-----------+\n"
        "| IP Pool  | 10.0.0.0/24  |       256 | 1 (0%)     | 16 (6%)      | 239 (93%) |\n"
        "| Block    | 10.0.0.16/28 |        16 | 1 (6%)     | 0 (0%)       | 15 (94%)  |\n"
        "+----------+--------------+-----------+------------+--------------+-----------+\n"
    )


def test_show_says_who_has_an_address(run: Run) -> None:
    assert run("show", "--ip", "10.0.0.17").splitlines() == [
        "IP 10.0.0.17 is in use",
        "Handle ID: k8s-pod-network.abc",
        "Active Owner Attributes:",
        "  namespace: shop",
        "  pod: web-1",
    ]
    assert run("show", "--ip", "10.0.0.18") == "10.0.0.18 is not assigned\n"


def test_check_finds_an_address_that_nobody_uses(run: Run) -> None:
    lines = run("check").splitlines()
    assert "  10.0.0.17 is allocated to handle 'k8s-pod-network.abc' and not in use" in lines
    assert lines[-1] == "Check complete; found 1 problems."


def test_an_address_that_is_none_is_an_error_that_names_the_option(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line(["ipam", "show", "--ip", "ten"]) == 1
    assert capsys.readouterr().err == "Error executing command: invalid IP address specified: ten\n"
