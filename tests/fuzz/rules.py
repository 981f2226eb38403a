"""Random rules, Calico's and Kubernetes', with every field that is enforced; always valid ones."""

import ipaddress
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.fuzz.selectors import KEYS, VALUES, random_label_selector, random_selector

NAMESPACES = ("blue", "green", "red")
ACCOUNTS = ("default", "robot")
PORT_NAMES = ("http", "dns", "peer")
PORTS = (53, 80, 443, 8080, 8443)
NETS = {
    4: ("10.65.0.0/16", "10.65.0.0/30", "10.65.0.4/30", "10.65.0.2/32", "192.0.2.0/24", "192.0.2.7/32", "0.0.0.0/1"),
    6: ("fd00:65::/64", "fd00:65::/126", "fd00:65::4/126", "fd00:65::2/128", "2001:db8:9::/48", "2001:db8:9::7/128", "::/1"),
}
SERVICES = ("some", "other")
SERVICE_NAMESPACES = NAMESPACES[:2]
HOST_NETS = {
    4: ("192.0.2.0/24", "192.0.2.7/32", "198.51.100.0/24", "198.51.100.9/32", "192.0.2.254/32", "10.65.0.0/16"),
    6: ("2001:db8:9::/48", "2001:db8:9::8/128", "2001:db8:a::/48", "2001:db8:a::9/128", "2001:db8:fe::1/128", "fd00:65::/64"),
}
NAMESPACE_KEYS = (*KEYS[:2], "projectcalico.org/name")
NAMESPACE_VALUES = (*VALUES, *NAMESPACES)

Rule = dict[str, Any]


@dataclass(frozen=True)
class Theme:
    """What the rules of one cluster are about. A cluster with a narrow theme shows mistakes that the variety of all hides."""

    who: float = 1.0
    ports: float = 1.0
    protocols: tuple[int | str, ...] = ("TCP", "TCP", "TCP", "UDP", "UDP", "SCTP", "ICMP", "ICMPv6", "UDPLite", 6, 17, 89)
    with_protocol: float = 0.6


THEMES = (Theme(), Theme(), Theme(ports=0.1), Theme(who=0.2, ports=1.5, protocols=("TCP", "TCP", "UDP"), with_protocol=0.95))


_LOOSE = Theme(who=0.3, ports=0.4, with_protocol=0.4)


def random_rules(rng: Random, direction: str, *, theme: Theme, in_profile: bool = False) -> list[Rule]:
    """A list as it stands under spec.ingress or spec.egress."""
    if rng.random() < 0.12:
        return [_mixed_rule(rng, direction) for _ in range(rng.randint(2, 4))]
    return [random_rule(rng, direction, theme=theme, in_profile=in_profile) for _ in range(rng.randint(0, 4))]


def random_rule(rng: Random, direction: str, *, theme: Theme, in_profile: bool = False) -> Rule:
    """One Calico rule."""
    actions = ["Allow"] * 5 + ["Deny"] * 3 + ["Log"] + ([] if in_profile else ["Pass"] * 2)
    rule: Rule = {"action": rng.choice(actions)}
    family = rng.choice((4, 6))
    if rng.random() < theme.with_protocol:
        rule["protocol"] = rng.choice(theme.protocols)
    elif rng.random() < 0.2:
        rule["notProtocol"] = rng.choice(("TCP", "UDP", "SCTP", 89, "ICMP"))
    protocol = rule.get("protocol", rule.get("notProtocol"))
    if protocol in ("ICMP", "ICMPv6"):
        family = 4 if protocol == "ICMP" else 6
    if rule.get("protocol") in ("ICMP", "ICMPv6") and rng.random() < 0.6:
        icmp = {"type": rng.choice((8, 13, 3) if family == 4 else (128, 139, 1))}
        if rng.random() < 0.4:
            icmp["code"] = rng.choice((0, 1))
        rule[rng.choice(("icmp", "notICMP"))] = icmp
    if rng.random() < 0.15:
        rule["ipVersion"] = family
    # Rules that ask for one thing alone show mistakes which a long conjunction, that seldom matches, would hide.
    asks_who, asks_ports = rng.choice(((1.0, 1.0), (1.5, 0.0), (0.0, 1.5)))
    for side in ("source", "destination"):
        remote = (side == "source") is (direction == "Ingress")
        entity = _entity(rng, family, likely=theme.who * asks_who * (0.5 if remote else 0.1))
        if entity and rng.random() < 0.4:
            kept = rng.choice(sorted(entity))
            entity = {kept: entity[kept]}
        entity.update(
            _ports(rng, rule.get("protocol"), likely=theme.ports * asks_ports * (0.6 if side == "destination" else 0.1))
        )
        if entity:
            rule[side] = entity
    if rng.random() < (0.1 if direction == "Ingress" else 0.16) and not in_profile:
        return _with_service(rng, direction)
    if rng.random() < 0.02 and not in_profile and direction == "Ingress":
        return {"action": "Allow", "protocol": "TCP", "http": {"methods": ["GET"]}}
    return rule


