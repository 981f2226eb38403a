"""A lab to break things in: on a small disk of its own, with counted traffic that must neither stop nor leak meanwhile."""

import contextlib
import json
import os
import secrets
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.lab.stage import Done, RunningLab, is_running, tortie

from tortie.base.net import Address, parse_address
from tortie.lab.stream import Stream

SOAK = bool(os.environ.get("TORTIE_SOAK"))
"""True: everything takes as long as it would in life (`make soak`)."""

PORT = 80
RATE = 500  # for each family, so 1,000 a second between two pods
DISK_MEGABYTES = {"sqlite": 64, "etcd": 512}
"""etcd lays out 64 MB for each file of its log."""
SHUT = {
    "apiVersion": "projectcalico.org/v3",
    "kind": "NetworkPolicy",
    "metadata": {"name": "shut", "namespace": "default"},
    "spec": {"selector": "app == 'shut'", "types": ["Ingress"], "ingress": [{"action": "Allow", "protocol": "UDP"}]},
}
FOREIGN_TABLE = "table inet theirs { chain c { type filter hook input priority 5; counter; }; }"
FOREIGN_ROUTE = ("203.0.113.0/24", "dev", "eth0", "table", "77")
FOREIGN_RULE = ("pref", "12345", "from", "203.0.113.9", "lookup", "77")


