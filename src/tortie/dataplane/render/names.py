"""Names of chains and sets, and comments, within nft's limits. Pure.

Chains carry Calico's names, layer first: whoever has read `nft list table ip calico` reads ours. A name that is too long or
that nft's text syntax has no way to write is hashed; the rules' comments still say whose it is.
"""

import re
from enum import StrEnum

from tortie.api.selector import length_limited_id, unique_id
from tortie.base.net import Family
from tortie.intent.keys import PolicyId, ProfileId, SetId
from tortie.intent.policy import Direction, Origin

TABLE = "tortie"

ANY_INTERFACE = "any-interface-at-all"
"""What stands for "*" in names of chains. Too long to be an interface's name."""

RAW_PREROUTING = "raw-PREROUTING"
RAW_OUTPUT = "raw-OUTPUT"
MANGLE_PREROUTING = "mangle-PREROUTING"
MANGLE_POSTROUTING = "mangle-POSTROUTING"
RAW_RPF = "raw-cali-rpf"
RAW_RPF_SKIP = "raw-cali-rpf-skip"
RAW_ND = "raw-cali-neighbour-discovery"
RAW_WIREGUARD = "raw-cali-wireguard-incoming-mark"
FILTER_FORWARD = "filter-FORWARD"
FILTER_INPUT = "filter-INPUT"
FILTER_OUTPUT = "filter-OUTPUT"
FILTER_TO_HOST = "filter-cali-wl-to-host"
FROM_DISPATCH = "filter-cali-from-wl-dispatch"
"""Chain and verdict map of this name; nft keeps the two kinds of name apart."""
TO_DISPATCH = "filter-cali-to-wl-dispatch"
ARP_OUTPUT = "filter-OUTPUT"
"""Of the table of family arp, as the two that follow."""
ARP_DISPATCH = "filter-cali-arp-dispatch"
MANGLE_DSCP = "mangle-cali-egress-dscp"
FILTER_CIDR_BLOCK = "filter-cali-cidr-block"
NAT_POSTROUTING = "nat-POSTROUTING"
NAT_OUTGOING = "nat-cali-nat-outgoing"
NAT_TUNNELS = "nat-cali-tunnel-source"
NAT_PREROUTING = "nat-PREROUTING"
NAT_OUTPUT = "nat-OUTPUT"
NAT_FLOATING_IN = "nat-cali-fip-dnat"
NAT_FLOATING_OUT = "nat-cali-fip-snat"


class Layer(StrEnum):
    """What Calico has tables for and we have chains of one table for: when a packet meets them."""

    RAW = "raw"
    """Before tracking."""
    MANGLE = "mangle"
    """Before destination NAT; and after routing, for what the node makes itself."""
    FILTER = "filter"


_HOST_ENDPOINTS = tuple(f"{layer}-cali-{word}-" for layer in Layer for word in ("th", "fh", "thfw", "fhfw"))
_OWNERS = (
    "filter-cali-tw-",
    "filter-cali-fw-",
    *(f"{layer}-cali-{word}-" for layer in Layer for word in ("pi", "po", "pri", "pro")),
    *_HOST_ENDPOINTS,
)

POOLS = "all-ipam-pools"
MASQUERADE_POOLS = "masq-ipam-pools"
ALL_HOSTS = "all-hosts-net"
SERVICE_NETS = "service-nets"

_NAME_LIMIT = 120
_TEXT_LIMIT = 127
_WRITABLE = re.compile(r"[A-Za-z0-9_./-]+")
_SHORT_KINDS = {
    "NetworkPolicy": "np",
    "GlobalNetworkPolicy": "gnp",
    "KubernetesNetworkPolicy": "knp",
    "KubernetesClusterNetworkPolicy": "kcnp",
    "StagedNetworkPolicy": "snp",
    "StagedGlobalNetworkPolicy": "sgnp",
    "StagedKubernetesNetworkPolicy": "sknp",
}


def policy_chain(policy: PolicyId, direction: Direction, layer: Layer = Layer.FILTER) -> str:
    """The chain of one direction of a policy in one layer."""
    return _limited(f"{layer}-cali-{'pi' if direction is Direction.INGRESS else 'po'}-", path(policy))


def profile_chain(profile: ProfileId, direction: Direction, layer: Layer = Layer.FILTER) -> str:
    """The chain of one direction of a profile in one layer."""
    return _limited(f"{layer}-cali-{'pri' if direction is Direction.INGRESS else 'pro'}-", profile.name)


