"""Every realistic document through the command line: accepted or refused as it should be, and given back as it was."""

import asyncio
import json
from pathlib import Path

import pytest
from tests.unit.cli.stage import Tortie, command_line
from tests.yaml_corpus.corpus import Example, bad, good

from tortie.api.documents import decode, encode, load_documents
from tortie.api.resource import Resource
from tortie.api.tier import PREDEFINED
from tortie.api.validation import check_document
from tortie.cli import dump
from tortie.datastore.sqlite.client import SqliteClient

READ_ONLY = {"ClusterInformation"}
OTHERS_NAME_THEM = {"Tier", "BGPFilter"}


@pytest.fixture
def tortie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Tortie:
    monkeypatch.setattr("tortie.cli.resources._POOL_SETTLE_SECONDS", 0.0)  # nobody else is at work here
    return command_line(tmp_path, monkeypatch, capsys)


def resource_of(example: Example) -> Resource:
    """What is to be stored: with defaults, in a namespace."""
    (document,) = load_documents(example.text)
    found = encode(check_document(document))
    if example.kind.namespaced:
        found["metadata"].setdefault("namespace", "default")
    return decode(found)


def is_read_only(resource: Resource) -> bool:
    return resource.kind in READ_ONLY or not dump.is_kept(resource)


def is_built_in(resource: Resource) -> bool:
    return resource.kind == "Tier" and resource.metadata.name in PREDEFINED


def test_good_documents_are_validated_applied_and_come_back_as_they_were(tortie: Tortie) -> None:
    for example in sorted(good(), key=lambda example: example.kind.kind not in OTHERS_NAME_THEM):
        assert tortie("validate", "--allow-unenforced", "-f", "-", stdin=example.text).code == 0, example.name
        wanted = resource_of(example)
        if is_read_only(wanted):
            assert "operation apply is not supported on" in tortie("apply", "-f", "-", stdin=example.text).err
            continue
        # Each stands alone: pools of different examples may overlap.
        answer = tortie("apply", "--allow-unenforced", "-f", "-", stdin=example.text)
        assert answer.code == 0, (example.name, answer.err)
        place = ("-n", wanted.metadata.namespace) if wanted.metadata.namespace else ()
        printed = tortie("get", example.kind.aliases[0], wanted.metadata.name, *place, "-o", "yaml").out
        (stored,) = (document.resource for document in load_documents(printed))
        assert dump.without_identity(stored, keep_uid=False) == dump.without_identity(wanted, keep_uid=False), example.name
        again = tortie("apply", "--allow-unenforced", "-f", "-", stdin=printed)
        assert again.out.endswith("1 unchanged\n"), (example.name, again)
        if wanted.kind not in OTHERS_NAME_THEM:
            assert tortie("delete", example.kind.aliases[0], wanted.metadata.name, *place).code == 0, example.name


def test_bad_documents_are_refused_by_field_and_nothing_is_written(tortie: Tortie, tmp_path: Path) -> None:
    for example in bad():
        for command in ("validate", "create", "apply"):
            answer = tortie(command, "--allow-unenforced", "-f", "-", stdin=example.text)
            assert (answer.code, answer.out) == (1, ""), example.name
            # Of a namespace that does not belong there, calicoctl has words of its own.
            words = "namespace should not be specified" if example.refused == "metadata.namespace" else example.refused
            assert words in answer.err, (example.name, answer.err)
    assert not (tmp_path / "store").exists()


def test_everything_that_is_good_survives_export_and_import(
    tortie: Tortie, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = {resource.key: resource for resource in map(resource_of, good())}

    async def fill() -> None:
        client = SqliteClient(str(tmp_path / "store" / "t.sqlite"))
        for resource in wanted.values():
            if resource.kind != "AgentStatus" and not is_read_only(resource) and not is_built_in(resource):
                await client.create(resource)
        await client.close()

    assert tortie("datastore", "migrate", "lock").code == 0
    asyncio.run(fill())
    before = tortie("datastore", "migrate", "export", "--all").out
    for key, resource in wanted.items():
        assert key.kind in ("AgentStatus", *dump.IPAM) or is_read_only(resource) or key.name in before, key
    assert set(json.loads(before.split("\n===\n")[2])) == set(dump.IPAM.values())
    (tmp_path / "dump").write_text(before)
    monkeypatch.setenv("TORTIE_SQLITE_PATH", str(tmp_path / "other.sqlite"))
    answer = tortie("datastore", "migrate", "import", "-f", "dump")
    assert answer.code == 0, answer.err
    assert tortie("datastore", "migrate", "export", "--all").out.split("\n===\n")[::2] == before.split("\n===\n")[::2]
