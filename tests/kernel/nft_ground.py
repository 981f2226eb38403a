"""Ground for nftables tests: a namespace of our own, the nft program in it as an independent judge, sockets in it."""

import asyncio
import contextlib
import os
import secrets
import socket
import subprocess
from collections.abc import Callable, Iterator

from tortie.kernel.netns import in_netns
from tortie.kernel.nft.objects import TableFamily
from tortie.kernel.nft.table import ApplyStats, NftTable


class Ground:
    """One network namespace with its loopback up."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.fd = os.open(f"/run/netns/{name}", os.O_RDONLY)

    def table(self, name: str = "tortie", family: TableFamily = "inet") -> "Driven":
        """A driver for this namespace."""
        return Driven(NftTable(name=name, family=family, netns_fd=self.fd))

    def nft(self, *arguments: str, script: str | None = None) -> str:
        """Run the nft program here; a script goes to `nft -f -`."""
        command = ["ip", "netns", "exec", self.name, "nft", *arguments, *(["-f", "-"] if script is not None else [])]
        done = subprocess.run(command, input=script, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def chain(self, chain: str, table: str = "tortie") -> list[str]:
        """The rules of a chain as the nft program prints them, without their comments' quotes changed."""
        lines = self.nft("-n", "list", "chain", "inet", table, chain).splitlines()
        return [line.strip() for line in lines[2:] if line.strip() not in ("}", "") and not line.strip().startswith("type ")]

    def handles(self, chain: str) -> list[str]:
        """The rules' handles: a rule that is written again gets another one."""
        lines = self.nft("-a", "list", "chain", "inet", "tortie", chain).splitlines()
        return [line.rsplit("# handle ", 1)[1] for line in lines if "# handle" in line]

    def elements(self, name: str, kind: str = "set") -> list[str]:
        """A set's elements as the nft program prints them, in its order."""
        listed = self.nft("-n", "list", kind, "inet", "tortie", name)
        if "elements = {" not in listed:
            return []
        inside = listed.split("elements = {", 1)[1].split("}", 1)[0]
        return [part.strip() for part in inside.split(",") if part.strip()]

    def socket(self, kind: socket.SocketKind, family: socket.AddressFamily = socket.AF_INET) -> socket.socket:
        """A socket in this namespace that gives up after a second."""
        opened = in_netns(self.fd, lambda: socket.socket(family, kind))
        opened.settimeout(1.0)
        return opened


class Driven:
    """The driver with its coroutines run to their end, for tests that need no loop of their own."""

    def __init__(self, table: NftTable) -> None:
        self.table = table

    def apply(self) -> ApplyStats:
        return asyncio.run(self.table.apply())

    def counters(self) -> dict[tuple[str, str | int], tuple[int, int]]:
        return dict(asyncio.run(self.table.counters()))

    def delete(self) -> None:
        asyncio.run(self.table.delete())

    def close(self) -> None:
        asyncio.run(self.table.close())


@contextlib.contextmanager
def ground() -> Iterator[Ground]:
    """A namespace for the length of a block."""
    name = f"tn-{os.getpid()}-{secrets.token_hex(3)}"
    subprocess.run(["ip", "netns", "add", name], check=True, timeout=30)
    place = None
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True, timeout=30)
        place = Ground(name)
        yield place
    finally:
        if place is not None:
            os.close(place.fd)
        subprocess.run(["ip", "netns", "del", name], check=True, timeout=30)


def driven(place: Ground, opened: list[Driven]) -> Callable[[], Driven]:
    """A factory of drivers that the caller's fixture closes at the end."""

    def make() -> Driven:
        driver = place.table()
        opened.append(driver)
        return driver

    return make
