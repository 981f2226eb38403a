"""Rules keep the numbers that their author gave them."""

from typing import Any

import pytest

from tortie.api.documents import decode
from tortie.insight.written import written_indices
from tortie.intent.policy import Direction

EVERYONE: dict[str, Any] = {"namespaces": {}}


def cluster_policy(*egress: dict[str, Any]) -> dict[str, Any]:
    spec = {"tier": "Admin", "priority": 1, "subject": EVERYONE, "egress": list(egress)}
    return {"apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy", "spec": spec}


def kubernetes_policy(*egress: dict[str, Any], **change: Any) -> dict[str, Any]:
    staged = "stagedAction" in change
    return {
        "apiVersion": "projectcalico.org/v3" if staged else "networking.k8s.io/v1",
        "kind": "StagedKubernetesNetworkPolicy" if staged else "NetworkPolicy",
        "spec": {"policyTypes": ["Egress"], "egress": list(egress)} | change,
    }


TWO_PORTS = {"ports": [{"port": 53}, {"port": 53, "protocol": "UDP"}]}
BROKEN = {"ports": [{"endPort": 53}]}


@pytest.mark.parametrize(
    ("document", "indices"),
    [
        (kubernetes_policy({}, TWO_PORTS, BROKEN, {}), [0, 1, 1, 3]),
        (kubernetes_policy(TWO_PORTS, {}, stagedAction="Set"), [0, 0, 1]),
        (kubernetes_policy(TWO_PORTS, stagedAction="Delete"), []),
        (
            cluster_policy(
                {"action": "Deny", "to": [EVERYONE, EVERYONE]},
                {"action": "Accept", "to": [{"nodes": {}}]},
                {"action": "Pass", "to": [{"nodes": {}}]},
                {"action": "Accept", "to": [EVERYONE]},
            ),
            [0, 0, 2, 3],
        ),
        ({"apiVersion": "projectcalico.org/v3", "kind": "NetworkPolicy", "spec": {"egress": [{"action": "Allow"}]}}, None),
    ],
)
def test_a_converted_rule_has_the_index_of_the_rule_that_it_comes_from(
    document: dict[str, Any], indices: list[int] | None
) -> None:
    assert written_indices(decode({"metadata": {"name": "p"}} | document), Direction.EGRESS) == indices
