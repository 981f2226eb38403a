"""Where questions about policy are asked: a world from files (-f), or from the datastore without any."""

import asyncio
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from tortie.api.kubernetes import Pod
from tortie.api.profile import Profile
from tortie.api.resource import Key, Resource, Update
from tortie.calc.graph import KINDS as CALCULATED
from tortie.calc.graph import STAGED_KINDS
from tortie.cli.everywhere import keep_config
from tortie.convert.feed import convert_update
from tortie.insight.errors import InsightError
from tortie.insight.files import Loaded, Text, load
from tortie.insight.world import World

_SUFFIXES = frozenset({".yaml", ".yml", ".json"})
_LIVE_KINDS = (
    *(kind for kind in CALCULATED if kind not in ("BlockAffinity", "BGPPeer", "BGPFilter")),
    *STAGED_KINDS,
    "KubernetesService",
)
_F = TypeVar("_F", bound=Callable[..., Any])

YES, NO = 0, 2
"""Exit codes; errors are 1, by whoever runs the command (see `main.run`)."""


def inputs(command: _F) -> _F:
    """The options of every command that asks about a world: `paths` and `config_file`."""
    command = click.option(
        "-f",
        "--filename",
        "paths",
        multiple=True,
        metavar="PATH",
        help="File or directory of YAML ('-': standard input). Repeatable. Without it: the datastore.",
    )(command)
    return click.option("--config", "config_file", callback=keep_config, help="calicoctl.cfg of the datastore, without -f.")(
        command
    )


staged_option = click.option("--staged", is_flag=True, help="Answer as if every staged policy were enforced.")


def tell_protocols(written: Iterable[str]) -> None:
    """A line on stderr about each question that is a number alone: most who write one mean a port."""
    for text in written:
        if text.isdecimal():
            click.echo(f"Note: {text} is asked about as the number of a protocol; write tcp/{text} for a port.", err=True)


def open_world(paths: Sequence[str], config_file: str | None) -> World:
    """From files if there are any, else from the datastore. Says on stderr what was not looked at."""
    if not paths:
        return live_world(live_resources_told(config_file))
    loaded = read_files(paths)
    tell_ignored(loaded)
    return loaded.world()


def read_files(paths: Iterable[str]) -> Loaded:
    """What files and directories hold. Raises InsightError, ValidationError."""
    return load(texts(paths))


def tell_ignored(loaded: Loaded) -> None:
    """A line on stderr about kinds that policy does not depend on."""
    if loaded.ignored:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(loaded.ignored.items()))
        click.echo(f"Not looked at, because policy does not depend on it: {kinds}.", err=True)


def texts(paths: Iterable[str]) -> Iterator[Text]:
    """The files themselves. Raises InsightError for what cannot be read."""
    for given in paths:
        if given == "-":
            yield Text("standard input", sys.stdin.read())
            continue
        path = Path(given)
        found = sorted(p for p in path.rglob("*") if p.suffix in _SUFFIXES and p.is_file()) if path.is_dir() else [path]
        if not found:
            raise InsightError(f"{given}: the directory holds no .yaml, .yml or .json file")
        for file in found:
            yield read_text(file)


def read_text(file: Path) -> Text:
    """One file. Raises InsightError."""
    try:
        return Text(str(file), file.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise InsightError(f"{file}: cannot be read: {error}") from error


def live_resources(config_file: str | None) -> list[Resource]:
    """All that policy depends on in the datastore; what cannot be read is replaced by what denies."""
    from tortie.cli.session import environment
    from tortie.datastore.config import open_client
    from tortie.datastore.unreadable import stand_in

    async def listed() -> list[Resource]:
        client = open_client(environment(), config_file)
        try:
            listing = await client.list_many(_LIVE_KINDS)
        finally:
            await client.close()
        return [*listing.items, *filter(None, map(stand_in, listing.unreadable))]

    return asyncio.run(listed())


def live_resources_told(config_file: str | None) -> list[Resource]:
    """`live_resources`; says on stderr if there is nothing, which answers every question and is rarely what is meant."""
    resources = live_resources(config_file)
    if all(isinstance(each, Profile) for each in resources):  # one is built in
        click.echo("The datastore holds nothing that policy depends on: is it the one that is meant?", err=True)
    return resources


def live_world(resources: Sequence[Resource]) -> World:
    """The world of what a datastore holds."""
    return World.from_updates([convert_update(Update(resource.key, resource)) for resource in resources], written=resources)


def live_world_with(resources: Iterable[Resource], applied: Loaded) -> World:
    """The world as it would be with files applied to the datastore. Pods in files change nothing: their endpoints are live."""
    by_key: dict[Key, Resource] = {resource.key: resource for resource in resources}
    pods = len(applied.templates)
    for resource in applied.resources:
        if isinstance(resource, Pod):
            pods += 1
        else:
            by_key[resource.key] = resource
    if pods:
        click.echo(f"Not looked at: {pods} pods and pod templates of the files; the datastore's endpoints count.", err=True)
    written = list(by_key.values())
    updates = [convert_update(Update(resource.key, resource)) for resource in written]
    return World.from_updates(updates, written=written, locations=applied.locations)