class FaultyLab(RunningLab):
    """Two nodes. `default/asker` on n1 may reach `default/open` on n2, and may not reach `default/shut`."""

    def __init__(self, root: Path, name: str, datastore: str) -> None:
        super().__init__(name)
        self.folder = root / name
        self.datastore = datastore
        self.database = self.folder / "datastore" / "tortie.sqlite"
        self.environment = {"DATASTORE_TYPE": "sqlite", "TORTIE_SQLITE_PATH": str(self.database)}
        if datastore == "etcd":
            self.environment = {"DATASTORE_TYPE": "etcdv3", "ETCD_ENDPOINTS": f"unix://{self.folder}/etcd/clients:0"}
        self.root = {"TORTIE_LAB_ROOT": str(root)}
        self._started: list[subprocess.Popen[bytes]] = []

    def lab(self, *arguments: str, timeout: float = 60) -> Done:
        """As everybody's, among the labs on this disk."""
        command, *rest = arguments
        return tortie("lab", *command.split(), "--name", self.name, *rest, env=self.root, timeout=timeout)

    def fill(self) -> None:
        """Pods, policy, and things in n2's kernel that are not ours."""
        self.lab("pod add", "default/asker", "--node", "n1").ok()
        self.lab("pod add", "default/open", "--node", "n2", "--labels", "app=open").ok()
        self.lab("pod add", "default/shut", "--node", "n2", "--labels", "app=shut").ok()
        self.tortie("apply", "-f", "-", stdin=json.dumps(SHUT)).ok()
        self.eventually_enforced("n2", "shut")
        self.on("node/n2", "nft", FOREIGN_TABLE).ok()
        self.on("node/n2", "ip", "route", "add", *FOREIGN_ROUTE).ok()
        self.on("node/n2", "ip", "rule", "add", *FOREIGN_RULE).ok()

    # ---- traffic ----
    @contextlib.contextmanager
    def traffic(self, *more: str) -> Iterator[None]:
        """1,000 packets a second to each of the two targets, and of `more` pods that may be reached, while the block runs:
        none cut, none leaked, nothing of others touched."""
        streams = [(name, self._stream(name, family)) for name in ("open", "shut", *more) for family in (4, 6)]
        for _, stream in streams:
            stream.start()
        try:
            time.sleep(0.3)
            yield
        finally:
            counts = [(name, stream.stop()) for name, stream in streams]
        for name, count in counts:
            assert count.sent > 100, f"{count.name}: nothing was sent"
            if name != "shut":
                assert count.lost == 0, f"{count}: {count.lost} allowed packets were cut"
            else:
                assert count.received == 0, f"{count.name}: {count.received} of {count.sent} denied packets leaked"
        assert "chain c" in self.on("node/n2", "nft", "list", "table", "inet", "theirs").ok().out
        assert "203.0.113.0/24" in self.on("node/n2", "ip", "route", "show", "table", "77").ok().out
        assert "203.0.113.9" in self.on("node/n2", "ip", "rule").ok().out

    def pods(self) -> dict[str, Any]:
        """What the lab remembers of its pods, by namespace/name."""
        return dict(json.loads((self.folder / "lab.json").read_text())["pods"])

    def _stream(self, target: str, family: int) -> Stream:
        pods = self.pods()
        asker, other = pods["default/asker"], pods[f"default/{target}"]
        return Stream(
            f"asker > {target} IPv{family}",
            source_netns=asker["netns"],
            source=_address(asker, family),
            target_netns=other["netns"],
            target=_address(other, family),
            port=PORT,
            rate=RATE,
        )

    # ---- what is so, sooner or later ----
    def status_or_none(self, node: str) -> dict[str, Any]:
        try:
            return self.status(node)
        except (OSError, ValueError):
            return {}

    def eventually_ready(self, *nodes: str, seconds: float = 40) -> None:
        for node in nodes or ("n1", "n2"):
            try:
                eventually(lambda node=node: bool(self.status_or_none(node).get("ready")), f"{node} is ready", seconds=seconds)  # type: ignore[misc]
            except AssertionError as error:
                log = (self.folder / node / "agent.log").read_text()[-4000:]
                raise AssertionError(f"{error}: {self.status_or_none(node).get('reasons', 'it says nothing')}\n{log}") from None

    def eventually_connected(self, *nodes: str, seconds: float = 40) -> None:
        """The agents follow the datastore: what a test says of its failures is about its own."""
        for node in nodes or ("n1", "n2"):
            eventually(
                lambda node=node: bool(self.status_or_none(node).get("datastoreConnected")),  # type: ignore[misc]
                f"{node} follows the datastore",
                seconds=seconds,
            )

    def eventually_enforced(self, node: str, policy: str, *, enforced: bool = True, seconds: float = 40) -> None:
        eventually(
            lambda: (policy in self.table(node)) is enforced,
            f"policy {policy} is {'' if enforced else 'not '}in the kernel of {node}",
            seconds=seconds,
        )

    def routes(self, node: str) -> str:
        """The main table of both families."""
        return "".join(self.on(f"node/{node}", "ip", *family, "route").ok().out for family in ((), ("-6",)))

    def table(self, node: str) -> str:
        """Our table in a node's kernel, without counters."""
        return self.on(f"node/{node}", "nft", "-s", "list", "table", "inet", "tortie").ok().out

    def follows_changes(self, name: str) -> None:
        """All is well again: both agents are ready, and a new policy reaches the kernel."""
        self.eventually_ready()
        self.apply_policy(name)
        self.eventually_enforced("n2", name)
        self.tortie("delete", "networkpolicy", name, "-n", "default").ok()
        self.eventually_enforced("n2", name, enforced=False)

    def apply_policy(self, name: str) -> None:
        """One that concerns `open`, and changes nothing for it."""
        self.tortie("apply", "-f", "-", stdin=json.dumps(policy(name))).ok()

    # ---- processes ----
    def agent(self, node: str) -> int:
        """The pid of its agent."""
        return int((self.folder / node / "agent.lock").read_text())

    def bird(self, node: str) -> int:
        return int((self.folder / node / "bird" / "bird.pid").read_text())

    def restart_agent(self, node: str, *more: str, environment: Mapping[str, str | None] | None = None) -> int:
        """SIGKILL, then the same command again, with `more` options; returns the new pid.

        `environment` is added to what the agent had; a variable that is None is taken away.
        """
        pid = self.agent(node)
        command = Path(f"/proc/{pid}/cmdline").read_bytes().decode().rstrip("\0").split("\0")
        kept = dict(
            entry.split("=", 1) for entry in Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0") if "=" in entry
        )
        wanted = {name: value for name, value in {**kept, **(environment or {})}.items() if value is not None}
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: not is_running(pid), f"agent {pid} is dead")
        (self.folder / node / "status.json").unlink(missing_ok=True)
        namespace = f"--net=/run/netns/tortie-{self.name}.node.{node}"
        with (self.folder / node / "agent.log").open("ab") as output:
            started = subprocess.Popen(
                ["nsenter", namespace, "--", *command, *more],
                env=wanted, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        self._started.append(started)
        eventually(lambda: self.status_or_none(node).get("pid") == started.pid, f"{node} has a new agent")
        return started.pid

    @contextlib.contextmanager
    def stopped_agents(self) -> Iterator[None]:
        """Neither of the two does anything while the block runs."""
        agents = [self.agent(node) for node in ("n1", "n2")]
        try:
            for pid in agents:
                os.kill(pid, signal.SIGSTOP)
            yield
        finally:
            for pid in agents:
                os.kill(pid, signal.SIGCONT)

    def etcd(self) -> int:
        """The pid of the lab's etcd."""
        found = [path.parent for path in Path("/proc").glob("[0-9]*/cmdline") if self._is_etcd(path)]
        assert found, "there is no etcd"
        return int(found[0].name)

    def _is_etcd(self, cmdline: Path) -> bool:
        try:
            words = cmdline.read_bytes().split(b"\0")
        except OSError:
            return False
        data = os.fsencode(f"--data-dir={self.folder}/etcd/data")
        return words[0] == b"etcd" and data in words and is_running(int(cmdline.parent.name))

    @contextlib.contextmanager
    def dead_etcd(self) -> Iterator[None]:
        """SIGKILL; after the block the same command again."""
        pid = self.etcd()
        command = Path(f"/proc/{pid}/cmdline").read_bytes().decode().rstrip("\0").split("\0")
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: not is_running(pid), "etcd is dead")
        try:
            yield
        finally:
            namespace = f"--net=/run/netns/tortie-{self.name}.fabric"
            for name in ("clients:0", "peers:0"):  # this etcd does not remove what a dead one left
                (self.folder / "etcd" / name).unlink(missing_ok=True)
            with (self.folder / "etcd" / "etcd.log").open("ab") as output:
                started = subprocess.Popen(
                    ["nsenter", namespace, "--", *command],
                    cwd=self.folder / "etcd", stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
                )  # fmt: skip
            self._started.append(started)

    def save_etcd(self, file: Path) -> None:
        """A backup, as etcd's administrators make it."""
        self._etcdctl(f"--endpoints=unix://{self.folder}/etcd/clients:0", "snapshot", "save", str(file))

    def put_back_etcd(self, file: Path) -> None:
        """etcd dies, and starts again on a backup."""
        data = self.folder / "etcd" / "data"
        command = Path(f"/proc/{self.etcd()}/cmdline").read_bytes().decode().split("\0")
        keep = ("--name", "--data-dir", "--initial-cluster=", "--initial-advertise-peer-urls")
        with self.dead_etcd():
            os.rename(data, data.with_name("lost"))
            self._etcdctl("snapshot", "restore", str(file), *(word for word in command if word.startswith(keep)))

    @staticmethod
    def _etcdctl(*words: str) -> None:
        done = subprocess.run(["etcdctl", *words], capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stderr[-500:]}"

    def reap(self) -> None:
        """After `lab down`: no zombie of ours stays."""
        for started in self._started:
            started.kill()
            started.wait()

    # ---- the datastore's file ----
    def move_database(self, source: Path, target: Path) -> None:
        target.parent.mkdir(exist_ok=True)
        for suffix in ("-wal", "-shm", ""):
            if Path(f"{source}{suffix}").exists():
                os.rename(f"{source}{suffix}", f"{target}{suffix}")

    @contextlib.contextmanager
    def database_away(self, folder: str) -> Iterator[None]:
        """It stands elsewhere while the block runs. What has taken its place by then goes aside for it, whatever happens."""
        away, aside = (self.folder / folder / name / "tortie.sqlite" for name in ("away", "aside"))
        away.parent.parent.mkdir()
        self.move_database(self.database, away)
        try:
            yield
        finally:
            if self.database.exists():
                self.move_database(self.database, aside)
            self.move_database(away, self.database)

    def copy_database(self, target: Path) -> None:
        """A backup, as sqlite makes it."""
        target.parent.mkdir(exist_ok=True)
        source = sqlite3.connect(self.database)
        copy = sqlite3.connect(target)
        source.backup(copy)
        copy.close()
        source.close()


