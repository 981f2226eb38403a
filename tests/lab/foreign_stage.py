"""Top-of-rack switches that are not BIRD: FRR and GoBGP as processes in the fabric of a lab, with their own files only."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.lab.bgp_stage import OUTSIDE

FRR = Path("/usr/lib/frr")
RACK_AS = 64999


class Process:
    """One daemon in a network namespace, ended by its own process id."""

    def __init__(self, space: str, *command: str, log: Path) -> None:
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                ["nsenter", f"--net=/run/netns/{space}", "--", *command], stdout=file, stderr=file, cwd=log.parent
            )

    def end(self) -> None:
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(30)


class Frr:
    """zebra, bgpd and bfdd, asked through vtysh."""

    def __init__(self, space: str, folder: Path) -> None:
        self.space = space
        self.folder = folder

    def ask(self, command: str) -> Any:
        """A command of bgpd that answers in JSON."""
        done = subprocess.run(
            ["vtysh", "--vty_socket", str(self.folder), "-d", "bgpd", "-c", command],
            capture_output=True,
            text=True,
            check=False,
            timeout=20,
        )
        try:
            return json.loads(done.stdout)
        except ValueError:
            return {}

    def pids(self) -> list[int]:
        """Its daemons."""
        return [int((self.folder / f"{name}.pid").read_text()) for name in ("zebra", "bfdd", "bgpd")]

    def configure(self, *lines: str) -> None:
        """Configuration commands, from the top."""
        words = [word for line in ("configure terminal", *lines) for word in ("-c", line)]
        subprocess.run(["vtysh", "--vty_socket", str(self.folder), *words], capture_output=True, check=True, timeout=20)

    def route(self, prefix: str) -> dict[str, Any]:
        """What FRR knows of one destination; empty for nothing. Its first path."""
        version = "ipv6" if ":" in prefix else "ipv4"
        found = self.ask(f"show bgp {version} unicast {prefix} json")
        paths = found.get("paths", [])
        return dict(paths[0]) if paths and found.get("prefix") == prefix else {}

    def state(self, neighbour: str) -> str:
        """The state of a session."""
        return str(self.ask(f"show bgp neighbors {neighbour} json").get(neighbour, {}).get("bgpState", ""))


def communities(path: dict[str, Any]) -> set[str]:
    """The communities of a path as FRR sees them, large ones too."""
    found: set[str] = set()
    for kind in ("community", "largeCommunity"):
        found |= set(str(path.get(kind, {}).get("string", "")).split())
    return found


@contextmanager
def frr(lab_name: str, *neighbours: str) -> Iterator[Frr]:
    """A rack's switch at 172.18.0.1 with AS 64999. `neighbours` are lines of `router bgp`; it offers 198.51.100.0/24.

    Its daemons leave root behind for the user frr, who must reach their files.
    """
    with tempfile.TemporaryDirectory(prefix="l1-frr-", dir="/run") as text:
        shutil.chown(text, "frr", "frrvty")
        yield from _frr(f"tortie-{lab_name}.fabric", Path(text), neighbours)


def _frr(space: str, folder: Path, neighbours: Sequence[str]) -> Iterator[Frr]:
    config = folder / "frr.conf"
    config.write_text(
        "\n".join(
            [
                "frr defaults datacenter",
                f"router bgp {RACK_AS}",
                f" bgp router-id {OUTSIDE}",
                " no bgp ebgp-requires-policy",
                " no bgp network import-check",
                " timers bgp 3 9",
                *(f" {line}" for line in neighbours),
                " address-family ipv4 unicast",
                "  network 198.51.100.0/24",
                "",
            ]
        )
    )
    (folder / "empty.conf").write_text("")
    zebra = str(folder / "zserv.api")
    common = ["--vty_socket", str(folder), "-z", zebra, "-P", "0"]
    started: list[Process] = []
    log = folder / "frr.log"
    try:
        for name, more in (("zebra", []), ("bfdd", ["--bfdctl", str(folder / "bfdd.sock")]), ("bgpd", [])):
            files = ["-f", str(config if name == "bgpd" else folder / "empty.conf"), "-i", str(folder / f"{name}.pid")]
            started.append(Process(space, str(FRR / name), *common, *files, *more, log=log))
            deadline = time.monotonic() + 30
            while not (folder / f"{name}.vty").exists():
                assert time.monotonic() < deadline, f"{name} does not start: {log.read_text()}"
                time.sleep(0.05)
        yield Frr(space, folder)
    finally:
        for process in reversed(started):
            process.end()


class GoBgp:
    """gobgpd, asked through gobgp."""

    def __init__(self, space: str, folder: Path) -> None:
        self._space = space
        self._folder = folder

    def ask(self, *words: str) -> Any:
        """A command that answers in JSON; None where it fails."""
        done = subprocess.run(
            ["nsenter", f"--net=/run/netns/{self._space}", "--", "gobgp", "-j", *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=20,
        )
        return json.loads(done.stdout) if done.returncode == 0 and done.stdout.strip() else None

    def announce(self, *words: str) -> None:
        """Put a route into its table: prefix, and attributes."""
        command = ["nsenter", f"--net=/run/netns/{self._space}", "--", "gobgp", "global", "rib", "add", *words]
        subprocess.run(command, capture_output=True, check=True, timeout=20)


@contextmanager
def gobgp(lab_name: str, folder: Path, *, neighbours: dict[str, int]) -> Iterator[GoBgp]:
    """A switch at 172.18.0.1 with AS 64999, its control port on the fabric's loopback only."""
    space = f"tortie-{lab_name}.fabric"
    subprocess.run(["ip", "-n", space, "link", "set", "lo", "up"], check=True)
    config = folder / "gobgp.toml"
    config.write_text(
        f'[global.config]\n  as = {RACK_AS}\n  router-id = "{OUTSIDE}"\n'
        + "".join(
            f'[[neighbors]]\n  [neighbors.config]\n    neighbor-address = "{address}"\n    peer-as = {number}\n'
            "  [neighbors.timers.config]\n    connect-retry = 2\n    idle-hold-time-after-reset = 2\n"
            for address, number in neighbours.items()
        )
    )
    command = [str(shutil.which("gobgpd")), "-f", str(config), "--api-hosts", "127.0.0.1:50051", "--log-plain"]
    process = Process(space, *command, log=folder / "gobgp.log")
    found = GoBgp(space, folder)
    try:
        deadline = time.monotonic() + 30
        while found.ask("global") is None:
            assert time.monotonic() < deadline, f"gobgpd does not start: {(folder / 'gobgp.log').read_text()}"
            time.sleep(0.1)
        yield found
    finally:
        process.end()


def missing() -> str:
    """What is not installed, "" if all is there."""
    absent = [name for name in ("vtysh", "gobgpd", "gobgp") if shutil.which(name) is None]
    absent += [str(FRR / name) for name in ("zebra", "bgpd", "bfdd") if not os.access(FRR / name, os.X_OK)]
    return ", ".join(absent)
