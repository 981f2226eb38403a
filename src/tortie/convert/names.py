"""Names that conversion makes: profiles, workload endpoints, host-side devices."""

import hashlib

from tortie.convert.errors import ConversionError

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


def endpoint_name(node: str, pod: str, endpoint: str = "eth0") -> str:
    """Name of a pod's WorkloadEndpoint: node, orchestrator, pod and endpoint joined by `-`, a `-` inside each doubled."""
    segments = (("node", node), ("pod", pod), ("endpoint", endpoint))
    for field, text in segments:
        if not text:
            raise ConversionError(f"workload endpoint of pod {pod!r}: {field} is empty")
        if text.startswith("-") or text.endswith("-"):
            raise ConversionError(f"workload endpoint of pod {pod!r}: {field} {text!r} begins or ends with a dash")
    return "-".join(text.replace("-", "--") for text in (node, KUBERNETES, pod, endpoint))
