"""One update in, one update out: what a datastore holds of Kubernetes becomes Calico's kinds; all else passes through."""

from tortie.api.kubernetes import KubernetesNetworkPolicy, Namespace, ServiceAccount
from tortie.api.resource import Key, Resource, Update
from tortie.convert.names import namespace_profile, service_account_profile
from tortie.convert.namespaces import namespace_to_profile
from tortie.convert.policies import network_policy
from tortie.convert.serviceaccounts import service_account_to_profile

CONVERTED_KINDS = ("Namespace", "ServiceAccount", "KubernetesNetworkPolicy")


def convert_update(update: Update) -> Update:
    """Map Namespace and ServiceAccount to Profile, KubernetesNetworkPolicy to a NetworkPolicy under the same key.

    Deletions map like values. A policy that cannot be converted as a whole still denies (see `policies`).
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
        case "KubernetesNetworkPolicy":
            return Update(key, _policy(value))
        case _:
            return update


def _policy(value: Resource | None) -> Resource | None:
    return network_policy(value) if isinstance(value, KubernetesNetworkPolicy) else value
