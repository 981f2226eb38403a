"""apply, create, replace, delete and get, as a person uses them."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.unit.cli.stage import Answer, Tortie, command_line

from tortie.api.documents import load_documents
from tortie.base.net import Family, Prefix
from tortie.datastore.sqlite.client import SqliteClient
from tortie.ipam.affinities import Affinities
from tortie.ipam.store import Store

SET = """\
apiVersion: projectcalico.org/v3
kind: NetworkSet
metadata: {{name: {name}}}
spec: {{nets: [{net}]}}
"""
POOL = """\
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {{name: {name}}}
spec: {{cidr: {cidr}}}
"""
TIER = """\
apiVersion: projectcalico.org/v3
kind: Tier
metadata: {name: security}
spec: {order: 10}
"""
POLICY = """\
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: security.web, namespace: shop}
spec:
  tier: security
  selector: app == 'web'
  ingress:
  - action: Allow
    protocol: TCP
    destination: {ports: [80]}
"""


@pytest.fixture
def tortie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Tortie:
    return command_line(tmp_path, monkeypatch, capsys)


def netset(name: str, net: str = "10.0.0.0/8") -> str:
    return SET.format(name=name, net=net)


def test_apply_says_what_it_did_and_does_nothing_twice(tortie: Tortie) -> None:
    assert tortie("apply", "-f", "-", stdin=netset("a")) == Answer(
        0, "Successfully applied 1 'NetworkSet' resource(s)\n1 created\n", ""
    )
    before = tortie("get", "networkset", "a", "-o", "json").out
    assert tortie("apply", "-f", "-", stdin=netset("a")).out.endswith("1 unchanged\n")
    assert tortie("get", "networkset", "a", "-o", "json").out == before
    assert tortie("apply", "-f", "-", stdin=netset("a", "11.0.0.0/8")).out.endswith("1 updated\n")
    assert json.loads(tortie("get", "networkset", "a", "-o", "json").out)["spec"]["nets"] == ["11.0.0.0/8"]


def test_a_policy_may_stand_before_its_tier_in_the_file_and_be_deleted_with_it(tortie: Tortie) -> None:
    text = f"{POLICY}---\n{TIER}"
    assert tortie("apply", "-f", "-", stdin=text).out == "Successfully applied 2 resource(s)\n2 created\n"
    assert tortie("delete", "tier", "security").err == (
        "Failed to delete 'Tier' resource: "
        "Tier(security) is in use by NetworkPolicy(shop/security.web): delete its policies first\n"
    )
    assert tortie("delete", "-f", "-", stdin=f"{TIER}---\n{POLICY}").out == "Successfully deleted 2 resource(s)\n"


def test_one_bad_document_anywhere_and_nothing_is_written(tortie: Tortie, tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text(netset("good"))
    (tmp_path / "bad.yaml").write_text(netset("fine") + "---\n" + netset("bad", "10.0.0.0/99") + "---\n" + netset("Worse"))
    answer = tortie("apply", "-f", "good.yaml", "-f", "bad.yaml")
    assert answer.code == 1
    assert "10.0.0.0/99" in answer.err
    assert "bad.yaml:9" in answer.err
    assert "metadata.name" in answer.err
    assert tortie("get", "networkset", "-A", "-o", "name").out == ""


def test_unknown_fields_of_all_files_are_told_at_once(tortie: Tortie, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(netset("a").replace("nets", "netz"))
    (tmp_path / "b.yaml").write_text(netset("b").replace("nets", "nots"))
    answer = tortie("apply", "-f", "a.yaml", "-f", "b.yaml")
    assert answer.code == 1
    assert "a.yaml:4" in answer.err
    assert "b.yaml:4" in answer.err


def test_a_missing_tier_is_told_before_anything_is_written(tortie: Tortie) -> None:
    answer = tortie("apply", "-f", "-", stdin=f"{netset('a')}---\n{POLICY}")
    assert (answer.code, answer.err.splitlines()) == (
        1,
        [
            "resource does not exist: Tier(security)",
            "NetworkPolicy(shop/security.web): spec.tier = 'security' (Tier(security) does not exist) at stdin:10",
            "nothing was written",
        ],
    )
    assert tortie("get", "networkset", "-A", "-o", "name").out == ""


def test_a_missing_filter_is_told_with_the_peer_that_names_it(tortie: Tortie) -> None:
    peer = "apiVersion: projectcalico.org/v3\nkind: BGPPeer\nmetadata: {name: p}\nspec: {peerIP: 192.0.2.1, filters: [f]}\n"
    answer = tortie("apply", "-f", "-", stdin=peer)
    assert answer.code == 1
    assert "BGPPeer(p): spec.filters = 'f' (BGPFilter(f) does not exist) at stdin:4" in answer.err
    assert tortie("get", "bgppeer", "-o", "name").out == ""


def test_what_this_release_does_not_enforce_is_refused_unless_allowed(tortie: Tortie) -> None:
    text = (
        POLICY.replace("tier: security", "tier: default")
        .replace("security.web", "web")
        .replace("protocol: TCP", "protocol: TCP\n    http: {methods: [GET]}")
    )
    answer = tortie("apply", "-f", "-", stdin=text)
    assert answer.code == 1
    assert "NetworkPolicy(shop/web): spec.ingress[0].http" in answer.err
    assert "--allow-unenforced" in answer.err
    assert tortie("get", "np", "-A", "-o", "name").out == ""
    assert tortie("apply", "--allow-unenforced", "-f", "-", stdin=text).code == 0


def test_the_same_key_twice_is_refused_with_both_places(tortie: Tortie) -> None:
    answer = tortie("apply", "-f", "-", stdin=f"{netset('a')}---\n{netset('a')}")
    assert (answer.code, answer.err) == (
        1,
        "NetworkSet(default/a) is given twice, at stdin:1 and stdin:6: leave one out\n",
    )


def test_directories_are_read_and_subdirectories_only_when_asked(tortie: Tortie, tmp_path: Path) -> None:
    (tmp_path / "d" / "sub").mkdir(parents=True)
    (tmp_path / "d" / "a.yaml").write_text(netset("a"))
    (tmp_path / "d" / "b.yml").write_text(netset("b"))
    (tmp_path / "d" / "notes.txt").write_text("not yaml: [")
    (tmp_path / "d" / "sub" / "c.json").write_text(
        '{"apiVersion": "projectcalico.org/v3", "kind": "NetworkSet", "metadata": {"name": "c"}}'
    )
    assert tortie("apply", "-f", "d").out.startswith("Successfully applied 2 ")
    assert tortie("apply", "-R", "-f", "d").out.endswith("1 created, 2 unchanged\n")


def test_files_without_resources_are_errors_that_name_them(tortie: Tortie, tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("# nothing\n---\n")
    (tmp_path / "d").mkdir()
    assert tortie("apply", "-f", "empty.yaml") == Answer(1, "", "no resources specified in file empty.yaml\n")
    assert tortie("apply", "-f", "d") == Answer(1, "", "no resources specified in directory d\n")
    assert tortie("apply", "-f", "empty.yaml", "--skip-empty") == Answer(0, "No resources specified\n", "")
    assert tortie("apply", "-f", "missing.yaml").err == "cannot read missing.yaml: No such file or directory\n"


@pytest.mark.parametrize(
    ("arguments", "text", "message"),
    [
        (("apply", "-n", "other"), POLICY, "resource namespace does not match client namespace. shop != other"),
        (
            ("apply",),
            TIER.replace("security}", "security, namespace: a}"),
            "namespace should not be specified for a non-namespaced resource. Tier is not a namespaced resource",
        ),
        (("delete",), "apiVersion: v9\nkind: Tier\nmetadata: {name: a}", "unknown resource type (Tier) and/or version (v9)"),
    ],
)
def test_namespace_and_kind_of_documents_are_checked(
    tortie: Tortie, arguments: tuple[str, ...], text: str, message: str
) -> None:
    answer = tortie(*arguments, "-f", "-", stdin=text)
    assert answer.code == 1
    assert message in answer.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("get", "np", "-n", "a", "-A"), "cannot use both --namespace and --all-namespaces flags at the same time"),
        (("get", "np", "a", "-A"), "cannot use --all-namespace flag for getting a single resource"),
        (("get", "tier", "-n", "a"), "Tier is not namespaced"),
        (("get", "np", ""), "resource name may not be empty"),
        (("delete", "np"), "resource name may not be empty"),
        (("delete",), "name what to delete"),
        (("get", "frobs"), "resource type 'frobs' is not supported"),
        (("get",), "say what to get"),
        (("get", "np", "-o", "xml"), "unrecognized output format 'xml'"),
    ],
)
def test_wrong_arguments_are_told_in_calicos_words(tortie: Tortie, arguments: tuple[str, ...], message: str) -> None:
    answer = tortie(*arguments)
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith(message)


def test_create_refuses_what_exists_and_can_be_told_to_skip_it(tortie: Tortie) -> None:
    assert tortie("create", "-f", "-", stdin=netset("a")).out == "Successfully created 1 'NetworkSet' resource(s)\n"
    answer = tortie("create", "-f", "-", stdin=netset("a"))
    assert answer == Answer(1, "", "failed to create 'NetworkSet' resource: [resource already exists: NetworkSet(default/a)]\n")
    assert tortie("create", "--skip-exists", "-f", "-", stdin=netset("a")).out.endswith("1 skipped\n")
    answer = tortie("create", "-f", "-", stdin=f"{netset('a')}---\n{netset('b')}")
    assert answer.code == 1
    assert answer.out == "Partial success: created the first 1 out of 2 'NetworkSet' resources:\n"
    assert answer.err == "hit error: [resource already exists: NetworkSet(default/a)]\n"
    assert tortie("get", "networkset", "-o", "name").out == "networkset/a\nnetworkset/b\n"


def test_what_is_created_names_no_version(tortie: Tortie) -> None:
    tortie("create", "-f", "-", stdin=netset("a"))
    stored = tortie("get", "networkset", "a", "-o", "yaml").out
    assert tortie("delete", "networkset", "a").code == 0
    answer = tortie("create", "-f", "-", stdin=f"{netset('b')}---\n{stored}")
    assert (answer.code, answer.out) == (1, "")
    assert "metadata.resourceVersion = " in answer.err
    assert "must not be set on what is to be created" in answer.err
    assert tortie("get", "networkset", "-o", "name").out == "", "nothing was written"
    assert tortie("apply", "-f", "-", stdin=stored).code == 0


def test_replace_needs_what_it_replaces(tortie: Tortie) -> None:
    answer = tortie("replace", "-f", "-", stdin=netset("a"))
    assert answer.err == "failed to replace 'NetworkSet' resource: [resource does not exist: NetworkSet(default/a)]\n"
    tortie("apply", "-f", "-", stdin=netset("a"))
    assert tortie("replace", "-f", "-", stdin=netset("a", "11.0.0.0/8")).out == (
        "Successfully replaced 1 'NetworkSet' resource(s)\n"
    )


def test_delete_tells_each_failure_and_can_skip_what_is_not_there(tortie: Tortie) -> None:
    tortie("apply", "-f", "-", stdin=netset("a"))
    answer = tortie("delete", "networkset", "a", "b")
    assert answer == Answer(
        1,
        "Successfully deleted 1 'NetworkSet' resource(s)\n",
        "Failed to delete 'NetworkSet' resource: resource does not exist: NetworkSet(default/b)\n",
    )
    assert tortie("delete", "networkset", "a", "--skip-not-exists").code == 0


def test_the_cluster_information_is_read_only(tortie: Tortie) -> None:
    text = (
        "apiVersion: projectcalico.org/v3\nkind: ClusterInformation\nmetadata: {name: default}\nspec: {datastoreReady: false}\n"
    )
    answer = tortie("apply", "-f", "-", stdin=text)
    assert answer.err == "operation apply is not supported on ClusterInformation(default): resource is readonly\n"
    tortie("apply", "-f", "-", stdin=netset("a"))
    assert "true" in tortie("get", "clusterinfo").out


def test_overlapping_pools_are_refused(tortie: Tortie) -> None:
    text = POOL.format(name="a", cidr="10.0.0.0/16") + "---\n" + POOL.format(name="b", cidr="10.0.4.0/24")
    answer = tortie("apply", "-f", "-", stdin=text)
    assert answer.code == 1
    assert "spec.cidr 10.0.4.0/24 of IPPool(b) overlaps 10.0.0.0/16 of IPPool(a)" in answer.err
    assert tortie("get", "pools", "-o", "name").out == ""


def test_validate_checks_without_a_datastore(tortie: Tortie, tmp_path: Path) -> None:
    assert tortie("validate", "-f", "-", stdin=TIER).out == "Successfully validated 1 'Tier' resource(s)\n"
    assert "10.0.0.0/99" in tortie("validate", "-f", "-", stdin=netset("a", "10.0.0.0/99")).err
    assert not (tmp_path / "store").exists()


def test_a_pool_that_goes_gives_up_its_blocks_first(tortie: Tortie, tmp_path: Path) -> None:
    tortie("apply", "-f", "-", stdin=POOL.format(name="a", cidr="10.0.0.0/16"))
    block = Prefix(Family.V4, 10 << 24, 26)

    async def claim() -> None:
        client = SqliteClient(str(tmp_path / "store" / "t.sqlite"))
        await Affinities(Store(client, time.time), "node-1", kind="host").claim(block)
        await client.close()

    asyncio.run(claim())
    assert tortie("get", "affinities", "-o", "name").out != ""
    assert tortie("delete", "pool", "a").out == "Successfully deleted 1 'IPPool' resource(s)\n"
    assert tortie("get", "affinities", "-o", "name").out == ""


def test_tables_have_a_namespace_column_when_one_was_asked_about(tortie: Tortie) -> None:
    tortie("apply", "-f", "-", stdin=f"{TIER}---\n{POLICY}")
    assert tortie("get", "np").out == "NAME    TIER\n\n"
    assert tortie("get", "np", "-n", "shop").out == ("NAMESPACE   NAME           TIER\nshop        security.web   security\n\n")
    assert tortie("get", "np", "-A", "-o", "wide").out == (
        "NAMESPACE   NAME           TIER       ORDER   SELECTOR\nshop        security.web   security   <nil>   app == 'web'\n\n"
    )


@pytest.mark.parametrize("form", ["yaml", "json"])
def test_what_get_prints_can_be_applied_again(tortie: Tortie, form: str) -> None:
    tortie("apply", "-f", "-", stdin=f"{netset('a')}---\n{netset('b')}")
    for arguments in (("networkset",), ("networkset", "a"), ("networkset", "a", "b")):
        printed = tortie("get", *arguments, "-o", form).out
        documents = load_documents(printed)
        assert [document.resource.metadata.name for document in documents] == (["a"] if arguments[1:] == ("a",) else ["a", "b"])
        assert f"{len(documents)} unchanged" in tortie("apply", "-f", "-", stdin=printed).out


def test_json_lists_are_lists_even_of_one_or_none(tortie: Tortie) -> None:
    assert json.loads(tortie("get", "networkset", "-o", "json").out) == {
        "apiVersion": "projectcalico.org/v3",
        "kind": "NetworkSetList",
        "items": [],
    }
    tortie("apply", "-f", "-", stdin=netset("a"))
    assert len(json.loads(tortie("get", "networkset", "-o", "json").out)["items"]) == 1
    assert json.loads(tortie("get", "networkset", "a", "-o", "json").out)["kind"] == "NetworkSet"
    assert json.loads(tortie("get", "networkset", "a", "b", "-o", "json").out)["kind"] == "List"


def test_get_shows_what_is_there_and_then_tells_what_is_not(tortie: Tortie) -> None:
    tortie("apply", "-f", "-", stdin=netset("a"))
    answer = tortie("get", "networkset", "a", "b", "-o", "name")
    assert answer == Answer(1, "networkset/a\n", "failed to get resources: resource does not exist: NetworkSet(default/b)\n")


def test_get_by_file_shows_what_is_stored(tortie: Tortie, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(netset("a"))
    tortie("apply", "-f", "a.yaml")
    assert json.loads(tortie("get", "-f", "a.yaml", "-o", "json").out)["metadata"]["uid"]


def test_the_default_allow_profile_is_listed(tortie: Tortie) -> None:
    assert "profile/projectcalico-default-allow" in tortie("get", "profiles", "-o", "name").out


def test_a_datastore_that_cannot_be_opened_is_one_line(tortie: Tortie, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t.sqlite").write_text("no database " * 50)
    monkeypatch.setenv("TORTIE_SQLITE_PATH", str(tmp_path / "t.sqlite"))
    answer = tortie("get", "networkset")
    assert answer.code == 1
    assert len(answer.err.splitlines()) == 1
    assert "t.sqlite" in answer.err


def test_watch_streams_changes_until_it_is_interrupted(tortie: Tortie) -> None:
    tortie("apply", "-f", "-", stdin=netset("a"))
    process = subprocess.Popen(
        [sys.executable, "-m", "tortie.cli.main", "get", "networkset", "--watch"],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # whoever runs the tests may ignore it
    )
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline().split() for _ in range(2)]
        assert lines == [["EVENT", "NAME"], ["ADDED", "a"]]
        tortie("apply", "-f", "-", stdin=netset("a", "11.0.0.0/8"))
        tortie("apply", "-n", "elsewhere", "-f", "-", stdin=netset("c"))
        tortie("apply", "-f", "-", stdin=netset("b"))
        tortie("delete", "networkset", "a")
        lines = [process.stdout.readline().split() for _ in range(3)]
        assert lines == [["MODIFIED", "a"], ["ADDED", "b"], ["DELETED", "a"]]
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
