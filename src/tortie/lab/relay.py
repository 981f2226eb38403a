"""A way from a lab's network to one server outside: `python -m tortie.lab.relay FOLDER NETNS ADDRESS PORT HOST PORT`.

Listens at an address inside the network namespace at a path, and connects from where it was started. It carries bytes and knows
nothing of them. FOLDER is the lab's: the process is known, and ended, by naming it. Prints `ready` once it listens.
"""

import asyncio
import signal
import socket
import sys

from tortie.kernel import netns

_CHUNK = 1 << 16


async def relay(listener: socket.socket, host: str, port: int) -> None:
    """Carry every connection to host and port, until SIGTERM."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)

    async def carry(near: asyncio.StreamReader, near_out: asyncio.StreamWriter) -> None:
        try:
            far, far_out = await asyncio.open_connection(host, port)
        except OSError as error:
            sys.stderr.write(f"{host}:{port} cannot be reached: {error}\n")
            near_out.close()
            return
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_pump(near, far_out))
                tasks.create_task(_pump(far, near_out))
        finally:
            near_out.close()
            far_out.close()

    await asyncio.start_server(carry, sock=listener)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await stopped.wait()


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """Until the source ends, which the target is told; a broken connection is an end too."""
    try:
        while data := await source.read(_CHUNK):
            target.write(data)
            await target.drain()
        if target.can_write_eof():
            target.write_eof()
    except OSError:
        target.close()


def _listen(path: str, address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    descriptor = netns.open_path(path)
    return netns.in_netns(descriptor, lambda: socket.create_server((address, port), family=family))


if __name__ == "__main__":
    _, _, space, near_address, near_port, far_host, far_port = sys.argv
    asyncio.run(relay(_listen(space, near_address, int(near_port)), far_host, int(far_port)))
