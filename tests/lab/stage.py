"""Labs for tests, driven as a user drives them: through the command line."""

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]


def unique_name() -> str:
    """A lab name that no other test run has (up to 15 characters)."""
    return f"t{os.getpid() % 100000}{secrets.token_hex(2)}"


@dataclass(frozen=True, slots=True)
class Done:
    """What a command left."""

    code: int
    out: str
    err: str

    def ok(self) -> "Done":
        """Fail the test with the command's own words unless it succeeded."""
        assert self.code == 0, f"exit {self.code}\n{self.out}\n{self.err}"
        return self

    def json(self) -> Any:
        """Standard output as JSON."""
        return json.loads(self.out)


def tortie(*arguments: str, env: dict[str, str] | None = None, stdin: str = "", timeout: float = 60) -> Done:
    """Run `tortie ...`."""
    done = subprocess.run(
        [sys.executable, "-m", "tortie.cli.main", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, **(env or {})},
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


class RunningLab:
    """A lab that is up. `tortie(...)` talks to its datastore, `lab(...)` to the lab."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.folder = Path("/run/tortie/lab") / name
        self.environment = {"DATASTORE_TYPE": "sqlite", "TORTIE_SQLITE_PATH": str(self.folder / "datastore/tortie.sqlite")}

    def lab(self, *arguments: str, timeout: float = 60) -> Done:
        """`tortie lab ... --name NAME`; options go in front of positional ones."""
        command, *rest = arguments
        words = command.split()
        return tortie("lab", *words, "--name", self.name, *rest, timeout=timeout)

    def tortie(self, *arguments: str, stdin: str = "") -> Done:
        """`tortie ...` on this lab's datastore."""
        return tortie(*arguments, env=self.environment, stdin=stdin)

    def on(self, where: str, *command: str) -> Done:
        """A command in the network namespace of a pod or node."""
        return self.lab("exec", where, "--", *command)

    def probe(self, folder: Path, questions: Sequence[dict[str, object]]) -> list[dict[str, Any]]:
        """Ask, and give the answers as JSON."""
        path = folder / "probes.json"
        path.write_text(json.dumps(list(questions)))
        answered = self.lab("probe", "-f", str(path), "-o", "json")
        assert answered.code in (0, 2), answered.err
        items: list[dict[str, Any]] = answered.json()["items"]
        return items

    def until_in_force(self, policies: str) -> None:
        """Return when each of these documents that is a policy is in the kernel of a node: agents follow a moment later."""
        documents = [each for each in yaml.safe_load_all(policies) if not each["kind"].startswith("Staged")]
        missing = {each["metadata"]["name"] for each in documents if each["kind"].endswith("NetworkPolicy")}
        spaces = [name for name in namespaces_of(self.name) if ".node." in name]
        deadline = time.monotonic() + 30
        while missing:
            assert time.monotonic() < deadline, f"not in any kernel: {missing}"
            for space in spaces:
                command = ["nsenter", f"--net=/run/netns/{space}", "nft", "list", "table", "inet", "tortie"]
                table = subprocess.run(command, capture_output=True, text=True, check=False).stdout
                missing = {name for name in missing if f"/{name}" not in table}

    def status(self, node: str) -> dict[str, Any]:
        """The last report of a node's agent."""
        report: dict[str, Any] = json.loads((self.folder / node / "status.json").read_text())
        return report


@contextmanager
def case_lab(folder: Path, *, case: str, policy: str) -> Iterator[RunningLab]:
    """A lab of a lab.yaml that applies policy.yaml; nothing is left of it afterwards."""
    (folder / "lab.yaml").write_text(case)
    (folder / "policy.yaml").write_text(policy)
    name = unique_name()
    try:
        tortie("lab", "up", "-f", str(folder / "lab.yaml"), "--name", name).ok()
        running = RunningLab(name)
        running.until_in_force(policy)
        yield running
    finally:
        tortie("lab", "down", "--name", name).ok()
        assert namespaces_of(name) == []
        assert not (Path("/run/tortie/lab") / name).exists()


def is_running(pid: int) -> bool:
    """Whether a process lives; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def contents(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Every file below a folder. One that goes while it is looked for (a draft that takes its place, say) is none."""
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            if path.is_file():
                yield path, path.read_bytes()


def namespaces_of(name: str) -> list[str]:
    """Network namespaces that belong to a lab."""
    folder = Path("/run/netns")
    return (
        sorted(entry.name for entry in folder.iterdir() if entry.name.startswith(f"tortie-{name}.")) if folder.exists() else []
    )
