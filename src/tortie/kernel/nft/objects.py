"""nftables objects as frozen values: what renderers produce, what the driver encodes, compares and programs. Pure.

A rule is a tuple of statements, evaluated left to right like the words of an nft rule; a match that fails ends the rule.
All chains of ours but those about ARP live in `inet` tables, so a match on an IPv4 or IPv6 header must stand behind a match on
the family.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Literal

from tortie.base.net import Address, Family, Prefix

Side = Literal["source", "destination"]
Op = Literal["==", "!="]
TableFamily = Literal["inet", "arp"]
"""Whose packets a table sees: IPv4's and IPv6's, or ARP's."""

# ct state bits (include/uapi/linux/netfilter/nf_conntrack_common.h, NF_CT_STATE_BIT)
CT_INVALID = 1
CT_ESTABLISHED = 2
CT_RELATED = 4
CT_NEW = 8
CT_UNTRACKED = 64
# ct status bits (enum ip_conntrack_status)
CT_STATUS_DNAT = 1 << 5


# ---- matches ----
@dataclass(frozen=True, slots=True)
class NfProto:
    """`meta nfproto ipv4|ipv6`."""

    family: Family


@dataclass(frozen=True, slots=True)
class L4Proto:
    """`meta l4proto [!=] N`."""

    protocol: int
    op: Op = "=="


@dataclass(frozen=True, slots=True)
class IfName:
    """`iifname|oifname [!=] "cali*"`. A trailing `*` is a prefix match; anything else is exact."""

    hook: Literal["iif", "oif"]
    name: str
    op: Op = "=="


@dataclass(frozen=True, slots=True)
class Net:
    """`ip|ip6 saddr|daddr [!=] prefix`. The family is the prefix's; the rule must already match it with NfProto."""

    side: Side
    prefix: Prefix
    op: Op = "=="


@dataclass(frozen=True, slots=True)
class Nets:
    """`ip|ip6 saddr|daddr [!=] { prefixes }`: an anonymous interval set. At least two, of one family, sorted, disjoint."""

    side: Side
    prefixes: tuple[Prefix, ...]
    op: Op = "=="


@dataclass(frozen=True, slots=True)
class NetIn:
    """`ip|ip6 saddr|daddr [!=] @set` of element type address (interval or not)."""

    side: Side
    family: Family
    set_name: str
    op: Op = "=="


@dataclass(frozen=True, slots=True)
class Ports:
    """`th sport|dport [!=] { ranges }`: an anonymous set when there are several. Needs a match on L4Proto before it."""

    side: Side
    ranges: tuple[tuple[int, int], ...]
    op: Op = "=="


@dataclass(frozen=True, slots=True)
class AddressPortIn:
    """`ip saddr . meta l4proto . th sport [!=] @set` (source) or with daddr and dport (destination)."""

    side: Side
    family: Family
    set_name: str
    op: Op = "=="


@dataclass(frozen=True, slots=True)
class IcmpIs:
    """`icmp|icmpv6 type T [code C]`, or, negated as a whole, "not (type T [and code C])". Needs L4Proto before it."""

    family: Family
    type: int
    code: int | None = None
    op: Op = "=="


@dataclass(frozen=True, slots=True)
class Mark:
    """`meta mark & mask [!=] value`."""

    mask: int
    value: int
    op: Op = "=="


@dataclass(frozen=True, slots=True)
class CtState:
    """True if (`==`) any of `bits` is set in the packet's conntrack state, or (`!=`) if none is."""

    bits: int
    op: Op = "=="


@dataclass(frozen=True, slots=True)
class CtStatus:
    """True if (`==`) any of `bits` is set in the connection's status, or (`!=`) if none is."""

    bits: int
    op: Op = "=="


@dataclass(frozen=True, slots=True)
class FibType:
    """`fib saddr|daddr type [!=] T`: 1 unicast, 2 local, 3 broadcast, 5 multicast (RTN_*).

    With `of_output` as the interface that the packet leaves by sees it (`fib saddr . oif type`): an address of another one is
    not local then. Only where that interface is known: forward, output, postrouting.
    """

    side: Side
    type: int
    op: Op = "=="
    of_output: bool = False


@dataclass(frozen=True, slots=True)
class NoReversePath:
    """`fib saddr . mark . iif oif missing`: the reverse route of the packet does not leave by its own interface."""


@dataclass(frozen=True, slots=True)
class ArpReply:
    """`arp operation reply`. Only in a table of family arp."""


@dataclass(frozen=True, slots=True)
class ArpSender:
    """`arp saddr ip A`: who says where it is. Only in a table of family arp, for IPv4 over Ethernet."""

    address: Address


# ---- actions ----
@dataclass(frozen=True, slots=True)
class SetMark:
    """`meta mark set (meta mark & ~mask) | value`."""

    mask: int
    value: int


