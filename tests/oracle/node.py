"""The whole way of a connection's first packet through one node, hook after hook (sections 1 to 4 of the reference)."""

from tests.oracle.cluster import Entity, Sent, inside, span
from tests.oracle.hosts import EVERY, Layout, configuration, host_endpoint, is_failsafe, is_node, service_nets, tunnels
from tests.oracle.judge import Oracle

_LINK_LOCAL = span("fe80::/10")
_ALWAYS_TO_HOST = (130, 131, 132, 133, 135, 136)


class NodeOracle:
    """One node of a cluster, judged by brute force."""

    def __init__(self, oracle: Oracle, layout: Layout) -> None:
        self.oracle = oracle
        self.layout = layout
        self.config = configuration(oracle.cluster, layout.node)

    def arrives(self, sender: tuple[str, str] | None, via: str, sent: Sent) -> bool:
        """Does it get to its destination, or at least off the node?

        From the workload `sender` (namespace, name), else from outside by the interface `via`, else, if that is "", from the
        node itself.
        """
        if sender is not None:
            source = next(e for e in self.oracle.cluster.entities if e.is_endpoint and (e.namespace, e.name) == sender)
            return self._enters(source, "", sent)
        return self._enters(None, via, sent) if via else self._leaves(sent)

    def _enters(self, source: Entity | None, via: str, sent: Sent) -> bool:
        accepted = False
        if source is None:
            said = self._host(via, "Ingress", sent, chain="untracked")
            if said == "Deny":
                return False
            accepted = said == "Allow"
        elif not self._may_claim(source, sent):
            return False
        if not accepted:
            said = self._host(via, "Ingress", sent, chain="preDNAT")
            if said == "Deny":
                return False
            accepted = said == "Allow"
        if self.layout.is_own(sent.destination):
            return self._to_host(source, via, sent, accepted=accepted)
        return self._forwarded(source, via, sent, accepted=accepted)

    def _may_claim(self, source: Entity, sent: Sent) -> bool:
        """Routed back to the workload: its own addresses, and link-local ones of IPv6; on request what it may spoof."""
        if source.has_address(sent.source) or inside(sent.source, _LINK_LOCAL):
            return True
        may_spoof = str(self.config.get("workloadSourceSpoofing", "")).lower() == "any"
        return may_spoof and any(inside(sent.source, net) for net in source.spoofs)

    def _from_workload(self, source: Entity, sent: Sent) -> bool:
        is_vxlan = sent.protocol == 17 and sent.destination_port == self.config.get("vxlanPort", 4789)
        if is_vxlan and not self.config.get("allowVXLANPacketsFromWorkloads"):
            return False
        if sent.protocol == 4 and not self.config.get("allowIPIPPacketsFromWorkloads"):
            return False
        return self.oracle.decides(source, "Egress", sent) == "Allow"

    def _to_host(self, source: Entity | None, via: str, sent: Sent, *, accepted: bool) -> bool:
        if tunnels(self.oracle.cluster, sent, self.config):
            return is_node(self.oracle.cluster, sent.source)
        if source is not None:
            if sent.protocol == 58 and sent.icmp_type in _ALWAYS_TO_HOST:
                return True
            to_host = str(self.config.get("defaultEndpointToHostAction", "Drop")).lower()
            return self._from_workload(source, sent) and to_host != "drop"
        return accepted or self._host(via, "Ingress", sent, chain="normal") != "Deny"

    def _forwarded(self, source: Entity | None, via: str, sent: Sent, *, accepted: bool) -> bool:
        if not accepted and self._host(via, "Ingress", sent, chain="forward") == "Deny":
            return False
        if source is not None and not self._from_workload(source, sent):
            return False
        destination = self.oracle.cluster.endpoint_with(sent.destination)
        if destination is not None and self.oracle.decides(destination, "Ingress", sent) != "Allow":
            return False
        out = "" if destination is not None else self.layout.way_to(sent.destination)
        if self._host(out, "Egress", sent, chain="forward") == "Deny":
            return False
        loops = any(inside(sent.destination, net) for net in service_nets(self.oracle.cluster))
        return not loops or str(self.config.get("serviceLoopPrevention", "Drop")).lower() == "disabled"

    def _leaves(self, sent: Sent) -> bool:
        is_to_workload = self.oracle.cluster.endpoint_with(sent.destination) is not None
        out = "" if is_to_workload else self.layout.way_to(sent.destination)
        said = None if is_to_workload else self._host(out, "Egress", sent, chain="untracked")
        if said is not None:
            return said == "Allow"
        if tunnels(self.oracle.cluster, sent, self.config) and is_node(self.oracle.cluster, sent.destination):
            return True
        return is_to_workload or self._host(out, "Egress", sent, chain="normal") != "Deny"

    def _host(self, interface: str, direction: str, sent: Sent, *, chain: str) -> str | None:
        """What one kind of policy of the interface's host endpoint says; "" is any workload's interface."""
        endpoint = host_endpoint(self.oracle.cluster, self.layout, interface)
        if endpoint is None or (chain == "untracked" and endpoint.interface == EVERY):
            return None
        way = "Inbound" if direction == "Ingress" else "Outbound"
        if chain != "forward" and is_failsafe(self.config, way, sent, untracked=chain == "untracked"):
            return "Allow" if chain == "normal" else None  # before that it only means: not asked here
        return self.oracle.decides(endpoint, direction, sent, chain=chain)
