"""BIRD 2's configuration of one node, as text. One BIRD serves both families.

The text is a pure function of the intent and the passwords, so that its hash tells whether BIRD runs the right one.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping

from tortie.base.net import FAMILIES, Family, Interface, single
from tortie.bgp.errors import ConfigError
from tortie.bgp.filters import render_filters
from tortie.bgp.limits import is_link_local, why_refused
from tortie.bgp.route_filters import calls
from tortie.intent.routing import Bgp, BgpPeer

_HASH_LINE = re.compile(r"^# sha256: ([0-9a-f]{64})$", re.MULTILINE)

_RECOVERY_SECONDS = 30
"""How long a BIRD that died waits, when started again, for all peers before it tells its routes; theirs stay in the kernel."""

Passwords = Mapping[tuple[str, str], str]
"""(secret name, key) to the password. A session that needs one that is missing is left out: it would let in anybody."""


def render(bgp: Bgp, passwords: Passwords | None = None) -> str:
    """The whole configuration, its own hash in the second line. Raises ConfigError for what BIRD cannot express."""
    body = "\n".join(_lines(bgp, passwords or {})) + "\n"
    digest = hashlib.sha256(body.encode()).hexdigest()
    return f"# Made by tortie for node {_printable(bgp.node)}; edits are lost.\n# sha256: {digest}\n{body}"


def config_hash(text: str) -> str:
    """The hash that a rendered configuration carries; "" for a text that is not ours."""
    match = _HASH_LINE.search(text)
    return match[1] if match else ""


def _lines(bgp: Bgp, passwords: Passwords) -> Iterator[str]:
    families = [family for family in FAMILIES if _own(bgp, family) is not None]
    yield "log stderr all;"
    yield f"router id {bgp.router_id};"
    yield f"graceful restart wait {_RECOVERY_SECONDS};"
    debug = _debug(bgp.log_level)
    if debug:
        yield f"debug protocols {debug};"
    yield ""
    yield "protocol device {"
    yield "  scan time 2;"
    yield "}"
    yield from _direct(bgp, families)
    live = [peer for peer in bgp.peers if peer.address.address.family in families and _may_live(bgp, peer, passwords)]
    if any(peer.bfd is not None for peer in live):
        yield ""
        yield "protocol bfd {"
        yield "}"
    for family in families:
        yield ""
        yield from render_filters(bgp, family)
        yield ""
        yield from _kernel(family)
        yield from _static(bgp, family)
        yield from _services(bgp, family)
    for peer in live:
        yield ""
        yield from _peer(bgp, peer, passwords)


def _may_live(bgp: Bgp, peer: BgpPeer, passwords: Passwords) -> bool:
    if why_refused(bgp, peer):
        return False
    return peer.password_ref is None or peer.password_optional or peer.password_ref in passwords


def _own(bgp: Bgp, family: Family) -> Interface | None:
    return bgp.ipv4 if family is Family.V4 else bgp.ipv6


def _debug(level: str) -> str:
    """BIRD's own logging: state changes at Info, everything at Debug. Never per route, unless asked for."""
    return {"debug": "all", "info": "{ states }"}.get(level.lower(), "")


def _direct(bgp: Bgp, families: list[Family]) -> Iterator[str]:
    """The subnets of the node's interfaces, through which next hops are resolved. Workloads' interfaces are not fabric."""
    excluded = [*bgp.ignored_interfaces, "cali*", "kube-ipvs*"]
    yield ""
    yield "protocol direct {"
    for family in families:
        yield f"  {_channel(family)};"
    patterns = ", ".join([*(f"-{_quoted(name, 'BGPConfiguration spec.ignoredInterfaces')}" for name in excluded), '"*"'])
    yield f"  interface {patterns};"
    yield "}"


def _kernel(family: Family) -> Iterator[str]:
    """Metric 0 leaves the metric to each route; BIRD's default of 32 would override them all."""
    yield f"protocol kernel kernel{family.value} {{"
    yield f"  {_channel(family)} {{"
    yield f"    import filter tortie_learn{family.value};"
    yield f"    export filter tortie_kernel{family.value};"
    yield "  };"
    yield "  learn;"
    yield "  persist;"
    yield "  metric 0;"
    yield "  scan time 2;"
    yield "  graceful restart on;"
    yield "  merge paths on;"
    yield "}"


def _static(bgp: Bgp, family: Family) -> Iterator[str]:
    """Own blocks as blackholes (a packet to an address that nobody has must not go back to the fabric), and gateways."""
    routes = [
        f"  route {block.cidr} blackhole;" for block in bgp.blocks if block.cidr.family is family and not block.cidr.is_single
    ]
    routes += [
        f"  route {single(peer.address.address)} via {peer.reachable_by};"
        for peer in bgp.peers
        if peer.reachable_by is not None and peer.address.address.family is family
    ]
    if routes:
        yield f"protocol static static{family.value} {{"
        yield f"  {_channel(family)};"
        yield from dict.fromkeys(routes)
        yield "}"


