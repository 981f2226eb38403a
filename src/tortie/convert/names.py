"""Names that conversion makes: labels, profiles, host-side devices. Endpoint names are `api.names`'."""

import hashlib

NAMESPACE_LABEL = "projectcalico.org/namespace"
ORCHESTRATOR_LABEL = "projectcalico.org/orchestrator"
SERVICE_ACCOUNT_LABEL = "projectcalico.org/serviceaccount"
NAME_LABEL = "projectcalico.org/name"
NAMESPACE_LABEL_PREFIX = "pcns."
SERVICE_ACCOUNT_LABEL_PREFIX = "pcsa."
KUBERNETES = "k8s"
DEFAULT_INTERFACE_PREFIX = "cali"


def namespace_profile(namespace: str) -> str:
    """Profile name of a namespace."""
    return f"kns.{namespace}"


def service_account_profile(namespace: str, name: str) -> str:
    """Profile name of a service account; an empty namespace is `default`."""
    return f"ksa.{namespace or 'default'}.{name}"


def veth_name(namespace: str, pod: str, prefix: str = DEFAULT_INTERFACE_PREFIX) -> str:
    """Host-side device of a pod. `prefix` is InterfacePrefix: of a comma-separated list the first entry counts."""
    digest = hashlib.sha1(f"{namespace}.{pod}".encode(), usedforsecurity=False).hexdigest()
    return f"{prefix.split(',')[0].strip() or DEFAULT_INTERFACE_PREFIX}{digest[:11]}"
