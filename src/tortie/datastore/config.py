"""Which datastore: Calico's variables and calicoctl.cfg, and our own TORTIE_SQLITE_PATH and TORTIE_SQLITE_SYNCHRONOUS."""

from collections.abc import Mapping

from tortie.datastore.client import Client
from tortie.datastore.errors import InvalidRequest
from tortie.datastore.sqlite.client import SqliteClient

DEFAULT_SQLITE_PATH = "/var/lib/tortie/tortie.sqlite"


def open_client(env: Mapping[str, str], config_file: str | None) -> Client:
    """The client that the environment or, where that is silent, the configuration file asks for. Opens nothing yet.

    DATASTORE_TYPE (also CALICO_DATASTORE_TYPE) is sqlite, the default; etcdv3 and kubernetes raise InvalidRequest.
    """
    kind = env.get("DATASTORE_TYPE") or env.get("CALICO_DATASTORE_TYPE") or "sqlite"
    if kind in ("etcdv3", "kubernetes"):
        raise InvalidRequest(f"datastore type {kind!r} is not in this release: set DATASTORE_TYPE=sqlite")
    if kind != "sqlite":
        raise InvalidRequest(f"DATASTORE_TYPE {kind!r} is unknown: set DATASTORE_TYPE=sqlite")
    path = env.get("TORTIE_SQLITE_PATH") or DEFAULT_SQLITE_PATH
    match env.get("TORTIE_SQLITE_SYNCHRONOUS", "NORMAL").upper():
        case "NORMAL" | "":
            return SqliteClient(path)
        case "FULL":
            return SqliteClient(path, synchronous="FULL")
        case other:
            raise InvalidRequest(f"TORTIE_SQLITE_SYNCHRONOUS {other!r} is unknown: use NORMAL or FULL")
