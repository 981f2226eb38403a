"""Which datastore: Calico's variables and calicoctl.cfg, and our own TORTIE_SQLITE_PATH and TORTIE_SQLITE_SYNCHRONOUS."""

from collections.abc import Mapping
from typing import Any

from tortie.api.documents import load_raw
from tortie.api.resource import V3
from tortie.datastore.client import Client
from tortie.datastore.errors import InvalidRequest
from tortie.datastore.etcd import settings as etcd
from tortie.datastore.kubernetes import settings as kubernetes

DEFAULT_SQLITE_PATH = "/var/lib/tortie/tortie.sqlite"

_TEXT_FIELDS = ("datastoreType", *etcd.FILE_FIELDS)
_FIELDS = (*_TEXT_FIELDS, *kubernetes.FILE_FIELDS)


def open_client(env: Mapping[str, str], config_file: str | None, *, create: bool = True) -> Client:
    """The client that the environment or, where that is silent, the configuration file asks for. Connects to nothing yet.

    DATASTORE_TYPE (also CALICO_DATASTORE_TYPE, and spec.datastoreType of the file) is sqlite, etcdv3 or
    kubernetes. Where none is named, it is etcdv3 if endpoints of etcd are, else sqlite. A file that is not there counts as
    silent. Without `create` an embedded datastore whose file is not there is not made, but Unavailable.
    """
    file = _read_file(config_file)
    match _kind(env, file):
        case "sqlite":
            return _open_sqlite(env, create=create)
        case "etcdv3":
            # gRPC takes 70 ms to import; who uses another datastore does not wait for it.
            from tortie.datastore.etcd.client import EtcdClient

            return EtcdClient(etcd.read_settings(env, file))
        case "kubernetes":
            # aiohttp takes even longer.
            from tortie.datastore.kubernetes.client import KubernetesClient

            return KubernetesClient(kubernetes.read_settings(env, file))
        case other:
            raise InvalidRequest(f"DATASTORE_TYPE {other!r} is unknown: set DATASTORE_TYPE to kubernetes, etcdv3 or sqlite")


def is_kubernetes(env: Mapping[str, str], config_file: str | None) -> bool:
    """Whether `open_client` opens Kubernetes, where others write pods and namespaces and endpoints are read from pods."""
    return _kind(env, _read_file(config_file)) == "kubernetes"


def is_sqlite(env: Mapping[str, str], config_file: str | None) -> bool:
    """Whether `open_client` opens a file of this machine."""
    return _kind(env, _read_file(config_file)) == "sqlite"


def _kind(env: Mapping[str, str], file: Mapping[str, Any]) -> str:
    kind = env.get("DATASTORE_TYPE") or env.get("CALICO_DATASTORE_TYPE") or file.get("datastoreType")
    return kind or ("etcdv3" if etcd.are_given(env, file) else "sqlite")


def _open_sqlite(env: Mapping[str, str], *, create: bool) -> Client:
    from tortie.datastore.sqlite.client import SqliteClient

    path = env.get("TORTIE_SQLITE_PATH") or DEFAULT_SQLITE_PATH
    match env.get("TORTIE_SQLITE_SYNCHRONOUS", "NORMAL").upper():
        case "NORMAL" | "":
            return SqliteClient(path, create=create)
        case "FULL":
            return SqliteClient(path, synchronous="FULL", create=create)
        case other:
            raise InvalidRequest(f"TORTIE_SQLITE_SYNCHRONOUS {other!r} is unknown: use NORMAL or FULL")


def _read_file(config_file: str | None) -> dict[str, Any]:
    """The fields of spec in a calicoctl.cfg that we use, checked; empty where there is no file."""
    if not config_file:
        return {}
    try:
        with open(config_file, encoding="utf-8") as file:
            text = file.read()
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"configuration {config_file} cannot be read: {error}") from error
    found = load_raw(text, origin=config_file)
    if not found:
        return {}
    if len(found) > 1 or not isinstance(found[0], dict) or found[0].get("kind") != "CalicoAPIConfig":
        raise InvalidRequest(f"configuration {config_file} must be one document of kind CalicoAPIConfig")
    if found[0].get("apiVersion") != V3:
        raise InvalidRequest(f"configuration {config_file}: apiVersion must be {V3}")
    _refuse_unknown(found[0], ("apiVersion", "kind", "metadata", "spec"), where=config_file)
    spec = found[0].get("spec") or {}
    if not isinstance(spec, dict):
        raise InvalidRequest(f"configuration {config_file}: spec must be a mapping")
    _refuse_unknown(spec, _FIELDS, where=f"{config_file}: spec")
    for name in _FIELDS:
        if not isinstance(spec.get(name, ""), str if name in _TEXT_FIELDS else str | bool | int | float):
            raise InvalidRequest(f"configuration {config_file}: spec.{name} must be text")
    return {name: spec[name] for name in _FIELDS if name in spec}


def _refuse_unknown(fields: Mapping[str, object], known: tuple[str, ...], *, where: str) -> None:
    unknown = sorted(set(fields) - set(known))
    if unknown:
        raise InvalidRequest(f"configuration {where}: unknown field {unknown[0]!r}; known are {', '.join(known)}")
