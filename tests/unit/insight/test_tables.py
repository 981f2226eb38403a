"""Answers for tables are the same answers, without the walks."""

from itertools import permutations
from random import Random

import pytest
from tests.fuzz.clusters import random_cluster
from tests.unit.insight.asking import felix, global_policy, host_endpoint, node, pod, world_of
from tests.unit.insight.test_services import NO_CANARY, WEB

from tortie.api.documents import decode
from tortie.api.validation import check
from tortie.insight.ends import find, of_workload
from tortie.insight.errors import NoAddress
from tortie.insight.explain import Explanation, explain_ends
from tortie.insight.question import parse_question
from tortie.insight.world import World

WORLD = world_of(
    pod("web-1", "10.0.0.1", labels="{app: web}"),
    pod("web-2", "10.0.1.2", labels="{app: web, canary: x}", node="n2"),
    pod("client", "10.0.1.9", namespace="dev", node="n2"),
    node("n1", "192.0.2.1"),
    node("n2", "192.0.2.2"),
    WEB,
    NO_CANARY,
    host_endpoint("one", "n1", "eth0", "192.0.2.1"),
    host_endpoint("all", "n2", "*", profile="projectcalico-default-allow"),
    felix("node.n2", "defaultEndpointToHostAction: Accept"),
    global_policy("nodes", "has(host)", "types: [Ingress, Egress]\ningress: [{action: Deny, protocol: UDP}, {action: Pass}]"),
    global_policy(
        "way",
        "has(host)",
        "types: [Ingress]\ningress: [{action: Deny, source: {nets: [203.0.113.0/24]}}, {action: Allow}]",
        more="applyOnForward: true\norder: 1",
    ),
    global_policy(
        "fast",
        "host == 'one'",
        "types: [Ingress]\ningress: [{action: Allow, protocol: TCP, destination: {ports: [53]}}]",
        more="applyOnForward: true\ndoNotTrack: true",
    ),
    global_policy("draft", "all()", "types: [Ingress]", kind="StagedGlobalNetworkPolicy", more="order: 0"),
)
ENDS = ("prod/web-1", "prod/web-2", "dev/client", "node/n1", "node/n2", "svc/prod/web", "203.0.113.9")


def gist(explanation: Explanation) -> list[object]:
    halves = (explanation.egress, *explanation.way, explanation.ingress)
    said = [(half.direction, half.end, half.allowed, half.reason, half.location, half.hook) for half in halves]
    return [explanation.allowed, explanation.replies, explanation.notes, *said, *(gist(each) for each in explanation.backends)]


def test_for_all_pairs_and_questions_the_answers_agree() -> None:
    verdicts = []
    for source, destination in permutations(ENDS, 2):
        if source.startswith("svc/"):
            continue
        for text in ("tcp/80", "tcp/53", "udp/80", "tcp/22", "icmp"):
            if destination.startswith("svc/") and text != "tcp/80":
                continue
            ends, question = (find(WORLD, source), find(WORLD, destination)), parse_question(text)
            thorough = explain_ends(WORLD, *ends, question=question)
            quick = explain_ends(WORLD, *ends, question=question, traced=False)
            assert gist(quick) == gist(thorough), (source, destination, text)
            assert quick.pending is None
            assert thorough.pending is not None
            verdicts.append(quick.allowed)
    assert 20 < sum(verdicts) < len(verdicts) - 20, "both answers occur often"


@pytest.mark.parametrize("seed", range(6))
def test_in_random_clusters_answers_agree_and_the_verdict_is_that_of_the_way(seed: int) -> None:
    world = World.from_resources([check(decode(document)) for document in random_cluster(Random(seed))])
    ends = [*map(of_workload, [*world.workloads.values()][:4]), *(find(world, f"node/{name}") for name in world.state.hosts)]
    ends += [find(world, text) for text in ("203.0.113.9", "2001:db8:9::9")]
    for source, destination in permutations(ends, 2):
        for text in ("tcp/80", "udp/53", "icmp", "4"):
            question = parse_question(text)
            try:
                thorough = explain_ends(world, source, destination, question=question)
            except NoAddress:
                continue
            assert gist(explain_ends(world, source, destination, question=question, traced=False)) == gist(thorough)
            assert thorough.allowed == thorough.journey.allowed
