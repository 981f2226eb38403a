"""What a change of policies changes: which pairs and ports, and who says so on each side."""

from random import Random

from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.fuzz.clusters import random_cluster
from tests.unit.insight.test_explain import PODS

from tortie.api.documents import decode
from tortie.api.validation import check
from tortie.base.net import Address, Family, parse_address
from tortie.insight.diff import Change, Difference, diff, difference_document
from tortie.insight.ends import End, of_workload
from tortie.insight.explain import explain_ends
from tortie.insight.files import Text, load
from tortie.insight.interesting import asked, interests
from tortie.insight.question import Question, parse_question
from tortie.insight.world import World

POLICY = """\
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: web, namespace: prod}
spec:
  selector: app == 'web'
  types: [Ingress]
  ingress:
  - action: Allow
    protocol: TCP
    source: {namespaceSelector: projectcalico.org/name == 'dev'}
    destination: {ports: [%s]}
"""


def world(*texts: str) -> World:
    return load([Text(f"{number}.yaml", text) for number, text in enumerate(texts)]).world()


def told(change: Change) -> tuple[bool, tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    return change.now_allowed, change.sources, change.destinations, change.ports


def test_a_world_does_not_differ_from_itself() -> None:
    assert diff(world(PODS, POLICY % 80), world(PODS, POLICY % 80)) == Difference(())


def test_a_moved_port_is_one_denial_and_one_permission_with_the_rule_of_each_side() -> None:
    changes = diff(world(PODS, POLICY % 80), world(PODS, POLICY % 443)).changes
    assert [told(change) for change in changes] == [
        (False, ("dev/client",), ("prod/web",), ("tcp/80",)),
        (True, ("dev/client",), ("prod/web",), ("tcp/443",)),
    ]
    assert "ingress: NetworkPolicy prod/web ingress rule 0 says Allow (1.yaml:8)" in changes[0].before.reason
    assert changes[0].after.reason == "ingress: no rule matched and tier default denies by default"
    assert "rule 0 says Allow" in changes[1].after.reason


def test_a_new_policy_also_shuts_out_strangers_and_every_other_port() -> None:
    changes = diff(world(PODS), world(PODS, POLICY % 80)).changes
    assert {change.now_allowed for change in changes} == {False}
    by_source = {change.sources: change for change in changes}
    assert "tcp/80" not in by_source["dev/client",].ports
    assert {"tcp/any other", "udp/any", "icmp", "any other protocol"} <= set(by_source["dev/client",].ports)
    strangers = next(change for change in changes if change.sources != ("dev/client",))
    assert {"tcp/80", "tcp/any other"} <= set(strangers.ports)
    assert {"203.0.113.1"} <= set(strangers.sources)


def test_asking_chosen_ports_and_endpoints_alone_narrows_the_answer() -> None:
    found = diff(world(PODS), world(PODS, POLICY % 80), ports=asked([parse_question("tcp/81")]), outside=False)
    assert [told(change) for change in found.changes] == [(False, ("dev/client",), ("prod/web",), ("tcp/81",))]


def test_pods_that_lose_each_other_are_one_change() -> None:
    pods = "".join(
        f"---\napiVersion: v1\nkind: Pod\nmetadata: {{name: p{i}, namespace: a}}\nspec: {{nodeName: n, containers: []}}\n"
        for i in range(4)
    )
    deny = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny, namespace: a}
