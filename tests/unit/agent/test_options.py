"""The agent's own name and places."""

from pathlib import Path

import pytest

from tortie.agent.options import AgentError, bgp_environment, read_options
from tortie.calc.bgp_settings import BgpEnvironment


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


def test_calicos_variables_about_bgp_are_read_and_wrong_ones_refused_by_name() -> None:
    environment = {
        "CALICO_NETWORKING_BACKEND": "none",
        "CALICO_ROUTER_ID": "hash",
        "CALICO_ADVERTISE_CLUSTER_IPS": "10.96.0.0/12",
        "BGP_LOGSEVERITYSCREEN": "debug",
    }
    found = bgp_environment(read_options(environment, node="n"))
    assert found == BgpEnvironment(speaks=False, router_id="hash", log_level="debug", cluster_ips="10.96.0.0/12")
    assert bgp_environment(read_options({"CALICO_ROUTER_ID": "192.0.2.1"}, node="n")) == BgpEnvironment(router_id="192.0.2.1")
    wrong = [("CALICO_ROUTER_ID", text) for text in ("fd00::1", "7", "0.0.0.0")]
    for name, value in (*wrong, ("CALICO_ADVERTISE_CLUSTER_IPS", "a,b")):
        with pytest.raises(AgentError, match=name):
            bgp_environment(read_options({name: value}, node="n"))


def test_who_carries_ipip_may_be_said_and_nobody_else() -> None:
    assert read_options({}, node="n").ipip == "auto"
    assert read_options({"TORTIE_IPIP": "ebpf"}, node="n").ipip == "ebpf"
    with pytest.raises(AgentError, match="TORTIE_IPIP='tcx'"):
        read_options({"TORTIE_IPIP": "tcx"}, node="n")
