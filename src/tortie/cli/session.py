"""What every command that speaks to the datastore shares: its options, and a client for the length of one piece of work."""

import asyncio
import os
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import click

from tortie.base.errors import TortieError
from tortie.cli.everywhere import ANY_VERSION, CONFIG_GIVEN, CONTEXT, global_options, keep_config
from tortie.datastore.client import Client
from tortie.datastore.config import open_client
from tortie.datastore.errors import DatastoreError

_T = TypeVar("_T")
_F = TypeVar("_F", bound=Callable[..., Any])

DEFAULT_CONFIG = "/etc/calico/calicoctl.cfg"

_OF_DATASTORES = re.compile(r"(CALICO_)?(DATASTORE_TYPE|ETCD_.+|K8S_.+|KUBECONFIG(_INLINE)?|USE_POD_CIDR|API_GROUP)")
"""Variables that say what a configuration says."""


class VersionMismatch(TortieError):
    """The datastore is of a Calico that this program does not know."""


config_flag = click.option(
    "-c",
    "--config",
    default=DEFAULT_CONFIG,
    show_default=True,
    callback=keep_config,
    help="calicoctl's configuration; a file that is named here counts instead of the environment.",
)


def config_option(function: _F) -> _F:
    """`-c`, and the options of all commands."""
    return config_flag(global_options(function))


def _complete_namespace(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    from tortie.cli.completing import complete_namespace

    return complete_namespace(ctx, param, incomplete)


namespace_option = click.option(
    "-n",
    "--namespace",
    default="",
    shell_complete=_complete_namespace,
    help="Namespace of what names none (default: default).",
)


def environment() -> Mapping[str, str]:
    """The environment, with the context of the kubeconfig that the command line names. Who types `-c FILE` means that file's
    datastore: nothing of the environment may lead to another one then."""
    context = click.get_current_context(silent=True)
    meta = context.meta if context is not None else {}
    found: Mapping[str, str] = os.environ
    if meta.get(CONFIG_GIVEN):
        found = {name: value for name, value in os.environ.items() if not _OF_DATASTORES.fullmatch(name)}
    name = meta.get(CONTEXT)
    return found if name is None else {**found, "K8S_CURRENT_CONTEXT": name}


def with_client(config: str, work: Callable[[Client], Awaitable[_T]], *, check_version: bool = True) -> _T:
    """Run `work` with the configured datastore's client. Raises VersionMismatch before it, where versions count."""
    context = click.get_current_context(silent=True)
    compare = check_version and not (context is not None and context.meta.get(ANY_VERSION))

    async def main() -> _T:
        client = open_client(environment(), config)
        try:
            if compare:
                await _refuse_other_version(client)
            return await work(client)
        finally:
            await client.close()

    return asyncio.run(main())


async def _refuse_other_version(client: Client) -> None:
    """Every Calico 3 keeps what this release reads. A store that does not say, or does not answer, is not the question here."""
    from tortie import __version__
    from tortie.api.cluster import ClusterInformation
    from tortie.api.resource import Key

    try:
        information = await client.get(Key("ClusterInformation", "", "default"))
    except DatastoreError:
        return
    assert isinstance(information, ClusterInformation)
    version = information.spec.calico_version
    release = version.removeprefix("v").partition("-")[0]
    if release and release.partition(".")[0] != "3":
        raise VersionMismatch(
            f"version mismatch.\nClient Version:   {__version__} (Calico 3)\nCluster Version:  {version}\n"
            "Use --allow-version-mismatch to override"
        )
