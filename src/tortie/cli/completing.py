"""What a shell may complete: kinds, and the names of stored resources, which are asked for live and for a second at most."""

import asyncio
import contextlib

import click

from tortie.api.kinds import KINDS, kind_by_alias
from tortie.cli.files import namespace_of
from tortie.cli.session import DEFAULT_CONFIG, environment
from tortie.datastore.config import open_client

_PATIENCE_SECONDS = 1.0


def complete_kind(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Kinds that begin with what was typed."""
    return [kind.kind.lower() for kind in KINDS.values() if kind.kind.lower().startswith(incomplete.lower())]


def complete_name(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Names of the kind that stands before, in the namespace of -n. Nothing where the datastore cannot be asked."""
    given = ctx.params.get("names") or ()
    # A shell is no place for messages: whatever goes wrong, there is simply nothing to complete.
    with contextlib.suppress(Exception):
        kind = kind_by_alias(ctx.params["kind"])
        everywhere = bool(ctx.params.get("all_namespaces"))
        namespace = "" if everywhere else namespace_of(kind, ctx.params.get("namespace") or "")
        config = ctx.params.get("config") or DEFAULT_CONFIG
        names = asyncio.run(_names(kind.kind, namespace, config))
        return sorted({name for name in names if name.startswith(incomplete) and name not in given})
    return []


def complete_pool(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Names of IP pools."""
    with contextlib.suppress(Exception):
        config = ctx.params.get("config") or DEFAULT_CONFIG
        return sorted(name for name in asyncio.run(_names("IPPool", "", config)) if name.startswith(incomplete))
    return []


def complete_namespace(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Namespaces that are stored."""
    with contextlib.suppress(Exception):
        config = ctx.params.get("config") or DEFAULT_CONFIG
        return sorted(name for name in asyncio.run(_names("Namespace", "", config)) if name.startswith(incomplete))
    return []


async def _names(kind: str, namespace: str, config: str) -> list[str]:
    client = open_client(environment(), config, create=False)
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            return [item.metadata.name for item in (await client.list(kind, namespace=namespace)).items]
    finally:
        await client.close()