spec: {podSelector: {}}
"""
    changes = diff(world(pods), world(pods, deny), ports=asked([parse_question("tcp/80")]), outside=False).changes
    everybody = ("a/p0", "a/p1", "a/p2", "a/p3")
    assert [told(change) for change in changes] == [(False, everybody, everybody, ("tcp/80",))]


def test_endpoints_that_come_and_go_are_listed_and_not_compared() -> None:
    only_web = PODS.split("---\n")[0]
    found = diff(world(PODS), world(only_web))
    assert (found.appeared, found.vanished, found.changes) == ((), ("dev/client",), ())
    assert diff(world(only_web), world(PODS)).appeared == ("dev/client",)


def test_the_document_tells_change_ends_ports_and_both_sides() -> None:
    document = difference_document(diff(world(PODS, POLICY % 80), world(PODS, POLICY % 443)))
    assert document["kind"] == "PolicyDiff"
    first = document["changes"][0]
    assert (first["change"], first["from"], first["to"], first["ports"]) == (
        "denied", ("dev/client",), ("prod/web",), ("tcp/80",),
    )  # fmt: skip
    assert first["before"]["verdict"] == "allow"
    assert first["before"]["ingress"]["policy"] == "NetworkPolicy prod/web"
    assert first["after"]["ingress"]["decidedBy"] == "tier default"


def fuzzed(seed: int, change: int) -> tuple[World, World]:
    """Two worlds that differ by the policies that one of them lost."""
    documents = random_cluster(Random(seed))
    kept = [doc for i, doc in enumerate(documents) if "Policy" not in doc["kind"] or (change >> (i % 16)) & 1]
    before, after = ([check(decode(document)) for document in each] for each in (documents, kept))
    return World.from_resources(before), World.from_resources(after)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 2**16 - 1), st.integers(0, 2**32))
@example(3, 0, 0)  # pods that reach each other stand among the destinations of a third
def test_where_no_change_is_told_random_packets_get_the_same_answer(seed: int, change: int, packets: int) -> None:
    before, after = fuzzed(seed, change)
    found = diff(before, after)
    rng = Random(packets)
    touched = {(source, to) for one in found.changes for source in one.sources for to in one.destinations}
    names = sorted(before.workloads)
    for _ in range(60):
        source, destination = rng.choice(names), rng.choice(names)
        question = Question(protocol=rng.choice((6, 6, 17, 132, 89, 47)), family=rng.choice((Family.V4, Family.V6)))
        question = Question(
            protocol=question.protocol,
            port=rng.choice((53, 80, 81, 443, 8080, 8443, 8500, rng.randint(1, 65535)))
            if question.protocol in (6, 17, 132)
            else None,
            family=question.family,
        )
        if source == destination or ("/".join(source), "/".join(destination)) in touched:
            continue
        ends = [(of_workload(w.workloads[source]), of_workload(w.workloads[destination])) for w in (before, after)]
        if any(all(a.family is not question.family for a in end.addresses) for end in ends[0]):
            continue
        was = explain_ends(before, *ends[0], question=question)
        now = explain_ends(after, *ends[1], question=question)
        assert was.allowed == now.allowed, (source, destination, question)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 2**16 - 1), st.integers(0, 2**32))
def test_strangers_stand_for_every_other_address_outside(seed: int, change: int, packets: int) -> None:
    before, after = fuzzed(seed, change)
    found = diff(before, after, ports=asked([parse_question("tcp/80")]))
    if found.changes:
        return
    rng = Random(packets)
    mine = {address for workload in before.workloads.values() for address in workload.addresses}
    for _ in range(60):
        address = Address(Family.V4, parse_address(rng.choice(("10.65.0.0", "192.0.2.0", "8.8.8.8"))).value + rng.randint(1, 9))
        pod = rng.choice(sorted(before.workloads))
        if address in mine or all(a.family is not Family.V4 for a in before.workloads[pod].addresses):
            continue
        stranger = End(str(address), (address,))
        question = Question(protocol=6, port=80)
        was = explain_ends(before, stranger, of_workload(before.workloads[pod]), question=question)
        now = explain_ends(after, stranger, of_workload(after.workloads[pod]), question=question)
        assert was.allowed == now.allowed, (address, pod)


def test_ranges_and_single_ports_split_the_ports_into_what_rules_can_tell_apart() -> None:
    one = world(PODS, POLICY % "'8000:8100', 8050, 443")
    texts = {interest.text for interest in interests([one])}
    assert {"tcp/443", "tcp/8050", "tcp/8000-8049,8051-8079,8081-8100", "tcp/8080", "tcp/any other", "udp/any"} <= texts
    other = next(interest for interest in interests([one]) if interest.text == "tcp/any other")
    assert isinstance(other.question.port, int)
    assert other.question.port not in range(8000, 8101)


HOST = """\
apiVersion: projectcalico.org/v3
kind: HostEndpoint
metadata: {name: eth0, labels: {role: host}}
spec: {node: n1, interfaceName: eth0, expectedIPs: [192.0.2.1]}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: hosts}
spec:
  selector: role == 'host'
  types: [Ingress]
  ingress: [{action: Allow, protocol: TCP, destination: {ports: [%s]}}]
---
"""


def test_nodes_with_host_endpoints_are_compared_too_and_failsafe_ports_stay_open() -> None:
    changes = diff(world(PODS, HOST % 80), world(PODS, HOST % 443)).changes
    into_node = [change for change in changes if change.destinations == ("node/n1",) and "203.0.113.1" in change.sources]
    assert [(change.now_allowed, change.ports) for change in into_node] == [(False, ("tcp/80",)), (True, ("tcp/443",))]
    closed = next(change for change in diff(world(PODS), world(PODS, HOST % 80)).changes if "203.0.113.1" in change.sources)
    assert closed.destinations == ("node/n1",)
    assert {"tcp/22", "tcp/80"} & set(closed.ports) == set()
    assert "tcp/any other" in closed.ports
