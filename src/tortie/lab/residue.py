"""What a lab may have left: looked for in the machine's own network namespace, among processes, and on disk."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tortie.base import process
from tortie.kernel import netns
from tortie.kernel.link import Links
from tortie.kernel.route import Routes
from tortie.lab.names import LabNames


@dataclass(frozen=True, slots=True)
class Machine:
    """What of the machine's own network namespace a lab must never touch."""

    links: frozenset[str]
    routes: frozenset[str]
    tables: frozenset[str]


def look_at_machine() -> Machine:
    """Names of links, routes and nft tables in our own network namespace."""
    links, routes = Links(), Routes()
    try:
        return Machine(
            links=frozenset(link.name for link in links.list()),
            routes=frozenset(str(route) for route in routes.list()),
            tables=frozenset(process.run_blocking(["nft", "list", "tables"]).check().stdout.decode().split("\n")) - {""},
        )
    finally:
        links.close()
        routes.close()


def find_residue(names: LabNames, before: Machine) -> list[str]:
    """Everything that is still there, in words; empty when the lab is gone without a trace."""
    after = look_at_machine()
    found = [f"network namespace {name}" for name in netns.list_names() if name.startswith(names.prefix)]
    found += _difference("link", before.links, after.links)
    found += _difference("route", before.routes, after.routes)
    found += _difference("nft table", before.tables, after.tables)
    found += [f"process {pid} ({words})" for pid, words in lab_processes(names)]
    if names.folder.exists():
        found += [f"file {path}" for path in sorted(names.folder.rglob("*"))] or [f"folder {names.folder}"]
    return found


def _difference(what: str, before: Iterable[str], after: Iterable[str]) -> list[str]:
    old, new = set(before), set(after)
    return [f"{what} {item} (new)" for item in sorted(new - old)] + [f"{what} {item} (gone)" for item in sorted(old - new)]


def lab_processes(names: LabNames, proc: Path = Path("/proc")) -> list[tuple[int, str]]:
    """Processes of a lab other than ourselves: those in one of its network namespaces, or that name its folder."""
    spaces = set()
    for name in netns.list_names():
        if name.startswith(names.prefix):
            spaces.add(os.stat(f"/run/netns/{name}").st_ino)
    found = []
    for entry in proc.iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            inside = os.stat(entry / "ns/net").st_ino in spaces
        except OSError:
            continue
        if inside or f"{names.folder}/" in words:
            found.append((int(entry.name), words[:120]))
    return sorted(found)
