"""What every command that speaks to the datastore shares: its options, and a client for the length of one piece of work."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import TypeVar

import click

from tortie.datastore.client import Client
from tortie.datastore.config import open_client

_T = TypeVar("_T")

DEFAULT_CONFIG = "/etc/calico/calicoctl.cfg"

config_option = click.option("-c", "--config", default=DEFAULT_CONFIG, show_default=True, help="calicoctl's configuration.")
namespace_option = click.option("-n", "--namespace", default="", help="Namespace of what names none (default: default).")


def with_client(config: str, work: Callable[[Client], Awaitable[_T]]) -> _T:
    """Run `work` with the configured datastore's client."""

    async def main() -> _T:
        client = open_client(os.environ, config)
        try:
            return await work(client)
        finally:
            await client.close()

    return asyncio.run(main())
