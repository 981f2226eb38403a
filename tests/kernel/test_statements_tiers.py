"""Sections 4 and 5 of docs/policy-semantics.md: what an endpoint's chain does, and in which order policy is asked."""

from collections.abc import Iterator

import pytest
from tests.kernel.statement_ground import Ground, felix, gnp, ground, np, profile, tier, workload

from tortie.api.resource import Metadata
from tortie.api.tier import Tier, TierSpec

pytestmark = pytest.mark.kernel

INTO_B = "selector: app == 'b', types: [Ingress]"
OUT_OF_A = "selector: app == 'a', types: [Egress]"
ALLOW, DENY, PASS = ("[{action: Allow}]", "[{action: Deny}]", "[{action: Pass}]")


@pytest.fixture(scope="module")
def built() -> Iterator[Ground]:
    with ground() as made:
        yield made


@pytest.fixture
def node(built: Ground) -> Iterator[Ground]:
    yield built
    built.reset()


def port(number: int, action: str = "Allow") -> str:
    """A rule for one TCP port."""
    return f"{{action: {action}, protocol: TCP, destination: {{ports: [{number}]}}}}"


# ---- section 4 ----
@pytest.mark.shows("PS-4.4", "PS-12.4")
def test_an_answer_to_nothing_is_invalid_and_denied(node: Ground) -> None:
    node.has()
    assert node.lets("a", "b", "icmp/8/0")
    assert not node.lets("a", "b", "icmp/0/0"), "an echo reply that nobody asked for"
    assert not node.lets("out", "b", "icmpv6/129/0")


@pytest.mark.shows("PS-4.5")
def test_invalid_packets_may_be_left_to_policy(node: Ground) -> None:
    node.has(felix("disableConntrackInvalidCheck: true"))
    assert node.lets("a", "b", "icmp/0/0")
    node.gets(gnp("shut", f"{INTO_B}, ingress: {DENY}"))
    assert not node.lets("a", "b", "icmp/0/0")


@pytest.mark.shows("PS-4.8", "PS-2.3", "PS-2.4", "PS-2.5", "PS-8.1")
def test_the_sources_allow_does_not_count_at_the_destination(node: Ground) -> None:
    node.has(gnp("go", f"{OUT_OF_A}, egress: {ALLOW}"), gnp("come", f"{INTO_B}, ingress: [{port(80)}]"))
    assert node.lets("a", "b", "tcp/80"), "both allow"
    assert not node.lets("a", "b", "tcp/81"), "the source allows, the destination does not"
    assert node.lets("a", "c", "tcp/81"), "the source allows, nobody minds at the destination"


@pytest.mark.shows("PS-2.4", "PS-2.5")
def test_the_destinations_allow_does_not_open_the_source(node: Ground) -> None:
    node.has(gnp("go", f"{OUT_OF_A}, egress: [{port(80)}]"), gnp("come", f"{INTO_B}, ingress: {ALLOW}"))
    assert node.lets("a", "b", "tcp/80")
    assert not node.lets("a", "b", "tcp/81"), "the destination allows, the source does not"


@pytest.mark.shows("PS-4.8")
def test_the_sources_pass_does_not_count_at_the_destination(node: Ground) -> None:
    node.has(gnp("go", f"{OUT_OF_A}, egress: {PASS}"), gnp("come", f"{INTO_B}, ingress: [{port(80)}]"))
    assert node.lets("a", "b", "tcp/80")
    assert not node.lets("a", "b", "tcp/81"), "the end of the destination's tier is not skipped"


@pytest.mark.shows("PS-4.9", "PS-4.11")
def test_workloads_cannot_speak_tunnels_whatever_policy_says(node: Ground) -> None:
    node.has(gnp("go", f"{OUT_OF_A}, egress: {ALLOW}"))
    assert not node.lets("a", "b", "udp/4789")
    assert not node.lets("a", "out", "proto/4", family=4)
    assert node.lets("a", "b", "udp/4790")
    assert node.lets("a", "b", "tcp/4789"), "only UDP is VXLAN"
    assert node.lets("out", "b", "udp/4789"), "only from workloads"


@pytest.mark.shows("PS-4.10", "PS-4.12")
def test_tunnels_of_workloads_may_be_left_to_policy(node: Ground) -> None:
    node.has(felix("allowVXLANPacketsFromWorkloads: true, allowIPIPPacketsFromWorkloads: true"))
    assert node.lets("a", "out", "udp/4789")
    assert node.lets("a", "out", "proto/4", family=4)
    node.gets(gnp("stay", f"{OUT_OF_A}, egress: {DENY}"))
    assert not node.lets("a", "out", "udp/4789")
    assert not node.lets("a", "out", "proto/4", family=4)


