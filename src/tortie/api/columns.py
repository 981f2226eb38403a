"""What a table of resources shows: a heading and one text per resource (calicoctl.md, section 2.2).

Each function gives the text of one cell; `kinds` says which kind has which columns. NAME comes from the metadata; a column
for the namespace is added by whoever prints the table.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from tortie.api.resource import Resource

_NETS_LENGTH = 80


class Column(NamedTuple):
    """One column of a table."""

    heading: str
    text: Callable[[Any], str]


def name(resource: Resource) -> str:
    """metadata.name."""
    return resource.metadata.name


def spec(field: str, *, unset: str = "") -> Callable[[Any], str]:
    """A function that shows one field of the spec; `unset` stands for None and for empty text."""

    def text(resource: Any) -> str:
        value = getattr(resource.spec, field)
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, float) and value.is_integer():
            return str(int(value))
        if isinstance(value, tuple):
            return ",".join(map(str, value))
        return unset if value is None or value == "" else str(value)

    return text


def count(field: str) -> Callable[[Any], str]:
    """A function that shows how many items a list of the spec has."""
    return lambda resource: str(len(getattr(resource.spec, field)))


def nets(field: str) -> Callable[[Any], str]:
    """A function that shows a list of CIDRs, cut where it would break the table."""

    def text(resource: Any) -> str:
        return _cut(",".join(getattr(resource.spec, field)))

    return text


def _cut(joined: str) -> str:
    return joined if len(joined) <= _NETS_LENGTH else joined[: _NETS_LENGTH - 3] + "..."


def pairs(items: Iterable[tuple[str, str]]) -> str:
    """`k=v` sorted by key."""
    return ",".join(f"{key}={value}" for key, value in sorted(items))


def profile_labels(profile: Any) -> str:
    """The labels that a profile hands on."""
    return pairs(profile.spec.labels_to_apply.items())


def peer_node(peer: Any) -> str:
    """Whose side of a BGP peering is ours: a node, a selector of nodes, or all."""
    return peer.spec.node or peer.spec.node_selector or "(global)"


def node_as_number(node: Any) -> str:
    """A node's own AS number, or the cluster's default in parentheses."""
    own = node.spec.bgp.as_number if node.spec.bgp else None
    return "(64512)" if own is None else str(own)


def node_bgp(field: str) -> Callable[[Any], str]:
    """A function that shows one address of a node."""
    return lambda node: str(getattr(node.spec.bgp, field)) if node.spec.bgp else ""


def workload(endpoint: Any) -> str:
    """The pod, or what other orchestrators call a workload."""
    return str(endpoint.spec.pod or endpoint.spec.workload)


def endpoint_nats(endpoint: Any) -> str:
    """Floating addresses as external:internal pairs."""
    return ",".join(f"{nat.external_ip}:{nat.internal_ip}" for nat in endpoint.spec.ip_nats)


def label_selector(field: str) -> Callable[[Any], str]:
    """A function that shows a Kubernetes label selector."""

    def text(resource: Any) -> str:
        selector = getattr(resource.spec, field)
        terms = [f"{key}={value}" for key, value in sorted(selector.match_labels.items())]
        terms += [_expression(expression) for expression in selector.match_expressions]
        return ",".join(terms) or "<none>"

    return text


def _expression(expression: Any) -> str:
    match expression.operator:
        case "Exists":
            return str(expression.key)
        case "DoesNotExist":
            return f"!{expression.key}"
        case _:
            return f"{expression.key} {expression.operator.lower()} ({','.join(expression.values)})"


def pod_status(field: str) -> Callable[[Any], str]:
    """A function that shows one field of a pod's status."""
    return lambda pod: getattr(pod.status, field) or "<none>"


def service_ports(service: Any) -> str:
    """The ports of a service, as `80/TCP` or, on every node, `80:30080/TCP`."""
    ports = service.spec.ports
    texts = [f"{port.port}{f':{port.node_port}' if port.node_port else ''}/{port.protocol}" for port in ports]
    return ",".join(texts) or "<none>"


def address_type(endpoint_slice: Any) -> str:
    """IPv4, IPv6 or FQDN."""
    return str(endpoint_slice.address_type)


def slice_ports(endpoint_slice: Any) -> str:
    """The numbers of the ports of a slice."""
    return ",".join(str(port.port) for port in endpoint_slice.ports if port.port is not None) or "<unset>"


def slice_endpoints(endpoint_slice: Any) -> str:
    """The addresses of a slice, cut where they would break the table."""
    joined = ",".join(address for endpoint in endpoint_slice.endpoints for address in endpoint.addresses)
    return _cut(joined) or "<unset>"
