"""The process: listens, looks after the datastore and after whom the cluster trusts, and stops when it is told to.

A datastore that is away does not end it: it lives, is not ready, and says why. SIGTERM ends all watches, lets requests in
flight finish, and closes.
"""

import asyncio
import contextlib
import errno
import signal
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

from aiohttp import web

from tortie.api.resource import Key
from tortie.apiserver.access import ADMINS, AUTHENTICATED, Authorizer, GroupAuthorizer, User
from tortie.apiserver.certificates import Folder, kubeconfig, write_private
from tortie.apiserver.delegation import DelegatedAuthorizer, read_trust
from tortie.apiserver.errors import ApiServerError, Refusal
from tortie.apiserver.hub import Hubs
from tortie.apiserver.identity import TokenFile, Trust, fingerprints
from tortie.apiserver.options import Options, check_options, is_loopback
from tortie.apiserver.served import catalogue
from tortie.apiserver.service import Service
from tortie.base import log
from tortie.base.aio import Backoff
from tortie.base.metrics import Metrics
from tortie.datastore.client import Client
from tortie.datastore.errors import DatastoreError, DoesNotExist, Unavailable
from tortie.datastore.initialize import CLUSTER_INFORMATION, ensure_initialized
from tortie.datastore.kubernetes.connection import Connection
from tortie.datastore.kubernetes.settings import read_settings

_log = log.get(__name__)

_BODY_BYTES = 3 << 20
_PING_SECONDS = 1.0
_LATE_SECONDS = 2.0
"""An answer that takes longer is none for whoever asks for our health: it is told within three seconds."""
_TRUST_SECONDS = 60.0
_STOP_SECONDS = 5.0
_START_SECONDS = 60.0


async def serve(options: Options, client: Client, env: Mapping[str, str], *, started: Callable[[], None] | None = None) -> None:
    """Serve until SIGTERM or SIGINT. `started` is called when requests are accepted. Raises ApiServerError."""
    check_options(options)
    stop = asyncio.Event()
    served, metrics, hubs = catalogue(standalone=options.standalone), Metrics(), Hubs(client)
    async with contextlib.AsyncExitStack() as stack:
        ground = await stack.enter_async_context(_standalone(options) if options.standalone else _behind(options, env))
        service = Service(client, served, hubs=hubs, authorizer=ground.authorizer, trust=ground.trust, metrics=metrics)
        await stack.enter_async_context(_listening(options, service, ground.tls))
        for number in (signal.SIGTERM, signal.SIGINT):  # until here there is nothing to end in order
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        _log.info("serving %s", options.url)
        if started is not None:
            started()
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(hubs.run()),
                group.create_task(_look_after(client, service)),
                group.create_task(ground.look_after(service)),
            ]
            await stop.wait()
            _log.info("stopping: watches end, requests in flight finish")
            hubs.stop()
            for task in tasks:
                task.cancel()


class _Ground:
    """What the server stands on: who decides, who is known, the TLS context (None: none)."""

    def __init__(
        self,
        authorizer: Authorizer,
        trust: Trust,
        tls: ssl.SSLContext | None,
        *,
        connection: Connection | None,
        pair: "_Serving",
    ) -> None:
        self.authorizer = authorizer
        self.trust = trust
        self.tls = tls
        self._connection = connection
        self._pair = pair

    async def look_after(self, service: Service) -> None:
        """Follow what the cluster trusts, and certificates that are renewed. Without end."""
        while True:
            await asyncio.sleep(_TRUST_SECONDS)
            if self.tls is not None:
                self._pair.renew(self.tls)
            if self._connection is None or self.tls is None:
                continue
            try:
                service.trust, pem = await read_trust(self._connection)
                self.tls.load_verify_locations(cadata=pem)
            except (DatastoreError, ApiServerError, ssl.SSLError) as error:
                _log.warning("whom the cluster trusts stays as it was: %s", error)


