"""`tortie datastore migrate lock | unlock`: ClusterInformation says whether nodes may assign addresses."""

import click
import msgspec

from tortie.api.cluster import ClusterInformation
from tortie.api.resource import Key
from tortie.cli.session import config_option, with_client
from tortie.datastore.client import Client
from tortie.datastore.errors import UpdateConflict
from tortie.datastore.initialize import ensure_initialized


@click.group()
def datastore() -> None:
    """The datastore as a whole."""


@datastore.group()
def migrate() -> None:
    """Lock the datastore for changes that assignments of addresses must not meet."""


@migrate.command()
@config_option
def lock(config: str) -> None:
    """Make nodes refuse new pods. Pods that run go on; resources can still be changed."""
    with_client(config, lambda client: _set_ready(client, ready=False))
    click.echo("Datastore locked.")


@migrate.command()
@config_option
def unlock(config: str) -> None:
    """Let nodes take new pods again."""
    with_client(config, lambda client: _set_ready(client, ready=True))
    click.echo("Datastore unlocked.")


async def _set_ready(client: Client, *, ready: bool) -> None:
    await ensure_initialized(client)
    while True:
        stored = await client.get(Key("ClusterInformation", "", "default"))
        assert isinstance(stored, ClusterInformation)
        wanted = msgspec.structs.replace(stored, spec=msgspec.structs.replace(stored.spec, datastore_ready=ready))
        if wanted == stored:
            return
        try:
            await client.update(wanted)
        except UpdateConflict:
            continue
        return
