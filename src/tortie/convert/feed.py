"""One update in, one update out: what a datastore holds of Kubernetes becomes Calico's kinds; all else passes through."""

from tortie.api.cluster_policy import ClusterNetworkPolicy
from tortie.api.kubernetes import KubernetesNetworkPolicy, Namespace, ServiceAccount
from tortie.api.resource import Key, Resource, Update
from tortie.api.staged import StagedKubernetesNetworkPolicy
from tortie.convert.cluster_policies import cluster_policy
from tortie.convert.names import namespace_profile, service_account_profile
from tortie.convert.namespaces import namespace_to_profile
from tortie.convert.policies import network_policy, staged_network_policy
from tortie.convert.serviceaccounts import service_account_to_profile

CONVERTED_KINDS = (
    "Namespace",
    "ServiceAccount",
    "KubernetesNetworkPolicy",
    "KubernetesClusterNetworkPolicy",
    "StagedKubernetesNetworkPolicy",
)


def convert_update(update: Update) -> Update:
    """Map Namespace and ServiceAccount to Profile; under the same key KubernetesNetworkPolicy to a NetworkPolicy,
    KubernetesClusterNetworkPolicy to a GlobalNetworkPolicy, StagedKubernetesNetworkPolicy to a StagedNetworkPolicy.

    Deletions map like values. A policy that cannot be converted as a whole still denies (see `policies`), except that a
    cluster policy without tier or subject is as if it were not there (see `cluster_policies`).
    """
    key, value = update
    match key.kind:
        case "Namespace":
            return Update(
                Key("Profile", "", namespace_profile(key.name)),
                namespace_to_profile(value) if isinstance(value, Namespace) else None,
            )
        case "ServiceAccount":
            return Update(
                Key("Profile", "", service_account_profile(key.namespace, key.name)),
                service_account_to_profile(value) if isinstance(value, ServiceAccount) else None,
            )
        case "KubernetesNetworkPolicy" | "KubernetesClusterNetworkPolicy" | "StagedKubernetesNetworkPolicy":
            return Update(key, _policy(value))
        case _:
            return update


def _policy(value: Resource | None) -> Resource | None:
    match value:
        case KubernetesNetworkPolicy():
            return network_policy(value)
        case ClusterNetworkPolicy():
            return cluster_policy(value)
        case StagedKubernetesNetworkPolicy():
            return staged_network_policy(value)
        case _:
            return value
