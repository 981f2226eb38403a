"""Which datastore: Calico's variables and calicoctl.cfg, and our own TORTIE_SQLITE_PATH and TORTIE_SQLITE_SYNCHRONOUS."""

from collections.abc import Mapping

from tortie.api.documents import load_raw
from tortie.api.resource import V3
from tortie.datastore.client import Client
from tortie.datastore.errors import InvalidRequest
from tortie.datastore.sqlite.client import SqliteClient

DEFAULT_SQLITE_PATH = "/var/lib/tortie/tortie.sqlite"


def open_client(env: Mapping[str, str], config_file: str | None) -> Client:
    """The client that the environment or, where that is silent, the configuration file asks for. Opens nothing yet.

    DATASTORE_TYPE (also CALICO_DATASTORE_TYPE, and spec.datastoreType of the file) is sqlite, the default; etcdv3 and
    kubernetes raise InvalidRequest. A file that is not there counts as silent.
    """
    kind = env.get("DATASTORE_TYPE") or env.get("CALICO_DATASTORE_TYPE") or _type_in_file(config_file) or "sqlite"
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


def _type_in_file(config_file: str | None) -> str:
    """spec.datastoreType of a calicoctl.cfg, "" where there is none."""
    if not config_file:
        return ""
    try:
        with open(config_file, encoding="utf-8") as file:
            text = file.read()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"configuration {config_file} cannot be read: {error}") from error
    found = load_raw(text, origin=config_file)
    if not found:
        return ""
    if len(found) > 1 or not isinstance(found[0], dict) or found[0].get("kind") != "CalicoAPIConfig":
        raise InvalidRequest(f"configuration {config_file} must be one document of kind CalicoAPIConfig")
    if found[0].get("apiVersion") != V3:
        raise InvalidRequest(f"configuration {config_file}: apiVersion must be {V3}")
    spec = found[0].get("spec") or {}
    if not isinstance(spec, dict) or not isinstance(spec.get("datastoreType", ""), str):
        raise InvalidRequest(f"configuration {config_file}: spec.datastoreType must be text")
    return str(spec.get("datastoreType", ""))
