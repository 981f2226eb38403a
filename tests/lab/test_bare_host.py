"""A host without any orchestrator: the agent as systemd would run it, and workloads that are only WorkloadEndpoints."""

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.lab.bgp_stage import eventually
from tests.lab.stage import ROOT, Done, tortie, unique_name
from tests.lab.virtual_machine import VirtualMachine, virtual_machine

pytestmark = [pytest.mark.lab, pytest.mark.timeout(120)]

UNIT = ROOT / "packaging/systemd/tortie-agent.service"
ENVIRONMENT = ROOT / "packaging/systemd/agent.env"
API = "projectcalico.org/v3"
CLIENT, SERVER = ("10.250.0.1", "fd00:250::1"), ("10.250.0.2", "fd00:250::2")
_CAPABILITIES = {10: "CAP_NET_BIND_SERVICE", 12: "CAP_NET_ADMIN", 13: "CAP_NET_RAW", 19: "CAP_SYS_PTRACE"}
CONNECT = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=1.5).close()
except TimeoutError:
    sys.exit(2)
"""


def unit() -> dict[str, list[str]]:
    """The unit's settings; a list because some may be given several times."""
    found: dict[str, list[str]] = {}
    for line in UNIT.read_text().splitlines():
        name, is_setting, value = line.partition("=")
        if is_setting and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def environment() -> dict[str, str]:
    """What systemd reads from the environment file."""
    lines = ENVIRONMENT.read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    """The program is looked for by systemd, so it is given one that exists here."""
    program = shlex.split(unit()["ExecStart"][0])[0]
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace(program, shutil.which("true") or "/bin/true"))
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        assert {"Type", "ExecStart", "Restart", "KillMode"} <= set(unit())
        return
    done = subprocess.run([analyze, "verify", str(copy)], capture_output=True, text=True, check=False, timeout=50)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_units_command_line_is_one_that_the_program_has() -> None:
    words = shlex.split(unit()["ExecStart"][0])
    assert words[0] == "/opt/tortie/bin/tortie"
    assert words[1] == "agent"
    known = tortie("agent", "--help").ok().out
    assert [word for word in words if word.startswith("--") and word not in known] == []


def test_the_unit_keeps_bird_and_its_socket_when_the_agent_ends() -> None:
    settings = unit()
    assert settings["KillMode"] == ["process"]
    assert settings["RuntimeDirectoryPreserve"] == ["yes"]
    assert settings["Restart"] == ["always"]
    assert "ProtectKernelTunables" not in settings


class Host:
    """A network namespace with an uplink, and an agent in it that sees its own /run/tortie and /var/lib/tortie."""

    def __init__(self, folder: Path) -> None:
        self.name = f"tq{unique_name()[1:]}"
        self.space, self._outside = f"tortie-{self.name}.node.host", f"tortie-{self.name}.outside"
        self.run_dir, self.state_dir = folder / "run", folder / "state"
        self._log = folder / "agent.log"
        self._agent: subprocess.Popen[bytes] | None = None

    def build(self) -> None:
        """Namespaces and uplink. What the host does not have: a cluster, an orchestrator, a CNI configuration."""
        for path in (self.run_dir, self.state_dir):
            path.mkdir()
        for line in (
            f"netns add {self.space}",
            f"netns add {self._outside}",
            f"-n {self.space} link add eth0 type veth peer name eth0 netns {self._outside}",
            f"-n {self._outside} link set eth0 up",
            f"-n {self.space} link set lo up",
            f"-n {self.space} link set eth0 up",
            f"-n {self.space} addr add 192.0.2.1/24 dev eth0",
            f"-n {self.space} addr add 2001:db8::1/64 dev eth0 nodad",
            f"-n {self.space} route add default via 192.0.2.254",
            f"-n {self.space} -6 route add default via 2001:db8::fe",
        ):
            subprocess.run(["ip", *line.split()], check=True)

    def start(self) -> None:
        """The unit's command line, environment file and capabilities; in place of /opt, where nothing is installed."""
        program, *arguments = shlex.split(unit()["ExecStart"][0])
        capabilities = ",".join(f"+{name.removeprefix('CAP_').lower()}" for name in unit()["CapabilityBoundingSet"][0].split())
        assert program.endswith("/tortie")
        script = (
            'set -e; mount --bind "$1" /run/tortie; mount --bind "$2" /var/lib/tortie; shift 2;'
            f' exec setpriv --no-new-privs --inh-caps=-all --bounding-set=-all,{capabilities} -- "$@"'
        )
        agent = [sys.executable, "-m", "tortie.cli.main", *arguments]
        (self.run_dir / "status.json").unlink(missing_ok=True)
        with self._log.open("ab") as log:
            self._agent = subprocess.Popen(
                ["nsenter", f"--net=/run/netns/{self.space}", "--", "unshare", "--mount", "--", "sh", "-c", script, "sh",
                 str(self.run_dir), str(self.state_dir), *agent],
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **environment(), "NODENAME": "host"},
                stderr=log,
            )  # fmt: skip
        eventually(self._is_ready, self._log.read_text)

    def _is_ready(self) -> bool:
        path = self.run_dir / "status.json"
        return path.exists() and bool(json.loads(path.read_text())["ready"])

    def stop(self, number: signal.Signals) -> int:
        """What systemd does with KillMode=process: the main process alone is told. Returns its exit code."""
        assert self._agent is not None
        self._agent.send_signal(number)
        code = self._agent.wait(30)
        self._agent = None
        return code

    def capabilities(self) -> set[str]:
        """What the agent may do of what only root may."""
        assert self._agent is not None
        lines = Path(f"/proc/{self._agent.pid}/status").read_text().splitlines()
        effective = int(next(line for line in lines if line.startswith("CapEff:")).split()[1], 16)
        return {name for number, name in _CAPABILITIES.items() if effective >> number & 1} | (
            {"others"} if effective & ~sum(1 << number for number in _CAPABILITIES) else set()
        )

    def bird_pid(self) -> int:
        """The BIRD that the agent started."""
        return int((self.run_dir / "bird/bird.pid").read_text())

    def tortie(self, *arguments: str, stdin: str = "") -> Done:
        """`tortie ...` on this host's datastore."""
        path = str(self.state_dir / Path(environment()["TORTIE_SQLITE_PATH"]).name)
        return tortie(*arguments, env={"DATASTORE_TYPE": "sqlite", "TORTIE_SQLITE_PATH": path}, stdin=stdin)

    def close(self) -> None:
        """Everything ends and goes."""
        if self._agent is not None:
            self._agent.kill()
            self._agent.wait(30)
        with contextlib.suppress(OSError, ValueError):
            os.kill(self.bird_pid(), signal.SIGTERM)
        for name in (self.space, self._outside):
            subprocess.run(["ip", "netns", "delete", name], check=False, stderr=subprocess.DEVNULL)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = [path for path in (Path("/run/tortie"), Path("/var/lib/tortie")) if not path.exists()]
    for path in (Path("/run/tortie"), Path("/var/lib/tortie")):
        path.mkdir(exist_ok=True)  # only to be covered by a mount that the agent alone sees
    built = Host(tmp_path)
    try:
        built.build()
        yield built
    finally:
        built.close()
        for path in made:
            with contextlib.suppress(OSError):
                path.rmdir()


