"""The agent as an operator sees it: a real process, in a namespace of its own, under traffic."""

import contextlib
import json
import os
import resource
import secrets
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kernel.agent_node import AgentNode, agent_node
from tests.kernel.dataplane_stage import Pod, open_socket, udp_arrives

from tortie.api.agent import AgentStatus
from tortie.api.felix import FelixConfiguration, HealthTimeoutOverride
from tortie.api.policy import GlobalNetworkPolicy, GlobalNetworkPolicySpec
from tortie.api.resource import Key, Metadata
from tortie.base.net import Family
from tortie.datastore.client import Client

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(120)]
HEALTH, METRICS = 9099, 9091


@pytest.fixture
def node() -> Iterator[AgentNode]:
    with agent_node() as made:
        yield made


_SO_RCVBUFFORCE = 33


class Stream:
    """Numbered datagrams from the outside to a pod, one every few milliseconds, and which of them arrived."""

    def __init__(self, node: AgentNode, pod: Pod, family: Family) -> None:
        self._sender = open_socket(node.stage.outside, family, socket.SOCK_DGRAM)
        self._receiver = open_socket(pod.netns, family, socket.SOCK_DGRAM)
        self._receiver.bind(("", 7000))
        self._receiver.settimeout(0.5)
        # Whoever reads it may be without a processor for longer than the usual buffer lasts.
        self._receiver.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 8 << 20)
        self._target = (pod.address(family), 7000)
        self._ended = threading.Event()
        self.sent = 0
        self.arrived: set[int] = set()
        self._threads = [threading.Thread(target=self._send), threading.Thread(target=self._receive)]

    def __enter__(self) -> "Stream":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()
        self._sender.close()
        self._receiver.close()

    def _send(self) -> None:
        while not self._ended.is_set():
            self._sender.sendto(self.sent.to_bytes(8), self._target)
            self.sent += 1
            time.sleep(0.004)

    def _receive(self) -> None:
        while True:
            try:
                self.arrived.add(int.from_bytes(self._receiver.recv(64)))
            except TimeoutError:
                if self._ended.is_set():
                    return


def deny_all(name: str = "deny") -> GlobalNetworkPolicy:
    return GlobalNetworkPolicy(metadata=Metadata(name=name), spec=GlobalNetworkPolicySpec(selector="all()", types=("Ingress",)))


def reaches(node: AgentNode, pod: Pod, family: Family = Family.V4) -> bool:
    port = 20000 + secrets.randbelow(20000)
    return udp_arrives(node.stage.outside, family, pod.netns, pod.address(family), port)


def reported(node: AgentNode) -> AgentStatus:
    async def read(client: Client) -> AgentStatus:
        found = await client.get(Key("AgentStatus", "", "node1"))
        assert isinstance(found, AgentStatus)
        return found

    return node.do(read)


def table(node: AgentNode) -> str:
    """Our table with handles, without counters: equal only if nothing was touched."""
    return node.stage.show(node.stage.node, "nft", "-a", "-s", "list", "table", "inet", "tortie")


def test_pages_come_and_go_with_the_configuration_and_say_what_they_should(node: AgentNode) -> None:
    node.pod(1)
    node.start()
    assert node.get("/readiness", port=HEALTH) == (0, "")
    assert node.get("/metrics", port=METRICS) == (0, "")
    node.configure(
        health_enabled=True,
        health_host="127.0.0.1",
        prometheus_metrics_enabled=True,
        health_timeout_overrides=(HealthTimeoutOverride(name="CalculationGraph", timeout="40s"),),
    )
    node.until(lambda: node.get("/readiness", port=HEALTH)[0] == 200)
    node.until(lambda: node.get("/metrics", port=METRICS)[0] == 200)
    assert "InternalDataplaneMainLoop: ok" in node.get("/liveness", port=HEALTH)[1]
    assert node.get("/elsewhere", port=HEALTH)[0] == 404
    node.apply(deny_all())
    node.until(lambda: "felix_active_local_policies 1" in node.get("/metrics", port=METRICS)[1])
    text = node.get("/metrics", port=METRICS)[1]
    for line in ("felix_active_local_endpoints 1", "felix_resync_state 3", "felix_cluster_num_policies 1", "tortie_ready 1"):
        assert line in text.splitlines(), line
    assert "tortie_policy_to_kernel_seconds_count" in text
    assert "No description" not in text
    node.configure(health_enabled=True, health_port=9199)
    node.until(lambda: node.get("/readiness", port=9199)[0] == 200)
    assert node.get("/readiness", port=HEALTH)[0] == 0
    assert node.get("/metrics", port=METRICS)[0] == 0