@pytest.mark.shows("PS-4.14")
def test_an_allow_ends_the_evaluation(node: Ground) -> None:
    node.has(
        tier("first", "order: 1"),
        tier("second", "order: 2"),
        gnp("one", f"{INTO_B}, tier: first, order: 1, ingress: [{port(80)}, {port(81, 'Pass')}]"),
        gnp("two", f"{INTO_B}, tier: first, order: 2, ingress: {DENY}"),
        gnp("three", f"{INTO_B}, tier: second, ingress: {DENY}"),
    )
    assert node.lets("a", "b", "tcp/80"), "neither the next policy nor the next tier is asked"
    assert not node.lets("a", "b", "tcp/81")


@pytest.mark.shows("PS-4.15", "PS-4.16", "PS-4.13")
def test_the_end_of_a_tier_is_its_default_action(node: Ground) -> None:
    closed, lenient = tier("first", "order: 1, defaultAction: Deny"), tier("first", "order: 1, defaultAction: Pass")
    policies = (
        gnp("one", f"{INTO_B}, tier: first, ingress: [{port(80)}, {port(83, 'Deny')}]"),
        gnp("two", f"{INTO_B}, ingress: [{port(81)}, {port(83)}]"),
    )
    node.has(closed, *policies)
    assert [node.lets("a", "b", f"tcp/{number}") for number in (80, 81, 82, 83)] == [True, False, False, False]
    node.gets(lenient)
    assert [node.lets("a", "b", f"tcp/{number}") for number in (80, 81, 82, 83)] == [True, True, False, False]


@pytest.mark.shows("PS-4.13", "PS-5.18")
def test_a_tier_counts_only_in_the_direction_of_its_policies(node: Ground) -> None:
    node.has(tier("first", "order: 1"), gnp("out", f"selector: app == 'b', tier: first, types: [Egress], egress: [{port(80)}]"))
    assert node.lets("a", "b", "tcp/81"), "no policy of the tier governs ingress"
    assert not node.lets("b", "a", "tcp/81")
    node.has(tier("first", "order: 1"), gnp("in", f"{INTO_B}, tier: first, ingress: [{port(80)}]"))
    assert node.lets("b", "a", "tcp/81"), "no policy of the tier governs egress"
    assert not node.lets("a", "b", "tcp/81")


@pytest.mark.shows("PS-4.18", "PS-4.19")
def test_profiles_are_asked_in_their_order_after_all_tiers(node: Ground) -> None:
    deciding = profile("deciding", f"ingress: [{port(80, 'Deny')}, {port(81)}], egress: {ALLOW}")
    opening = profile("opening", f"ingress: [{port(80)}, {port(81, 'Deny')}, {port(82)}], egress: {ALLOW}")
    node.has(deciding, opening, workload("deciding, opening"))
    assert [node.lets("a", "e", f"tcp/{number}") for number in (80, 81, 82, 83)] == [False, True, True, False]
    node.gets(workload("opening, deciding"))
    assert [node.lets("a", "e", f"tcp/{number}") for number in (80, 81, 82, 83)] == [True, False, True, False]
    node.gets(gnp("some", f"selector: app == 'e', types: [Ingress], ingress: [{port(82, 'Deny')}, {port(80, 'Pass')}]"))
    assert [node.lets("a", "e", f"tcp/{number}") for number in (80, 82)] == [True, False]


@pytest.mark.shows("PS-4.20")
def test_a_workload_without_policy_and_profile_is_cut_off(node: Ground) -> None:
    node.has(workload(""))
    for other in ("a", "out"):
        assert not node.lets(other, "e", "tcp/80")
        assert not node.lets("e", other, "tcp/80")


# ---- section 5: tiers ----
ONE_DENIES = gnp("one", f"{INTO_B}, tier: first, ingress: {DENY}")
TWO_ALLOWS = gnp("two", f"{INTO_B}, tier: second, ingress: {ALLOW}")


@pytest.mark.shows("PS-5.1", "PS-4.13")
def test_tiers_are_asked_by_their_order(node: Ground) -> None:
    node.has(tier("first", "order: 10"), tier("second", "order: 9"), ONE_DENIES, TWO_ALLOWS)
    assert node.lets("a", "b", "tcp/80")
    node.gets(tier("first", "order: 8"))
    assert not node.lets("a", "b", "tcp/80")