def workload(name: str, addresses: tuple[str, str], **labels: str) -> dict[str, object]:
    """A WorkloadEndpoint of a virtual machine."""
    return {
        "apiVersion": API,
        "kind": "WorkloadEndpoint",
        "metadata": {"name": f"host-libvirt-{name}-net0", "namespace": "default", "labels": labels},
        "spec": {
            "node": "host", "orchestrator": "libvirt", "workload": name, "endpoint": "net0",
            "interfaceName": f"tap{name}", "ipNetworks": [f"{addresses[0]}/32", f"{addresses[1]}/128"],
        },
    }  # fmt: skip


POLICIES = [
    {
        "apiVersion": API,
        "kind": "GlobalNetworkPolicy",
        "metadata": {"name": name},
        "spec": {"selector": f"role == '{name}'", "types": [direction], direction.lower(): [rule]},
    }
    for name, direction, rule in (
        ("server", "Ingress", {"action": "Allow", "protocol": "TCP", "source": {"selector": "role == 'client'"},
                               "destination": {"ports": [80]}}),
        ("client", "Egress", {"action": "Allow"}),
    )
]  # fmt: skip


def reaches(machine: VirtualMachine, address: str, port: int) -> bool:
    """True if a connection is made; a refusal is an error of the test, because then no policy was asked."""
    done = machine.run(sys.executable, "-c", CONNECT, address, str(port))
    assert done.returncode in (0, 2), done.stderr
    return done.returncode == 0


def test_an_agent_under_systemd_alone_enforces_policy_and_goes_on_through_its_own_end(host: Host, tmp_path: Path) -> None:
    host.start()
    with (
        virtual_machine(host.name, "c", node="host", addresses=CLIENT) as client,
        virtual_machine(host.name, "s", node="host", addresses=SERVER) as server,
    ):
        server.serve(tmp_path / "server.log", "tcp:80", "tcp:81")
        items = [workload("c", CLIENT, role="client"), workload("s", SERVER, role="server"), *POLICIES]
        host.tortie("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items})).ok()
        policy_holds(client)
        assert host.capabilities() == set(unit()["CapabilityBoundingSet"][0].split())
        bird = host.bird_pid()
        assert host.stop(signal.SIGTERM) == 0
        policy_holds(client)
        host.start()
        assert host.bird_pid() == bird
        policy_holds(client)
        host.stop(signal.SIGKILL)
        policy_holds(client)
        host.start()
        assert host.bird_pid() == bird
        host.tortie("delete", "-f", "-", stdin=json.dumps(POLICIES[0])).ok()
        eventually(lambda: not reaches(client, SERVER[0], 80), "without its policy nothing allows the server's port")


def policy_holds(client: VirtualMachine) -> None:
    """The server's open port is reached and the other is not, by both families."""
    for address in SERVER:
        eventually(lambda address=address: reaches(client, address, 80), f"{address} port 80")  # type: ignore[misc]
        assert not reaches(client, address, 81)
