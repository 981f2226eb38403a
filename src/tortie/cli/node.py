"""`tortie node status | stop`: this node's agent and BIRD, asked and ended from outside."""

import asyncio
import importlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tortie.cli import screen
from tortie.cli.boxes import box
from tortie.cli.everywhere import global_options
from tortie.cli.files import InputError

if TYPE_CHECKING:
    from tortie.bgp.status import PeerStatus

DEFAULT_RUN_DIR = "/run/tortie"
_TYPES = {"Mesh": "node-to-node mesh", "Global": "global", "Node": "node specific", "Local": "local workload"}
_HEADER = ("PEER ADDRESS", "PEER TYPE", "STATE", "SINCE", "INFO", "IN", "OUT")

run_dir_option = click.option(
    "--run-dir", envvar="TORTIE_RUN_DIR", default=DEFAULT_RUN_DIR, show_default=True, help="The agent's run directory."
)


@dataclass(frozen=True, slots=True)
class NodeReport:
    """What is known of this node. `peers` None: BIRD does not run."""

    pid: int | None
    status: Mapping[str, Any]
    peers: Sequence["PeerStatus"] | None
    wants_bird: bool

    @property
    def good(self) -> bool:
        """True if everything that should run runs."""
        return self.pid is not None and (self.peers is not None or not self.wants_bird)


class _Node(click.Group):
    """Its larger commands are imported when they are used."""

    _OTHERS = {
        "checksystem": "tortie.cli.node_system:checksystem",
        "run": "tortie.cli.node_system:run",
        "diags": "tortie.cli.diagnostics:node_diags",
        "routes": "tortie.cli.node_routes:routes",
        "wireguard": "tortie.cli.node_wireguard:wireguard",
    }

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), *self._OTHERS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._OTHERS:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = self._OTHERS[cmd_name].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=_Node)
def node() -> None:
    """This node: run these on the node itself."""


