"""Addresses and a node for what has none, so that policy can be asked about it (conventions.md, "Offline files")."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from tortie.api.kubernetes import Pod, PodIP
from tortie.api.resource import Resource
from tortie.base.net import FAMILIES, Address, Family, Prefix, parse_prefix

NODE = "offline"
"""The node of pods that name none."""

RANGES = {Family.V4: parse_prefix("198.18.0.0/15"), Family.V6: parse_prefix("2001:db8::/32")}
_FIELDS_WITH_NETS = frozenset(
    {"cidr", "except", "nets", "notNets", "ip", "podIP", "ipNetworks", "expectedIPs", "address", "addresses", "clusterIPs"}
)


@dataclass(frozen=True, slots=True)
class Placed:
    """A pod ready for conversion, and what of it is made up."""

    pod: Pod
    synthetic_address: bool
    synthetic_node: bool


class Supply:
    """Addresses nobody else has: outside the networks of `resources`, which is all input."""

    def __init__(self, resources: Iterable[Resource]) -> None:
        taken = list(_nets(resources))
        self._free = {family: _free(family, taken) for family in FAMILIES}

    def take(self) -> tuple[Address, ...]:
        """The next one of each family."""
        return tuple(next(self._free[family]) for family in FAMILIES)


def place(pods: Iterable[Pod], supply: Supply) -> list[Placed]:
    """Give every pod a node and at least one address.

    Pods on their host's network and pods that have finished are left as they are.
    """
    placed = []
    for pod in pods:
        wants = not pod.spec.host_network and pod.status.phase not in ("Failed", "Succeeded")
        needs_address = wants and not pod.status.pod_ips and not pod.status.pod_ip
        needs_node = not pod.spec.node_name
        if needs_address:
            addresses = tuple(PodIP(ip=str(address)) for address in supply.take())
            status = msgspec.structs.replace(pod.status, pod_ips=addresses, pod_ip=addresses[0].ip)
            pod = msgspec.structs.replace(pod, status=status)
        if needs_node:
            pod = msgspec.structs.replace(pod, spec=msgspec.structs.replace(pod.spec, node_name=NODE))
        placed.append(Placed(pod, needs_address, needs_node))
    return placed


def _free(family: Family, taken: list[Prefix]) -> Iterator[Address]:
    """Addresses of the range, in order, outside every network that leaves room for it."""
    area = RANGES[family]
    # A network that covers the whole range, 0.0.0.0/0 above all, cannot be kept clear of and means "anybody" anyway.
    inner = sorted({net for net in taken if area.contains(net) and net != area})
    value = area.value + 1
    while value <= area.last.value:
        address = Address(family, value)
        hit = next((net for net in inner if net.contains(address)), None)
        if hit is None:
            yield address
        value = value + 1 if hit is None else hit.last.value + 1


def _nets(resources: Iterable[Resource]) -> Iterator[Prefix]:
    for resource in resources:
        yield from _nets_in(msgspec.to_builtins(resource), wanted=False)


def _nets_in(value: Any, *, wanted: bool) -> Iterator[Prefix]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _nets_in(inner, wanted=key in _FIELDS_WITH_NETS)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _nets_in(inner, wanted=wanted)
    elif wanted and isinstance(value, str):
        try:
            yield parse_prefix(value, strict=False)
        except ValueError:
            return  # validation has the say about it, not we
