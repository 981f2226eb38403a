"""Calico's endpoint-status folder."""

import json
from pathlib import Path

import pytest

from tortie.agent.endpoint_status import EndpointStatusFiles, content, file_name
from tortie.base.net import parse_prefix
from tortie.intent.endpoint import Endpoint
from tortie.intent.keys import EndpointId


def endpoint(pod: str, *addresses: str) -> Endpoint:
    return Endpoint(
        id=EndpointId("node1", "shop", f"node1-k8s-{pod.replace('-', '--')}-eth0"),
        workload=f"shop/{pod}",
        interface=f"cali{pod}",
        addresses=tuple(map(parse_prefix, addresses)),
        tiers=(),
        profiles=(),
        mac="ee:ee:ee:ee:ee:ee",
    )


def names(prefix: Path) -> list[str]:
    return sorted(entry.name for entry in (prefix / "endpoint-status").iterdir())


def test_the_name_is_orchestrator_workload_and_endpoint_escaped() -> None:
    assert file_name(endpoint("web-1").id) == "k8s shop%2Fweb-1 eth0"
    assert file_name(EndpointId("n", "", "n-openstack-vm%1-tap0")) == "openstack vm%251 tap0"
    with pytest.raises(ValueError, match="four parts"):
        file_name(EndpointId("n", "shop", "odd"))


def test_a_file_tells_interface_and_addresses() -> None:
    assert json.loads(content(endpoint("web", "10.0.0.1", "fd00::1"))) == {
        "ifaceName": "caliweb",
        "mac": "ee:ee:ee:ee:ee:ee",
        "ipv4Nets": ["10.0.0.1/32"],
        "ipv6Nets": ["fd00::1/128"],
    }


def test_the_folder_follows_and_what_an_earlier_agent_left_is_cleared(tmp_path: Path) -> None:
    folder = tmp_path / "endpoint-status"
    folder.mkdir()
    (folder / "k8s shop%2Fgone eth0").write_text("{}")
    (folder / "k8s shop%2Fweb eth0").write_text("old")
    files = EndpointStatusFiles(tmp_path)
    web, api = endpoint("web", "10.0.0.1"), endpoint("api", "10.0.0.2")
    files.sync({web.id: web, api.id: api})
    assert names(tmp_path) == ["k8s shop%2Fapi eth0", "k8s shop%2Fweb eth0"]
    assert json.loads((folder / "k8s shop%2Fweb eth0").read_text())["ipv4Nets"] == ["10.0.0.1/32"]
    moved = endpoint("web", "10.0.0.9")
    files.sync({web.id: moved})
    assert names(tmp_path) == ["k8s shop%2Fweb eth0"]
    assert "10.0.0.9" in (folder / "k8s shop%2Fweb eth0").read_text()
    files.clear()
    assert names(tmp_path) == []


def test_a_file_that_did_not_change_is_not_written_again(tmp_path: Path) -> None:
    files = EndpointStatusFiles(tmp_path)
    web = endpoint("web", "10.0.0.1")
    files.sync({web.id: web})
    (file,) = (tmp_path / "endpoint-status").iterdir()
    before = file.stat().st_ino
    files.sync({web.id: web})
    assert file.stat().st_ino == before


def test_a_name_that_is_too_long_costs_only_its_own_file(tmp_path: Path) -> None:
    files = EndpointStatusFiles(tmp_path)
    long, web = endpoint("x" * 260), endpoint("web")
    files.sync({long.id: long, web.id: web})
    assert names(tmp_path) == ["k8s shop%2Fweb eth0"]
