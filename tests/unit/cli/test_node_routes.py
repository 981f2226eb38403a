"""tortie node routes: what the agent decided, asked by address."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.unit.cli.stage import Tortie, command_line


@pytest.fixture
def tortie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Tortie:
    monkeypatch.setenv("TORTIE_RUN_DIR", str(tmp_path))
    return command_line(tmp_path, monkeypatch, capsys)


def route(destination: str, node: str, **fields: Any) -> dict[str, Any]:
    known = {"way": "vxlan", "owner": "agent", "nextHop": "10.0.1.1", "encrypted": False, "reason": "pool a has VXLAN Always"}
    return {"destination": destination, "node": node} | known | fields


@pytest.fixture
def known(tmp_path: Path) -> None:
    routes = [
        route("10.0.1.0/26", "near", encrypted=True),
        route("10.0.1.5/32", "far"),
        route("10.0.2.0/26", "far", way="none", owner="nobody", nextHop="", reason="far has no IPv4 address"),
        route("fd00:10::/122", "near"),
    ]
    borrowed = {"destination": "10.0.2.7/32", "workload": "prod/db", "interface": "cali1"}
    document = {"kind": "NodeRoutes", "node": "here", "routes": routes, "workloads": [borrowed]}
    (tmp_path / "routes.json").write_text(json.dumps(document))


@pytest.mark.usefixtures("known")
def test_all_routes_with_their_reasons(tortie: Tortie) -> None:
    answer = tortie("node", "routes")
    assert answer.code == 0
    assert [line.split("|")[1].strip() for line in answer.out.splitlines() if line.startswith("| ")] == [
        "DESTINATION",
        "10.0.1.0/26",
        "10.0.1.5/32",
        "10.0.2.0/26",
        "fd00:10::/122",
    ]
    assert "far has no IPv4 address" in answer.out


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize(
    ("to", "found"),
    [
        ("10.0.1.5", ["10.0.1.5/32"]),
        ("10.0.1.6", ["10.0.1.0/26"]),
        ("10.0.0.0/16", ["10.0.1.0/26", "10.0.1.5/32", "10.0.2.0/26"]),
        ("10.0.1.0/26", ["10.0.1.0/26", "10.0.1.5/32"]),
        ("fd00:10::1", ["fd00:10::/122"]),
        ("0.0.0.0/0", ["10.0.1.0/26", "10.0.1.5/32", "10.0.2.0/26"]),
    ],
)
def test_the_route_that_decides_about_an_address_and_all_within_a_network(tortie: Tortie, to: str, found: list[str]) -> None:
    answer = tortie("node", "routes", to, "-o", "json")
    assert (answer.code, [each["destination"] for each in json.loads(answer.out)]) == (0, found)


@pytest.mark.usefixtures("known")
def test_a_workload_of_this_node_is_here_though_its_address_is_of_anothers_block(tortie: Tortie) -> None:
    answer = tortie("node", "routes", "10.0.2.7", "-o", "json")
    found = json.loads(answer.out)
    assert [(each["destination"], each["node"], each["way"]) for each in found] == [("10.0.2.7/32", "here", "local")]
    assert found[0]["reason"] == "workload prod/db of this node, behind cali1"
    assert [each["node"] for each in json.loads(tortie("node", "routes", "10.0.2.8", "-o", "json").out)] == ["far"]


@pytest.mark.usefixtures("known")
def test_an_answer_without_an_agent_says_that_it_is_an_old_one(tortie: Tortie) -> None:
    assert tortie("node", "routes").err == "No agent runs here: this is what the last one decided.\n"


@pytest.mark.usefixtures("known")
def test_an_address_that_no_route_covers_is_said_by_the_exit_code_too(tortie: Tortie) -> None:
    answer = tortie("node", "routes", "192.0.2.1")
    assert (answer.code, answer.out) == (2, "No route of the cluster leads to 192.0.2.1.\n")


@pytest.mark.usefixtures("known")
def test_what_is_no_address_is_refused_by_name(tortie: Tortie) -> None:
    answer = tortie("node", "routes", "nonsense")
    assert answer.code == 1
    assert "'nonsense' is neither an address nor a CIDR" in answer.err


def test_without_the_agents_file_it_says_who_writes_it(tortie: Tortie) -> None:
    answer = tortie("node", "routes")
    assert answer.code == 1
    assert "the agent of this node writes it once it is in sync" in answer.err
