"""Our CRDs on a real API server: they are established and structural, and accept and refuse what our own validation does."""

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.kubernetes.control_plane import Cluster, running
from tests.yaml_corpus.corpus import Example, bad, good

from tortie.api.crd import NOT_CUSTOM, STORAGE_V1, V1_NAMES, definitions
from tortie.api.documents import decode, encode, from_json
from tortie.api.resource import V3, Metadata, Resource
from tortie.api.validation import check
from tortie.datastore.config import open_client
from tortie.datastore.layout import IPAM_KINDS

pytestmark = pytest.mark.kubernetes

CRDS = Path(__file__).resolve().parents[2] / "manifests/crds"
CUSTOM_GOOD = [example for example in good() if example.kind.kind not in NOT_CUSTOM]
CUSTOM_BAD = [example for example in bad() if example.kind.kind not in NOT_CUSTOM]


@pytest.fixture(scope="module")
def crds() -> Iterator[Cluster]:
    """A plane of its own: its API groups are not those that other tests expect."""
    with running(controllers=False) as cluster:
        cluster.kubectl("create", "-f", str(CRDS))
        cluster.wait_served()
        yield cluster


def offer(cluster: Cluster, document: dict[str, Any], *, strict: bool = False) -> tuple[int, dict[str, Any]]:
    """Ask for a document to be created, without anything being stored; the exit status and what came of it."""
    done = cluster.kubectl_process(
        *("create", "--dry-run=server", f"--validate={'strict' if strict else 'ignore'}", "-o", "json", "-f", "-"),
        stdin=json.dumps(document),
    )
    return done.returncode, json.loads(done.stdout) if done.returncode == 0 else {"error": done.stderr}


def outcomes(cluster: Cluster, examples: list[Example]) -> list[tuple[Example, int, dict[str, Any]]]:
    with ThreadPoolExecutor(4) as pool:
        return [
            (example, *outcome)
            for example, outcome in zip(
                examples, pool.map(lambda example: offer(cluster, example.document), examples), strict=True
            )
        ]


def bare(resource: Resource) -> dict[str, Any]:
    """What a resource says, without what an API server adds; with our defaults, which no CRD can compute."""
    document = encode(check(resource))
    kept = {key: document["metadata"][key] for key in ("name", "namespace", "annotations") if key in document["metadata"]}
    return {**document, "metadata": kept}


def as_storage(document: dict[str, Any]) -> dict[str, Any]:
    """A document in the storage form of the v1 group, as far as its schema is concerned."""
    kind, _ = V1_NAMES.get(document["kind"], (document["kind"], ""))
    stored: dict[str, Any] = {**json.loads(json.dumps(document)), "apiVersion": STORAGE_V1, "kind": kind}
    if kind == "BlockAffinity":
        stored["spec"]["deleted"] = "false"
    return stored


def test_every_definition_is_established_and_structural(crds: Cluster) -> None:
    found = {item["metadata"]["name"]: item for item in crds.get("crd")["items"]}
    assert len(found) == len(definitions())
    for name, item in found.items():
        conditions = {condition["type"]: condition["status"] for condition in item["status"]["conditions"]}
        assert conditions["Established"] == "True", name
        assert conditions["NamesAccepted"] == "True", (name, conditions)
        assert "NonStructuralSchema" not in conditions, name


@pytest.mark.timeout(120)
def test_what_is_good_is_accepted_and_read_back_as_we_would_have_stored_it(crds: Cluster) -> None:
    for example, status, answer in outcomes(crds, CUSTOM_GOOD):
        assert status == 0, f"{example}: {answer.get('error')}"
        resource = decode(example.document)
        has_status = "status" in example.document
        if has_status:  # a status is written through its own door
            without = {key: value for key, value in example.document.items() if key != "status"}
            resource = decode(without)
        stored = from_json(example.kind.kind, json.dumps(answer).encode())
        assert isinstance(stored.metadata, Metadata)
        assert bare(stored) == bare(resource), example.name