@pytest.mark.shows("PS-5.2")
def test_a_tier_stored_without_order_is_asked_last(node: Ground) -> None:
    node.has(tier("second", "order: 20000000"), TWO_ALLOWS)
    node.stores(Tier(metadata=Metadata(name="first"), spec=TierSpec()))
    node.gets(ONE_DENIES)
    assert node.lets("a", "b", "tcp/80"), "even after an order beyond every predefined one"
    node.gets(tier("second", "order: 1"), TWO_ALLOWS.replace("Allow", "Pass"))
    assert not node.lets("a", "b", "tcp/80"), "but it is asked"


@pytest.mark.shows("PS-5.2")
@pytest.mark.parametrize(("order", "allowed"), [(999999, True), (1000001, False)])
def test_a_tier_written_without_order_gets_that_of_the_default_tier(node: Ground, order: int, allowed: bool) -> None:
    node.has(tier("first", ""), tier("second", f"order: {order}"), ONE_DENIES, TWO_ALLOWS)
    assert node.lets("a", "b", "tcp/80") is allowed


@pytest.mark.shows("PS-5.3")
@pytest.mark.parametrize("order", ["order: 5", ""])
def test_tiers_of_one_order_are_asked_by_name(node: Ground, order: str) -> None:
    node.has(tier("first", order), tier("second", order), ONE_DENIES, TWO_ALLOWS)
    assert not node.lets("a", "b", "tcp/80"), "first, then second"
    node.has(tier("third", order), tier("second", order), ONE_DENIES.replace("tier: first", "tier: third"), TWO_ALLOWS)
    assert node.lets("a", "b", "tcp/80"), "second, then third"


@pytest.mark.shows("PS-5.4")
def test_orders_may_be_fractions(node: Ground) -> None:
    node.has(tier("first", "order: 10.5"), tier("second", "order: 10.25"), ONE_DENIES, TWO_ALLOWS)
    assert node.lets("a", "b", "tcp/80")
    node.has(gnp("x", f"{INTO_B}, order: 0.5, ingress: {DENY}"), gnp("y", f"{INTO_B}, order: 0.25, ingress: {ALLOW}"))
    assert node.lets("a", "b", "tcp/80")


@pytest.mark.shows("PS-5.8", "PS-5.9", "PS-5.10")
def test_the_predefined_tiers_stand_where_they_should(node: Ground) -> None:
    """A tier of a test's own, just before and just after each of them."""
    for name, order in (("kube-admin", 1000), ("default", 1000000), ("kube-baseline", 10000000)):
        predefined = gnp("one", f"{INTO_B}, tier: {name}, ingress: {DENY}")
        node.has(tier("second", f"order: {order - 1}"), predefined, TWO_ALLOWS)
        assert node.lets("a", "b", "tcp/80"), f"asked before {name}"
        node.has(tier("second", f"order: {order + 1}"), predefined, TWO_ALLOWS)
        assert not node.lets("a", "b", "tcp/80"), f"asked after {name}"


@pytest.mark.shows("PS-5.8", "PS-5.9", "PS-5.10", "PS-5.12")
@pytest.mark.parametrize(
    ("name", "open_end"), [("kube-admin", True), ("default", False), ("kube-baseline", True), ("new", False)]
)
def test_the_end_of_each_predefined_tier_and_of_a_new_one(node: Ground, name: str, open_end: bool) -> None:
    made = [tier("new", "order: 7")] if name == "new" else []
    node.has(*made, gnp("some", f"{INTO_B}, tier: {name}, ingress: [{port(80)}]"))
    assert node.lets("a", "b", "tcp/80")
    assert node.lets("a", "b", "tcp/81") is open_end


@pytest.mark.shows("PS-5.13", "PS-5.14")
def test_policy_of_a_tier_that_does_not_exist_is_enforced_after_all_others(node: Ground) -> None:
    node.has(gnp("one", f"{INTO_B}, tier: absent, ingress: [{port(80)}]"))
    assert node.lets("a", "b", "tcp/80")
    assert not node.lets("a", "b", "tcp/81"), "enforced, and its tier denies at its end"
    node.gets(tier("late", "order: 2.0e+7"), gnp("two", f"{INTO_B}, tier: late, ingress: [{port(80, 'Deny')}, {port(81)}]"))
    assert not node.lets("a", "b", "tcp/80"), "a tier that exists comes first, however high its order"
    assert node.lets("a", "b", "tcp/81")
    node.gets(tier("absent", "order: 1"))
    assert node.lets("a", "b", "tcp/80"), "the tier came, and with it its order"


