"""Workloads of this node as BGP peers: which of them a BGPPeer's localWorkloadSelector selects."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tortie.api.endpoint import WorkloadEndpoint
from tortie.api.resource import Key
from tortie.api.selector import SelectorError, parse_selector
from tortie.base.net import Address, Family
from tortie.calc.label_index import Labels
from tortie.calc.labelled import labelled_endpoint
from tortie.calc.local_endpoints import INTERFACE


@dataclass(frozen=True, slots=True)
class WorkloadFacts:
    """What BGP needs to know of a workload of this node."""

    name: str
    """`namespace/pod`, for people."""
    labels: Labels
    profiles: tuple[str, ...]
    interface: str
    addresses: tuple[Address, ...]

    def address(self, family: Family) -> Address | None:
        """Its first address of one family."""
        return next((address for address in self.addresses if address.family is family), None)


class LocalWorkloads:
    """The facts of this node's workloads, and the labels that profiles hand down to them."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._workloads: dict[Key, WorkloadFacts] = {}
        self._profile_labels: dict[str, Mapping[str, str]] = {}

    def on_endpoint(self, key: Key, endpoint: WorkloadEndpoint | None) -> bool:
        """An endpoint of the cluster came, changed or went. True if that changed a fact."""
        facts = None
        if endpoint is not None and endpoint.spec.node == self._node and INTERFACE.fullmatch(endpoint.spec.interface_name):
            facts = _facts(endpoint)
        before = self._workloads.pop(key, None)
        if facts is not None:
            self._workloads[key] = facts
        return before != facts

    def on_profile(self, name: str, labels: Mapping[str, str] | None) -> bool:
        """A profile came, changed or went. True if a workload here inherits from it and its labels changed."""
        before = self._profile_labels.pop(name, {})
        if labels:
            self._profile_labels[name] = labels
        return before != (labels or {}) and any(name in facts.profiles for facts in self._workloads.values())

    def selected(self, selector: str) -> Iterator[WorkloadFacts]:
        """By name. A selector that cannot be read selects nothing."""
        try:
            parsed = parse_selector(selector)
        except SelectorError:
            return
        for key in sorted(self._workloads):
            if parsed.matches(self._effective(self._workloads[key])):
                yield self._workloads[key]

    def is_empty(self) -> bool:
        """True if nothing is known."""
        return not self._workloads and not self._profile_labels

    def _effective(self, facts: WorkloadFacts) -> dict[str, str]:
        """Own labels win, then the first profile that has the label."""
        labels: dict[str, str] = {}
        for name in reversed(facts.profiles):
            labels.update(self._profile_labels.get(name, {}))
        return labels | dict(facts.labels)


def _facts(endpoint: WorkloadEndpoint) -> WorkloadFacts:
    labelled, _ = labelled_endpoint(endpoint)
    spec = endpoint.spec
    return WorkloadFacts(
        name=f"{endpoint.metadata.namespace}/{spec.pod or spec.workload or endpoint.metadata.name}",
        labels=labelled.labels,
        profiles=labelled.profiles,
        interface=spec.interface_name,
        addresses=tuple(net.network for net in labelled.nets if net.is_single),
    )