@dataclass(frozen=True, slots=True)
class Counter:
    """`counter`. Its count is state of the kernel, never part of a comparison."""


@dataclass(frozen=True, slots=True)
class LogGroup:
    """`log group G prefix "..."`. The prefix holds at most 127 bytes."""

    group: int
    prefix: str
    snaplen: int = 128


@dataclass(frozen=True, slots=True)
class Limit:
    """`limit rate N/second burst B packets` (matches below the rate)."""

    rate: int
    unit: Literal["second", "minute", "hour", "day"] = "second"
    burst: int = 5
    over: bool = False


@dataclass(frozen=True, slots=True)
class Connections:
    """`ct count over N`: more than `over` connections have come to this rule and live still, this packet's included.

    The kernel's list of them belongs to the rule: it begins anew when the rule is written again.
    """

    over: int


@dataclass(frozen=True, slots=True)
class SetDscp:
    """`ip|ip6 dscp set V`, 0 to 63; the two bits beside it, for congestion, stay. The rule must already match the family."""

    family: Family
    value: int


@dataclass(frozen=True, slots=True)
class Masquerade:
    """`masquerade [to :first-last]`. Only in chains of type nat at postrouting; with `ports` it needs L4Proto of TCP or UDP."""

    fully_random: bool = True
    ports: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class SourceNat:
    """`snat ip|ip6 to address[:first-last]`, likewise. The rule must already match the family."""

    address: Address
    fully_random: bool = True
    ports: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class DestinationNat:
    """`dnat ip|ip6 to address`. Only in chains of type nat at prerouting and output. The rule must already match the family."""

    address: Address


@dataclass(frozen=True, slots=True)
class NoTrack:
    """`notrack`."""


@dataclass(frozen=True, slots=True)
class Reject:
    """`reject with icmpx admin-prohibited`, or `reject with tcp reset` (needs L4Proto(6))."""

    tcp_reset: bool = False


class Terminal(Enum):
    """Verdicts without a target."""

    ACCEPT = "accept"
    DROP = "drop"
    RETURN = "return"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`accept`, `drop` or `return`. ACCEPT ends this base chain only; DROP is final."""

    kind: Terminal


@dataclass(frozen=True, slots=True)
class Jump:
    """`jump chain`; comes back at the chain's end."""

    chain: str


@dataclass(frozen=True, slots=True)
class Goto:
    """`goto chain`; does not come back to this chain."""

    chain: str


@dataclass(frozen=True, slots=True)
class IfNameVmap:
    """`iifname|oifname vmap @map`. No element: the rule ends without a verdict."""

    hook: Literal["iif", "oif"]
    map_name: str


ACCEPT = Verdict(Terminal.ACCEPT)
DROP = Verdict(Terminal.DROP)
RETURN = Verdict(Terminal.RETURN)

Statement = (
    NfProto | L4Proto | IfName | Net | Nets | NetIn | Ports | AddressPortIn | IcmpIs | Mark | CtState | CtStatus
    | FibType | NoReversePath | ArpReply | ArpSender | SetMark | Counter | LogGroup | Limit | Connections | SetDscp
    | Masquerade | SourceNat | DestinationNat | NoTrack | Reject | Verdict | Jump | Goto | IfNameVmap
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. `comment` is for people (`nft list`) and for explain; it is part of the rule's identity."""

    statements: tuple[Statement, ...]
    comment: str = ""


# ---- containers ----
@dataclass(frozen=True, slots=True)
class Hook:
    """Where a base chain is called. `priority` as netfilter numbers it: raw -300, mangle -150, filter 0, srcnat 100."""

    type: Literal["filter", "nat", "route"]
    hook: Literal["prerouting", "input", "forward", "output", "postrouting"]
    priority: int
    policy: Literal["accept", "drop"] = "accept"


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain: a base chain when it has a hook. Rules in order."""

    name: str
    rules: tuple[Rule, ...] = ()
    hook: Hook | None = None


class ElementType(Enum):
    """Key type of a set or map."""

    IPV4 = "ipv4_addr"
    IPV6 = "ipv6_addr"
    IPV4_PORT = "ipv4_addr . inet_proto . inet_service"
    IPV6_PORT = "ipv6_addr . inet_proto . inet_service"
    IFNAME = "ifname"


@dataclass(frozen=True, slots=True)
class SetSpec:
    """A set, or, with `is_verdict_map`, a map from interface name to verdict. `interval` for prefixes (auto-merge is ours)."""

    name: str
    type: ElementType
    interval: bool = False
    is_verdict_map: bool = False
    comment: str = ""


# Element keys: Prefix for IPV4/IPV6, (Address, protocol, port) = intent.PortMember for *_PORT, str for IFNAME.
# Element values: None for sets; Jump, Goto or Verdict for verdict maps.
