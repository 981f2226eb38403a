"""`tortie datastore migrate`: the group of its commands, and lock and unlock (ClusterInformation.spec.datastoreReady)."""

import importlib

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


class _Migrate(click.Group):
    """Its larger commands are imported when they are used."""

    _OTHERS = {"export": "export", "import": "import_", "migrate-policy-names": "migrate_policy_names"}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), *self._OTHERS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._OTHERS:
            return super().get_command(ctx, cmd_name)
        command = getattr(importlib.import_module("tortie.cli.migration"), self._OTHERS[cmd_name])
        assert isinstance(command, click.Command)
        return command


@datastore.group(cls=_Migrate)
def migrate() -> None:
    """Carry all that a datastore holds into another; lock it meanwhile, so that no address is assigned."""


@migrate.command()
@config_option
def lock(config: str) -> None:
    """Make nodes refuse new pods. Pods that run go on; resources can still be changed."""
    with_client(config, lambda client: set_ready(client, ready=False))
    click.echo("Datastore locked.")


@migrate.command()
@config_option
def unlock(config: str) -> None:
    """Let nodes take new pods again."""
    with_client(config, lambda client: set_ready(client, ready=True))
    click.echo("Datastore unlocked.")


async def set_ready(client: Client, *, ready: bool) -> None:
    """Say in ClusterInformation whether nodes may assign addresses."""
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
