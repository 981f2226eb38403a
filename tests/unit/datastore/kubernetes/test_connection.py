"""What a connection to an API server leaves behind: nothing, whatever the server does."""

import asyncio
import gc
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tortie.api.resource import Key
from tortie.base.certificates import Authority
from tortie.datastore.errors import Unavailable
from tortie.datastore.kubernetes.connection import Connection
from tortie.datastore.kubernetes.settings import Login, Settings

PATH = "/api/v1/namespaces/default"
KEY = Key("Namespace", "", "default")


class Mute:
    """A server that ends the handshake of TLS, reads one request and then says nothing, not even goodbye."""

    def __init__(self, folder: Path) -> None:
        self._authority = Authority(folder, "ca")
        self._authority.create()
        pair = self._authority.sign_server("server", names=("localhost",), addresses=("127.0.0.1",))
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._tls.load_cert_chain(pair.certificate, pair.key)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._over = threading.Event()
        self.asked = threading.Event()

    @property
    def settings(self) -> Settings:
        port = self._listener.getsockname()[1]
        authority = self._authority.pair.certificate.read_bytes()
        return Settings(f"https://127.0.0.1:{port}", Login(), ca=authority)

    @contextmanager
    def listening(self) -> Iterator[None]:
        thread = threading.Thread(target=self._serve)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()
            self._listener.close()

    def _serve(self) -> None:
        plain, _ = self._listener.accept()
        with self._tls.wrap_socket(plain, server_side=True) as connection:
            connection.recv(65536)
            self.asked.set()
            self._over.wait(30)


@pytest.mark.parametrize("given_up", [True, False], ids=["given up", "in flight"])
def test_a_request_without_an_answer_leaves_no_connection_open(tmp_path: Path, given_up: bool) -> None:
    """What is left open is found by the garbage collector some tests later, and nobody knows whose it was."""
    server = Mute(tmp_path)

    async def scenario() -> None:
        connection = Connection(server.settings)
        request = asyncio.ensure_future(connection.read(PATH, {}, verb="get", key=KEY))
        await asyncio.to_thread(server.asked.wait, 30)
        if given_up:
            request.cancel()
            await asyncio.gather(request, return_exceptions=True)
        await connection.close()
        if not given_up:
            with pytest.raises(Unavailable):
                await asyncio.wait_for(request, 30)

    with server.listening():
        asyncio.run(scenario())
        gc.collect()  # a transport that was not closed says so now, which fails this test