def endpoint_chain(interface: str, direction: Direction) -> str:
    """The chain that a packet to (ingress) or from (egress) a workload goes through."""
    return _limited("filter-cali-tw-" if direction is Direction.INGRESS else "filter-cali-fw-", interface)


def packet_rate_chain(interface: str, direction: Direction) -> str:
    """The chain of a workload's packet rate. What stands before the interface is longer than the name of one can be."""
    return endpoint_chain(f"packet-rate-of-{interface}", direction)


def connections_chain(interface: str, direction: Direction) -> str:
    """The chain of a workload's connection limit."""
    return endpoint_chain(f"connections-of-{interface}", direction)


def arp_chain(interface: str) -> str:
    """The chain of answers to ARP that go to a workload."""
    return _limited("filter-cali-arp-", interface)


def dscp_set(value: int) -> SetId:
    """The set of addresses whose packets carry a DSCP."""
    return f"dscp-{value}"


def host_chain(interface: str, direction: Direction, *, layer: Layer = Layer.FILTER, forward: bool = False) -> str:
    """The chain that a packet into (ingress) or out of (egress) the node goes through for an interface, or "*"."""
    word = ("fh" if direction is Direction.INGRESS else "th") + ("fw" if forward else "")
    return _limited(f"{layer}-cali-{word}-", ANY_INTERFACE if interface == "*" else interface)


def host_dispatch(direction: Direction, *, layer: Layer = Layer.FILTER, forward: bool = False) -> str:
    """The chain that finds the host endpoint of the interface, and its verdict map."""
    word = "from" if direction is Direction.INGRESS else "to"
    return f"{layer}-cali-{word}-hep-forward" if forward else f"{layer}-cali-{word}-host-endpoint"


def failsafe_chain(direction: Direction, layer: Layer) -> str:
    """The chain of the ports that no policy of a host endpoint closes."""
    return f"{layer}-cali-failsafe-{'in' if direction is Direction.INGRESS else 'out'}"


def failsafes_of(chain: str) -> str | None:
    """The failsafe chain that a host endpoint's chain asks; None for any other chain, and for those of forwarded packets."""
    layer, _, rest = chain.partition("-cali-")
    if not chain.startswith(_HOST_ENDPOINTS) or rest.startswith(("fhfw-", "thfw-")):
        return None
    return failsafe_chain(Direction.INGRESS if rest.startswith("fh-") else Direction.EGRESS, Layer(layer))


def denies_when_closed(chain: str) -> bool:
    """True for chains of policies, profiles and endpoints: one that drops everything is stricter than any other."""
    return chain.startswith(_OWNERS)


def holds_members(name: str) -> bool:
    """True for sets that rules of policies ask; false for those of the frame."""
    frame = {set_name(each, family) for each in (POOLS, MASQUERADE_POOLS, ALL_HOSTS, SERVICE_NETS) for family in Family}
    return name.startswith(("cali40", "cali60")) and name not in frame


def set_name(set_id: SetId, family: Family) -> str:
    """The nft set that holds one family of an intent set, or of one of our own named sets."""
    return _limited(f"cali{int(family)}0", set_id.replace(":", "-"))


def path(owner: PolicyId | ProfileId) -> str:
    """`np/namespace/name`, `gnp/name` or `pro/name`: how logs and comments name an owner of rules."""
    if isinstance(owner, ProfileId):
        return f"pro/{owner.name}"
    return "/".join(part for part in (short_kind(owner), owner.namespace, owner.name) if part)


def short_kind(policy: PolicyId) -> str:
    """`np` for NetworkPolicy, and so on."""
    return _SHORT_KINDS.get(policy.kind, policy.kind.lower())


def origin_comment(origin: Origin, *details: str) -> str:
    """The comment of a policy rule: whose it is, direction, index, and any details."""
    return comment(f"{path(origin.owner)} {origin.direction.value.lower()} {origin.index}", *details)


def comment(text: str, *details: str) -> str:
    """A comment that nft can store and print: at most 127 bytes, no quotes, no control characters."""
    return printable("; ".join((text, *details)))


def printable(text: str) -> str:
    """`text` as nft can quote it (no quotes, no control characters), cut to at most 127 bytes of UTF-8."""
    clean = "".join(letter if letter.isprintable() and letter != "\\" else "?" for letter in text.replace('"', "'"))
    return clean.encode()[:_TEXT_LIMIT].decode(errors="ignore")


def _limited(prefix: str, suffix: str) -> str:
    if _WRITABLE.fullmatch(suffix) is None:
        return f"{prefix}_{unique_id('name', suffix).partition(':')[2]}"
    return length_limited_id(prefix, suffix, _NAME_LIMIT)
