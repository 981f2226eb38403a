"""The agent's own name and places."""

from pathlib import Path

import pytest

from tortie.agent.options import AgentError, read_options


def test_a_flag_wins_over_felix_over_nodename() -> None:
    environment = {"FELIX_FELIXHOSTNAME": "felix", "NODENAME": "plain"}
    assert read_options(environment, node="flag").node == "flag"
    assert read_options(environment).node == "felix"
    assert read_options({"NODENAME": "plain"}).node == "plain"


def test_places_hang_below_one_run_directory(tmp_path: Path) -> None:
    options = read_options({}, node="n", run_dir=str(tmp_path))
    assert options.cni_socket.parent == tmp_path


def test_a_run_directory_too_long_for_a_socket_is_refused_by_name() -> None:
    with pytest.raises(AgentError, match="--run-dir"):
        read_options({}, node="n", run_dir="/run/" + "x" * 120)


def test_an_unknown_networking_backend_is_refused_by_name() -> None:
    with pytest.raises(AgentError, match="CALICO_NETWORKING_BACKEND"):
        read_options({"CALICO_NETWORKING_BACKEND": "carrier-pigeon"}, node="n")