def test_sigterm_leaves_the_kernel_as_it_is(node: AgentNode) -> None:
    pod = node.pod(1)
    node.start()
    before = table(node)
    assert node.stop() == 0
    assert table(node) == before
    assert reaches(node, pod)
    assert reaches(node, pod, Family.V6)


def test_without_a_datastore_the_agent_waits_alive_and_says_why_it_is_not_ready(node: AgentNode) -> None:
    folder, away = node.database.parent, node.folder / "away"
    pod = node.pod(1)
    folder.rename(away)
    folder.write_text("no directory")
    node.start(wait=False, FELIX_HEALTHENABLED="true")
    node.until(lambda: node.get("/liveness", port=HEALTH)[0] == 200)
    status, text = node.get("/readiness", port=HEALTH)
    assert status == 503
    assert "FelixStartup: FAILED (waiting for the datastore)" in text
    assert "the kernel stays as it is" in node.log()
    folder.unlink()
    away.rename(folder)
    node.until(lambda: node.get("/readiness", port=HEALTH)[0] == 200)
    assert reaches(node, pod)


def test_a_refused_configuration_leaves_the_one_before_and_makes_the_agent_unready(node: AgentNode) -> None:
    node.start(FELIX_HEALTHENABLED="true")
    annotations = {"config.projectcalico.org/NftablesMarkMask": "0x1"}
    node.apply(FelixConfiguration(metadata=Metadata(name="default", annotations=annotations)))
    node.until(lambda: node.get("/readiness", port=HEALTH)[0] == 503)
    assert "Configuration: FAILED (NftablesMarkMask" in node.get("/readiness", port=HEALTH)[1]
    assert node.get("/liveness", port=HEALTH)[0] == 200
    node.configure()
    node.until(lambda: node.get("/readiness", port=HEALTH)[0] == 200)


def test_the_log_level_changes_live_and_logs_are_json_on_demand(node: AgentNode) -> None:
    node.start("--log-format", "json")
    node.configure(log_severity_screen="Error")
    node.until(lambda: not node.status().get("applies", 0) < 1)
    size = -1
    while size != len(node.log()):  # until what was said before the level was known has been said
        size = len(node.log())
        time.sleep(1.0)
    node.configure(log_severity_screen="Error", health_enabled=True)
    node.until(lambda: node.get("/readiness", port=HEALTH)[0] == 200)
    assert len(node.log()) == size
    node.configure(log_severity_screen="Info", health_enabled=False)
    node.until(lambda: node.get("/readiness", port=HEALTH)[0] == 0)  # two changes at once would be none
    node.configure(log_severity_screen="Info", health_enabled=True)
    node.until(lambda: "health: listening" in node.log()[size:])
    for line in node.log().splitlines():
        assert {"time", "level", "logger", "message"} <= json.loads(line).keys()


@pytest.mark.parametrize("family", list(Family))
def test_a_restart_in_place_keeps_pid_and_kernel_and_loses_no_packet(node: AgentNode, family: Family) -> None:
    pod = node.pod(1)
    pid = node.start()
    assert reaches(node, pod, family)
    before = table(node)
    with Stream(node, pod, family) as stream:
        time.sleep(0.3)
        os.kill(pid, signal.SIGHUP)
        node.until(lambda: node.log().count("datastore in sync") == 2)
        node.until(lambda: node.status().get("ready") is True)
        node.configure(interface_prefix="cali,tap")
        node.until(lambda: node.log().count("datastore in sync") == 3)
        node.until(lambda: node.status().get("ready") is True)
        time.sleep(0.3)
    assert "InterfacePrefix is now ('cali', 'tap')" in node.log()
    assert node.status()["pid"] == pid
    assert stream.sent > 100
    assert stream.arrived == set(range(stream.sent))
    # Chains that do not depend on the prefix kept their handles and so their counters.
    kept = [line for line in before.splitlines() if "chain filter-cali-" in line and "cali1 " in line]
    assert len(kept) == 2
    assert all(line in table(node) for line in kept)


