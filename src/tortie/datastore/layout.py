"""Where a resource lies: the etcd path of every kind (datastore.md, sections 1.1 and 1.2), used by every backend that we own.

Kubernetes objects and our own kinds stand below `/tortie/v1/`, so that nothing of ours is in Calico's way.
"""

import ipaddress

from tortie.api.agent import TORTIE_V1
from tortie.api.ipam import BlockAffinity, IPAMBlock, affinity_name, block_name
from tortie.api.kinds import KINDS, Kind
from tortie.api.resource import Key, Resource
from tortie.datastore.errors import InvalidRequest

V3_ROOT = "/calico/resources/v3/projectcalico.org/"
KUBERNETES_ROOT = "/tortie/v1/kubernetes/"
OWN_ROOT = "/tortie/v1/resources/"
IPAM_ROOT = "/calico/ipam/v2/"
_HANDLES = IPAM_ROOT + "handle/"
_BLOCKS = IPAM_ROOT + "assignment/"
_CONFIG = IPAM_ROOT + "config"
_OWNER_TYPES = ("host", "virtual")
_CUT_NAME = 252
"""`affinity_name` cuts longer names to this length."""

IPAM_KINDS = frozenset({"IPAMBlock", "BlockAffinity", "IPAMHandle", "IPAMConfiguration"})
"""Kinds that are stored in the shapes of IPAM's own model, without metadata."""


def _root_of(kind: Kind) -> str:
    if kind.is_ours:
        return V3_ROOT
    return OWN_ROOT if kind.api_version == TORTIE_V1 else KUBERNETES_ROOT


_ROOTS = {kind.kind: f"{_root_of(kind)}{kind.plural}/" for kind in KINDS.values() if kind.kind not in IPAM_KINDS}
_KINDS_BY_ROOT = {root: kind for kind, root in _ROOTS.items()}
_ROOT_DEPTH = {root: root.count("/") + 1 for root in (V3_ROOT, KUBERNETES_ROOT, OWN_ROOT)}


def check_key(key: Key) -> None:
    """Raise InvalidRequest unless the key is complete: a known kind, a name, and a namespace exactly where one belongs."""
    if key.kind not in KINDS:
        raise InvalidRequest(f"kind {key.kind!r} is not kept in the datastore")
    if not key.name:
        raise InvalidRequest(f"metadata.name of a {key.kind} is empty: give it a name")
    namespaced = KINDS[key.kind].namespaced
    if namespaced and not key.namespace:
        raise InvalidRequest(f"metadata.namespace of {key} is empty: {key.kind} is namespaced")
    if not namespaced and key.namespace:
        raise InvalidRequest(f"metadata.namespace of {key} must be empty: {key.kind} is not namespaced")
    for field, text in (("name", key.name), ("namespace", key.namespace)):
        if "/" in text and key.kind not in IPAM_KINDS:
            raise InvalidRequest(f"metadata.{field} of {key} must not contain '/'")


def path_of(resource: Resource) -> str:
    """The path at which a resource is stored. Raises InvalidRequest for an incomplete key."""
    key = resource.key
    check_key(key)
    match resource:
        case IPAMBlock(spec=spec):
            return _block_path(spec.cidr)
        case BlockAffinity(spec=spec):
            owner = spec.type or "host"
            return f"{IPAM_ROOT}{owner}/{spec.node}/{_family(spec.cidr)}/block/{spec.cidr.replace('/', '-')}"
    path = path_of_key(key)
    assert path is not None
    return path


def path_of_key(key: Key) -> str | None:
    """The path that a key stands for; None for a BlockAffinity, whose name does not say where the node's name ends."""
    match key.kind:
        case "BlockAffinity":
            return None
        case "IPAMBlock":
            return _block_path(_cidr_of_block_name(key.name))
        case "IPAMHandle":
            return _HANDLES + key.name
        case "IPAMConfiguration":
            return _CONFIG
    return _ROOTS[key.kind] + (f"{key.namespace}/{key.name}" if key.namespace else key.name)


