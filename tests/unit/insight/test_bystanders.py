"""Policies that were not asked are named with the reason."""

from tests.unit.insight.asking import ask, global_policy, host_endpoint, node, pod, world_of

CLUSTER = (
    pod("web", "10.0.0.1"),
    node("n1", "192.0.2.1"),
    host_endpoint("one", "n1", "eth0", "192.0.2.1"),
    global_policy("ordinary", "has(host)", "types: [Ingress]"),
    global_policy("out", "has(host)", "types: [Egress]", more="applyOnForward: true"),
    global_policy("forward", "has(host)", "types: [Ingress]\ningress: [{action: Allow}]", more="applyOnForward: true"),
    global_policy("early", "has(host)", "types: [Ingress]", more="applyOnForward: true\npreDNAT: true"),
    global_policy("pods", "has(projectcalico.org/namespace)", "types: [Ingress]\ningress: [{action: Allow}]"),
)


def reasons(source: str, destination: str, hook: str) -> dict[str, str]:
    answer = ask(world_of(*CLUSTER), source, destination, "tcp/80")
    found = next(half for half in (answer.egress, *answer.way, answer.ingress) if half.hook.startswith(hook))
    return {policy.name: reason for policy, reason in found.bystanders}


def test_at_a_host_endpoint_each_hook_tells_why_the_policies_of_the_others_were_not_asked() -> None:
    assert reasons("203.0.113.9", "prod/web", "forward") == {
        "early": "is asked before translation only (preDNAT)",
        "ordinary": "is not for forwarded traffic (applyOnForward is false)",
        "out": "is not about ingress",
        "pods": "does not select it",
    }
    assert reasons("203.0.113.9", "node/n1", "normal") == {
        "early": "is asked before translation only (preDNAT)",
        "out": "is not about ingress",
        "pods": "does not select it",
    }


def test_at_a_pod_policies_for_nodes_do_not_select_it() -> None:
    found = ask(world_of(*CLUSTER), "203.0.113.9", "prod/web", "tcp/80").ingress.bystanders
    others = ("early", "forward", "ordinary", "out")
    assert {policy.name: reason for policy, reason in found} == dict.fromkeys(others, "does not select it")
