"""Which addresses a pod is to get: the configuration, overridden by the namespace's annotations and those by the pod's."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import msgspec

from tortie.api.ippool import IPPool
from tortie.base.net import FAMILIES, Address, Family, Prefix, parse_address, parse_prefix
from tortie.cni import errors
from tortie.cni.config import AddressManager, IpamConfig
from tortie.cni.errors import CniError
from tortie.datastore.client import Client

_PREFIX = "cni.projectcalico.org/"
_FAMILY_NAMES = {"IPv4": Family.V4, "IPv6": Family.V6}


@dataclass(frozen=True, slots=True)
class Wish:
    """Families to assign, the pools to take from (none: automatic), or the very addresses."""

    families: tuple[Family, ...]
    pools_v4: tuple[Prefix, ...] = ()
    pools_v6: tuple[Prefix, ...] = ()
    addresses: tuple[Address, ...] = ()
    outside: tuple[Address, ...] = ()
    """Addresses that the pod brings, of which IPAM knows nothing."""


async def resolve(
    client: Client,
    config: IpamConfig,
    *,
    pod: Mapping[str, str],
    namespace: Mapping[str, str],
    outside_allowed: bool = False,
    floating_allowed: bool = False,
    asked: str = "",
) -> Wish:
    """`pod` and `namespace` are annotations, `asked` is the address that the runtime wants ("" for any).

    Raises CniError 7 that names the annotation or key.
    """
    _check_floating(pod, floating_allowed)
    outside = _outside(pod, outside_allowed)
    if outside or config.manager is not AddressManager.POOLS:
        if _list(pod, "ipAddrs"):
            words = "excludes ipAddrsNoIpam" if outside else "needs ipam.type calico-ipam"
            raise _invalid("ipAddrs", words)
        return Wish(families=(), outside=outside)
    return await _from_pools(client, config, pod=pod, namespace=namespace, asked=asked)


async def _from_pools(
    client: Client, config: IpamConfig, *, pod: Mapping[str, str], namespace: Mapping[str, str], asked: str
) -> Wish:
    wish = Wish(families=tuple(family for family in FAMILIES if _assigns(config, family)))
    families = _families(pod) or _families(namespace)
    if families:
        wish = replace(wish, families=families)
    fixed = _addresses(pod, "ipAddrs") or _asked(asked)
    if fixed:
        return replace(wish, families=tuple(sorted({address.family for address in fixed})), addresses=fixed)
    v4 = _list(pod, "ipv4pools") or _list(namespace, "ipv4pools") or config.ipv4_pools
    v6 = _list(pod, "ipv6pools") or _list(namespace, "ipv6pools") or config.ipv6_pools
    if not v4 and not v6:
        return wish
    pools = [pool for pool in (await client.list("IPPool")).items if isinstance(pool, IPPool)]
    return replace(
        wish,
        pools_v4=tuple(_pool(text, pools, Family.V4) for text in v4),
        pools_v6=tuple(_pool(text, pools, Family.V6) for text in v6),
    )


def _check_floating(pod: Mapping[str, str], allowed: bool) -> None:
    """Floating addresses are none of IPAM's; the endpoint carries them, and the agent translates."""
    found = _list(pod, "floatingIPs")
    if found and not allowed:
        raise _invalid("floatingIPs", "needs feature_control.floating_ips: true in the network configuration")
    for text in found:
        try:
            parse_address(text)
        except ValueError:
            raise _invalid("floatingIPs", f"{text!r} is not an IP address") from None


def _outside(pod: Mapping[str, str], allowed: bool) -> tuple[Address, ...]:
    found = _addresses(pod, "ipAddrsNoIpam")
    if found and not allowed:
        raise _invalid("ipAddrsNoIpam", "needs feature_control.ip_addrs_no_ipam: true in the network configuration")
    return found


def _asked(text: str) -> tuple[Address, ...]:
    if not text:
        return ()
    try:
        return (parse_address(text),)
    except ValueError:
        raise CniError(errors.INVALID_ENVIRONMENT, f"CNI_ARGS: IP {text!r} is not an IP address") from None


def _assigns(config: IpamConfig, family: Family) -> bool:
    return config.assign_ipv4 if family is Family.V4 else config.assign_ipv6


def _families(annotations: Mapping[str, str]) -> tuple[Family, ...]:
    names = _list(annotations, "ipFamilies")
    unknown = [name for name in names if name not in _FAMILY_NAMES]
    if unknown:
        raise _invalid("ipFamilies", f"{unknown[0]!r} is neither IPv4 nor IPv6")
    return tuple(sorted({_FAMILY_NAMES[name] for name in names}))


def _addresses(annotations: Mapping[str, str], name: str) -> tuple[Address, ...]:
    found = []
    for text in _list(annotations, name):
        try:
            found.append(parse_address(text))
        except ValueError:
            raise _invalid(name, f"{text!r} is not an IP address") from None
    if len({address.family for address in found}) != len(found):
        raise _invalid(name, "at most one IPv4 and one IPv6 address are possible")
    return tuple(sorted(found))


def _list(annotations: Mapping[str, str], name: str) -> tuple[str, ...]:
    text = annotations.get(_PREFIX + name, "")
    if not text:
        return ()
    try:
        return msgspec.json.decode(text, type=tuple[str, ...])
    except msgspec.DecodeError:
        raise _invalid(name, "must be a JSON list of texts") from None


def _pool(text: str, pools: list[IPPool], family: Family) -> Prefix:
    """A CIDR, or the name of a pool."""
    try:
        cidr = parse_prefix(text, strict=False)
    except ValueError:
        named = next((pool for pool in pools if pool.metadata.name == text), None)
        if named is None:
            raise CniError(errors.INVALID_CONFIG, f"IP pool {text!r} does not exist and is not a CIDR") from None
        cidr = parse_prefix(named.spec.cidr, strict=False)
    if cidr.family is not family:
        raise CniError(errors.INVALID_CONFIG, f"IP pool {text!r} ({cidr}) is not of IPv{family.value}")
    return cidr


def _invalid(name: str, words: str) -> CniError:
    return CniError(errors.INVALID_CONFIG, f"annotation {_PREFIX}{name}: {words}")