class _Serving:
    """The server's certificate and key; read again when the files change."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._certificate = certificate
        self._key = key
        self._seen: tuple[int, int] | None = None

    def renew(self, tls: ssl.SSLContext) -> None:
        """Load what changed; what cannot be loaded is told, and the old one stays."""
        try:
            self.load(tls)
        except ApiServerError as error:
            _log.error("the certificate stays as it was: %s", error)

    def load(self, tls: ssl.SSLContext) -> None:
        """Raises ApiServerError."""
        try:
            seen = (self._certificate.stat().st_mtime_ns, self._key.stat().st_mtime_ns)
            if seen != self._seen:
                tls.load_cert_chain(self._certificate, self._key)
                self._seen = seen
        except (OSError, ssl.SSLError) as error:
            what = error.strerror or error.args[-1]
            raise ApiServerError(f"certificate {self._certificate} with key {self._key} cannot be used: {what}") from error


@contextlib.asynccontextmanager
async def _standalone(options: Options) -> AsyncIterator[_Ground]:
    """Without Kubernetes: an authority of our own, a token file, two groups."""
    authorizer, folder = GroupAuthorizer(), Folder(options.folder)
    serving = _Serving(folder.server.certificate, folder.server.key)
    if options.insecure_loopback:
        _log.warning("everybody on this machine may do everything: --insecure-loopback")
        anonymous = User("system:unsecured", (ADMINS, AUTHENTICATED))
        if options.kubeconfig_out:
            raise ApiServerError("--write-kubeconfig needs certificates: leave out --insecure-loopback")
        yield _Ground(authorizer, Trust(anonymous=anonymous), None, connection=None, pair=serving)
        return
    names = tuple(dict.fromkeys(("localhost", *(name for name in options.names if not _is_address(name)))))
    addresses = {"127.0.0.1", "::1", *(name for name in options.names if _is_address(name))}
    if _is_address(options.host) and options.host not in ("0.0.0.0", "::"):  # noqa: S104
        addresses.add(options.host)
    await asyncio.to_thread(folder.ensure, names=names, addresses=tuple(sorted(addresses)))
    pem = _read(folder.authority.certificate)
    tokens = TokenFile(options.tokens) if options.tokens else None
    trust = Trust(None, fingerprints(pem, origin=str(folder.authority.certificate)), tokens)
    if options.kubeconfig_out:
        content = await asyncio.to_thread(kubeconfig, folder, server=options.url)
        write_private(options.kubeconfig_out, content)
        _log.info("kubeconfig of an administrator: %s", options.kubeconfig_out)
    tls = _context(serving, pem)
    yield _Ground(authorizer, trust, tls, connection=None, pair=serving)


@contextlib.asynccontextmanager
async def _behind(options: Options, env: Mapping[str, str]) -> AsyncIterator[_Ground]:
    """Behind kube-apiserver: it says who asks, and who may what."""
    if options.certificate is None or options.key is None:
        # Kubernetes can be told not to verify us; a certificate of our own authority is what there is then.
        folder = Folder(options.folder)
        await asyncio.to_thread(folder.ensure, names=("localhost", *options.names), addresses=("127.0.0.1", "::1"))
        serving = _Serving(folder.server.certificate, folder.server.key)
    else:
        serving = _Serving(options.certificate, options.key)
    connection = Connection(read_settings({**env, "KUBECONFIG": options.kubeconfig} if options.kubeconfig else env, {}))
    try:
        trust, pem = await _patiently(connection)
        tls = _context(serving, pem)
        yield _Ground(DelegatedAuthorizer(connection), trust, tls, connection=connection, pair=serving)
    finally:
        await connection.close()


async def _patiently(connection: Connection) -> tuple[Trust, str]:
    """Whom the cluster trusts; the cluster may be starting just as we are. Raises ApiServerError."""
    backoff = Backoff(first=0.2, last=5.0)
    deadline = asyncio.get_running_loop().time() + _START_SECONDS
    while True:
        try:
            return await read_trust(connection)
        except DatastoreError as error:
            # kube-apiserver writes down whom it trusts when it has started, and until it has read its roles it forbids all.
            if not isinstance(error, Unavailable | DoesNotExist) or asyncio.get_running_loop().time() > deadline:
                raise ApiServerError(f"whom the cluster trusts cannot be read: {error}") from error
            _log.warning("waiting for Kubernetes: %s", error)
        await backoff.wait()


@contextlib.asynccontextmanager
async def _listening(options: Options, service: Service, tls: ssl.SSLContext | None) -> AsyncIterator[None]:
    """Accept requests for the length of a block. Raises ApiServerError where the address cannot be had."""

    async def handle(request: web.Request) -> web.StreamResponse:
        # A page in a browser could ask us under a name of its own that leads to loopback.
        if options.insecure_loopback and not is_loopback(_host_of(request.host)):
            refusal = Refusal(403, f"host {request.host!r} is not this machine's loopback")
            return web.json_response(refusal.status(), status=refusal.code)
        return await service.handle(request)

    application = web.Application(client_max_size=_BODY_BYTES)
    application.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=_STOP_SECONDS, handle_signals=False)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, options.host or None, options.port, ssl_context=tls).start()
        except OSError as error:
            where = f"{options.host or 'all addresses'}, port {options.port}"
            taken = error.errno == errno.EADDRINUSE
            cure = "somebody else listens there: choose another --port" if taken else error.strerror
            raise ApiServerError(f"cannot listen on {where}: {cure}") from error
        yield
    finally:
        await runner.cleanup()


async def _look_after(client: Client, service: Service) -> None:
    """Initialise the datastore, and keep asking whether it answers. Without end."""
    loop = asyncio.get_running_loop()
    late = f"the datastore has not answered for {_LATE_SECONDS:g} s"
    initialized = False
    while True:
        # Its client is patient, which who asks for our health need not be.
        alarm = loop.call_later(_LATE_SECONDS, _note, service, late)
        try:
            if initialized:
                with contextlib.suppress(DoesNotExist):
                    await client.get(Key(*CLUSTER_INFORMATION.key))
            else:
                await ensure_initialized(client)
                initialized = True
            _note(service, "")
        except DatastoreError as error:
            _note(service, str(error))
        finally:
            alarm.cancel()
        await asyncio.sleep(_PING_SECONDS if initialized and not service.ready else 0.5)


def _note(service: Service, unready: str) -> None:
    if unready and service.ready != unready:
        _log.warning("not ready: %s", unready)
    elif service.ready and not unready:
        _log.info("ready")
    service.ready = unready


def _context(serving: _Serving, authorities: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    serving.load(context)
    context.load_verify_locations(cadata=authorities)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.set_alpn_protocols(["http/1.1"])
    return context


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ApiServerError(f"{path} cannot be read: {error}") from error


def _is_address(text: str) -> bool:
    return ":" in text or text.replace(".", "").isdigit()


def _host_of(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] or host
