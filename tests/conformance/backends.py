"""The backends that the conformance tests run against. A further backend adds one entry to `BACKENDS`."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest
from tests.conformance import kubernetes_server
from tests.conformance.etcd_server import shared

from tortie.api.kinds import KINDS
from tortie.api.networkset import NetworkSet, NetworkSetSpec
from tortie.api.resource import V3, Metadata
from tortie.datastore.client import Client
from tortie.datastore.config import open_client
from tortie.datastore.kubernetes.places import CRD_V1, is_custom
from tortie.datastore.sqlite.client import SqliteClient

T = TypeVar("T")


@dataclass(frozen=True)
class Backend:
    """One store. `open_client` may be called often; all clients see the same data. `env` selects it in another process.

    `has_one_revision`: a listing of several kinds is one moment. `read_only` are kinds that others write.
    """

    open_client: Callable[[], Client]
    env: dict[str, str]
    has_one_revision: bool = True
    read_only: frozenset[str] = frozenset()

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        client = self.open_client()
        try:
            yield client
        finally:
            await client.close()

    def run(self, scenario: Callable[[Client], Awaitable[T]]) -> T:
        """Run a scenario with one client."""

        async def main() -> T:
            async with self.client() as client:
                return await asyncio.wait_for(scenario(client), 100)

        return asyncio.run(main())


def sqlite(directory: Path) -> Backend:
    path = str(directory / "store" / "tortie.sqlite")
    return Backend(lambda: SqliteClient(path), {"DATASTORE_TYPE": "sqlite", "TORTIE_SQLITE_PATH": path})


def etcd(_: Path) -> Backend:
    member = shared()
    member.clear()
    return etcd_at({"ETCD_ENDPOINTS": member.url})


def etcd_at(env: dict[str, str]) -> Backend:
    """The etcd that these variables name."""
    env = {"DATASTORE_TYPE": "etcdv3"} | env
    return Backend(lambda: open_client(env, None), env)


def kubernetes(_: Path) -> Backend:
    """The group of Calico's releases so far."""
    return kubernetes_at(CRD_V1)


def kubernetes_native(_: Path) -> Backend:
    """The group that needs no translation."""
    return kubernetes_at(V3)


def kubernetes_at(group: str) -> Backend:
    server = kubernetes_server.shared()
    server.clear()
    env = {"DATASTORE_TYPE": "kubernetes", "KUBECONFIG": str(server.cluster.admin)}
    if group == V3:
        env["CALICO_API_GROUP"] = group
    others = frozenset(kind for kind in KINDS if not is_custom(kind))
    return Backend(lambda: open_client(env, None), env, has_one_revision=False, read_only=others)


BACKENDS: dict[str, Callable[[Path], Backend]] = {
    "sqlite": sqlite,
    "etcd": etcd,
    "kubernetes": kubernetes,
    "kubernetes_native": kubernetes_native,
}
_MARKS = {"etcd": pytest.mark.etcd, "kubernetes": pytest.mark.kubernetes, "kubernetes_native": pytest.mark.kubernetes}

PARAMETERS = [pytest.param(name, marks=[_MARKS[name]] if name in _MARKS else []) for name in sorted(BACKENDS)]
"""The names of the backends, for parametrised tests."""


def netset(name: str, *nets: str, namespace: str = "default") -> NetworkSet:
    """A resource that is short to write."""
    return NetworkSet(metadata=Metadata(name=name, namespace=namespace), spec=NetworkSetSpec(nets=nets))
