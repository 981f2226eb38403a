"""States, host endpoints and packets made by hand, and drawn at random from a small universe."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from hypothesis import strategies as st

from tortie.base.net import Family, Interface, Prefix, parse_address, parse_prefix
from tortie.intent.endpoint import Endpoint, HostEndpoint, Tier
from tortie.intent.keys import EndpointId, HostEndpointId, PolicyId, ProfileId
from tortie.intent.policy import (
    ANY,
    Action,
    Direction,
    Icmp,
    Match,
    Origin,
    Policy,
    PortRange,
    Profile,
    Rule,
    StagedAction,
)
from tortie.intent.routing import Host
from tortie.intent.sets import IPSet, Member, PortMember, SetKind
from tortie.intent.state import State
from tortie.verdict.packet import Packet

POD = EndpointId("n1", "prod", "web")
NEIGHBOUR = EndpointId("n1", "prod", "db")
FAR = EndpointId("n2", "prod", "far")
ADDRESSES = {POD: ("10.0.0.1", "fd00::1"), NEIGHBOUR: ("10.0.0.2", "fd00::2"), FAR: ("10.0.0.3", "fd00::3")}
NODES = {"n1": ("192.0.2.1", "2001:db8:1::1"), "n2": ("192.0.2.2", "2001:db8:1::2")}
STRANGER = "203.0.113.9"
ALLOW_ALL = ProfileId("allow")


def policy_id(name: str, kind: str = "GlobalNetworkPolicy") -> PolicyId:
    return PolicyId(kind, "", name)


def rule(action: Action, *, owner: PolicyId | ProfileId | None = None, index: int = 0, **criteria: object) -> Rule:
    origin = Origin(owner or policy_id("p"), Direction.INGRESS, index)
    return Rule(action=action, origin=origin, **criteria)  # type: ignore[arg-type]


ALLOW, DENY, PASS = rule(Action.ALLOW), rule(Action.DENY), rule(Action.PASS)


def to_port(action: Action, port: int, protocol: int = 6) -> Rule:
    return rule(action, protocol=protocol, destination=Match(ports=(PortRange(port, port),)))


def policy(name: str, ingress: Iterable[Rule] = (), egress: Iterable[Rule] = (), *, tier: str = "default") -> Policy:
    return Policy(policy_id(name), tier, tuple(ingress), tuple(egress))


def staged(name: str, ingress: Iterable[Rule] = (), action: StagedAction = StagedAction.SET) -> Policy:
    return Policy(policy_id(name, "StagedGlobalNetworkPolicy"), "default", tuple(ingress), (), True, action)


def tier(ingress: Sequence[Policy] = (), egress: Sequence[Policy] = (), *, name: str = "default", passes: bool = False) -> Tier:
    return Tier(name, passes, tuple(each.id for each in ingress), tuple(each.id for each in egress))


def empty_state(config: Mapping[str, str] | None = None) -> State:
    """Three pods on two nodes that may do everything, and no policy."""
    state = State(config=dict(config or {}))
    origin = Origin(ALLOW_ALL, Direction.INGRESS, 0)
    all_of_it = (Rule(Action.ALLOW, origin),)
    state.profiles[ALLOW_ALL] = Profile(ALLOW_ALL, ingress=all_of_it, egress=all_of_it)
    for endpoint, (v4, v6) in ADDRESSES.items():
        state.endpoints[endpoint] = Endpoint(
            id=endpoint,
            workload=f"{endpoint.namespace}/{endpoint.name}",
            interface=f"cali{endpoint.name}",
            addresses=(parse_prefix(v4), parse_prefix(v6)),
            tiers=(),
            profiles=(ALLOW_ALL,),
        )
    for name, (v4, v6) in NODES.items():
        state.hosts[name] = Host(name, Interface(parse_address(v4), 24), Interface(parse_address(v6), 64))
    return state


def with_policies(state: State, *policies: Policy) -> State:
    """The state with policies in it; who they apply to is said elsewhere."""
    return replace(state, policies={**state.policies, **{each.id: each for each in policies}})


def at_pod(state: State, *tiers: Tier, endpoint: EndpointId = POD) -> State:
    changed = replace(state.endpoints[endpoint], tiers=tiers)
    return replace(state, endpoints={**state.endpoints, endpoint: changed})


def host_endpoint(interface: str = "eth0", node: str = "n1", name: str = "", **fields: object) -> HostEndpoint:
    return HostEndpoint(id=HostEndpointId(node, name or f"{node}-{interface}"), interface=interface, **fields)  # type: ignore[arg-type]


def packet(source: str, destination: str, *, protocol: int = 6, port: int | None = 80, source_port: int = 40000) -> Packet:
    return Packet(
        family=Family.V6 if ":" in source else Family.V4,
        source=parse_address(source),
        destination=parse_address(destination),
        protocol=protocol,
        source_port=None if port is None else source_port,
        destination_port=port,
    )


def icmp6(source: str, destination: str, icmp_type: int) -> Packet:
    return replace(packet(source, destination, protocol=58, port=None), icmp_type=icmp_type, icmp_code=0)


_TEXTS = ("10.0.0.1", "10.0.0.2", "10.0.0.3", "192.0.2.1", STRANGER, "fd00::1", "fd00::2", "fd00::3", "2001:db8:9::9")
_PREFIXES = ("10.0.0.0/30", "10.0.0.1", "0.0.0.0/1", "203.0.113.0/24", "fd00::/127", "fd00::2", "2001:db8::/32")
_PROTOCOLS = (1, 6, 17, 58, 132, 47, 4)
_PORTS = (22, 53, 80, 8080, 4789)
_NET_SETS, _PORT_SETS = ("s:a", "s:b"), ("n:x", "n:y")


_ADDRESSES = st.sampled_from([parse_address(text) for text in _TEXTS])


def _some(values: Sequence[Prefix] | Sequence[str] | Sequence[PortRange], most: int = 2) -> st.SearchStrategy[tuple]:  # type: ignore[type-arg]
    return st.one_of(st.just(()), st.lists(st.sampled_from(values), min_size=1, max_size=most).map(tuple))


def _matches() -> st.SearchStrategy[Match]:
    nets, ports = [parse_prefix(text) for text in _PREFIXES], [PortRange(port, port + 1) for port in _PORTS]
    made = st.builds(
        Match,
        nets=_some(nets),
        not_nets=_some(nets),
        sets=_some(_NET_SETS),
        not_sets=_some(_NET_SETS),
        ports=_some(ports),
        named_ports=_some(_PORT_SETS),
        not_ports=_some(ports),
        not_named_ports=_some(_PORT_SETS),
    )
    return st.one_of(st.just(ANY), made)


def rules() -> st.SearchStrategy[Rule]:
    icmp = st.one_of(st.none(), st.builds(Icmp, st.sampled_from((8, 128, 135)), st.sampled_from((None, 0, 1))))
    return st.builds(
        Rule,
        action=st.sampled_from(Action),
        origin=st.builds(Origin, st.just(policy_id("p")), st.just(Direction.INGRESS), st.integers(0, 3)),
        ip_version=st.sampled_from((None, None, 4, 6)),
        protocol=st.one_of(st.none(), st.sampled_from(_PROTOCOLS)),
        not_protocol=st.one_of(st.none(), st.none(), st.sampled_from(_PROTOCOLS)),
        icmp=icmp,
        not_icmp=icmp,
        source=_matches(),
        destination=_matches(),
        unenforceable=st.sampled_from((None,) * 9 + ("because",)),
    )


_LISTED = st.lists(st.one_of(rules(), st.sampled_from((ALLOW, DENY, PASS))), max_size=3)


@st.composite
def _policies(draw: st.DrawFn, *, with_staged: bool) -> dict[PolicyId, Policy]:
    found: dict[PolicyId, Policy] = {}
    for name in ("a", "b", "c", "d"):
        # Most rules of few criteria, or nothing would ever match.
        ingress, egress = (tuple(draw(_LISTED)) for _ in range(2))
        found[policy_id(name)] = Policy(policy_id(name), "t", ingress, egress)
    if with_staged:
        for name in ("a", "e"):
            key = policy_id(name, "StagedGlobalNetworkPolicy")
            ingress = tuple(draw(st.lists(rules(), max_size=2)))
            found[key] = Policy(key, "t", ingress, (), True, draw(st.sampled_from(StagedAction)))
    return found


@st.composite
def states(draw: st.DrawFn, *, with_staged: bool = True) -> State:
    """A state with random policies in random tiers on everything; now and then a policy or a profile is missing."""
    policies = draw(_policies(with_staged=with_staged))
    in_tiers = [each for each, found in policies.items() if not found.staged or found.staged_action is StagedAction.SET] + [
        policy_id("gone")
    ] * draw(st.sampled_from((0, 0, 0, 1)))
    listed = st.lists(st.sampled_from(in_tiers), max_size=3, unique=True).map(tuple)

    def tiers() -> tuple[Tier, ...]:
        names = ("first", "second", "third")[: draw(st.integers(0, 3))]
        return tuple(Tier(name, draw(st.booleans()), draw(listed), draw(listed)) for name in names)

    config = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "DefaultEndpointToHostAction": st.sampled_from(("Drop", "Accept", "Return")),
                "WorkloadSourceSpoofing": st.sampled_from(("Any", "Disabled")),
                "FailsafeInboundHostPorts": st.sampled_from(("none", "tcp:80", "udp:10.0.0.0/8:53")),
                "AllowVXLANPacketsFromWorkloads": st.sampled_from(("true", "false")),
            },
        )
    )
    state = empty_state(config)
    state.policies = policies
    profiles = st.lists(st.sampled_from((ALLOW_ALL, ProfileId("some"), ProfileId("gone"))), max_size=2, unique=True).map(tuple)
    some = ProfileId("some")
    state.profiles[some] = Profile(some, tuple(draw(st.lists(rules(), max_size=2))), tuple(draw(st.lists(rules(), max_size=2))))
    for key, endpoint in state.endpoints.items():
        spoofed = (parse_prefix("203.0.113.0/24"),) if draw(st.booleans()) else ()
        state.endpoints[key] = replace(endpoint, tiers=tiers(), profiles=draw(profiles), allowed_source_prefixes=spoofed)
    for interface in ("eth0", "*"):
        made = host_endpoint(
            interface, untracked=_passing(tiers()), pre_dnat=_passing(tiers()), forward=tiers(), normal=tiers()
        )
        state.host_endpoints[made.id] = replace(made, profiles=draw(profiles))
    members = st.frozensets(st.sampled_from([parse_prefix(text) for text in _PREFIXES]), max_size=3)
    for set_id in _NET_SETS:
        state.sets[set_id] = IPSet(set_id, SetKind.NET, set_id)
        state.members[set_id] = set(draw(members))
    for set_id in _PORT_SETS:
        found: set[Member] = {
            PortMember(draw(_ADDRESSES), draw(st.sampled_from(_PROTOCOLS)), draw(st.sampled_from(_PORTS))) for _ in range(2)
        }
        state.sets[set_id] = IPSet(set_id, SetKind.IP_PORT, set_id)
        state.members[set_id] = found
    state.service_nets = draw(st.sampled_from(((), (parse_prefix("203.0.113.0/24"),))))
    return state


def _passing(tiers: tuple[Tier, ...]) -> tuple[Tier, ...]:
    return tuple(replace(each, default_pass=True) for each in tiers)


def packets() -> list[Packet]:
    """Packets between all addresses of the universe, of all protocols; too many to try out every port with every pair."""
    made, count = [], 0
    parsed = [parse_address(text) for text in _TEXTS]
    for source in parsed:
        for destination in parsed:
            if source.family is not destination.family:
                continue
            count += 1
            protocol = _PROTOCOLS[count % len(_PROTOCOLS)]
            for extra in (6, 17, protocol):
                has_ports, is_icmp = extra in (6, 17, 132), extra in (1, 58)
                made.append(
                    Packet(
                        family=source.family,
                        source=source,
                        destination=destination,
                        protocol=extra,
                        source_port=(40000, *_PORTS)[count % 6] if has_ports else None,
                        destination_port=_PORTS[count % 5] if has_ports else None,
                        icmp_type=(8, 128, 135)[count % 3] if is_icmp else None,
                        icmp_code=count % 2 if is_icmp else None,
                    )
                )
    return made
