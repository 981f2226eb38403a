"""datastore migrate export | import | migrate-policy-names: nothing is lost between two datastores."""

import asyncio
import json
from pathlib import Path

import pytest
from tests.unit.cli.stage import Tortie, command_line

from tortie.cli import dump
from tortie.datastore.sqlite.client import SqliteClient
from tortie.ipam.allocator import AssignRequest, Ipam

RESOURCES = """\
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: pool}
spec: {cidr: 10.0.0.0/24, natOutgoing: true}
---
apiVersion: projectcalico.org/v3
kind: Tier
metadata: {name: security}
spec: {order: 10}
---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: security.web, namespace: shop, labels: {a: b}, annotations: {note: "a\\n===\\nb"}}
spec: {tier: security, selector: app == 'web', ingress: [{action: Allow, protocol: TCP, destination: {ports: [80]}}]}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkSet
metadata: {name: bad}
spec: {nets: [192.0.2.0/24]}
---
apiVersion: projectcalico.org/v3
kind: Node
metadata: {name: old}
spec: {bgp: {ipv4Address: 172.16.0.1/24}, orchRefs: [{nodeName: new, orchestrator: k8s}]}
---
apiVersion: projectcalico.org/v3
kind: FelixConfiguration
metadata: {name: node.old}
spec: {logSeverityScreen: Info}
---
apiVersion: projectcalico.org/v3
kind: HostEndpoint
metadata: {name: eth0}
spec: {node: old, interfaceName: eth0}
---
apiVersion: projectcalico.org/v3
kind: Profile
metadata: {name: open}
spec: {ingress: [{action: Allow}]}
"""


@pytest.fixture
def tortie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Tortie:
    return command_line(tmp_path, monkeypatch, capsys)


async def _assign(path: Path) -> None:
    client = SqliteClient(str(path))
    try:
        request = AssignRequest(handle="k8s-pod-network.c1", node="old", num_v4=2, num_v6=0, attributes={"node": "old"})
        await Ipam(client).auto_assign(request)
    finally:
        await client.close()


@pytest.fixture
def filled(tortie: Tortie, tmp_path: Path) -> Tortie:
    assert tortie("apply", "-f", "-", stdin=RESOURCES).code == 0
    asyncio.run(_assign(tmp_path / "store" / "t.sqlite"))
    return tortie


def dumped(tortie: Tortie, *options: str) -> str:
    assert tortie("datastore", "migrate", "lock").code == 0
    answer = tortie("datastore", "migrate", "export", *options)
    assert (answer.code, answer.err) == (0, "")
    return answer.out


def use_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("TORTIE_SQLITE_PATH", str(tmp_path / f"{name}.sqlite"))


def test_export_wants_the_lock(filled: Tortie) -> None:
    answer = filled("datastore", "migrate", "export")
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith("datastore is not locked.")


def test_the_file_has_calicoctls_three_parts_and_kubernetes_names_of_nodes(filled: Tortie) -> None:
    text = dumped(filled)
    resources, information, ipam = text.split("\n===\n") if text.count("\n===\n") == 2 else ("", "", "")
    assert [line for line in resources.splitlines() if line.startswith("kind: ")] == [
        f"kind: {kind}List" for kind in dump.EXPORTED
    ]
    assert json.loads(information)["spec"]["datastoreReady"] is False
    said = json.loads(ipam)
    assert [entry["Key"] for entry in said["handles"]] == ["/calico/ipam/v2/handle/k8s-pod-network.c1"]
    assert said["block_affinities"][0]["Key"].startswith("/calico/ipam/v2/host/new/ipv4/block/10.0.0.")
    assert said["blocks"][0]["Value"]["affinity"] == "host:new"
    assert said["blocks"][0]["Value"]["attributes"][0]["secondary"] == {"node": "new"}
    assert "node.new" in resources
    assert "old" not in resources
    assert "Profile" not in resources
    assert "uid" not in resources


