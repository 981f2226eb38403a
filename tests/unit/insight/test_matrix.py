"""The truth table: equal to asking every pair by itself, whatever ends have in common."""

import json
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fuzz.clusters import random_cluster
from tests.unit.insight.test_explain import KUBERNETES, PODS

from tortie.api.documents import decode
from tortie.api.validation import check
from tortie.insight.ends import End, find, of_workload
from tortie.insight.errors import InsightError
from tortie.insight.explain import explain_ends
from tortie.insight.files import Text, load
from tortie.insight.matrix import matrix, matrix_document, matrix_json, same_end
from tortie.insight.question import Question, parse_question
from tortie.insight.world import World


def world_of(seed: int) -> World:
    return World.from_resources([check(decode(document)) for document in random_cluster(Random(seed))])


def all_ends(world: World, *more: str) -> list[End]:
    return [of_workload(workload) for _, workload in sorted(world.workloads.items())] + [find(world, text) for text in more]


QUESTIONS = [parse_question(text) for text in ("tcp/80", "tcp/8081", "udp/53", "sctp/443", "icmp", "icmp/13", "89", "tcp/http")]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32))
def test_sharing_answers_between_ends_equals_asking_every_pair(seed: int) -> None:
    world = world_of(seed)
    ends = all_ends(world, "192.0.2.7", "198.51.100.1", "2001:db8:9::7")
    table = matrix(world, ends, ends, questions=QUESTIONS)
    for i, source in enumerate(ends):
        for j, destination in enumerate(ends):
            for k, question in enumerate(QUESTIONS):
                got = table.answer(i, j, k)
                try:
                    want = (
                        None if same_end(source, destination) else explain_ends(world, source, destination, question=question)
                    )
                except InsightError:
                    want = None
                assert (got is None) == (want is None)
                if got is not None and want is not None:
                    assert got.allowed == want.allowed
                    assert got.reason.startswith(f"{want.deciding.direction.value.lower()}: {want.deciding.reason}")


def test_the_document_has_one_item_for_each_ordered_pair_and_port() -> None:
    world = load([Text("a.yaml", PODS + KUBERNETES)]).world()
    ends = all_ends(world, "192.0.2.7")
    table = matrix(world, ends, ends, questions=[parse_question("tcp/80"), parse_question("TCP/81")])
    document = matrix_document(table)
    assert (document["apiVersion"], document["kind"]) == ("tortie.io/v1", "PolicyMatrix")
    verdicts = {(item["from"], item["to"], item["protocol"], item["port"]): item["verdict"] for item in document["items"]}
    assert verdicts == {
        ("dev/client", "prod/web", "tcp", 80): "deny",
        ("dev/client", "prod/web", "tcp", 81): "deny",
        ("dev/client", "192.0.2.7", "tcp", 80): "allow",
        ("dev/client", "192.0.2.7", "tcp", 81): "allow",
        ("prod/web", "dev/client", "tcp", 80): "allow",
        ("prod/web", "dev/client", "tcp", 81): "allow",
        ("prod/web", "192.0.2.7", "tcp", 80): "allow",
        ("prod/web", "192.0.2.7", "tcp", 81): "allow",
        ("192.0.2.7", "dev/client", "tcp", 80): "allow",
        ("192.0.2.7", "dev/client", "tcp", 81): "allow",
        ("192.0.2.7", "prod/web", "tcp", 80): "allow",
        ("192.0.2.7", "prod/web", "tcp", 81): "deny",
    }
    into_web = next(item for item in document["items"] if (item["from"], item["to"]) == ("192.0.2.7", "prod/web"))
    assert into_web["ingress"]["policy"] == "KubernetesNetworkPolicy prod/web"
    assert into_web["ingress"]["rule"] == 0
    assert into_web["ingress"]["tier"] == "default"
    assert into_web["ingress"]["location"] == "a.yaml:26"
    assert json.loads("\n".join(matrix_json(table))) == document


def test_an_empty_table_is_a_document_too() -> None:
    world = load([Text("a.yaml", PODS)]).world()
    table = matrix(world, [], [], questions=[Question(protocol=6, port=80)])
    assert json.loads("\n".join(matrix_json(table)))["items"] == []


PLAIN = """\
apiVersion: v1
kind: Pod
metadata: {{name: p{0}, namespace: ns{1}, labels: {{app: a{2}}}}}
spec: {{nodeName: n{3}, containers: [{{name: c, image: i}}]}}
---
"""


def test_two_hundred_pods_of_few_kinds_share_few_answers() -> None:
    world = load([Text("p", "".join(PLAIN.format(i, i % 4, i % 3, i % 10) for i in range(200)))]).world()
    ends = all_ends(world)
    table = matrix(world, ends, ends, questions=QUESTIONS[:3])
    assert sum(1 for _ in table.cells()) == 200 * 199 * 3
    assert len(table.answers) <= 12 * 12 * 3
