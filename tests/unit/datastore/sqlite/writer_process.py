"""A process that writes without end: `python writer_process.py PATH`. Prints each key after its commit was confirmed."""

import asyncio
import sys

import msgspec

from tortie.api.networkset import NetworkSet, NetworkSetSpec
from tortie.api.resource import Metadata
from tortie.datastore.sqlite.client import SqliteClient


async def main(path: str, run: str) -> None:
    client = SqliteClient(path)
    for i in range(1_000_000):
        name = f"run{run}-{i}"
        created = await client.create(NetworkSet(metadata=Metadata(name=name, namespace="default"), spec=NetworkSetSpec()))
        await client.update(msgspec.structs.replace(created, spec=NetworkSetSpec(nets=(f"10.0.{i % 256}.0/24",) * 50)))
        sys.stdout.write(f"{name}\n")
        sys.stdout.flush()


asyncio.run(main(sys.argv[1], sys.argv[2]))