@node.command()
@run_dir_option
@click.option("-o", "--output", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@global_options
@click.pass_context
def status(ctx: click.Context, run_dir: str, form: str) -> None:
    """Say whether the agent and BIRD run, and how each BGP session is. Exit code 2 if one of the two does not run."""
    report = asyncio.run(ask(Path(run_dir)))
    if form == "json":
        click.echo(json.dumps(_document(report), indent=2))
    else:
        screen.show(screen.framed(_lines(report)))
    ctx.exit(0 if report.good else 2)


@node.command()
@run_dir_option
@click.option("--uninstall", is_flag=True, help="Also remove our nft table and routes: pods lose policy and network.")
def stop(run_dir: str, uninstall: bool) -> None:
    """End the agent and BIRD. Without --uninstall the kernel keeps policy and routes, and pods go on as they are."""
    from tortie.agent import leaving

    async def work() -> None:
        place = Path(run_dir)
        pid = await leaving.stop_agent(place)
        click.echo("The agent does not run." if pid is None else f"The agent (pid {pid}) has ended.")
        click.echo("BIRD has ended." if await leaving.stop_bird(place) else "BIRD does not run.")
        if uninstall:
            removed = await leaving.uninstall(place)
            click.echo(f"Table `inet tortie` and {len(removed.routes)} routes of ours are removed.")
        else:
            click.echo("The kernel keeps its rules and routes; --uninstall removes ours.")

    if os.geteuid() != 0:
        raise InputError("ending the agent and changing the kernel needs root")
    asyncio.run(work())


async def ask(run_dir: Path) -> NodeReport:
    """What is known of the node with this run directory. Raises InputError for a status file that cannot be read."""
    from tortie.agent import leaving
    from tortie.agent.bird import Bird
    from tortie.bgp.errors import BgpError

    text = leaving.read_status(run_dir)
    try:
        said = json.loads(text) if text else {}
    except ValueError as error:
        raise InputError(f"{run_dir / 'status.json'} is not JSON: {error}") from error
    if not isinstance(said, dict):
        raise InputError(f"{run_dir / 'status.json'} is no agent's status")
    try:
        peers: Sequence[PeerStatus] | None = await Bird(run_dir / "bird").peers()
    except BgpError:
        peers = None
    # An agent that was told to do without BIRD says "" of it.
    return NodeReport(leaving.running_agent(run_dir), said, peers, said.get("bird", "running") != "")


def _ipip(status: Mapping[str, Any]) -> list[str]:
    said = status.get("ipip") or {}
    if said.get("problem"):
        return [f"IPIP: {said['problem']}"]
    words = {"kernel": "by the kernel's tunl0", "ebpf": "by eBPF programs around tunl0"}
    return [f"IPIP: {words[said['carrier']]}"] if said.get("carrier") in words else []


def _lines(report: NodeReport) -> list[str]:
    from tortie.cli.node_wireguard import wireguard_lines

    lines = ["The agent is not running." if report.pid is None else f"The agent is running (pid {report.pid})."]
    if report.pid is not None:
        ready = "ready" if report.status.get("ready") else "not ready"
        reasons = "; ".join(map(str, report.status.get("reasons", ())))
        lines.append(f"The agent of node {report.status.get('node', '')} is {ready}{': ' + reasons if reasons else ''}.")
        lines += _addresses(report.status)
        lines += _ipip(report.status)
        lines += wireguard_lines(report.status)
    if not report.wants_bird and report.peers is None:
        return [*lines, "This node runs without BGP."]
    if report.peers is None:
        return [*lines, "The BGP backend process (BIRD) is not running."]
    for family in (4, 6):
        rows = [_row(report, peer) for peer in report.peers if (peer.address.family if peer.address else 4) == family]
        rows += [_withheld_row(entry) for entry in withheld(report) if (":" in entry["address"]) == (family == 6)]
        lines += ["", f"IPv{family} BGP status"]
        lines += list(box(_HEADER, rows)) if rows else [f"No IPv{family} peers found."]
    return lines


def _addresses(status: Mapping[str, Any]) -> list[str]:
    """The node's addresses with their reasons, and how large packets may be."""
    lines = []
    for each in status.get("addresses", ()):
        told = f"{each['address']}{' of ' + each['interface'] if each['interface'] else ''}" if each["address"] else "none"
        lines.append(f"IPv{each['family']} address: {told} ({each['method']}: {each['why']}).")
    mtu = status.get("mtu")
    if mtu:
        uplink = f"{mtu['interface']} takes {mtu['uplink']}" if mtu["interface"] else f"{mtu['uplink']} is assumed"
        lines.append(f"New pods send up to {mtu['pods']} bytes ({mtu['because']}); {uplink}.")
    return lines


def _row(report: NodeReport, peer: "PeerStatus") -> tuple[str, ...]:
    return (
        str(peer.address or "<none>"),
        _type(peer.name),
        "up" if peer.established else "down",
        peer.since,
        reason_of(report, peer),
        str(peer.imported),
        str(peer.exported),
    )


def withheld(report: NodeReport) -> list[dict[str, Any]]:
    """Sessions that are wanted and that BIRD was not given; the agent alone knows of them."""
    entries = report.status.get("bgpPeers", ()) if report.pid is not None else ()
    return [entry for entry in entries if entry.get("state") == "NotConfigured"]


def _withheld_row(entry: Mapping[str, Any]) -> tuple[str, ...]:
    return (entry["address"], _type(entry["name"]), "down", "", f"NotConfigured ({entry['reason']})", "0", "0")


def reason_of(report: NodeReport, peer: "PeerStatus") -> str:
    """BGP's state, and why it is not established: the agent knows more than BIRD does."""
    if peer.established:
        return peer.state
    known = {entry.get("name"): entry for entry in report.status.get("bgpPeers", ())} if report.pid is not None else {}
    reason = known.get(peer.name, {}).get("reason") or peer.reason
    return f"{peer.state} ({reason})" if reason else peer.state


def _type(name: str) -> str:
    return _TYPES.get(name.partition("_")[0], name)


def _document(report: NodeReport) -> dict[str, Any]:
    return {
        "agent": {"running": report.pid is not None, "pid": report.pid, "status": dict(report.status)},
        "bird": {"running": report.peers is not None, "wanted": report.wants_bird},
        "peers": [
            {
                "name": peer.name,
                "address": str(peer.address) if peer.address else None,
                "asNumber": peer.as_number,
                "type": _type(peer.name),
                "state": peer.state,
                "established": peer.established,
                "since": peer.since,
                "info": reason_of(report, peer),
                "imported": peer.imported,
                "exported": peer.exported,
            }
            for peer in report.peers or ()
        ],
        "notConfigured": [{key: entry[key] for key in ("name", "address", "reason")} for entry in withheld(report)],
    }
