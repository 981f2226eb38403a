"""Lines for the Log action: the kernel hands the packet to an nflog group, the agent writes the line.

The kernel log would not leave a network namespace (conventions.md); the rate is limited in the kernel, by the rule.
"""

import asyncio
import logging
import socket
from collections.abc import Callable

from tortie.kernel.nflog import LoggedPacket, NflogReader

_PROTOCOLS = {1: "ICMP", 6: "TCP", 17: "UDP", 58: "ICMPv6", 132: "SCTP", 136: "UDPLite"}


def line(packet: LoggedPacket, interface_name: Callable[[int], str]) -> str:
    """One packet as one line, in the words of the kernel's own log format."""
    words = [f"{packet.prefix.rstrip(': ') or 'packet'}:"]
    for word, index in (("IN", packet.in_interface), ("OUT", packet.out_interface)):
        if index:
            words.append(f"{word}={interface_name(index)}")
    if packet.source is not None:
        words.append(f"SRC={packet.source} DST={packet.destination} PROTO={_PROTOCOLS.get(packet.protocol, packet.protocol)}")
    if packet.source_port is not None:
        words.append(f"SPT={packet.source_port} DPT={packet.destination_port}")
    return " ".join(words)


class PacketLog:
    """Writes a line for every packet that the kernel logged, until cancelled."""

    def __init__(self, reader: NflogReader, logger: logging.Logger) -> None:
        self._reader = reader
        self._logger = logger
        self.lines = 0

    async def run(self) -> None:
        """Read without end."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._reader.fileno(), self._on_readable)
        try:
            await asyncio.Event().wait()
        finally:
            loop.remove_reader(self._reader.fileno())
            self._reader.close()

    def _on_readable(self) -> None:
        for packet in self._reader.read():
            self.lines += 1
            self._logger.info("%s", line(packet, _interface_name))


def _interface_name(index: int) -> str:
    try:
        return socket.if_indextoname(index)
    except OSError:
        return str(index)
