"""Which host endpoint stands for which interface of a node (policy-semantics.md, section 6).

One endpoint an interface: candidates are those with the interface's name, and those without a name that expect one of its
addresses; of several the smallest id. An endpoint with a name never matches by address. All interfaces that nothing claims
belong to the smallest "*".
"""

from collections.abc import Iterable, Mapping, Set

from tortie.base.net import Address
from tortie.intent.endpoint import HostEndpoint

EVERY_INTERFACE = "*"


def resolve(endpoints: Iterable[HostEndpoint], interfaces: Mapping[str, Set[Address]]) -> dict[str, HostEndpoint]:
    """The endpoint of each of one node's `interfaces` (name to addresses; leave the workloads' out) that has one by name or
    by address, and under "*" the one for all others, if there is any."""
    candidates = sorted(endpoints, key=lambda endpoint: endpoint.id)
    owners: dict[str, HostEndpoint] = {}
    for endpoint in candidates:
        if endpoint.interface == EVERY_INTERFACE:
            owners.setdefault(EVERY_INTERFACE, endpoint)
    for name, addresses in interfaces.items():
        for endpoint in candidates:
            if endpoint.interface == EVERY_INTERFACE:
                continue
            if endpoint.interface == name or (not endpoint.interface and not addresses.isdisjoint(endpoint.expected_addresses)):
                owners[name] = endpoint
                break
    return owners
