"""A way to etcd that can lose answers, or requests, at a chosen moment: what a network does at the worst one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

Mode = Literal["through", "lose answers", "refuse"]


class Proxy:
    """Passes TCP connections on to one port. With `lose answers` the next write is delivered whole, nothing comes back from
    then on, and the connection ends; with `refuse` connections end at once, undelivered."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._writers: set[asyncio.StreamWriter] = set()
        self.mode: Mode = "through"
        self._silent = False
        self._answered = asyncio.Event()
        self.lost = 0
        self.url = ""

    def hang_up(self) -> None:
        """End the connections that there are."""
        for writer in list(self._writers):
            writer.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            if self.mode == "refuse":
                return
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._target)
            self._writers.add(up_writer)
            try:
                await asyncio.gather(self._requests(reader, up_writer), self._answers(up_reader, writer))
            finally:
                self._end(up_writer)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._end(writer)

    def _end(self, writer: asyncio.StreamWriter) -> None:
        """At once, whether or not somebody reads what is left: what is open when the loop ends is a later test's warning."""
        writer.transport.abort()
        self._writers.discard(writer)

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if self.mode == "refuse":
                break
            self._silent = self.mode == "lose answers" and data.count(b"/calico/") > 1  # a write names its key more than once
            self._answered.clear()
            writer.write(data)
            await writer.drain()
            if self._silent:
                await asyncio.wait_for(self._answered.wait(), 30)  # hung up earlier, the write might be given up
                self.lost += 1
                break
        self.hang_up()

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if not self._silent:
                writer.write(data)
                await writer.drain()
            elif _has_content(data):
                self._answered.set()
        self.hang_up()


def _has_content(frames: bytes) -> bool:
    """Whether frames of HTTP/2 hold any of a body; what else comes is about the connection."""
    while len(frames) >= 9:
        if frames[3] == 0:
            return True
        frames = frames[9 + int.from_bytes(frames[:3]) :]
    return False


@asynccontextmanager
async def proxy_to(url: str) -> AsyncIterator[Proxy]:
    proxy = Proxy(int(url.rpartition(":")[2]))
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        proxy.hang_up()
        server.close()
        await asyncio.sleep(0.05)
