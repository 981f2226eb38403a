"""`tortie node diags` and `tortie cluster diags`: what somebody who is to help wants to see, in one archive.

Nothing secret goes in: the datastore's credentials are not read, and values that look like passwords are blanked.
"""

import asyncio
import io
import os
import re
import tarfile
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from tortie.api.formats import parse_duration
from tortie.base import process
from tortie.base.errors import TortieError
from tortie.base.process import ProcessError
from tortie.cli.everywhere import global_options
from tortie.cli.files import InputError
from tortie.cli.node import run_dir_option
from tortie.cli.session import config_option, environment, with_client
from tortie.datastore.client import Client
from tortie.datastore.config import is_kubernetes

_SECRET = re.compile(
    r"""(?i)((?:password|token|secret|psk|private[-_]?key)[\w-]*["']?[ \t]*[:=][ \t]*|\bpassword[ \t]+)"""
    r"""("[^"\n]*"|'[^'\n]*'|\S+)"""
)
_SECONDS = 20.0
_FILE_BYTES = 32 << 20
_AGENT_LOG = "journalctl -u tortie-agent -n 20000 --no-pager"
NODE_COMMANDS: Mapping[str, str] = {
    "date": "date -u +%FT%TZ",
    "hostname": "hostname",
    "uname": "uname -a",
    "sockets": "ss -anp",
    "ipv4-addresses": "ip -4 addr",
    "ipv6-addresses": "ip -6 addr",
    "links": "ip -d -s link",
    "ipv4-routes": "ip -4 route show table all",
    "ipv6-routes": "ip -6 route show table all",
    "ipv4-rules": "ip -4 rule",
    "ipv6-rules": "ip -6 rule",
    "neighbours": "ip neigh",
    "nft-ruleset": "nft -n -a list ruleset",
    "iptables-v4": "iptables-save -c",
    "iptables-v6": "ip6tables-save -c",
    "ipset": "ipset list",
    "sysctl": "sysctl -a",
    "memory": "free -m",
    "disks": "df -h",
    "agent-journal": _AGENT_LOG,
}
"""File in the archive, and the command whose output it is. One that is not installed is named there, and no error."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of an archive."""

    name: str
    content: bytes


@click.command("diags")
@click.option("--log-dir", default="/var/log/calico", show_default=True, help="A directory of logs to put in too.")
@run_dir_option
@global_options
def node_diags(*, log_dir: str, run_dir: str) -> None:
    """Collect what tells how this node is into an archive: its network, firewall, agent and BIRD."""
    entries = asyncio.run(_node_entries(Path(run_dir), Path(log_dir)))
    path = _written(entries, "diags")
    click.echo(f"Diagnostics saved to {path}\nLook through it before you hand it on: it tells much about this network.")


@click.group()
def cluster() -> None:
    """The cluster as a whole."""


@cluster.command("diags")
@click.option("--since", default="", metavar="DURATION", help="Of pods' logs, only what is newer (1h, 30m).")
@click.option("--max-logs", default=5, show_default=True, help="Logs of so many pods for each component.")
@click.option("--max-parallelism", default=10, show_default=True, help="So many commands at once.")
@click.option("--focus-nodes", default="", metavar="NODE,...", help="Logs of these nodes first.")
@click.option("--skip-temp-dir-cleanup", is_flag=True, help="Not needed: nothing is left but the archive.")
@config_option
def cluster_diags(
    *, since: str, max_logs: int, max_parallelism: int, focus_nodes: str, skip_temp_dir_cleanup: bool, config: str
) -> None:
    """Collect what the datastore holds into an archive; with kubectl, what Kubernetes says of nodes and pods too."""
    del skip_temp_dir_cleanup
    try:
        parse_duration(since) if since else 0.0
    except ValueError as error:
        raise InputError(f"--since: {error}") from error
    if max_logs < 0 or max_parallelism < 1:
        raise InputError("--max-logs: at least 0; --max-parallelism: at least 1")
    entries = with_client(config, stored_entries)
    if is_kubernetes(environment(), config):
        nodes = tuple(filter(None, focus_nodes.split(",")))
        entries += asyncio.run(_kubernetes_entries(since, max_logs, max_parallelism, nodes))
    path = _written(entries, "cluster-diags")
    click.echo(f"Diagnostics saved to {path}\nLook through it before you hand it on: it tells much about this network.")


async def stored_entries(client: Client) -> list[Entry]:
    """A file for each kind that there is any of, and what ipam check says."""
    from tortie.api.documents import to_yaml
    from tortie.api.kinds import KINDS
    from tortie.cli.output import listing
    from tortie.ipam.check import check_data, check_use, read_snapshot

    entries: list[Entry] = []
    for kind in KINDS.values():
        try:
            found = (await client.list(kind.kind)).items
        except TortieError as error:
            entries.append(Entry(f"resources/{kind.plural}.error", f"{error}\n".encode()))
            continue
        if found:
            name = kind.plural if kind.is_ours else f"{kind.plural}.{kind.api_version.replace('/', '.')}"
            entries.append(Entry(f"resources/{name}.yaml", blanked(to_yaml([listing(kind, found)]).encode())))
    try:
        snapshot = await read_snapshot(client)
        findings = [*check_use(snapshot), *check_data(snapshot, now=time.time())]
        text = "".join(f"{finding.kind}: {finding.text}\n" for finding in findings)
    except TortieError as error:
        text = f"{error}\n"
    entries.append(Entry("ipam-check.txt", text.encode()))
    return entries


