"""Names of chains and sets, and comments, within nft's limits. Pure.

Chains carry Calico's names, layer first: whoever has read `nft list table ip calico` reads ours. A name that is too long or
that nft's text syntax has no way to write is hashed; the rules' comments still say whose it is.
"""

import re

from tortie.api.selector import length_limited_id, unique_id
from tortie.base.net import Family
from tortie.intent.keys import PolicyId, ProfileId, SetId
from tortie.intent.policy import Direction, Origin

TABLE = "tortie"

RAW_PREROUTING = "raw-PREROUTING"
RAW_RPF = "raw-cali-rpf"
RAW_RPF_SKIP = "raw-cali-rpf-skip"
RAW_ND = "raw-cali-neighbour-discovery"
FILTER_FORWARD = "filter-FORWARD"
FILTER_INPUT = "filter-INPUT"
FILTER_TO_HOST = "filter-cali-wl-to-host"
FROM_DISPATCH = "filter-cali-from-wl-dispatch"
"""Chain and verdict map of this name; nft keeps the two kinds of name apart."""
TO_DISPATCH = "filter-cali-to-wl-dispatch"
MANGLE_DSCP = "mangle-cali-egress-dscp"
NAT_POSTROUTING = "nat-POSTROUTING"
NAT_OUTGOING = "nat-cali-nat-outgoing"

_OWNERS = tuple(f"filter-cali-{word}-" for word in ("pi", "po", "pri", "pro", "tw", "fw"))

POOLS = "all-ipam-pools"
MASQUERADE_POOLS = "masq-ipam-pools"
ALL_HOSTS = "all-hosts-net"

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


def policy_chain(policy: PolicyId, direction: Direction) -> str:
    """The chain of one direction of a policy."""
    return _limited("filter-cali-pi-" if direction is Direction.INGRESS else "filter-cali-po-", path(policy))


def profile_chain(profile: ProfileId, direction: Direction) -> str:
    """The chain of one direction of a profile."""
    return _limited("filter-cali-pri-" if direction is Direction.INGRESS else "filter-cali-pro-", profile.name)


def endpoint_chain(interface: str, direction: Direction) -> str:
    """The chain that a packet to (ingress) or from (egress) a workload goes through."""
    return _limited("filter-cali-tw-" if direction is Direction.INGRESS else "filter-cali-fw-", interface)


def packet_rate_chain(interface: str, direction: Direction) -> str:
    """The chain of a workload's packet rate. What stands before the interface is longer than the name of one can be."""
    return endpoint_chain(f"packet-rate-of-{interface}", direction)


def connections_chain(interface: str, direction: Direction) -> str:
    """The chain of a workload's connection limit."""
    return endpoint_chain(f"connections-of-{interface}", direction)


def dscp_set(value: int) -> SetId:
    """The set of addresses whose packets carry a DSCP."""
    return f"dscp-{value}"


def denies_when_closed(chain: str) -> bool:
    """True for chains of policies, profiles and endpoints: one that drops everything is stricter than any other."""
    return chain.startswith(_OWNERS)


def holds_members(name: str) -> bool:
    """True for sets that rules of policies ask; false for those of the frame."""
    frame = {set_name(each, family) for each in (POOLS, MASQUERADE_POOLS, ALL_HOSTS) for family in Family}
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