@pytest.mark.shows("PS-5.15", "PS-8.4", "PS-5.16")
def test_pass_skips_the_rest_of_its_tier_and_ends_with_the_profiles(node: Ground) -> None:
    node.has(
        tier("first", "order: 1"),
        tier("between", "order: 2"),
        tier("second", "order: 3"),
        gnp("one", f"{INTO_B}, tier: first, order: 1, ingress: {PASS}"),
        gnp("rest", f"{INTO_B}, tier: first, order: 2, ingress: {DENY}"),
        gnp("other", f"selector: app == 'b', tier: between, types: [Egress], egress: {DENY}"),
        gnp("two", f"{INTO_B}, tier: second, ingress: [{port(80)}, {port(81, 'Pass')}]"),
    )
    assert node.lets("a", "b", "tcp/80"), "the next tier with a policy in this direction decided"
    assert node.lets("a", "b", "tcp/81"), "passed by both, allowed by the namespace's profile"
    assert not node.lets("a", "b", "tcp/82"), "not passed by the second: its end"


@pytest.mark.shows("PS-5.17")
def test_pass_in_a_profile_goes_on_to_the_next_one_or_to_the_final_deny(node: Ground) -> None:
    node.has(profile("passing", f"ingress: {PASS}"), profile("opening", f"ingress: [{port(80)}]"), workload("passing, opening"))
    assert node.lets("a", "e", "tcp/80")
    assert not node.lets("a", "e", "tcp/81")


# ---- section 5: policies ----
@pytest.mark.shows("PS-5.5", "PS-5.6")
def test_policies_are_asked_by_their_order_and_those_without_one_last(node: Ground) -> None:
    node.has(gnp("a", f"{INTO_B}, order: 20, ingress: {DENY}"), gnp("b", f"{INTO_B}, order: 10, ingress: {ALLOW}"))
    assert node.lets("a", "b", "tcp/80")
    node.gets(gnp("b", f"{INTO_B}, order: 30, ingress: {ALLOW}"))
    assert not node.lets("a", "b", "tcp/80")
    node.gets(gnp("a", f"{INTO_B}, ingress: {DENY}"))
    assert node.lets("a", "b", "tcp/80"), "the one without order is last"


@pytest.mark.shows("PS-5.7")
@pytest.mark.parametrize("order", ["order: 5, ", ""])
def test_policies_of_one_order_are_asked_by_name_then_namespace_then_kind(node: Ground, order: str) -> None:
    node.has(gnp("x", f"{order}{INTO_B}, ingress: {DENY}"), gnp("y", f"{order}{INTO_B}, ingress: {ALLOW}"))
    assert not node.lets("a", "b", "tcp/80")
    node.has(gnp("z", f"{order}{INTO_B}, ingress: {DENY}"), gnp("y", f"{order}{INTO_B}, ingress: {ALLOW}"))
    assert node.lets("a", "b", "tcp/80")
    node.has(gnp("x", f"{order}{INTO_B}, ingress: {DENY}"), np("x", f"{order}{INTO_B}, ingress: {ALLOW}"))
    assert not node.lets("a", "b", "tcp/80"), "no namespace comes before any"


@pytest.mark.shows("PS-5.20")
@pytest.mark.parametrize(
    ("rules", "into", "out"),
    [
        (f"ingress: {DENY}", False, True),
        (f"egress: {DENY}", True, False),
        (f"ingress: {DENY}, egress: {DENY}", False, False),
        (f"ingress: {ALLOW}, egress: {DENY}", True, False),
    ],
)
def test_types_follow_from_the_rules_that_are_there(node: Ground, rules: str, into: bool, out: bool) -> None:
    node.has(gnp("some", f"selector: app == 'b', {rules}"))
    assert node.lets("a", "b", "tcp/80") is into
    assert node.lets("b", "a", "tcp/80") is out


@pytest.mark.shows("PS-5.21")
def test_a_policy_without_types_and_rules_denies_ingress_alone(node: Ground) -> None:
    node.has(gnp("empty", "selector: app == 'b'"))
    assert not node.lets("a", "b", "tcp/80")
    assert node.lets("b", "a", "tcp/80")


KNP = """
{{kind: NetworkPolicy, apiVersion: networking.k8s.io/v1, metadata: {{name: k, namespace: one}},
 spec: {{podSelector: {{}}, {spec}}}}}
"""