def key_of(path: str) -> Key | None:
    """The key of what is stored at a path; None when the path is none of ours to read."""
    if path.startswith(IPAM_ROOT):
        return _ipam_key_of(path)
    for base, depth in _ROOT_DEPTH.items():
        if not path.startswith(base):
            continue
        parts = path.split("/")
        kind = _KINDS_BY_ROOT.get("/".join(parts[:depth]) + "/")
        names = parts[depth:]
        if kind is None or len(names) != (2 if KINDS[kind].namespaced else 1) or not all(names):
            return None
        return Key(kind, names[0] if len(names) == 2 else "", names[-1])
    return None


def prefixes_of(kind: str) -> tuple[str, ...]:
    """What the paths of a kind's objects begin with, one or the other. Other keys may begin so too: filter by `key_of`."""
    match kind:
        case "BlockAffinity":
            return tuple(f"{IPAM_ROOT}{owner}/" for owner in _OWNER_TYPES)
        case "IPAMBlock":
            return (_BLOCKS,)
        case "IPAMHandle":
            return (_HANDLES,)
        case "IPAMConfiguration":
            return (_CONFIG,)
    return (_ROOTS[kind],)


def affinity_paths(name: str) -> tuple[str, ...] | None:
    """Every path at which the affinity of this name may lie; None when its node's name was cut, so that any may be it."""
    if len(name) >= _CUT_NAME:
        return None
    parts = name.split("-")
    found = []
    for at in range(1, len(parts) - 1):
        node, block = "-".join(parts[:at]), "-".join(parts[at:])
        try:
            cidr = _cidr_of_block_name(block)
        except InvalidRequest:
            continue
        if node:
            found += [f"{IPAM_ROOT}{owner}/{node}/{_family(cidr)}/block/{cidr.replace('/', '-')}" for owner in _OWNER_TYPES]
    return tuple(found)


def affinity_of(path: str) -> tuple[str, str, str] | None:
    """Type, node and CIDR of the affinity stored at a path; None when the path is not an affinity's."""
    parts = path.removeprefix(IPAM_ROOT).split("/")
    if len(parts) != 5 or parts[0] not in _OWNER_TYPES or parts[3] != "block" or not parts[1]:
        return None
    cidr = _cidr_of_segment(parts[4])
    return (parts[0], parts[1], cidr) if cidr and _family(cidr) == parts[2] else None


def rival_paths(path: str) -> tuple[str, ...]:
    """Where else something of the same key might lie: an affinity's name does not tell the type of its owner."""
    affinity = affinity_of(path)
    if affinity is None:
        return ()
    return tuple(
        path.replace(f"{IPAM_ROOT}{affinity[0]}/", f"{IPAM_ROOT}{owner}/", 1) for owner in _OWNER_TYPES if owner != affinity[0]
    )


def _ipam_key_of(path: str) -> Key | None:
    if path == _CONFIG:
        return Key("IPAMConfiguration", "", "default")
    if path.startswith(_HANDLES) and len(path) > len(_HANDLES):
        return Key("IPAMHandle", "", path.removeprefix(_HANDLES))
    if path.startswith(_BLOCKS):
        cidr = _cidr_of_segment(path.rpartition("/")[2])
        return Key("IPAMBlock", "", block_name(cidr)) if cidr and path == _block_path(cidr) else None
    affinity = affinity_of(path)
    return Key("BlockAffinity", "", affinity_name(affinity[1], affinity[2])) if affinity else None


def _block_path(cidr: str) -> str:
    return f"{_BLOCKS}{_family(cidr)}/block/{cidr.replace('/', '-')}"


def _family(cidr: str) -> str:
    return "ipv6" if ":" in cidr else "ipv4"


def _cidr_of_segment(segment: str) -> str | None:
    address, _, length = segment.rpartition("-")
    try:
        ipaddress.ip_network(f"{address}/{length}")
    except ValueError:
        return None
    return f"{address}/{length}"


def _cidr_of_block_name(name: str) -> str:
    """Undo `block_name`: an IPv4 block has exactly four numbers before its length, an IPv6 one has `--` or eight groups."""
    address, _, length = name.rpartition("-")
    groups = address.split("-")
    text = ".".join(groups) if len(groups) == 4 and all(groups) else ":".join(groups)
    cidr = f"{text}/{length}"
    try:
        ipaddress.ip_network(cidr)
    except ValueError:
        raise InvalidRequest(f"metadata.name of IPAMBlock({name}) is not the name of a block such as 10-0-0-0-26") from None
    return cidr
