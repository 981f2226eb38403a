"""One process of the IPAM stress test: assigns and releases, and writes down what it was told.

    python -m tests.stress.ipam_worker DATABASE NODE NAME COUNT LOG

A line `+ HANDLE ADDRESS` or `- HANDLE ADDRESS` is written after the request returned, so a killed worker knows of all but its
last request.
"""

import asyncio
import random
import sys

from tortie.base.net import Interface
from tortie.datastore.sqlite.client import SqliteClient
from tortie.ipam.allocator import AssignRequest, Ipam


async def work(database: str, node: str, name: str, count: int, log: str) -> None:
    client = SqliteClient(database)
    ipam = Ipam(client)
    held: list[tuple[str, Interface]] = []
    with open(log, "w", buffering=1) as file:
        for number in range(count):
            handle = f"{name}-{number}"
            result = await ipam.auto_assign(AssignRequest(node, handle, 1, 0, {"pod": handle}, max_blocks=100))
            (address,) = result.v4
            held.append((handle, address))
            file.write(f"+ {handle} {address.address}\n")
            if random.random() < 0.4:
                handle, address = held.pop(random.randrange(len(held)))
                await ipam.release_by_handle(handle)
                file.write(f"- {handle} {address.address}\n")
        file.write(f"done {ipam.conflicts}\n")
    await client.close()


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5]))
