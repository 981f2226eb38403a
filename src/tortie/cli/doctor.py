"""`tortie doctor`: short questions to this machine, the datastore and this node's agent."""

import asyncio
import json
import os
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tortie.api.node import Node
from tortie.api.resource import Key, Resource
from tortie.cli import screen
from tortie.cli.boxes import box
from tortie.cli.node import run_dir_option
from tortie.cli.session import config_option, environment
from tortie.datastore.config import DEFAULT_SQLITE_PATH, is_sqlite, open_client
from tortie.datastore.errors import DoesNotExist, Unavailable

if TYPE_CHECKING:
    from tortie.agent.checkup import Check

_PATIENCE_SECONDS = 10.0
_SHOWN = 20
_SLOW_SECONDS = 1.0
_PAIRS_SECONDS = 60.0
_SKEW_SECONDS = 5.0
_WIRING_SECONDS = 2.0
"""So long a pod may be on its way in or out."""
_INFORMATION = Key("ClusterInformation", "", "default")
_PLUGIN_PLACES = ("/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni")


@click.command()
@run_dir_option
@click.option(
    "--state-dir", envvar="TORTIE_STATE_DIR", default="/var/lib/tortie", show_default=True, help="Is there room in it?"
)
@click.option("-o", "--output", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option("--pairs/--no-pairs", default=True, show_default=True, help="Send a few packets to every other node?")
@config_option
@click.pass_context
def doctor(ctx: click.Context, run_dir: str, state_dir: str, form: str, pairs: bool, config: str) -> None:
    """Find what is wrong on this node, and say why it matters and what to do about it.

    Looks at the kernel's features and sysctls, sizes of packets, rules of others that can drop ours, ports, disk space, BIRD
    and its sessions, the CNI plugin, the datastore and its clock, what the agent reports, pods that have no endpoint, and
    whether the ways to other nodes carry packets as large as pods send, with their checksums. Exit code 2 if anything is a
    problem.
    """
    from tortie.agent.checkup import advised, verdict

    checks = [advised(check) for check in asyncio.run(_examine(Path(run_dir), Path(state_dir), pairs=pairs, config=config))]
    good = verdict(checks)
    if form == "json":
        click.echo(json.dumps({"healthy": good, "checks": [asdict(check) for check in checks]}, indent=2, ensure_ascii=False))
    else:
        screen.show([*screen.framed(_table(checks)), *_advice(checks)])
    ctx.exit(0 if good else 2)


def _table(checks: "Sequence[Check]") -> Iterator[str]:
    return box(("CHECK", "STATE", "DETAIL"), [(check.name, check.state, check.detail) for check in checks])


def _advice(checks: "Sequence[Check]") -> Iterator[str]:
    problems = [check for check in checks if check.state == "problem"]
    if not problems:
        return
    yield f"\n{len(problems)} {'problem' if len(problems) == 1 else 'problems'}:"
    for check in problems:
        yield f"\n{screen.word('problem')}: {check.name}: {check.detail}"
        if check.why:
            yield f"  why it matters: {check.why}"
        if check.fix:
            yield f"  what to do:     {check.fix}"


async def _examine(run_dir: Path, state_dir: Path, *, pairs: bool, config: str) -> "list[Check]":
    from tortie.agent import checkup, checkup_firewall, checkup_host, checkup_tunnels, leaving
    from tortie.agent.options import AgentError

    pid = leaving.running_agent(run_dir)
    checks = await checkup.check_kernel()
    checks += checkup_host.check_host(running=pid is not None, directories=(state_dir, run_dir))
    checks += checkup_host.check_mtu(checkup_host.interface_mtus(), checkup_host.default_interface())
    checks += checkup_tunnels.check_checksums(checkup_tunnels.offloads())
    checks += await checkup_firewall.check_firewall()
    checks.append(await checkup.check_bird())
    checks.append(checkup.check_plugin(_plugin()))
    checks += await checkup.within(_PATIENCE_SECONDS, "datastore", _stored(config))
    try:
        text = leaving.read_status(run_dir)
        said = json.loads(text) if text else {}
    except (AgentError, ValueError) as error:
        checks.append(checkup.Check("agent status", "problem", str(error)))
        said = {}
    checks += checkup.check_agent(pid, said)
    if pid is not None:
        checks += await _sessions(run_dir)
        checks += await checkup.within(_PATIENCE_SECONDS, "pods", _pods(config, str(said.get("node", ""))))
    if pid is not None and pairs and said.get("mtu"):
        checks += await checkup.within(_PAIRS_SECONDS, "pairs", _pairs(config, said))
    return checks


async def _pairs(config: str, said: "Mapping[str, Any]") -> "list[Check]":
    """The ways to other nodes, with packets as large as the agent lets pods send."""
    from tortie.agent.checkup_pairs import check_pairs
    from tortie.kernel.link import Links

    client = open_client(environment(), config, create=False)
    try:
        nodes = [node for node in (await client.list("Node")).items if isinstance(node, Node)]
    finally:
        await client.close()
    with Links() as links:
        up = {link.name for link in links.list() if link.up}
    return await check_pairs(nodes, str(said.get("node", "")), size=int(said["mtu"]["pods"]), devices=up)


async def _pods(config: str, node: str) -> "list[Check]":
    """Whether each pod of this node has its endpoint. One that is just being made or taken away is looked at again."""
    from tortie.agent.checkup_pods import check_pods, without_endpoint
    from tortie.api.endpoint import WorkloadEndpoint
    from tortie.kernel.link import Link, Links

    client = open_client(environment(), config, create=False)
    lost: list[Link] = []
    try:
        for pause in (0.0, _WIRING_SECONDS):
            await asyncio.sleep(pause)
            with Links() as links:
                ends = links.list()
            endpoints = [each for each in (await client.list("WorkloadEndpoint")).items if isinstance(each, WorkloadEndpoint)]
            lost = without_endpoint(ends, endpoints, node)
            if not lost:
                break
    except Unavailable:
        return []  # which is said already
    finally:
        await client.close()
    return check_pods(lost)


async def _sessions(run_dir: Path) -> "list[Check]":
    """One answer for each BGP session that is not up, with the reason that the agent or BIRD knows."""
    from tortie.agent.checkup import Check
    from tortie.cli.node import ask, reason_of, withheld

    report = await ask(run_dir)
    peers = report.peers or ()
    down = [
        Check("bgp peer", "problem", f"{peer.name} ({peer.address or 'no address'}) is down: {reason_of(report, peer)}")
        for peer in peers
        if not peer.established
    ]
    down += [
        Check("bgp peer", "problem", f"{entry['name']} ({entry['address']}) is not configured: {entry['reason']}")
        for entry in withheld(report)
    ]
    if down or not peers:
        return down
    return [Check("bgp peer", "ok", f"all {len(peers)} sessions are established")]


async def _stored(config: str) -> "list[Check]":
    """Whether the datastore answers, is in use, and holds only what this release acts on."""
    from tortie.agent.checkup import Check
    from tortie.api.cluster import ClusterInformation
    from tortie.api.kinds import KINDS
    from tortie.dataplane.enforcement import unenforced

    client = open_client(environment(), config, create=False)
    try:
        try:
            information = await client.get(_INFORMATION)
            started = time.monotonic()
            await client.get(_INFORMATION)  # the first one connected
            latency = time.monotonic() - started
        except DoesNotExist:
            return [Check("datastore", "note", "it answers and is empty: the first `tortie apply` initialises it")]
        assert isinstance(information, ClusterInformation)
        locked = information.spec.datastore_ready is False
        listing = await client.list_many(list(KINDS))
        items = listing.items
    except Unavailable as error:
        if datastore_file_is_missing(config):
            return [Check("datastore", "note", "there is none yet: the first `tortie apply` makes it")]
        return [Check("datastore", "problem", f"it cannot be reached: {error}")]
    finally:
        await client.close()
    state = "it is locked: nodes take no new pods (tortie datastore migrate unlock)" if locked else "it answers"
    version = f", Calico {information.spec.calico_version}" if information.spec.calico_version else ""
    found = [Check("datastore", "problem" if locked else "ok", f"{state}; {len(items)} resources{version}")]
    found.append(_latency(latency))
    found.append(clock_check(items, now=time.time()))
    found += [Check("unreadable", "problem", broken.reason) for broken in listing.unreadable[:_SHOWN]]
    texts = [
        f"{item.key}: {error.path} is stored, and this release does not act on it"
        for item in items
        for error in unenforced(item)
    ]
    found += [Check("not enforced", "problem", text) for text in texts[:_SHOWN]]
    if len(texts) > _SHOWN:
        found.append(Check("not enforced", "problem", f"{len(texts) - _SHOWN} more fields are stored and not acted on"))
    return found


def _latency(seconds: float) -> "Check":
    from tortie.agent.checkup import Check

    told = f"one read takes {seconds * 1000:.0f} ms"
    if seconds < _SLOW_SECONDS:
        return Check("datastore latency", "ok", told)
    return Check(
        "datastore latency",
        "problem",
        told,
        why="pods start slowly, and changes of policy arrive late",
        fix="look at the load and the disks of the datastore's servers, and at the network between",
    )


def clock_check(items: "Iterable[Resource]", *, now: float) -> "Check":
    """Whether anything in the datastore was written later than it is here: then one of two clocks is wrong."""
    from tortie.agent.checkup import Check
    from tortie.ipam.blocks import parse_time

    latest, origin = 0.0, ""
    for item in items:
        # Agents write the time of their node, the datastore's servers (or who created it) the creation's.
        for text in (item.metadata.creation_timestamp, getattr(getattr(item, "spec", None), "reported_at", "")):
            written = parse_time(text) if text else 0.0
            if written > latest:
                latest, origin = written, str(item.key)
    if latest > now + _SKEW_SECONDS:
        return Check("clock", "problem", f"{origin} was written {latest - now:.0f} s later than it is here")
    return Check("clock", "ok", "nothing in the datastore is from the future")


def datastore_file_is_missing(config: str) -> bool:
    """True where the datastore is a file that nobody has made yet."""
    if not is_sqlite(environment(), config):
        return False
    return not Path(environment().get("TORTIE_SQLITE_PATH") or DEFAULT_SQLITE_PATH).exists()


def _plugin() -> Path | None:
    """Where runtimes look for CNI plugins, then beside our own interpreter."""
    places = (*_PLUGIN_PLACES, str(Path(sys.executable).parent), os.environ.get("PATH", ""))
    found = shutil.which("tortie-cni", path=os.pathsep.join(places))
    return Path(found) if found else None