def test_a_copy_of_everything_comes_out_of_the_other_datastore_as_it_went_in(
    filled: Tortie, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = dumped(filled, "--all")
    (tmp_path / "dump").write_text(text)
    use_another(tmp_path, monkeypatch, "b")
    answer = filled("datastore", "migrate", "import", "-f", "dump")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.splitlines()[-1].startswith("Datastore information successfully imported.")
    # Of the datastore itself there is one, with a uid of its own: it is the part in the middle.
    assert dumped(filled, "--all").split("\n===\n")[::2] == text.split("\n===\n")[::2]
    assert filled("ipam", "check").out.splitlines()[-1] == "Check complete; found 2 problems."  # endpoints never existed


def test_an_import_may_be_repeated_but_never_meets_other_content(
    filled: Tortie, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dump").write_text(dumped(filled))
    use_another(tmp_path, monkeypatch, "b")
    assert filled("datastore", "migrate", "import", "-f", "dump").code == 0
    assert filled("delete", "globalnetworkset", "bad").code == 0  # as if the first import had not come so far
    assert filled("datastore", "migrate", "import", "-f", "dump").code == 0
    assert filled("get", "globalnetworkset", "bad").code == 0
    before = filled("get", "clusterinformation", "default", "-o", "json").out
    filled("label", "globalnetworkset", "bad", "mine=yes")
    answer = filled("datastore", "migrate", "import", "-f", "dump")
    assert (answer.code, answer.out) == (1, "")
    assert "Found existing GlobalNetworkSet(bad), which differs from the file's" in answer.err
    assert filled("get", "clusterinformation", "default", "-o", "json").out == before


def test_the_clusters_types_go_with_it_but_for_that_of_its_datastore(
    filled: Tortie, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resources, information, ipam = dumped(filled).split("\n===\n")
    told = json.loads(information)
    told["spec"]["clusterType"] = "k8s,bgp,kdd"
    (tmp_path / "dump").write_text("\n===\n".join((resources, json.dumps(told), ipam)))
    use_another(tmp_path, monkeypatch, "b")
    assert filled("datastore", "migrate", "import", "-f", "dump").code == 0
    assert filled("version").out.splitlines()[-1] == "Cluster Type:      k8s,bgp"


def test_the_imported_cluster_is_the_same_cluster_and_stays_locked(
    filled: Tortie, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dump").write_text(dumped(filled))
    template = "jsonpath={.spec.clusterGUID} {.spec.datastoreReady}"
    before = filled("get", "clusterinformation", "default", "-o", template).out
    use_another(tmp_path, monkeypatch, "b")
    filled("datastore", "migrate", "import", "-f", "dump")
    assert filled("get", "clusterinformation", "default", "-o", template).out == before
    assert before.endswith(" false")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a: b\n", "improperly formatted"),
        ("---\n===\n{\n===\n{}\n", "cluster's information is not JSON"),
        ("===\n{}\n===\n{}\n", "kind"),
        ('===\n{"apiVersion":"projectcalico.org/v3","kind":"ClusterInformation"}\n===\n{"x":1}\n', "IPAM's data must be"),
        (
            '===\n{"apiVersion":"projectcalico.org/v3","kind":"ClusterInformation"}\n===\n{"blocks":[{"Key":"/x"}]}\n',
            "blocks: Key '/x' is not a key of IPAM's",
        ),
        (
            '===\n{"apiVersion":"projectcalico.org/v3","kind":"ClusterInformation"}\n===\n{"handles":5}\n',
            "handles must be a list",
        ),
    ],
)
def test_a_broken_file_is_named_and_nothing_is_written(tortie: Tortie, content: str, words: str) -> None:
    answer = tortie("datastore", "migrate", "import", "-f", "-", stdin=content)
    assert answer.code == 1
    assert words in answer.err
    assert "Unable to detect" in tortie("version").out


def test_a_block_at_another_blocks_key_is_not_imported(filled: Tortie, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resources, information, ipam = dumped(filled).split("\n===\n")
    said = json.loads(ipam)
    said["blocks"][0]["Value"]["cidr"] = "192.0.2.0/26"
    (tmp_path / "dump").write_text("\n===\n".join((resources, information, json.dumps(said))))
    use_another(tmp_path, monkeypatch, "b")
    answer = filled("datastore", "migrate", "import", "-f", "dump")
    assert (answer.code, answer.out) == (1, "")
    assert "is of another block" in answer.err
    assert "Unable to detect" in filled("version").out, "nothing was written"


def test_policies_lose_the_prefix_of_the_default_tier(tortie: Tortie) -> None:
    policy = "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: %s}\nspec: {order: %d}\n"
    tortie("apply", "-f", "-", stdin=policy % ("default.a", 1) + "---\n" + policy % ("b", 2))
    answer = tortie("datastore", "migrate", "migrate-policy-names")
    assert answer.out == "Policy name migration complete, migrated 1 policies.\n"
    assert tortie("get", "gnp", "-o", "name").out.split() == ["globalnetworkpolicy/a", "globalnetworkpolicy/b"]
    assert tortie("datastore", "migrate", "migrate-policy-names").out.endswith("migrated 0 policies.\n")