def _mixed_rule(rng: Random, direction: str) -> Rule:
    """Ports by name and by number for whom a selector selects: what the kernel takes several rules and a mark for."""
    rule: Rule = {"action": rng.choice(("Allow", "Allow", "Deny")), "protocol": rng.choice(("TCP", "TCP", "UDP"))}
    rule["destination"] = {"ports": [rng.choice(PORT_NAMES), *rng.sample(PORTS, rng.randint(1, 2))]}
    key, value = rng.choice(KEYS), rng.choice(VALUES)
    rule.setdefault(rng.choice(("source", "destination")), {})["selector"] = f"{key} == '{value}'"
    return rule


def random_host_rules(rng: Random, direction: str) -> list[Rule]:
    """Rules that packets of hosts and strangers, who seldom have labels, often meet."""
    return [
        random_rule(rng, direction, theme=_LOOSE) if rng.random() < 0.4 else _plain_rule(rng, direction)
        for _ in range(rng.randint(0, 4))
    ]


def _plain_rule(rng: Random, direction: str) -> Rule:
    rule: Rule = {"action": rng.choice(("Allow", "Allow", "Deny", "Deny", "Pass", "Log"))}
    if rng.random() < 0.6:
        rule["protocol"] = rng.choice(("TCP", "UDP", "SCTP", "UDPLite", 89))
    if rng.random() < 0.5:
        field = rng.choice(("nets", "nets", "notNets"))
        far, near = ("source", "destination") if direction == "Ingress" else ("destination", "source")
        rule[far if rng.random() < 0.7 else near] = {field: rng.sample(HOST_NETS[rng.choice((4, 6))], rng.randint(1, 2))}
    if rule.get("protocol") in ("TCP", "UDP", "SCTP") and rng.random() < 0.6:
        side = rule.setdefault(rng.choice(("destination", "destination", "source")), {})
        side["ports"] = [_port(rng) for _ in range(rng.randint(1, 3))]
    return rule


def _with_service(rng: Random, direction: str) -> Rule:
    services = {"services": {"name": rng.choice(SERVICES), "namespace": rng.choice(SERVICE_NAMESPACES)}}
    rule: Rule = {"action": rng.choice(("Allow", "Allow", "Deny", "Pass"))}
    if rng.random() < 0.5:
        rule["protocol"] = rng.choice(("TCP", "UDP", "SCTP"))
    rule["source" if direction == "Ingress" else "destination"] = services
    if direction == "Ingress" and rule.get("protocol") and rng.random() < 0.3:
        rule["destination"] = {"ports": [_port(rng)]}
    return rule


def _entity(rng: Random, family: int, *, likely: float) -> dict[str, Any]:
    entity: dict[str, Any] = {}
    if rng.random() < likely:
        entity["selector"] = random_selector(rng)
    if rng.random() < likely / 3:
        entity["notSelector"] = random_selector(rng)
    if rng.random() < likely * 0.6:
        entity["namespaceSelector"] = _namespace_selector(rng)
    if rng.random() < likely / 5:
        accounts: dict[str, Any] = {}
        if rng.random() < 0.7:
            accounts["names"] = rng.sample(ACCOUNTS, rng.randint(1, 2))
        if rng.random() < 0.5 or not accounts:
            accounts["selector"] = random_selector(rng)
        entity["serviceAccounts"] = accounts
    if rng.random() < likely / 2:
        entity["nets"] = rng.sample(NETS[family], rng.randint(1, 3))
    if rng.random() < likely / 2:
        entity["notNets"] = rng.sample(NETS[family], rng.randint(1, 2))
    return entity


