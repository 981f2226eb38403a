"""Reads our table back from the kernel, as one generation of it."""

from typing import NamedTuple

from tortie.kernel.errors import NotFound
from tortie.kernel.netlink import Message, Request, RequestSocket, text
from tortie.kernel.nft.decode import (
    KernelChain,
    KernelRule,
    KernelSet,
    KernelTable,
    decode_chains,
    decode_generation,
    decode_rules,
    decode_set,
    decode_sets,
    decode_table_flags,
)
from tortie.kernel.nft.elements import list_header
from tortie.kernel.nft.objects import TableFamily
from tortie.kernel.nft.uapi import FAMILIES, Msg, RuleAttr, SetAttr, header, message_type

_ATTEMPTS = 5


def read_generation(socket: RequestSocket) -> int:
    """The number of the last transaction of the namespace, anybody's."""
    request = Request(message_type(Msg.GETGEN), 0, header(0))
    return decode_generation(socket.request(request, action="nftables: read the generation"))


def read_table(socket: RequestSocket, table: str, *, family: TableFamily = "inet") -> KernelTable:
    """The whole table. If other transactions come between, it is read again, a few times; the generation that is
    returned was current before the reading began, so a transaction conditional on it cannot act on a mixture."""
    found = KernelTable(0)
    for _ in range(_ATTEMPTS):
        generation = read_generation(socket)
        try:
            found = _read_once(socket, table, generation=generation, family=family)
        except NotFound:  # the table or a set went away in between
            continue
        if read_generation(socket) == generation:
            break
    return found


def read_rules(socket: RequestSocket, table: str, *, counters: bool = False, family: TableFamily = "inet") -> list[KernelRule]:
    """The table's rules, chain by chain."""
    return decode_rules(_Dumps(socket, table, family)(Msg.GETRULE, text(RuleAttr.TABLE, table)), counters=counters)


def _read_once(socket: RequestSocket, table: str, *, generation: int, family: TableFamily) -> KernelTable:
    dump = _Dumps(socket, table, family)
    flags = decode_table_flags(dump(Msg.GETTABLE), table)
    if flags is None:
        return KernelTable(generation)
    hooks = decode_chains(dump(Msg.GETCHAIN), table, family)
    digests: dict[str, list[bytes]] = {name: [] for name in hooks}
    for rule in read_rules(socket, table, family=family):
        digests.setdefault(rule.chain, []).append(rule.digest)
    specs = decode_sets(dump(Msg.GETSET, text(SetAttr.TABLE, table)))
    sets: dict[str, KernelSet] = {}
    for name, spec in specs.items():
        if spec is None:
            sets[name] = KernelSet(None, {})
        else:
            sets[name] = decode_set(spec, dump(Msg.GETSETELEM, list_header(table, name)))
    chains = {name: KernelChain(hook, tuple(digests[name])) for name, hook in hooks.items()}
    return KernelTable(generation, flags, chains, sets)


class _Dumps(NamedTuple):
    """Asks for all objects of a kind, of one family."""

    socket: RequestSocket
    table: str
    family: TableFamily

    def __call__(self, message: int, filters: bytes = b"") -> list[Message]:
        request = Request(message_type(message), 0, header(FAMILIES[self.family]) + filters)
        return self.socket.dump(request, action=f"nftables: read table {self.family} {self.table}")
