"""What BGPConfiguration says besides sessions: communities of advertised prefixes, and how fast a dead path is noticed."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tortie.api.bgp import BGPConfigurationSpec
from tortie.api.formats import parse_community
from tortie.base.net import FAMILIES, Address, Family, is_peer_address, parse_address, parse_prefix
from tortie.intent.routing import Advertisement, Bfd

BFD_ANNOTATION = "tortie.io/bfd"
"""On a BGPPeer: that session; on BGPConfiguration `default`: every session whose BGPPeer does not say otherwise."""

_BFD_DEFAULT = Bfd(interval_ms=100, multiplier=3)
_BFD_LIMITS = range(10, 60_001)
_LINK_LOCAL = parse_prefix("fe80::/10")


@dataclass(frozen=True, slots=True)
class BgpEnvironment:
    """What a node itself says of its BGP, in Calico's environment variables."""

    speaks: bool = True
    """There is a BIRD (CALICO_NETWORKING_BACKEND)."""
    router_id: str = ""
    """CALICO_ROUTER_ID: `hash`, or the id itself; "" for the node's IPv4 address, or without one the hash of its name."""
    log_level: str = ""
    """BGP_LOGSEVERITYSCREEN: for a cluster without BGPConfiguration."""
    cluster_ips: str = ""
    """CALICO_ADVERTISE_CLUSTER_IPS: in the place of serviceClusterIPs."""


NO_BGP_ENVIRONMENT = BgpEnvironment()
"""A node that says nothing and has a BIRD."""


def parse_bfd(text: str) -> Bfd | None:
    """`Enabled` (100 ms, 3 packets), `Disabled`, or `<interval>ms*<packets>` such as `300ms*5`. Raises ValueError."""
    if text.lower() == "enabled":
        return _BFD_DEFAULT
    if text.lower() == "disabled":
        return None
    found = re.fullmatch(r"([0-9]{1,5})ms\*([0-9]{1,3})", text)
    if found is None or int(found[1]) not in _BFD_LIMITS or not 2 <= int(found[2]) <= 255:
        raise ValueError(
            "must be Enabled, Disabled, or an interval from 10 to 60000 ms and how many packets may be missing, from 2 to 255,"
            " as in 300ms*5"
        )
    return Bfd(int(found[1]), int(found[2]))


def bfd_of(annotations: Mapping[str, str], default: Bfd | None) -> Bfd | None:
    """What an object's annotations ask for; `default` where they are silent, or cannot be read."""
    text = annotations.get(BFD_ANNOTATION)
    if text is None:
        return default
    try:
        return parse_bfd(text)
    except ValueError:
        return default


def bfd_problems(annotations: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with the annotation."""
    try:
        parse_bfd(annotations.get(BFD_ANNOTATION, "Disabled"))
    except ValueError as error:
        yield f"metadata.annotations[{BFD_ANNOTATION}] {error}; it counts as not set"


def peering_address(text: str, family: Family) -> Address | None:
    """Where workloads find their node; None when not set. Raises ValueError for what cannot be that."""
    if not text:
        return None
    try:
        address = parse_address(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no address") from error
    if address.family is not family:
        raise ValueError(f"{text} is no IPv{family.value} address")
    loopback = address.value >> 24 == 0x7F if family is Family.V4 else address.value == 1
    if loopback or not (is_peer_address(address) or _LINK_LOCAL.contains(address)):
        raise ValueError(f"{text} is no address that an interface can have")
    return address


def peering_addresses(spec: BGPConfigurationSpec) -> dict[Family, Address]:
    """The same of each family for which it can be read."""
    found = {}
    for family, text in _peering_texts(spec).items():
        try:
            address = peering_address(text, family)
        except ValueError:
            continue
        if address is not None:
            found[family] = address
    return found


def peering_problems(spec: BGPConfigurationSpec) -> Iterator[str]:
    """What is wrong with these addresses."""
    for family, text in _peering_texts(spec).items():
        try:
            peering_address(text, family)
        except ValueError as error:
            yield f"spec.localWorkloadPeeringIPV{family.value} {error}; it counts as not set"


def _peering_texts(spec: BGPConfigurationSpec) -> dict[Family, str]:
    return {Family.V4: spec.local_workload_peering_ipv4, Family.V6: spec.local_workload_peering_ipv6}


def advertisements(shared: BGPConfigurationSpec, own: BGPConfigurationSpec) -> tuple[Advertisement, ...]:
    """Of each family the node's own list if it has any for it, else the cluster's."""
    mine, everyones = _read(own, shared), _read(shared, shared)
    return tuple(entry for family in FAMILIES for entry in (_of(mine, family) or _of(everyones, family)))


def _of(entries: tuple[Advertisement, ...], family: Family) -> tuple[Advertisement, ...]:
    return tuple(entry for entry in entries if entry.prefix.family is family)


def _read(spec: BGPConfigurationSpec, fallback: BGPConfigurationSpec) -> tuple[Advertisement, ...]:
    """Names resolved; what cannot be read is left out."""
    names = {community.name: community.value for community in (*fallback.communities, *spec.communities)}
    found = []
    for entry in spec.prefix_advertisements:
        communities = set()
        for text in entry.communities:
            try:
                communities.add(parse_community(names.get(text, text)))
            except ValueError:
                continue
        try:
            prefix = parse_prefix(entry.cidr, strict=False)
        except ValueError:
            continue
        found.append(Advertisement(prefix, tuple(sorted(communities))))
    return tuple(found)


def advertisement_problems(spec: BGPConfigurationSpec) -> Iterator[str]:
    """Prefixes and communities that cannot be read. A name may stand in the cluster's configuration: it is let pass."""
    known = {community.name: community.value for community in spec.communities}
    for index, entry in enumerate(spec.prefix_advertisements):
        try:
            parse_prefix(entry.cidr, strict=False)
        except ValueError:
            yield f"spec.prefixAdvertisements[{index}].cidr {entry.cidr!r} is no CIDR and counts as not there"
        for text in entry.communities:
            if text not in known and ":" not in text:
                continue
            try:
                parse_community(known.get(text, text))
            except ValueError as error:
                yield f"spec.prefixAdvertisements[{index}].communities {text!r} {error}; it is not added"
