"""The command line means the same on every datastore, and refuses with calicoctl's words what one of them cannot do."""

import json
from pathlib import Path

import pytest
from tests.conformance.backends import Backend
from tests.unit.cli.stage import Tortie, command_line

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
