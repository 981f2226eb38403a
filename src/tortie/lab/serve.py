"""What a lab pod runs: servers on the ports it was given, both families. `python -m tortie.lab.serve NAME tcp:5432 udp:53`.

TCP: says the pod's name and closes when the client does. UDP: answers with the pod's name. Prints `ready` once all listen.
"""

import asyncio
import contextlib
import signal
import socket
import sys


async def serve(name: str, ports: list[str]) -> None:
    """Listen on every port until SIGTERM."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    greeting = name.encode() + b"\n"

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(greeting)
            await writer.drain()
            async with asyncio.timeout(60):
                await reader.read()
        except (OSError, TimeoutError):
            pass
        finally:
            writer.close()

    def answer(datagram: socket.socket) -> None:
        with contextlib.suppress(OSError):
            data, sender = datagram.recvfrom(2048)
            datagram.sendto(name.encode() + b" " + data[:256], sender)

    for text in ports:
        protocol, _, number_text = text.partition(":")
        port = int(number_text)
        for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):  # noqa: S104  (a pod serves all it has)
            if protocol == "tcp":
                listener = socket.create_server((address, port), family=family, backlog=512)
                await asyncio.start_server(greet, sock=listener)
            else:
                datagram = socket.socket(family, socket.SOCK_DGRAM)
                if family == socket.AF_INET6:
                    datagram.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                datagram.bind((address, port))
                datagram.setblocking(False)
                loop.add_reader(datagram, answer, datagram)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await stopped.wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], sys.argv[2:]))
