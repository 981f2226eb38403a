"""Answers for tables are the same answers, without the walks."""

from itertools import permutations

from tests.unit.insight.asking import felix, global_policy, host_endpoint, node, pod, world_of
from tests.unit.insight.test_services import NO_CANARY, WEB

from tortie.insight.ends import find
from tortie.insight.explain import Explanation, explain_ends
from tortie.insight.question import parse_question

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