def _services(bgp: Bgp, family: Family) -> Iterator[str]:
    """Service addresses, to have something to tell; none of them goes to the kernel."""
    routes = [f"  route {prefix} blackhole;" for prefix in bgp.services.advertised if prefix.family is family]
    if routes:
        yield f"protocol static services{family.value} {{"
        yield f"  {_channel(family)};"
        yield from routes
        yield "}"


def _peer(bgp: Bgp, peer: BgpPeer, passwords: Passwords) -> Iterator[str]:
    """One session. Always multihop with recursive next hops: the peer's own address is looked up in the node's routes."""
    family = peer.address.address.family
    own = _own(bgp, family)
    assert own is not None
    local_as = peer.local_as_number if peer.local_as_number is not None else bgp.as_number
    internal = peer.as_number == local_as
    source = f" {own.address}" if peer.source_node_ip or bgp.bind_node_ip else ""
    if peer.workload is not None:
        source = "" if is_link_local(peer.workload.virtual) else f" {peer.workload.virtual}"
    yield f"protocol bgp {peer.name} {{"
    yield f"  description {_quoted(_printable(peer.description), 'description')};"
    yield f"  local{source} port {bgp.listen_port} as {local_as};"
    yield f"  neighbor {peer.address.address} port {peer.port} as {peer.as_number};"
    if peer.ttl_security > 0:
        yield f"  multihop {peer.ttl_security};"
        yield "  ttl security on;"
    else:
        yield "  multihop;"
        yield "  ttl security off;"
    yield from _peer_options(bgp, peer, passwords)
    yield f"  {_channel(family)} {{"
    yield "    gateway recursive;"
    yield "    add paths on;"
    if peer.workload is not None and not source:
        yield f"    next hop address {own.address};"
    if peer.next_hop_mode in ("Self", "Keep"):
        yield f"    next hop {peer.next_hop_mode.lower()};"
    taken = calls(peer.filters, bgp.filters, direction="import", family=family, internal=internal)
    told = calls(peer.filters, bgp.filters, direction="export", family=family, internal=internal)
    yield f"    import filter {{ {' '.join([*taken, f'tortie_import{family.value}();'])} }};"
    last = f"tortie_export{family.value}({'true' if internal else 'false'});"
    first = [*_next_hop(bgp, peer, internal=internal, own=own), f"tortie_metric{family.value}();"]
    yield f"    export filter {{ {' '.join([*first, *told, last])} }};"
    yield "  };"
    yield "}"


def _next_hop(bgp: Bgp, peer: BgpPeer, *, internal: bool, own: Interface) -> list[str]:
    """Nodes are told to come here for what a workload tells. Its own address would be as good, but is itself known by BGP, and
    BIRD resolves no next hop by a route whose next hop it resolved."""
    if not internal or peer.workload is not None or peer.next_hop_mode != "Auto":
        return []
    if not any(each.workload is not None for each in bgp.peers):
        return []
    return [f'if proto ~ "Local_Workload_*" then bgp_next_hop = {own.address};']


def _peer_options(bgp: Bgp, peer: BgpPeer, passwords: Passwords) -> Iterator[str]:
    yield "  connect delay time 2;"
    yield "  connect retry time 5;"
    yield "  error wait time 5, 30;"
    yield "  graceful restart on;"
    if peer.restart_seconds is not None:
        yield f"  graceful restart time {peer.restart_seconds};"
    if peer.keepalive_seconds is not None:
        yield f"  keepalive time {peer.keepalive_seconds};"
    if bgp.bind_node_ip:
        yield "  strict bind on;"
        if peer.workload is not None:
            yield "  free bind on;"  # the address is there once the workload's interface is
    if peer.bfd is not None:
        interval = f"{peer.bfd.interval_ms} ms"
        yield f"  bfd {{ min rx interval {interval}; min tx interval {interval}; multiplier {peer.bfd.multiplier}; }};"
    if peer.passive:
        yield "  passive on;"
    if peer.allowed_local_as > 0:
        yield f"  allow local as {peer.allowed_local_as};"
    if peer.rr_client:
        yield "  rr client;"
        yield f"  rr cluster id {bgp.cluster_id};"
    password = passwords.get(peer.password_ref) if peer.password_ref is not None else None
    if password:
        yield f"  password {_quoted(password, f'the password of {peer.name}')};"
    if _debug(bgp.log_level) == "{ states }":
        yield "  debug { states, events };"


def _channel(family: Family) -> str:
    return f"ipv{family.value}"


def _printable(text: str) -> str:
    """Free text for a comment or a description."""
    return "".join(character if " " <= character <= "~" and character != '"' else "?" for character in text)[:100]


def _quoted(text: str, field: str) -> str:
    """BIRD's strings know no escapes. The error names the field and never the text, which may be a secret."""
    if '"' in text or not all(character >= " " for character in text):
        raise ConfigError(f'{field}: BIRD cannot take a quotation mark (") or a control character; choose another value')
    return f'"{text}"'
