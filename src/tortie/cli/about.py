"""`tortie version` and `tortie completion`."""

import time

import click
from click.shell_completion import get_completion_class

from tortie import __version__
from tortie.cli.files import InputError
from tortie.cli.session import config_option, environment


@click.command()
@click.option("--client", "client_only", is_flag=True, help="Print this program's version alone, without the datastore.")
@click.option("--poll", metavar="DURATION", default="", help="Ask again after each DURATION (5s, 1m); print what changed.")
@config_option
def version(*, client_only: bool, poll: str, config: str) -> None:
    """Print the version of this program and of the cluster."""
    from tortie.api.formats import parse_duration

    try:
        seconds = parse_duration(poll) if poll else 0.0
    except ValueError as error:
        raise InputError(f"--poll: {error}") from error
    click.echo(f"Client Version:    v{__version__}\nGit commit:        unknown")
    if client_only:
        return
    said = ""
    while True:
        told = _cluster(config)
        if told != said:
            click.echo(told)
            said = told
        if not seconds:
            return
        time.sleep(seconds)


def _cluster(config: str) -> str:
    """What the datastore says of its cluster. Raises InputError where it answers with an error."""
    import asyncio

    from tortie.api.cluster import ClusterInformation
    from tortie.api.resource import Key
    from tortie.datastore.config import open_client
    from tortie.datastore.errors import DatastoreError, DoesNotExist, Unauthorized, Unavailable

    async def ask() -> ClusterInformation:
        # Looking must not make a datastore where there is none.
        client = open_client(environment(), config, create=False)
        try:
            found = await client.get(Key("ClusterInformation", "", "default"))
        finally:
            await client.close()
        assert isinstance(found, ClusterInformation)
        return found

    try:
        spec = asyncio.run(ask()).spec
    except Unauthorized as error:
        raise InputError(f"unable to retrieve Cluster Version or Type: {error}") from error
    except (DoesNotExist, Unavailable):  # no file, no server, or a store that nobody has used
        return "Unable to detect installed Calico version"
    except DatastoreError as error:
        raise InputError(f"unable to retrieve Cluster Version or Type: {error}") from error
    return f"Cluster Version:   {spec.calico_version or 'unknown'}\nCluster Type:      {spec.cluster_type or 'unknown'}"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print a script that makes SHELL complete tortie's commands, options, kinds and stored names.

    \b
    bash  source <(tortie completion bash)        in ~/.bashrc
    zsh   source <(tortie completion zsh)         in ~/.zshrc
    fish  tortie completion fish | source         in ~/.config/fish/config.fish
    """
    completer = get_completion_class(shell)
    assert completer is not None
    click.echo(completer(ctx.find_root().command, {}, "tortie", "_TORTIE_COMPLETE").source())
