"""Tells when somebody else changed our table, so that it is read back and repaired.

The kernel announces each transaction object by object, stamped with the port of the socket that it came from, and ends it
with a message that names the process. One call is made per burst of announcements, with a sentence about the first.
"""

import asyncio
from collections.abc import Callable, Iterable

from tortie.kernel.errors import Overflow
from tortie.kernel.netlink import NETLINK_NETFILTER, Message, Subscription, parse_attributes, string
from tortie.kernel.netns import in_netns
from tortie.kernel.nft.objects import TableFamily
from tortie.kernel.nft.uapi import FAMILIES, GROUP_NFTABLES, SUBSYSTEM, ChainAttr, Elements, Msg, RuleAttr, SetAttr

_GENMSG = 4
_TABLE_NAME = 1  # of every object: NFTA_TABLE_NAME and each NFTA_*_TABLE
_PROCESS_NAME = 3  # NFTA_GEN_PROC_NAME
_WHAT = {
    Msg.NEWTABLE: ("table changed", _TABLE_NAME),
    Msg.DELTABLE: ("table deleted", _TABLE_NAME),
    Msg.NEWCHAIN: ("chain {} changed", ChainAttr.NAME),
    Msg.DELCHAIN: ("chain {} deleted", ChainAttr.NAME),
    Msg.NEWRULE: ("rule added in chain {}", RuleAttr.CHAIN),
    Msg.DELRULE: ("rule deleted in chain {}", RuleAttr.CHAIN),
    Msg.NEWSET: ("set {} added", SetAttr.NAME),
    Msg.DELSET: ("set {} deleted", SetAttr.NAME),
    Msg.NEWSETELEM: ("element added in set {}", Elements.SET),
    Msg.DELSETELEM: ("element deleted in set {}", Elements.SET),
}


def foreign_change(messages: Iterable[Message], *, table: str, own_ports: frozenset[int], family: TableFamily = "inet") -> str:
    """A sentence about the first change of the table that came from none of `own_ports`; empty if there is none. Pure."""
    found = ""
    for message in messages:
        kind = message.type & 0xFF
        if message.type >> 8 != SUBSYSTEM or message.port in own_ports:
            continue
        attributes = parse_attributes(message.body, _GENMSG)
        if kind == Msg.NEWGEN:
            if found:
                return f"{found} by {string(attributes.get(_PROCESS_NAME, b'')) or 'an unknown process'}"
            continue
        if found or message.body[0] != FAMILIES[family] or string(attributes.get(_TABLE_NAME, b"")) != table:
            continue
        sentence, name = _WHAT.get(kind, ("table changed", _TABLE_NAME))
        found = sentence.format(string(attributes.get(name, b"")))
    return found


class NftMonitor:
    """Watches one table in the given network namespace, or in the calling thread's, from construction on."""

    def __init__(
        self,
        *,
        name: str = "tortie",
        family: TableFamily = "inet",
        own_ports: Iterable[int] = (),
        netns_fd: int | None = None,
    ) -> None:
        self._name = name
        self._family = family
        self._own_ports = frozenset(own_ports)
        self._subscription = in_netns(netns_fd, lambda: Subscription(NETLINK_NETFILTER, (GROUP_NFTABLES,)))

    async def watch(self, on_foreign_change: Callable[[str], None]) -> None:
        """Call back whenever another than `own_ports` changed the table, or when announcements were lost ("overflow").

        Runs until cancelled.
        """
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        loop.add_reader(self._subscription.fileno(), readable.set)
        try:
            while True:
                await readable.wait()
                readable.clear()
                reason = self._read()
                if reason:
                    on_foreign_change(reason)
        finally:
            loop.remove_reader(self._subscription.fileno())

    def _read(self) -> str:
        try:
            return foreign_change(self._subscription.read(), table=self._name, own_ports=self._own_ports, family=self._family)
        except Overflow:
            return "overflow"

    def close(self) -> None:
        """Stop listening."""
        self._subscription.close()
