"""`tortie doctor`: short questions to this machine, the datastore and this node's agent."""

import asyncio
import json
import os
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tortie.cli.boxes import box
from tortie.cli.node import run_dir_option
from tortie.cli.session import config_option
from tortie.datastore.config import open_client
from tortie.datastore.errors import DoesNotExist, Unavailable

if TYPE_CHECKING:
    from tortie.agent.checkup import Check

_PATIENCE_SECONDS = 10.0
_SHOWN = 20
_PLUGIN_PLACES = ("/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni")


@click.command()
@run_dir_option
@click.option("-o", "--output", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@config_option
@click.pass_context
def doctor(ctx: click.Context, run_dir: str, form: str, config: str) -> None:
    """Check the kernel's features, BIRD, the CNI plugin, the datastore and what the agent reports.

    Exit code 2 if anything is a problem.
    """
    from tortie.agent.checkup import verdict

    checks = asyncio.run(_examine(Path(run_dir), config))
    good = verdict(checks)
    if form == "json":
        click.echo(json.dumps({"healthy": good, "checks": [asdict(check) for check in checks]}, indent=2, ensure_ascii=False))
    else:
        click.echo("\n".join(box(("CHECK", "STATE", "DETAIL"), [(check.name, check.state, check.detail) for check in checks])))
    ctx.exit(0 if good else 2)


async def _examine(run_dir: Path, config: str) -> "list[Check]":
    from tortie.agent import checkup, leaving
    from tortie.agent.options import AgentError

    checks = await checkup.check_kernel()
    checks.append(await checkup.check_bird())
    checks.append(checkup.check_plugin(_plugin()))
    checks += await checkup.within(_PATIENCE_SECONDS, "datastore", _stored(config))
    try:
        text = leaving.read_status(run_dir)
        said = json.loads(text) if text else {}
    except (AgentError, ValueError) as error:
        checks.append(checkup.Check("agent status", "problem", str(error)))
        said = {}
    return checks + checkup.check_agent(leaving.running_agent(run_dir), said)


async def _stored(config: str) -> "list[Check]":
    """Whether the datastore answers, is in use, and holds only what this release acts on."""
    from tortie.agent.checkup import Check
    from tortie.api.cluster import ClusterInformation
    from tortie.api.kinds import KINDS
    from tortie.api.resource import Key
    from tortie.dataplane.enforcement import unenforced

    client = open_client(os.environ, config)
    try:
        try:
            information = await client.get(Key("ClusterInformation", "", "default"))
        except DoesNotExist:
            return [Check("datastore", "note", "it answers and is empty: the first `tortie apply` initialises it")]
        assert isinstance(information, ClusterInformation)
        locked = information.spec.datastore_ready is False
        listing = await client.list_many(list(KINDS))
        items = listing.items
    except Unavailable as error:
        return [Check("datastore", "problem", f"it cannot be reached: {error}")]
    finally:
        await client.close()
    state = "it is locked: nodes take no new pods (tortie datastore migrate unlock)" if locked else "it answers"
    found = [Check("datastore", "problem" if locked else "ok", f"{state}; {len(items)} resources")]
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


def _plugin() -> Path | None:
    """Where runtimes look for CNI plugins, then beside our own interpreter."""
    places = (*_PLUGIN_PLACES, str(Path(sys.executable).parent), os.environ.get("PATH", ""))
    found = shutil.which("tortie-cni", path=os.pathsep.join(places))
    return Path(found) if found else None
