"""One process of the IPAM stress test: what a node's CNI plugin asks of IPAM, as fast as it can, written down.

    python -m tests.stress.ipam_worker NODE NAME ADDRESSES JOURNAL SEED

The datastore is the environment's. A worker whose journal is there already takes over after a dead one: first it releases
every handle of which the dead one had not heard the end, as a container runtime repeats DEL.
"""

import asyncio
import os
import random
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

from tests.stress import journal
from tests.stress.journal import Journal

from tortie.api.ipam import IPAMBlock, block_name
from tortie.api.resource import Key
from tortie.base.net import Address, Family, masked, parse_prefix
from tortie.cni.addressing import resolve
from tortie.cni.config import IpamConfig
from tortie.datastore.client import Client
from tortie.datastore.config import open_client
from tortie.datastore.errors import DoesNotExist
from tortie.ipam.allocator import AssignRequest, Ipam
from tortie.ipam.blocks import ReleaseRequest
from tortie.ipam.errors import AlreadyAssigned, BlockLimit, Contention, IpamError, ReleaseConflict

POOL = parse_prefix("10.0.0.0/20")
POOL_V6 = parse_prefix("fd00:10::/118")
BLOCK_LENGTH = 26
KEPT = 20
"""Handles that one worker has at most."""


class Worker:
    """Its life is one `run`."""

    def __init__(self, client: Client, node: str, name: str, path: Path, seed: int) -> None:
        self._client = client
        self._ipam = Ipam(client)
        self._node = node
        self._name = name
        self._path = path
        self._random = random.Random(seed)
        if path.exists():  # a line that the dead one could not finish
            text = path.read_bytes()
            os.truncate(path, text.rfind(b"\n") + 1)
        self._file = path.open("a", buffering=1)
        self._figures: Counter[str] = Counter()
        self._held: dict[str, list[Address]] = {}
        self._late: list[ReleaseRequest] = []
        self._next = 0

    async def run(self, addresses: int) -> None:
        """Assign as many addresses as asked for, releasing most of them again."""
        past = journal.read(self._path)
        await self._take_over(past)
        done = past.figures["allocations"]
        while done < addresses:
            done += await self._assign()
            if len(self._held) >= KEPT or self._random.random() < 0.45:
                await self._release(self._random.choice(sorted(self._held)) if self._held else "")
            if self._late and self._random.random() < 0.1:
                await self._release_late()
        self._figures["conflicts"] = self._ipam.conflicts
        for name, count in sorted(self._figures.items()):
            self._write("c", name, str(count))
        self._file.close()

    def _write(self, sign: str, *words: str) -> None:
        self._file.write(" ".join((sign, repr(time.time()), *words)) + "\n")

    async def _take_over(self, past: Journal) -> None:
        self._next = len(past.handles)
        for handle in sorted(past.unsettled):
            self._write("R", handle)
            await self._insist(handle)
            self._write("-", handle)
        for address, handle in past.held.items():
            if handle not in past.unsettled:
                self._held.setdefault(handle, []).append(address)

    async def _assign(self) -> int:
        """One ADD: automatic, from a pool by annotation, or of one address by annotation."""
        handle = f"{self._name}-{self._next}"
        self._next += 1
        self._write("?", handle)
        kind = self._random.choices(("automatic", "pools", "address"), (8, 1, 1))[0]
        try:
            found = await (self._assign_named(handle) if kind == "address" else self._assign_any(handle, kind))
        except (AlreadyAssigned, BlockLimit) as error:
            self._figures[f"refused:{type(error).__name__}"] += 1
            found = ()
        except Contention:
            self._figures["refused:Contention"] += 1
            await self._insist(handle)
            found = ()
        for address in found:
            self._write("+", handle, str(address))
        self._write(".", handle)
        if found:
            self._held[handle] = list(found)
            self._figures[f"requests:{kind}"] += 1
        return len(found)

    async def _assign_any(self, handle: str, kind: str) -> tuple[Address, ...]:
        annotations = {"cni.projectcalico.org/ipv4pools": f'["{POOL}"]'} if kind == "pools" else {}
        wish = await resolve(self._client, IpamConfig(), pod=annotations, namespace={})
        v6 = int(self._random.random() < 0.1)
        count = self._random.choice((1, 1, 1, 2, 3))
        assigned = await self._ipam.auto_assign(
            AssignRequest(self._node, handle, count, v6, {"pod": handle, "node": self._node}, pools_v4=wish.pools_v4)
        )
        return tuple(interface.address for interface in (*assigned.v4, *assigned.v6))

    async def _assign_named(self, handle: str) -> tuple[Address, ...]:
        wanted = Address(Family.V4, POOL.value + self._random.randrange(POOL.size))
        annotations = {"cni.projectcalico.org/ipAddrs": f'["{wanted}"]'}
        wish = await resolve(self._client, IpamConfig(), pod=annotations, namespace={})
        for address in wish.addresses:
            await self._ipam.assign_ip(address, handle, attributes={"pod": handle, "node": self._node}, node=self._node)
        return wish.addresses

    async def _release(self, handle: str) -> None:
        """One DEL: by handle, or address by address with sequence numbers."""
        addresses = self._held.pop(handle, [])
        if not addresses:
            return
        if self._random.random() < 0.7:
            self._write("R", handle)
            await self._insist(handle)
            self._write("-", handle)
            return
        requests = [await self._numbered(address, handle) for address in addresses]
        for address in addresses:
            self._write("r", handle, str(address))
        try:
            missing = await self._ipam.release(requests)
            assert not missing, f"{missing} were {handle}'s, and nobody else released them"
        except Contention:
            await self._insist(handle)
        self._write("-", handle)
        self._late = [*self._late[-20:], *requests]

    async def _numbered(self, address: Address, handle: str) -> ReleaseRequest:
        """A release that names the very allocation."""
        length = BLOCK_LENGTH if address.family is Family.V4 else 122
        cidr = masked(address, length)
        block = await self._client.get(Key("IPAMBlock", "", block_name(str(cidr))))
        assert isinstance(block, IPAMBlock)
        number = block.spec.sequence_number_for_allocation[str(address.value - cidr.value)]
        return ReleaseRequest(address, handle, number)

    async def _release_late(self) -> None:
        """The same release a second time, late: whoever has the address now must not lose it."""
        request = self._late.pop(self._random.randrange(len(self._late)))
        if self._random.random() < 0.5:
            request = replace(request, handle="")  # the sequence number alone must do
        try:
            missing = await self._ipam.release([request])
        except ReleaseConflict:
            self._figures["late-releases-refused"] += 1
        except (Contention, DoesNotExist):
            pass
        else:
            assert missing == (request.address,), f"a release from the past took {request.address} away"
            self._figures["late-releases-without-effect"] += 1

    async def _insist(self, handle: str) -> None:
        while True:
            try:
                await self._ipam.release_by_handle(handle)
                return
            except Contention:
                self._figures["releases-repeated"] += 1


async def churn(client: Client, nodes: list[str], seed: int) -> None:
    """Take the blocks of nodes away from them, again and again, while they assign (a node is removed and comes back)."""
    ipam = Ipam(client)
    chance = random.Random(seed)
    while True:
        await asyncio.sleep(chance.uniform(0.5, 2.0))
        try:
            await ipam.release_node(chance.choice(nodes))
        except IpamError:
            continue


async def main(words: list[str]) -> None:
    client = open_client(os.environ, None)
    try:
        if words[0] == "churn":
            await churn(client, words[2:], int(words[1]))
        else:
            node, name, addresses, path, seed = words
            await Worker(client, node, name, Path(path), int(seed)).run(int(addresses))
    finally:
        await client.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
