"""Staged policies: the same fields as the policies that they announce, and what they would do (api.md, section 2).

A staged policy never changes a verdict. `staged_action` says what it would be if it were enforced: Set, the policy of its tier
and name with this spec; Delete, that policy gone (all other fields but the tier stay empty); Learn and Ignore are marks for
people.
"""

from typing import Literal

from tortie.api.kubernetes import KubernetesNetworkPolicySpec
from tortie.api.policy import GlobalNetworkPolicySpec, NetworkPolicySpec
from tortie.api.resource import V3, Metadata, Resource

StagedActionText = Literal["Set", "Delete", "Learn", "Ignore"]


class StagedNetworkPolicySpec(NetworkPolicySpec, frozen=True, kw_only=True):
    """Spec of a NetworkPolicy that is only staged."""

    staged_action: StagedActionText = "Set"


class StagedNetworkPolicy(Resource, frozen=True, kw_only=True):
    """A namespaced staged policy.

    After conversion a StagedKubernetesNetworkPolicy is one of these too; its `kind`, and so its key, stays what it was.
    """

    api_version: str = V3
    kind: str = "StagedNetworkPolicy"
    metadata: Metadata = Metadata()
    spec: StagedNetworkPolicySpec = StagedNetworkPolicySpec()


class StagedGlobalNetworkPolicySpec(GlobalNetworkPolicySpec, frozen=True, kw_only=True):
    """Spec of a GlobalNetworkPolicy that is only staged."""

    staged_action: StagedActionText = "Set"


class StagedGlobalNetworkPolicy(Resource, frozen=True, kw_only=True):
    """A cluster-wide staged policy."""

    api_version: str = V3
    kind: str = "StagedGlobalNetworkPolicy"
    metadata: Metadata = Metadata()
    spec: StagedGlobalNetworkPolicySpec = StagedGlobalNetworkPolicySpec()


class StagedKubernetesNetworkPolicySpec(KubernetesNetworkPolicySpec, frozen=True, kw_only=True):
    """Spec of a Kubernetes NetworkPolicy that is only staged."""

    staged_action: StagedActionText = "Set"


class StagedKubernetesNetworkPolicy(Resource, frozen=True, kw_only=True):
    """A staged Kubernetes policy, always of tier default. `tortie.convert` makes it a StagedNetworkPolicy of the same key."""

    api_version: str = V3
    kind: str = "StagedKubernetesNetworkPolicy"
    metadata: Metadata = Metadata()
    spec: StagedKubernetesNetworkPolicySpec = StagedKubernetesNetworkPolicySpec()
