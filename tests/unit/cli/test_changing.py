"""tortie patch and tortie label, as a person uses them."""

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.unit.cli.stage import Tortie, command_line

from tortie.api.resource import Key, Resource
from tortie.datastore import operations
from tortie.datastore.errors import StaleVersion
from tortie.datastore.sqlite.client import SqliteClient

POLICY = """\
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: deny, labels: {team: a}}
spec: {order: 5, selector: all(), ingress: [{action: Allow}]}
"""


@pytest.fixture
def tortie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Tortie:
    call = command_line(tmp_path, monkeypatch, capsys)
    assert call("apply", "-f", "-", stdin=POLICY).code == 0
    return call


def stored(tortie: Tortie) -> Any:
    return json.loads(tortie("get", "gnp", "deny", "-o", "json").out)


@pytest.mark.parametrize(
    ("arguments", "order", "actions"),
    [
        (("-p", '{"spec": {"order": 7}}'), 7, ["Allow"]),
        (("-p", "spec: {order: 7, ingress: [{action: Deny}]}"), 7, ["Deny"]),
        (("-t", "merge", "-p", '{"spec": {"order": null}}'), None, ["Allow"]),
        (("-t", "json", "-p", '[{"op": "add", "path": "/spec/ingress/0", "value": {"action": "Log"}}]'), 5, ["Log", "Allow"]),
    ],
)
def test_a_patch_changes_what_it_names(tortie: Tortie, arguments: tuple[str, ...], order: Any, actions: list[str]) -> None:
    answer = tortie("patch", "gnp", "deny", *arguments)
    assert (answer.code, answer.out) == (0, "Successfully patched 1 'GlobalNetworkPolicy' resource\n")
    found = stored(tortie)
    assert found["spec"].get("order") == order
    assert [rule["action"] for rule in found["spec"]["ingress"]] == actions
    assert found["metadata"]["labels"]["team"] == "a"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-p", '{"spec": {"order": "soon"}}'), "error with field spec.order = 'soon' (must be a number)"),
        (("-p", '{"spec": {"ordre": 1}}'), "spec.ordre (field in document is not recognized"),
        (("-p", '{"spec": {"selector": "a =="}}'), "spec.selector"),
        (("-p", '{"metadata": {"name": "other"}}'), "metadata.name: a patch cannot change it"),
        (("-p", '{"kind": "Tier"}'), "kind: a patch cannot change it"),
        (("-p", '{"metadata": null}'), "metadata.name: a patch cannot change it"),
        (("-p", "[1]"), "the patch must be a map"),
        (("-p", "{"), "--patch"),
        (
            ("-t", "json", "-p", '[{"op": "remove", "path": "/spec/nets"}]'),
            "operation 0 of the patch: /spec/nets does not",
        ),
        (("-p", '{"metadata": {"resourceVersion": "1"}}'), "resource version '1' is out of date"),
        (("-p", '{"spec": {"ingress": [{"action": "Allow", "http": {"methods": ["GET"]}}]}}'), "--allow-unenforced"),
    ],
)
def test_a_patch_whose_result_would_be_wrong_is_refused_whole(tortie: Tortie, arguments: tuple[str, ...], message: str) -> None:
    before = stored(tortie)
    answer = tortie("patch", "gnp", "deny", *arguments)
    assert (answer.code, answer.out) == (1, "")
    assert message in answer.err
    assert stored(tortie) == before


def test_a_patch_needs_what_it_changes(tortie: Tortie) -> None:
    assert tortie("patch", "gnp", "none", "-p", "{}").err == (
        "Failed to patch 'GlobalNetworkPolicy' resource: resource does not exist: GlobalNetworkPolicy(none)\n"
    )
    answer = tortie("patch", "clusterinfo", "default", "-p", '{"spec": {"datastoreReady": false}}')
    assert "resource is readonly" in answer.err


def test_a_change_is_computed_again_when_somebody_writes_in_between(tortie: Tortie, tmp_path: Path) -> None:
    key = Key("GlobalNetworkPolicy", "", "deny")

    async def work() -> Resource:
        client = SqliteClient(str(tmp_path / "store" / "t.sqlite"))
        seen: list[str] = []

        def label(resource: Resource, name: str) -> Resource:
            labels = {**resource.metadata.labels, name: "yes"}
            return msgspec.structs.replace(resource, metadata=msgspec.structs.replace(resource.metadata, labels=labels))

        original = client.update

        async def interfered(resource: Resource) -> Resource:
            if not seen:
                seen.append("once")
                await original(label(await client.get(key), "theirs"))
            return await original(resource)

        client.update = interfered  # type: ignore[method-assign]
        try:
            return await operations.modify(client, key, lambda found: label(found, "ours"))
        except StaleVersion:
            # The change asks for the version that it was computed from; a caller that wants to insist would ask again.
            pytest.fail("a lost race must be run again, not told")
        finally:
            await client.close()

    labels = asyncio.run(work()).metadata.labels
    assert {"ours", "theirs"} <= labels.keys()


def test_labels_are_set_updated_and_removed_in_calicos_words(tortie: Tortie) -> None:
    assert tortie("label", "gnp", "deny", "env=dev").out == "Successfully set label env on GlobalNetworkPolicy deny\n"
    assert tortie("label", "gnp", "deny", "env=prod").err == (
        "failed to update label of GlobalNetworkPolicy deny, key env is already present. "
        "please use '--overwrite' to set a new value\n"
    )
    assert stored(tortie)["metadata"]["labels"]["env"] == "dev"
    assert tortie("label", "gnp", "deny", "env=prod", "--overwrite").out.startswith("Successfully updated label env")
    assert stored(tortie)["metadata"]["labels"]["env"] == "prod"
    assert tortie("label", "gnp", "deny", "env", "--remove").out == (
        "Successfully removed label env from GlobalNetworkPolicy deny\n"
    )
    assert "env" not in stored(tortie)["metadata"]["labels"]
    assert tortie("label", "gnp", "deny", "env", "--remove").err == (
        "cannot remove label of GlobalNetworkPolicy deny, key env does not exist\n"
    )


@pytest.mark.parametrize("arguments", [("env",), ("=x",), ("env=x", "--remove"), ("e nv=x",), ("env=b@d",)])
def test_a_label_that_is_none_is_refused(tortie: Tortie, arguments: tuple[str, ...]) -> None:
    before = stored(tortie)
    assert tortie("label", "gnp", "deny", *arguments).code == 1
    assert stored(tortie) == before


@pytest.mark.parametrize("verb", ["apply", "create", "replace", "validate"])
def test_every_command_that_reads_files_names_the_line_of_a_bad_value(tortie: Tortie, tmp_path: Path, verb: str) -> None:
    (tmp_path / "bad.yaml").write_text(POLICY.replace("order: 5", "order: soon"))
    answer = tortie(verb, "-f", "bad.yaml")
    assert answer.code == 1
    assert "bad.yaml:4" in answer.err
    (tmp_path / "bad.yaml").write_text(POLICY.replace("all()", "'a =='"))
    assert "bad.yaml:4" in tortie(verb, "-f", "bad.yaml").err


@pytest.mark.parametrize("verb", ["delete", "get"])
def test_a_document_that_cannot_be_read_is_told_with_its_line_by_all_others(tortie: Tortie, tmp_path: Path, verb: str) -> None:
    (tmp_path / "bad.yaml").write_text(POLICY.replace("order: 5", "ordre: 5"))
    answer = tortie(verb, "-f", "bad.yaml")
    assert answer.code == 1
    assert "bad.yaml:4" in answer.err
    assert stored(tortie)["spec"]["order"] == 5
