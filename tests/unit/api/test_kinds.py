"""The registry: documents and command-line words find the right kind."""

import pytest

from tortie.api.errors import UnknownKindError
from tortie.api.kinds import KINDS, kind_by_alias, kind_for
from tortie.api.node import Node, NodeBGP, NodeSpec
from tortie.api.policy import NetworkPolicy, NetworkPolicySpec
from tortie.api.resource import Metadata


@pytest.mark.parametrize(
    ("alias", "kind"),
    [
        ("networkpolicy", "NetworkPolicy"),
        ("NetworkPolicies", "NetworkPolicy"),
        ("np", "NetworkPolicy"),
        ("pol", "NetworkPolicy"),
        ("networkpolicies.projectcalico.org", "NetworkPolicy"),
        ("networkpolicies.networking.k8s.io", "KubernetesNetworkPolicy"),
        ("kubernetesnetworkpolicy", "KubernetesNetworkPolicy"),
        ("GNP", "GlobalNetworkPolicy"),
        ("tier", "Tier"),
        ("weps", "WorkloadEndpoint"),
        ("no", "Node"),
        ("ipp", "IPPool"),
        ("pools", "IPPool"),
        ("affinities", "BlockAffinity"),
        ("bp", "BGPPeer"),
        ("felixconfigs", "FelixConfiguration"),
        ("clusterinfo", "ClusterInformation"),
        ("bgpf", "BGPFilter"),
        ("bfs", "BGPFilter"),
        ("nodestatus", "CalicoNodeStatus"),
        ("caliconodestatuses", "CalicoNodeStatus"),
        ("kcc", "KubeControllersConfiguration"),
        ("kubecontrollersconfigs", "KubeControllersConfiguration"),
        ("ns", "Namespace"),
        ("sa", "ServiceAccount"),
        ("po", "Pod"),
        ("hep", "HostEndpoint"),
        ("HEPs", "HostEndpoint"),
        ("sgnp", "StagedGlobalNetworkPolicy"),
        ("sgnps", "StagedGlobalNetworkPolicy"),
        ("snp", "StagedNetworkPolicy"),
        ("scnp", "StagedNetworkPolicy"),
        ("spols", "StagedNetworkPolicy"),
        ("stagedpolicies", "StagedNetworkPolicy"),
        ("sknp", "StagedKubernetesNetworkPolicy"),
        ("skpol", "StagedKubernetesNetworkPolicy"),
        ("stagedkubernetespolicy", "StagedKubernetesNetworkPolicy"),
        ("clusternetworkpolicy", "KubernetesClusterNetworkPolicy"),
        ("clusternetworkpolicies.policy.networking.k8s.io", "KubernetesClusterNetworkPolicy"),
        ("cnp", "NetworkPolicy"),
        ("svc", "KubernetesService"),
        ("endpointslices", "KubernetesEndpointSlice"),
    ],
)
def test_words_that_people_use_find_their_kind(alias: str, kind: str) -> None:
    assert kind_by_alias(alias).kind == kind


def test_unknown_word_is_refused_by_name() -> None:
    with pytest.raises(UnknownKindError, match="resource type 'widget' is not supported"):
        kind_by_alias("widget")


def test_documents_of_both_network_policies_are_told_apart() -> None:
    assert kind_for("networking.k8s.io/v1", "NetworkPolicy").kind == "KubernetesNetworkPolicy"
    assert kind_for("projectcalico.org/v3", "NetworkPolicy").kind == "NetworkPolicy"


@pytest.mark.parametrize(
    ("api_version", "document_kind", "hint"),
    [
        ("v1", "Node", "spec.bgp"),
        ("v1", "IPPool", "projectcalico.org/v3"),
        ("crd.projectcalico.org/v1", "NetworkPolicy", "networking.k8s.io/v1"),
        ("v1", "Widget", r"\(Widget\)"),
    ],
)
def test_unknown_document_kind_says_what_is_known(api_version: str, document_kind: str, hint: str) -> None:
    with pytest.raises(UnknownKindError, match=hint):
        kind_for(api_version, document_kind)


def test_every_kind_is_found_by_its_document_and_has_columns() -> None:
    for kind in KINDS.values():
        assert kind_for(kind.api_version, kind.document_kind) is kind
        assert kind.plural in kind.aliases
        assert all(alias == alias.lower() for alias in kind.aliases)
        assert kind.columns[0].heading in ("NAME", "WORKLOAD")


def test_no_word_means_two_kinds_except_the_shared_plural() -> None:
    seen: dict[str, list[str]] = {}
    for kind in KINDS.values():
        for alias in kind.aliases:
            seen.setdefault(alias, []).append(kind.kind)
    assert {alias for alias, kinds in seen.items() if len(kinds) > 1} == {"networkpolicies"}


def test_cells_show_what_is_set_and_placeholders_for_what_is_not() -> None:
    policy = NetworkPolicy(metadata=Metadata(name="p"), spec=NetworkPolicySpec(order=100.0, selector="all()"))
    cells = [column.text(policy) for column in KINDS["NetworkPolicy"].wide_columns]
    assert cells == ["p", "default", "100", "all()"]
    no_order = NetworkPolicy(metadata=Metadata(name="p"))
    assert KINDS["NetworkPolicy"].wide_columns[2].text(no_order) == "<nil>"
    node = Node(metadata=Metadata(name="n"), spec=NodeSpec(bgp=NodeBGP(ipv4_address="10.0.0.1/24")))
    assert [column.text(node) for column in KINDS["Node"].wide_columns] == ["n", "(64512)", "10.0.0.1/24", ""]