def _namespace_selector(rng: Random) -> str:
    if rng.random() < 0.15:
        return "global()"
    return random_selector(rng, NAMESPACE_KEYS, NAMESPACE_VALUES, depth=1)


def _ports(rng: Random, protocol: object, *, likely: float) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if protocol in ("TCP", "UDP", "SCTP", 6, 17):
        if rng.random() < likely:
            fields["ports"] = [_port(rng) for _ in range(rng.randint(1, 4))]
            shape = rng.random()
            if shape < 0.25:  # a range and something within it
                first = rng.choice(PORTS)
                fields["ports"] = [f"{first}:{first + 400}", first + rng.choice((0, 27, 363))]
            elif shape < 0.5:  # what takes several rules of the kernel's
                fields["ports"] = [rng.choice(PORT_NAMES), rng.choice(PORTS)]
        if rng.random() < likely / 4:
            fields["notPorts"] = [_port(rng) for _ in range(rng.randint(1, 3))]
    elif protocol is None:
        if rng.random() < likely / 3:
            fields["ports"] = rng.sample(PORT_NAMES, rng.randint(1, 2))
        if rng.random() < likely / 6:
            fields["notPorts"] = rng.sample(PORT_NAMES, 1)
    return fields


def _port(rng: Random) -> int | str:
    kind = rng.random()
    if kind < 0.35:
        return rng.choice(PORTS)
    if kind < 0.65:
        first = rng.choice(PORTS)
        return f"{first}:{first + rng.choice((0, 1, 100, 400, 400))}"  # the longer ones reach beyond the next port
    return rng.choice(PORT_NAMES)


def random_kubernetes_rule(rng: Random, direction: str) -> Rule:
    """One rule of a Kubernetes NetworkPolicy, sometimes empty."""
    rule: Rule = {}
    with_peers, with_ports = rng.choice(((0.75, 0.6), (0.75, 0.6), (1.0, 0.0), (0.0, 1.0)))
    if rng.random() < with_peers:
        rule["from" if direction == "Ingress" else "to"] = [_peer(rng) for _ in range(rng.randint(0, 3))]
    if rng.random() < with_ports:
        rule["ports"] = [_kubernetes_port(rng) for _ in range(rng.randint(0, 3))]
    return rule


def _peer(rng: Random) -> dict[str, Any]:
    if rng.random() < 0.3:
        block: dict[str, Any] = {"cidr": rng.choice((*NETS[4], *NETS[6], "0.0.0.0/0", "::/0"))}
        family = 6 if ":" in block["cidr"] else 4
        inner = [net for net in NETS[family] if _is_smaller_part(net, block["cidr"])]
        if inner and rng.random() < 0.7:
            block["except"] = rng.sample(inner, min(len(inner), rng.randint(1, 2)))
        return {"ipBlock": block}
    peer: dict[str, Any] = {}
    if rng.random() < 0.6:
        peer["podSelector"] = random_label_selector(rng)
    if rng.random() < 0.6 or not peer:
        keys = (*KEYS[:2], "kubernetes.io/metadata.name")
        peer["namespaceSelector"] = random_label_selector(rng, keys, NAMESPACE_VALUES)
    return peer


def _is_smaller_part(net: str, whole: str) -> bool:
    inner, outer = ipaddress.ip_network(net), ipaddress.ip_network(whole)
    return inner != outer and inner.network_address in outer and inner.prefixlen > outer.prefixlen


def _kubernetes_port(rng: Random) -> dict[str, Any]:
    port: dict[str, Any] = {}
    if rng.random() < 0.7:
        port["protocol"] = rng.choice(("TCP", "TCP", "UDP", "SCTP"))
    if rng.random() < 0.85:
        port["port"] = rng.choice((*PORTS, *PORT_NAMES))
        if isinstance(port["port"], int) and rng.random() < 0.6:
            port["endPort"] = port["port"] + rng.choice((0, 1, 100, 400, 400))
    return port
