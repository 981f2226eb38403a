"""Names that resources must have or that are computed: metadata syntax, and the name of a workload endpoint."""

import re
from typing import NamedTuple

from tortie.api.endpoint import WorkloadEndpointSpec

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_DNS_LABEL = re.compile(_LABEL)
_DNS_SUBDOMAIN = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_LABEL_KEY_NAME = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_NETWORK_POLICY = re.compile(rf"{_LABEL}(\.{_LABEL})?|(knp|ossg)\.default\.{_LABEL}(\.{_LABEL})*")
_GLOBAL_POLICY = re.compile(rf"{_LABEL}(\.{_LABEL})?")


class EndpointName(NamedTuple):
    """The four parts of a workload endpoint's name. `workload` is the pod for Kubernetes, the container id for CNI."""

    node: str
    orchestrator: str
    workload: str
    endpoint: str


def parse_dns_label(text: str) -> str:
    """A name without dots. Raises ValueError."""
    if len(text) > 63 or _DNS_LABEL.fullmatch(text) is None:
        raise ValueError("must be at most 63 characters of a-z, 0-9 and -, beginning and ending with a letter or digit")
    return text


def parse_dns_subdomain(text: str) -> str:
    """A name, dots allowed. Raises ValueError."""
    if len(text) > 253 or _DNS_SUBDOMAIN.fullmatch(text) is None:
        raise ValueError(
            "must be at most 253 characters of a-z, 0-9, - and ., each part beginning and ending with a letter or digit"
        )
    return text


def parse_network_policy_name(text: str) -> str:
    """The name of a NetworkPolicy: at most one dot, unless it stands for one of another system. Raises ValueError."""
    if len(text) > 253 or _NETWORK_POLICY.fullmatch(text) is None:
        raise ValueError("must be a-z, 0-9 and -, with at most one dot inside, and at most 253 characters")
    return text


def parse_global_policy_name(text: str) -> str:
    """The name of a GlobalNetworkPolicy: at most one dot. Raises ValueError."""
    if len(text) > 253 or _GLOBAL_POLICY.fullmatch(text) is None:
        raise ValueError("must be a-z, 0-9 and -, with at most one dot inside, and at most 253 characters")
    return text


def parse_label_key(text: str) -> str:
    """A key of a label or annotation: `name` or `prefix.example/name`. Raises ValueError."""
    prefix, slash, name = text.rpartition("/")
    if slash:
        parse_dns_subdomain(prefix)
    if len(name) > 63 or _LABEL_KEY_NAME.fullmatch(name) is None:
        raise ValueError(
            "a label's name has 1 to 63 characters: letters, digits, - _ and ., beginning and ending with a letter or digit"
        )
    return text


def parse_label_value(text: str) -> str:
    """The value of a label, possibly empty. Raises ValueError."""
    if text and (len(text) > 63 or _LABEL_KEY_NAME.fullmatch(text) is None):
        raise ValueError(
            "a label's value has at most 63 characters: letters, digits, - _ and ., beginning and ending with a letter or digit"
        )
    return text


def workload_endpoint_name(spec: WorkloadEndpointSpec) -> str:
    """The name that an endpoint must have. Raises ValueError naming the field that is missing or malformed."""
    return "-".join(_escaped(field, value) for field, value in _segments(spec))


def workload_endpoint_prefix(spec: WorkloadEndpointSpec) -> str:
    """What the names of all matching endpoints begin with, as far as the fields are known. `spec.node` must be."""
    segments = _segments(spec)
    known = segments[: next((index for index, (_, value) in enumerate(segments) if not value), len(segments))]
    if not known:
        raise ValueError("spec.node is required")
    joined = "-".join(_escaped(field, value) for field, value in known)
    return joined if len(known) == len(segments) else f"{joined}-"


def parse_workload_endpoint_name(name: str) -> EndpointName:
    """The inverse of `workload_endpoint_name`. Raises ValueError."""
    parts = [""]
    at = 0
    while at < len(name):
        if name[at] == "-" and at > 0 and name[at + 1 : at + 2] != "-":
            parts.append("")
        else:
            parts[-1] += name[at]
            at += name[at] == "-"
        at += 1
    if len(parts) != 4 or not all(parts):
        raise ValueError(f"{name!r} is not the name of a workload endpoint: it must have four parts")
    return EndpointName(*parts)


def _segments(spec: WorkloadEndpointSpec) -> list[tuple[str, str]]:
    match spec.orchestrator:
        case "k8s":
            workload = ("pod", spec.pod)
        case "cni":
            workload = ("containerID", spec.container_id)
        case "libnetwork":
            workload = ("workload", "libnetwork")
        case _:
            workload = ("workload", spec.workload)
    return [("node", spec.node), ("orchestrator", spec.orchestrator), workload, ("endpoint", spec.endpoint)]


def _escaped(field: str, value: str) -> str:
    if not value:
        raise ValueError(f"spec.{field} is required")
    if value.startswith("-") or value.endswith("-"):
        raise ValueError(f"spec.{field} {value!r} must not begin or end with a dash")
    return value.replace("-", "--")