def blanked(data: bytes) -> bytes:
    """The text without what looks like a secret."""
    return _SECRET.sub(r"\1<removed>", data.decode(errors="replace")).encode()


async def _node_entries(run_dir: Path, log_dir: Path) -> list[Entry]:
    entries = await _outputs({name: line.split() for name, line in NODE_COMMANDS.items()}, at_once=4)
    entries += _files(run_dir, "run", ("status.json", "bird/*.conf", "bird/*.log"))
    entries += _files(log_dir, "logs", ("*.log", "*", "*/*"))
    return entries


async def _kubernetes_entries(since: str, most: int, at_once: int, nodes: Sequence[str]) -> list[Entry]:
    lines = {
        "kubectl/version": ["version"],
        "kubectl/nodes.yaml": ["get", "nodes", "-o", "yaml"],
        "kubectl/pods": ["get", "pods", "-A", "-o", "wide"],
        "kubectl/events": ["get", "events", "-A"],
        "kubectl/services": ["get", "services", "-A", "-o", "wide"],
        "kubectl/crds": ["get", "crds"],
    }
    entries = await _outputs({name: _kubectl(*words) for name, words in lines.items()}, at_once=at_once)
    pods = await _pods(most, nodes)
    logs = {
        f"logs/{namespace}/{name}.log": _kubectl(
            "logs", "-n", namespace, name, "--all-containers", *([f"--since={since}"] if since else [])
        )
        for namespace, name in pods
    }
    return entries + await _outputs(logs, at_once=at_once)


def _kubectl(*words: str) -> list[str]:
    context = environment().get("K8S_CURRENT_CONTEXT", "")
    return ["kubectl", *(["--context", context] if context else []), *words]


async def _pods(most: int, nodes: Sequence[str]) -> list[tuple[str, str]]:
    """Pods of ours and of Calico's: some for each owner, those of the nodes that matter first."""
    template = "{range .items[*]}{.metadata.namespace} {.metadata.name} {.spec.nodeName}{'\\n'}{end}".replace("'", '"')
    try:
        said = (await process.run(_kubectl("get", "pods", "-A", "-o", f"jsonpath={template}"), timeout=_SECONDS)).check()
    except ProcessError:
        return []
    found = [words for line in said.stdout.decode(errors="replace").splitlines() if len(words := line.split()) == 3]
    found.sort(key=lambda words: (words[2] not in nodes, words[1]))
    counts: dict[str, int] = {}
    chosen = []
    for namespace, name, _ in found:
        component = f"{namespace}/{re.sub(r'(-[a-z0-9]{4,10}){1,2}$', '', name)}"
        ours = namespace in ("calico-system", "calico-apiserver", "tigera-operator") or re.search("calico|tortie", name)
        if ours and counts.get(component, 0) < most:
            counts[component] = counts.get(component, 0) + 1
            chosen.append((namespace, name))
    return chosen


async def _outputs(lines: Mapping[str, Sequence[str]], *, at_once: int) -> list[Entry]:
    """What commands print, those that fail too."""
    limit = asyncio.Semaphore(at_once)

    async def one(name: str, argv: Sequence[str]) -> Entry:
        async with limit:
            try:
                done = await process.run(argv, timeout=_SECONDS)
            except ProcessError as error:
                return Entry(name, f"$ {' '.join(argv)}\n{error}\n".encode())
        return Entry(name, f"$ {' '.join(argv)}\n".encode() + blanked(done.stdout[:_FILE_BYTES] + done.stderr[:_FILE_BYTES]))

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(name, argv)) for name, argv in lines.items()]
    return [task.result() for task in tasks]


def _files(directory: Path, below: str, patterns: Sequence[str]) -> list[Entry]:
    """The ends of files; links are not followed, and what cannot be read is passed over."""
    entries: dict[Path, Entry] = {}
    for pattern in patterns:
        for path in sorted(directory.glob(pattern)) if directory.is_dir() else ():
            if path in entries or path.is_symlink() or not path.is_file():
                continue
            try:
                with path.open("rb") as file:
                    file.seek(max(0, os.fstat(file.fileno()).st_size - _FILE_BYTES))
                    content = blanked(file.read())
            except OSError:
                continue
            entries[path] = Entry(f"{below}/{path.relative_to(directory)}", content)
    return list(entries.values())


def _written(entries: Sequence[Entry], name: str) -> str:
    """Write the archive for its owner alone; where it is."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    try:
        number, path = tempfile.mkstemp(prefix=f"{name}-{stamp}-", suffix=".tar.gz")
        with open(number, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
            for entry in entries:
                info = tarfile.TarInfo(f"{name}-{stamp}/{entry.name}")
                info.size, info.mtime, info.mode = len(entry.content), int(time.time()), 0o600
                archive.addfile(info, io.BytesIO(entry.content))
    except OSError as error:
        raise InputError(f"the archive cannot be written: {error.strerror}") from error
    return path
