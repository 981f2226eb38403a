"""The command line means the same on every datastore, and refuses with calicoctl's words what one of them cannot do."""

import asyncio
import json
from pathlib import Path

import msgspec
import pytest
from tests.conformance.backends import Backend
from tests.unit.cli.stage import Tortie, command_line
from tests.yaml_corpus.corpus import good

from tortie.api.documents import load_documents
from tortie.api.kinds import KINDS
from tortie.api.tier import PREDEFINED
from tortie.api.validation import check_document
from tortie.cli import dump
from tortie.datastore.sqlite.client import SqliteClient

SET = "apiVersion: projectcalico.org/v3\nkind: NetworkSet\nmetadata: {name: a}\nspec: {nets: [10.0.0.0/8]}\n"
PROFILE = "apiVersion: projectcalico.org/v3\nkind: Profile\nmetadata: {name: p}\nspec: {}\n"
NODE = "apiVersion: projectcalico.org/v3\nkind: Node\nmetadata: {name: nowhere}\nspec: {}\n"
POOL = "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: pool}\nspec: {cidr: 10.9.0.0/24}\n"


@pytest.fixture
def tortie(backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Tortie:
    call = command_line(tmp_path, monkeypatch, capsys)
    for name, value in backend.env.items():
        monkeypatch.setenv(name, value)
    return call


def test_a_resource_lives_and_dies(tortie: Tortie) -> None:
    assert tortie("create", "-f", "-", stdin=SET).out == "Successfully created 1 'NetworkSet' resource(s)\n"
    assert tortie("create", "-f", "-", stdin=SET).err.startswith(
        "failed to create 'NetworkSet' resource: [resource already exists"
    )
    assert tortie("label", "networkset", "a", "k=v").code == 0
    assert tortie("patch", "networkset", "a", "-p", '{"spec": {"nets": ["11.0.0.0/8"]}}').code == 0
    printed = tortie("get", "networkset", "a", "-o", "json").out
    assert (json.loads(printed)["spec"], json.loads(printed)["metadata"]["labels"]) == ({"nets": ["11.0.0.0/8"]}, {"k": "v"})
    assert tortie("apply", "-f", "-", stdin=printed).out.endswith("1 unchanged\n")
    assert tortie("get", "networkset", "-A").out == "NAMESPACE   NAME\ndefault     a\n\n"
    assert tortie("delete", "networkset", "a").out == "Successfully deleted 1 'NetworkSet' resource(s)\n"
    assert tortie("get", "networkset", "a").err == "failed to get resources: resource does not exist: NetworkSet(default/a)\n"


def test_kinds_that_others_write_are_refused_by_name(backend: Backend, tortie: Tortie) -> None:
    for kind, text in (("Profile", PROFILE), ("Node", NODE)):
        answer = tortie("create", "-f", "-", stdin=text)
        if kind in backend.read_only:
            assert answer.code == 1
            assert f"operation create is not supported on {kind}(" in answer.err
        else:
            assert answer.code == 0


def test_a_node_goes_with_all_that_is_its_own_or_not_at_all(backend: Backend, tortie: Tortie) -> None:
    peers = [{"metadata": {"name": name}, "spec": {"node": name, "peerIP": "192.0.2.9", "asNumber": 64512}} for name in "ab"]
    documents = [{"apiVersion": "projectcalico.org/v3", "kind": "BGPPeer"} | peer for peer in peers]
    assert tortie("apply", "-f", "-", stdin="\n---\n".join(map(json.dumps, documents))).code == 0
    if "Node" in backend.read_only:
        answer = tortie("delete", "node", "a")
        assert "operation delete is not supported on Node(a): Kubernetes' nodes come and go with their kubelets" in answer.err
        assert tortie("get", "bgppeer", "a").code == 0, "nothing was deleted"
        return
    assert tortie("apply", "-f", "-", stdin=NODE.replace("nowhere", "a")).code == 0
    assert tortie("delete", "node", "a").out == "Deleted with node a: 1 BGPPeer\nSuccessfully deleted 1 'Node' resource(s)\n"
    assert tortie("get", "bgppeer", "a").code == 1
    assert tortie("get", "bgppeer", "b").code == 0


def test_what_a_file_of_sqlite_holds_is_the_same_afterwards(
    backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tortie = command_line(tmp_path, monkeypatch, capsys)
    assert tortie("datastore", "migrate", "lock").code == 0

    async def fill() -> None:
        client = SqliteClient(str(tmp_path / "store" / "t.sqlite"))
        for resource in (check_document(load_documents(example.text)[0]) for example in good()):
            names = (resource.metadata.name, resource.metadata.namespace or "default")
            if resource.kind in (*dump.EXPORTED, *dump.IPAM) and dump.is_kept(resource) and names[0] not in PREDEFINED:
                namespace = names[1] if KINDS[resource.kind].namespaced else ""
                metadata = msgspec.structs.replace(resource.metadata, namespace=namespace)
                await client.create(msgspec.structs.replace(resource, metadata=metadata))
        await client.close()

    asyncio.run(fill())
    before = tortie("datastore", "migrate", "export").out
    for name, value in backend.env.items():
        monkeypatch.setenv(name, value)
    if "TORTIE_SQLITE_PATH" in backend.env:
        monkeypatch.setenv("TORTIE_SQLITE_PATH", str(tmp_path / "other.sqlite"))
    answer = tortie("datastore", "migrate", "import", "-f", "-", stdin=before)
    assert answer.code == 0, answer.err
    assert tortie("datastore", "migrate", "import", "-f", "-", stdin=before).code == 0  # as after an interruption
    after = tortie("datastore", "migrate", "export").out
    assert told(after, backend) == told(before, backend)


def told(text: str, backend: Backend) -> dict[str, list[object]]:
    """What a file says, by kind, without the kinds that this datastore has from others."""
    content = dump.read(text, origin="test")
    found: dict[str, list[object]] = {"guid": [content.information.spec.cluster_guid]}
    for resource in sorted((*content.resources, *content.ipam), key=lambda one: one.key):
        if resource.kind not in backend.read_only:
            is_ipam = resource.kind in dump.IPAM
            found.setdefault(resource.kind, []).append(
                dump.said_of(resource) if is_ipam else dump.without_identity(resource, keep_uid=False)
            )
    return found


def test_addresses_and_the_lock(tortie: Tortie) -> None:
    assert tortie("apply", "-f", "-", stdin=POOL).code == 0
    assert "10.9.0.0/24" in tortie("ipam", "show").out
    assert tortie("ipam", "check").out.endswith("Check complete; found 0 problems.\n")
    assert tortie("ipam", "configure", "--strictaffinity", "true").out == "Successfully set StrictAffinity to: true\n"
    assert tortie("datastore", "migrate", "lock").out == "Datastore locked.\n"
    exported = tortie("datastore", "migrate", "export")
    assert exported.code == 0, exported.err
    assert tortie("datastore", "migrate", "import", "-f", "-", stdin=exported.out).code == 0  # it is all there already
    assert tortie("datastore", "migrate", "unlock").out == "Datastore unlocked.\n"
    assert "Cluster Version:   unknown" in tortie("version").out