@pytest.mark.timeout(180)
def test_what_is_bad_is_refused_at_its_field_but_for_the_differences_that_are_explained(crds: Cluster) -> None:
    wrong = []
    for example, status, answer in outcomes(crds, CUSTOM_BAD):
        if (status == 0) != bool(example.crd):
            wrong.append(f"{example}: {'accepted' if status == 0 else answer['error']}")
        elif status != 0 and _coarse(example.refused) not in answer["error"]:
            wrong.append(f"{example}: the error does not name {_coarse(example.refused)}: {answer['error']}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.timeout(120)
def test_the_form_of_storage_takes_whatever_is_good(crds: Cluster) -> None:
    with ThreadPoolExecutor(4) as pool:
        documents = [as_storage(example.document) for example in CUSTOM_GOOD if example.kind.is_ours]
        for document, (status, answer) in zip(documents, pool.map(lambda each: offer(crds, each), documents), strict=True):
            assert status == 0, f"{document['kind']}({document['metadata']['name']}): {answer.get('error')}"


@pytest.mark.parametrize("group", [STORAGE_V1, V3])
def test_our_datastore_keeps_whatever_is_good_in_these_definitions(crds: Cluster, group: str) -> None:
    env = {"DATASTORE_TYPE": "kubernetes", "KUBECONFIG": str(crds.admin), "CALICO_API_GROUP": group}

    async def scenario() -> None:
        client = open_client(env, None)
        try:
            for example in CUSTOM_GOOD:
                wanted = check(decode(example.document))
                created = await client.create(wanted)
                found = await client.get(created.key)
                assert found == created, example.name
                assert bare(found) == bare(wanted), example.name
                again = msgspec.structs.replace(found, metadata=msgspec.structs.replace(found.metadata, labels={"a": "b"}))
                if example.kind.kind not in IPAM_KINDS:
                    updated = await client.update(again)
                    assert bare(updated) == bare(wanted), example.name
                await client.delete(created.key)
        finally:
            await client.close()

    asyncio.run(scenario())


def test_unknown_fields_are_refused_by_name_when_kubectl_asks_for_it(crds: Cluster) -> None:
    (example,) = [example for example in CUSTOM_BAD if example.crd == "unknown-field"]
    status, answer = offer(crds, example.document, strict=True)
    assert status != 0
    assert 'unknown field "spec.ingres"' in answer["error"]


def test_kubectl_shows_our_columns_and_knows_our_short_names_and_selects_by_tier(crds: Cluster) -> None:
    policy = {
        "apiVersion": "projectcalico.org/v3",
        "kind": "GlobalNetworkPolicy",
        "metadata": {"name": "columns"},
        "spec": {"tier": "default", "order": 7, "selector": "all()"},
    }
    crds.apply(policy)
    shown = crds.kubectl("get", "gnp")
    assert shown.splitlines()[0].split() == ["NAME", "TIER", "ORDER", "AGE"]
    assert shown.splitlines()[1].split()[:3] == ["columns", "default", "7"]
    assert "columns" in crds.kubectl("get", "cgnp", "--field-selector=spec.tier=default", "-o", "name")
    assert crds.kubectl("get", "cgnp", "--field-selector=spec.tier=other", "-o", "name") == ""


def test_a_pool_keeps_its_range(crds: Cluster) -> None:
    pool = {
        "apiVersion": "projectcalico.org/v3",
        "kind": "IPPool",
        "metadata": {"name": "kept"},
        "spec": {"cidr": "10.0.0.0/16", "blockSize": 26},
    }
    crds.apply(pool)
    done = crds.kubectl_process(
        "patch", "ippool.projectcalico.org", "kept", "--type=merge", "-p", '{"spec":{"cidr":"10.1.0.0/16"}}'
    )
    assert done.returncode != 0
    assert "cannot be changed" in done.stderr
    crds.kubectl("patch", "ippool.projectcalico.org", "kept", "--type=merge", "-p", '{"spec":{"natOutgoing":true}}')


def _coarse(path: str) -> str:
    """A field as an error of the API server names it at least: rules between fields stand at the struct around them."""
    return path.split("[")[0] if path.startswith("spec.") else path.split(".")[0]
