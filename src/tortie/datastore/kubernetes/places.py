"""Where each kind is served (datastore.md, section 3.2), and by which of Calico's two API groups (section 3.1)."""

from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import quote

import msgspec

from tortie.api.agent import TORTIE_V1
from tortie.api.kinds import KINDS
from tortie.api.resource import V3
from tortie.datastore.errors import InvalidRequest

CRD_V1 = "crd.projectcalico.org/v1"
"""The storage form, with Calico's metadata in an annotation."""

GROUPS = (CRD_V1, V3)

_DERIVED = {"WorkloadEndpoint": ("Pod",), "Profile": ("Namespace", "ServiceAccount")}
"""Kinds without objects of their own, and what they are read from."""

_OF_KUBERNETES = {"Node": ("v1", "nodes", "Node")}
_V1_NAMES = {"IPAMConfiguration": ("ipamconfigs", "IPAMConfig")}


class Place(NamedTuple):
    """One resource of the API: `plural` below the group and version; `kind` is what its objects call themselves."""

    api_version: str
    plural: str
    kind: str
    namespaced: bool

    @property
    def name(self) -> str:
        """As people call it: `networksets.crd.projectcalico.org`."""
        group, _, version = self.api_version.rpartition("/")
        return f"{self.plural}.{group}" if version and group else self.plural

    @property
    def root(self) -> str:
        """The path of the group."""
        return f"/apis/{self.api_version}" if "/" in self.api_version else f"/api/{self.api_version}"

    def path(self, namespace: str = "", name: str = "") -> str:
        """The path of an object, of a namespace's, or of all."""
        inside = f"/namespaces/{quote(namespace, safe='')}" if namespace and self.namespaced else ""
        return f"{self.root}{inside}/{self.plural}" + (f"/{quote(name, safe='')}" if name else "")


class Source(NamedTuple):
    """A resource that is listed and watched, and the kinds that are wanted of it."""

    place: Place
    kinds: tuple[str, ...]


def place_of(kind: str, group: str) -> Place:
    """Where the objects of a kind are that has some. `group` is one of GROUPS."""
    known = KINDS[kind]
    if kind in _OF_KUBERNETES:
        version, plural, name = _OF_KUBERNETES[kind]
        return Place(version, plural, name, known.namespaced)
    if known.is_ours:
        plural, name = _V1_NAMES.get(kind, (known.plural, kind)) if group == CRD_V1 else (known.plural, kind)
        return Place(group, plural, name, known.namespaced)
    return Place(known.api_version, known.plural, known.document_kind, known.namespaced)


def is_custom(kind: str) -> bool:
    """Whether objects of a kind are custom resources that we write: Calico's and our own."""
    return kind not in _DERIVED and kind not in _OF_KUBERNETES and (KINDS[kind].is_ours or KINDS[kind].api_version == TORTIE_V1)


def is_translated(kind: str, group: str) -> bool:
    """Whether a kind's metadata lies in an annotation (datastore.md, section 3.3)."""
    return group == CRD_V1 and is_custom(kind) and KINDS[kind].is_ours


def sources_of(kinds: Iterable[str], group: str) -> tuple[Source, ...]:
    """What to list and watch for some kinds: each resource once, whatever it is read for."""
    found: dict[Place, list[str]] = {}
    for kind in sorted(set(kinds)):
        for origin in _DERIVED.get(kind, (kind,)):
            found.setdefault(place_of(origin, group), []).append(kind)
    return tuple(Source(place, tuple(wanted)) for place, wanted in found.items())


class _Group(msgspec.Struct, frozen=True):
    name: str = ""


class _Groups(msgspec.Struct, frozen=True):
    groups: tuple[_Group, ...] = ()


def choose_group(discovery: bytes) -> str | None:
    """The group that a cluster keeps Calico's resources in, by its answer to /apis; None where it has neither."""
    try:
        served = {group.name for group in msgspec.json.decode(discovery, type=_Groups).groups}
    except msgspec.MsgspecError:
        return CRD_V1
    if "crd.projectcalico.org" in served:
        return CRD_V1
    return V3 if "projectcalico.org" in served else None


def write_positions(positions: dict[str, str]) -> str:
    """One text for the resource versions of several resources; that of a single one is its own."""
    if len(positions) == 1:
        return next(iter(positions.values()))
    return ",".join(f"{name}={version}" for name, version in sorted(positions.items()))


def read_positions(text: str, sources: Iterable[Source]) -> dict[str, str]:
    """Undo `write_positions`; a single version stands for all resources. Raises InvalidRequest."""
    names = [source.place.name for source in sources]
    if not text:
        raise InvalidRequest("revision to watch from is empty: list first")
    if "=" not in text:
        return dict.fromkeys(names, text)
    given = dict(part.split("=", 1) for part in text.split(",") if "=" in part)
    missing = [name for name in names if name not in given]
    if missing:
        raise InvalidRequest(f"revision {text!r} to watch from says nothing of {missing[0]}")
    return {name: given[name] for name in names}
