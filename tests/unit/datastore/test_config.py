"""Which datastore a process talks to."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from tortie.api.errors import DocumentError
from tortie.datastore.config import is_kubernetes, open_client
from tortie.datastore.errors import DatastoreError


def listed(env: dict[str, str], config_file: str | None = None) -> None:
    """Use the client once, so that it opens its file."""

    async def main() -> None:
        client = open_client(env, config_file)
        await client.list("Tier")
        await client.close()

    asyncio.run(main())


def configuration(directory: Path, spec: str) -> str:
    """A calicoctl.cfg with this spec; its path."""
    path = directory / "calicoctl.cfg"
    path.write_text(f"apiVersion: projectcalico.org/v3\nkind: CalicoAPIConfig\nmetadata:\nspec: {spec}\n")
    return str(path)


@pytest.mark.parametrize("synchronous", [{}, {"TORTIE_SQLITE_SYNCHRONOUS": "full"}, {"TORTIE_SQLITE_SYNCHRONOUS": "NORMAL"}])
@pytest.mark.parametrize("kind", [{}, {"DATASTORE_TYPE": "sqlite"}, {"CALICO_DATASTORE_TYPE": "sqlite"}])
def test_sqlite_is_the_default_and_its_path_is_honoured(
    tmp_path: Path, kind: dict[str, str], synchronous: dict[str, str]
) -> None:
    listed({"TORTIE_SQLITE_PATH": str(tmp_path / "a.sqlite")} | kind | synchronous)
    assert (tmp_path / "a.sqlite").exists()


def test_a_configuration_file_that_is_not_there_counts_as_silent(tmp_path: Path) -> None:
    listed({"TORTIE_SQLITE_PATH": str(tmp_path / "a.sqlite")}, str(tmp_path / "missing.cfg"))


def test_kubernetes_is_chosen_by_name_and_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DatastoreError, match="KUBECONFIG"):
        open_client({"DATASTORE_TYPE": "kubernetes", "HOME": str(tmp_path)}, None)
    config = configuration(tmp_path, "{datastoreType: kubernetes, k8sAPIEndpoint: 'http://127.0.0.1:1', usePodCIDR: true}")
    assert type(open_client({}, config)).__name__ == "KubernetesClient"
    assert type(open_client({"DATASTORE_TYPE": "sqlite"}, config)).__name__ == "SqliteClient"


@pytest.mark.parametrize(
    ("env", "spec"),
    [
        ({"DATASTORE_TYPE": "etcdv3", "ETCD_ENDPOINTS": "http://127.0.0.1:1"}, "{}"),
        ({"CALICO_DATASTORE_TYPE": "etcdv3", "CALICO_ETCD_ENDPOINTS": "http://127.0.0.1:1"}, "{}"),
        ({"ETCD_ENDPOINTS": "http://127.0.0.1:1"}, "{}"),
        ({}, "{datastoreType: etcdv3, etcdEndpoints: 'http://127.0.0.1:1'}"),
        ({}, "{etcdEndpoints: 'http://127.0.0.1:1'}"),
    ],
)
def test_etcd_is_chosen_by_name_or_by_its_endpoints(tmp_path: Path, env: dict[str, str], spec: str) -> None:
    assert type(open_client(env, configuration(tmp_path, spec))).__name__ == "EtcdClient"


def test_who_uses_sqlite_does_not_load_grpc(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys\nfrom tortie.datastore.config import open_client\n"
        f"client = open_client({{'TORTIE_SQLITE_PATH': {str(tmp_path / 'a.sqlite')!r}}}, None)\n"
        "asyncio.run(client.list('Tier'))\nprint('grpc' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout == b"False\n"


@pytest.mark.parametrize(
    ("env", "field"), [({"DATASTORE_TYPE": "oracle"}, "DATASTORE_TYPE"), ({"TORTIE_SQLITE_SYNCHRONOUS": "OFF"}, "SYNCHRONOUS")]
)
def test_unknown_settings_are_named(env: dict[str, str], field: str) -> None:
    with pytest.raises(DatastoreError, match=field):
        open_client(env, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kind: Tier\napiVersion: projectcalico.org/v3\n", "CalicoAPIConfig"),
        ("kind: CalicoAPIConfig\napiVersion: v1\n", "apiVersion"),
        ("kind: CalicoAPIConfig\napiVersion: projectcalico.org/v3\nspec: [1]\n", "spec must be a mapping"),
        (
            "kind: CalicoAPIConfig\napiVersion: projectcalico.org/v3\nspec: {datastoreType: 1}\n",
            "spec.datastoreType must be text",
        ),
        ("kind: CalicoAPIConfig\napiVersion: projectcalico.org/v3\nspec: {etcdKeys: a}\n", "unknown field 'etcdKeys'"),
        ("kind: CalicoAPIConfig\napiVersion: projectcalico.org/v3\nspecs: {}\n", "unknown field 'specs'"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused_with_its_name(tmp_path: Path, text: str, message: str) -> None:
    config = tmp_path / "calicoctl.cfg"
    config.write_text(text)
    with pytest.raises(DatastoreError, match=rf"calicoctl\.cfg.*{message}"):
        open_client({}, str(config))


def test_a_file_that_is_no_yaml_is_refused_with_its_name(tmp_path: Path) -> None:
    config = tmp_path / "calicoctl.cfg"
    config.write_text("a: [")
    with pytest.raises(DocumentError, match=r"calicoctl\.cfg"):
        open_client({}, str(config))


def test_whether_pods_are_others_to_write_is_asked_of_the_variables_and_of_the_file(tmp_path: Path) -> None:
    config = configuration(tmp_path, "{datastoreType: kubernetes}")
    assert is_kubernetes({"DATASTORE_TYPE": "kubernetes"}, None)
    assert is_kubernetes({}, config)
    assert not is_kubernetes({"DATASTORE_TYPE": "sqlite"}, config)
    assert not is_kubernetes({"ETCD_ENDPOINTS": "unix:///x"}, None)
    assert not is_kubernetes({}, None)