@pytest.mark.shows("PS-5.22")
@pytest.mark.parametrize(("order", "allowed"), [(999, True), (1001, False)])
def test_a_kubernetes_policy_has_order_1000_in_the_default_tier(node: Ground, order: int, allowed: bool) -> None:
    kubernetes = KNP.format(spec="ingress: [{ports: [{protocol: TCP, port: 80}]}]")
    node.has(kubernetes, gnp("mine", f"{INTO_B}, order: {order}, ingress: [{port(81)}, {port(80, 'Deny')}]"))
    assert node.lets("a", "b", "tcp/81"), "within one tier what one leaves open the other may allow"
    assert node.lets("a", "b", "tcp/80") is not allowed
    assert not node.lets("a", "b", "tcp/82"), "the end of the tier"


@pytest.mark.shows("PS-5.23")
def test_a_kubernetes_policy_leaves_other_workloads_alone(node: Ground) -> None:
    node.has(profile("open", f"ingress: {ALLOW}, egress: {ALLOW}"), workload("open"), KNP.format(spec="ingress: []"))
    assert not node.lets("c", "b", "tcp/80")
    assert node.lets("c", "e", "tcp/80"), "of the same namespace, but not of Kubernetes"


@pytest.mark.shows("PS-5.24")
def test_a_kubernetes_policy_is_for_ingress_unless_it_has_egress(node: Ground) -> None:
    node.has(KNP.format(spec="ingress: []"))
    assert not node.lets("c", "b", "tcp/80")
    assert node.lets("b", "c", "tcp/80")


@pytest.mark.shows("PS-5.25", "PS-5.26", "PS-5.27")
def test_the_first_rule_that_decides_wins(node: Ground) -> None:
    log = "{action: Log}"
    node.has(
        gnp("one", f"{INTO_B}, order: 1, ingress: [{log}, {port(80)}, {port(80, 'Deny')}, {port(81, 'Deny')}, {port(81)}]"),
        gnp("two", f"{INTO_B}, order: 2, ingress: [{log}, {port(81)}, {port(82)}]"),
    )
    assert [node.lets("a", "b", f"tcp/{number}") for number in (80, 81, 82, 83)] == [True, False, True, False]


# ---- section 5: profiles ----
@pytest.mark.shows("PS-5.28")
def test_a_profile_that_does_not_exist_denies_in_both_directions(node: Ground) -> None:
    node.has(profile("open", f"ingress: {ALLOW}, egress: {ALLOW}"), workload("absent, open"))
    assert not node.lets("a", "e", "tcp/80")
    assert not node.lets("e", "a", "tcp/80")
    node.gets(workload("open, absent"))
    assert node.lets("a", "e", "tcp/80"), "decided before it is asked"
    node.gets(workload("absent, open"), profile("absent", "labelsToApply: {}"))
    assert node.lets("a", "e", "tcp/80"), "it came"
    assert node.lets("e", "a", "tcp/80")


@pytest.mark.shows("PS-5.29", "PS-5.32")
def test_a_namespaces_profile_allows_everything_and_a_service_accounts_nothing(node: Ground) -> None:
    node.has(workload("ksa.one.cook"))
    assert not node.lets("a", "e", "tcp/80"), "the account's profile has no rules"
    assert not node.lets("e", "a", "tcp/80")
    node.gets(workload("kns.one"))
    for sent in ("tcp/80", "udp/9", "ping", "sctp/7", "proto/89"):
        assert node.lets("a", "e", sent)
        assert node.lets("e", "a", sent)


@pytest.mark.shows("PS-5.30", "PS-5.31")
def test_profiles_give_labels_of_the_namespace_and_of_the_service_account(node: Ground) -> None:
    node.has(gnp("by-namespace", "selector: pcns.team == 'blue', types: [Ingress]"))
    assert [node.lets("out", pod, "tcp/80") for pod in "abcd"] == [True, True, False, False]
    node.has(gnp("by-account", "selector: pcsa.job == 'floor', types: [Ingress]"))
    assert [node.lets("out", pod, "tcp/80") for pod in "abcd"] == [True, True, False, False]
    node.has(gnp("by-account", "selector: pcsa.job == 'kitchen', types: [Ingress]"))
    assert [node.lets("out", pod, "tcp/80") for pod in "abcd"] == [False, True, True, True]


@pytest.mark.shows("PS-5.33")
def test_the_built_in_profile_allows_everything(node: Ground) -> None:
    node.has(workload("projectcalico-default-allow"))
    assert node.lets("a", "e", "tcp/80")
    assert node.lets("e", "out", "udp/9")
