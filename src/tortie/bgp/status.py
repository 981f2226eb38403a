"""BIRD's answers as values: the daemon, its BGP peers, its routes.

BIRD prints for people, so these parsers take what they know by its label and pass over the rest; only a reply that is not of
the expected kind at all is an error.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tortie.base.net import Address, Prefix, parse_address, parse_prefix
from tortie.bgp.control import Reply
from tortie.bgp.errors import ControlError

_DAEMON = 1000
_ROUTER = 1011
_PROTOCOL = 1002
_DETAIL = 1006
_ROUTE = 1007

_ROUTE_LINE = re.compile(r"(?P<net>\S+)?\s+(?P<kind>[a-z]+) \[(?P<protocol>\S+) [^]]*\](?P<best> \*)? \((?P<preference>\d+)")
_VIA = re.compile(r"\tvia (?P<gateway>\S+) on (?P<interface>\S+)")
_DEVICE = re.compile(r"\tdev (?P<interface>\S+)")
_COUNTS = re.compile(r"(\d+) imported, (?:\d+ filtered, )?(\d+) exported")


@dataclass(frozen=True, slots=True)
class DaemonStatus:
    """`show status`. `ready` False while it starts or goes down."""

    version: str
    router_id: str
    last_reconfiguration: str
    ready: bool
    text: str
    last_boot: str = ""


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """One BGP session. `state` is BGP's own (Established, Active, Connect ...), "Down" for one that is disabled."""

    name: str
    address: Address | None
    as_number: int
    state: str
    since: str
    reason: str
    imported: int
    exported: int

    @property
    def established(self) -> bool:
        """True while routes are exchanged."""
        return self.state == "Established"


@dataclass(frozen=True, slots=True)
class RouteStatus:
    """One route of BIRD's tables: where from, where to, and whether it is the one in use."""

    prefix: Prefix
    kind: str
    protocol: str
    preference: int
    best: bool
    gateway: Address | None
    interface: str


def parse_status(reply: Reply) -> DaemonStatus:
    """The answer to `show status`."""
    reply.check()
    version = router_id = reconfigured = booted = ""
    for line in reply.lines:
        if line.code == _DAEMON:
            version = line.text.removeprefix("BIRD ").strip()
        elif line.code == _ROUTER and line.text.startswith("Router ID is "):
            router_id = line.text.removeprefix("Router ID is ").strip()
        elif line.code == _ROUTER and line.text.startswith("Last reconfiguration on "):
            reconfigured = line.text.removeprefix("Last reconfiguration on ").strip()
        elif line.code == _ROUTER and line.text.startswith("Last reboot on "):
            booted = line.text.removeprefix("Last reboot on ").strip()
    if not version:
        raise ControlError(f"this is no answer to `show status`: {reply.text[:200]!r}")
    last = reply.lines[-1]
    return DaemonStatus(version, router_id, reconfigured, ready=last.code == 13, text=last.text, last_boot=booted)


def parse_peers(reply: Reply) -> tuple[PeerStatus, ...]:
    """The BGP sessions in the answer to `show protocols all`, by name."""
    reply.check()
    peers: list[PeerStatus] = []
    summary: list[str] = []
    details: list[str] = []
    for line in (*reply.lines, None):
        if line is not None and line.code == _DETAIL:
            details.append(line.text)
            continue
        if len(summary) >= 5 and summary[1] == "BGP":
            peers.append(_peer(summary, details))
        summary = line.text.split(maxsplit=6) if line is not None and line.code == _PROTOCOL else []
        details = []
    return tuple(sorted(peers, key=lambda peer: peer.name))


def parse_routes(reply: Reply) -> tuple[RouteStatus, ...]:
    """The routes in the answer to `show route`; of a route with several next hops the first is given."""
    reply.check()
    return tuple(sorted(_routes(reply), key=lambda route: (route.prefix, not route.best, route.protocol)))


def _peer(summary: list[str], details: list[str]) -> PeerStatus:
    """`summary` is name, protocol, table, state, since and what follows: BGP's state and the last error."""
    labels: dict[str, str] = {}
    counts = (0, 0)
    for line in details:
        label, colon, value = line.strip().partition(":")
        if colon:
            labels.setdefault(label, value.strip())
        found = _COUNTS.search(line)
        if found:
            counts = (int(found[1]), int(found[2]))
    info = summary[5] if len(summary) > 5 else ""
    try:
        address = parse_address(labels.get("Neighbor address", "").partition("%")[0])
    except ValueError:
        address = None
    number = labels.get("Neighbor AS", "")
    return PeerStatus(
        name=summary[0],
        address=address,
        as_number=int(number) if number.isdigit() else 0,
        state=labels.get("BGP state", info or summary[3].capitalize()),
        since=summary[4],
        reason=(summary[6].strip() if len(summary) > 6 else "") or labels.get("Last error", ""),
        imported=counts[0],
        exported=counts[1],
    )


def _routes(reply: Reply) -> Iterator[RouteStatus]:
    prefix: Prefix | None = None
    head: re.Match[str] | None = None
    gateway: Address | None = None
    interface = ""
    for line in (*reply.lines, None):
        text = line.text if line is not None and line.code == _ROUTE else ""
        if head is not None and (via := _VIA.match(text)):
            if not interface:
                gateway, interface = parse_address(via["gateway"].partition("%")[0]), via["interface"]
            continue
        if head is not None and (device := _DEVICE.match(text)):
            interface = interface or device["interface"]
            continue
        match = _ROUTE_LINE.match(text)
        if match is None and line is not None and text:
            continue
        if head is not None and prefix is not None:
            yield _route(prefix, head, gateway, interface)
        head, gateway, interface = match, None, ""
        if match is not None and match["net"]:
            prefix = parse_prefix(match["net"])


def _route(prefix: Prefix, head: re.Match[str], gateway: Address | None, interface: str) -> RouteStatus:
    return RouteStatus(
        prefix=prefix,
        kind=head["kind"],
        protocol=head["protocol"],
        preference=int(head["preference"]),
        best=head["best"] is not None,
        gateway=gateway,
        interface=interface,
    )