@contextlib.contextmanager
def faulty_lab(datastore: str) -> Iterator[FaultyLab]:
    """Up, filled, and down again with everything that it stood on."""
    name = f"tf{os.getpid() % 100000}{secrets.token_hex(2)}"
    root = Path("/run") / name
    root.mkdir()
    _mount("-t", "tmpfs", "-o", f"size={DISK_MEGABYTES[datastore]}m", name, str(root))
    lab = FaultyLab(root, "l" + name, datastore)
    try:
        lab.lab("up", "--nodes", "2", "--datastore", datastore).ok()
        lab.fill()
        yield lab
    finally:
        done = lab.lab("down")
        lab.reap()
        subprocess.run(["umount", "--lazy", str(root)], check=True)
        root.rmdir()
        done.ok()


@contextlib.contextmanager
def mounted_over(target: Path, source: Path, *options: str) -> Iterator[None]:
    """Another file system with the files of `source` in the place of `target`, while the block runs."""
    draft = target.with_name(f"{target.name}.draft")
    draft.mkdir()
    try:
        _mount("-t", "tmpfs", "tf", str(draft))
        shutil.copytree(source, draft, dirs_exist_ok=True)
        if options:
            _mount("-o", ",".join(("remount", *options)), str(draft))
        _mount("--move", str(draft), str(target))
    finally:
        draft.rmdir()
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(target)], check=True)


def _mount(*words: str) -> None:
    done = subprocess.run(["mount", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this machine mounts nothing: {done.stderr.strip()}")


def policy(name: str) -> dict[str, object]:
    return {
        "apiVersion": "projectcalico.org/v3",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"order": 5000, "selector": "app == 'open'", "types": ["Ingress"], "ingress": [{"action": "Allow"}]},
    }


def eventually(condition: Callable[[], bool], what: str, *, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.05)


def _address(pod: dict[str, Any], family: int) -> Address:
    addresses = [parse_address(entry["address"].partition("/")[0]) for entry in pod["result"]["ips"]]
    return next(address for address in addresses if address.family.value == family)
