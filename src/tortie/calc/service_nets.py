"""Networks of service addresses, as BGPConfiguration `default` lists them; those of single nodes say nothing about them."""

from collections.abc import Callable

from tortie.api.bgp import BGPConfiguration
from tortie.api.resource import Key
from tortie.base.net import Prefix
from tortie.calc.config import DEFAULT
from tortie.calc.labelled import parse_nets
from tortie.calc.problems import Problems

_FIELDS = {
    "serviceClusterIPs": "service_cluster_ips",
    "serviceExternalIPs": "service_external_ips",
    "serviceLoadBalancerIPs": "service_load_balancer_ips",
}


class ServiceNets:
    """`emit(nets)` on every change of the configuration that holds them."""

    def __init__(self, emit: Callable[[tuple[Prefix, ...]], None], problems: Problems) -> None:
        self._emit = emit
        self._problems = problems

    def on_configuration(self, key: Key, value: BGPConfiguration | None) -> None:
        """A BGPConfiguration came, changed or went."""
        if key.name != DEFAULT:
            return
        found: set[Prefix] = set()
        problems: list[str] = []
        for name, attribute in _FIELDS.items():
            listed = () if value is None else getattr(value.spec, attribute)
            nets, bad = parse_nets(tuple(each.cidr for each in listed), f"spec.{name}")
            found.update(nets)
            problems += bad
        self._problems.report(key, "service networks", problems)
        self._emit(tuple(sorted(found)))