def test_out_of_file_descriptors_the_kernel_stays_and_the_agent_recovers(node: AgentNode) -> None:
    pod = node.pod(1)
    pid = node.start(FELIX_HEALTHENABLED="true")
    assert reaches(node, pod)
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (8, limits[1]))
    node.apply(deny_all())
    node.until(lambda: "health: cannot accept, will be tried again: Too many open files" in pressed(node))
    time.sleep(3.0)
    assert node.process is not None
    assert node.process.poll() is None, node.log()[-3000:]
    assert "table inet tortie" in table(node)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
    node.until(lambda: not reaches(node, pod))
    node.until(lambda: node.get("/readiness", port=HEALTH)[0] == 200)
    assert node.status()["pid"] == pid


def test_endpoint_status_files_follow_the_kernel_and_reports_the_datastore(node: AgentNode) -> None:
    prefix = node.folder / "calico"
    folder = prefix / "endpoint-status"
    folder.mkdir(parents=True)
    (folder / "k8s shop%2Fgone eth0").write_text("{}")
    node.pod(1)
    node.start(FELIX_ENDPOINTSTATUSPATHPREFIX=str(prefix), FELIX_ENDPOINTREPORTINGENABLED="true", FELIX_BPFENABLED="true")
    node.until(lambda: names(folder) == ["k8s shop%2Fpod1 eth0"])
    said = json.loads((folder / "k8s shop%2Fpod1 eth0").read_text())
    assert said["ifaceName"] == "cali1"
    assert said["ipv4Nets"] == ["10.77.0.1/32"]
    assert said["ipv6Nets"] == ["fd77::1/128"]
    node.until(lambda: reported(node).spec.endpoints == {"shop/node1-k8s-pod1-eth0": "up"})
    spec = reported(node).spec
    assert spec.ready
    assert spec.ttl_seconds == 90
    assert spec.problems == ("BPFEnabled in the environment: not supported by this release of Tortie",)

    async def remove(client: Client) -> None:
        await client.delete(Key("WorkloadEndpoint", "shop", "node1-k8s-pod1-eth0"))

    node.do(remove)
    node.until(lambda: names(folder) == [])
    node.until(lambda: reported(node).spec.local_endpoints == 0)


def pressed(node: AgentNode) -> str:
    """The log, after a request that nobody may answer."""
    with contextlib.suppress(OSError):
        node.get("/readiness", port=HEALTH, timeout=0.2)
    return node.log()


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))


def test_a_fatal_parameter_of_the_environment_is_refused_by_name(node: AgentNode) -> None:
    node.start(wait=False, FELIX_DEFAULTENDPOINTTOHOSTACTION="perhaps")
    assert node.process is not None
    assert node.process.wait(timeout=20) == 1
    node.process = None
    assert "DefaultEndpointToHostAction in the environment: 'perhaps' is not understood" in node.log()


def test_what_is_read_at_the_start_comes_from_the_datastore_too_and_a_change_restarts_in_place(node: AgentNode) -> None:
    def forwarding() -> str:
        return node.stage.show(node.stage.node, "sysctl", "-n", "net.ipv4.ip_forward").strip()

    node.stage.sysctl(node.stage.node, {"net.ipv4.ip_forward": 0})
    node.configure(ip_forwarding="Disabled")
    pid = node.start()
    assert forwarding() == "0"
    node.configure(ip_forwarding="Enabled")
    node.until(lambda: forwarding() == "1")
    node.until(lambda: node.status().get("ready") is True)
    assert node.status()["pid"] == pid


def test_the_kernel_is_read_back_as_often_as_the_parameters_say(node: AgentNode) -> None:
    def read_backs() -> int:
        lines = node.get("/metrics", port=METRICS)[1].splitlines()
        return next((int(line.split()[1]) for line in lines if line.startswith("felix_nft_list_calls ")), 0)

    node.start(FELIX_PROMETHEUSMETRICSENABLED="true", FELIX_IPSETSREFRESHINTERVAL="0")
    node.until(lambda: read_backs() == 1)
    time.sleep(2.5)
    assert read_backs() == 1
    node.configure(nftables_refresh_interval="1s")
    node.until(lambda: read_backs() >= 3)
