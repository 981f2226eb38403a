"""Which kinds are served, and under which names: the registry of the api seen as an API group."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import msgspec

from tortie.api.kinds import KINDS, Kind
from tortie.api.resource import V3
from tortie.apiserver.errors import Subject

TIERED = frozenset({"NetworkPolicy", "GlobalNetworkPolicy", "StagedNetworkPolicy", "StagedGlobalNetworkPolicy"})
"""Kinds whose objects belong to a tier, which decides who may touch them."""

_SHORT_NAMES: Mapping[str, tuple[str, ...]] = {
    "NetworkPolicy": ("cnp", "caliconetworkpolicy", "caliconetworkpolicies"),
    "GlobalNetworkPolicy": ("gnp", "cgnp", "calicoglobalnetworkpolicies"),
    "StagedNetworkPolicy": ("snp", "scnp"),
    "StagedGlobalNetworkPolicy": ("sgnp",),
    "StagedKubernetesNetworkPolicy": ("sknp",),
    "GlobalNetworkSet": ("gns",),
    "NetworkSet": ("netsets",),
    "HostEndpoint": ("hep", "heps"),
    "WorkloadEndpoint": ("wep", "weps"),
    "BGPConfiguration": ("bgpconfig", "bgpconfigs"),
    "FelixConfiguration": ("felixconfig", "felixconfigs"),
    "ClusterInformation": ("clusterinfo", "clusterinfos"),
    "KubeControllersConfiguration": ("kcc", "kccs"),
    "IPAMConfiguration": ("ipamconfig", "ipamconfigs"),
    "BlockAffinity": ("affinity", "affinities"),
    "Namespace": ("ns",),
}
_WITH_STATUS = frozenset({"Tier", "IPPool", "CalicoNodeStatus", "KubeControllersConfiguration"})
"""Kinds with a status subresource (datastore.md, section 3.2)."""


@dataclass(frozen=True)
class Served:
    """One resource of the API."""

    kind: Kind

    @property
    def group(self) -> str:
        """Its API group; empty for the core's."""
        return self.kind.api_version.rpartition("/")[0]

    @property
    def version(self) -> str:
        """Its version."""
        return self.kind.api_version.rpartition("/")[2]

    @property
    def plural(self) -> str:
        """Its name in paths."""
        return self.kind.plural

    @cached_property
    def singular(self) -> str:
        """As kubectl prints it."""
        return self.kind.document_kind.lower()

    @property
    def short_names(self) -> tuple[str, ...]:
        """What else people type."""
        return _SHORT_NAMES.get(self.kind.kind, ())

    @property
    def is_tiered(self) -> bool:
        """Whether its objects belong to a tier."""
        return self.kind.kind in TIERED

    @cached_property
    def has_status(self) -> bool:
        """Whether it has a status subresource."""
        fields = {known.name for known in msgspec.structs.fields(self.kind.struct)}
        return self.kind.kind in _WITH_STATUS and "status" in fields

    @cached_property
    def fields(self) -> frozenset[str]:
        """By which fields it can be selected (api.md, section 7)."""
        found = {"metadata.name"} | ({"metadata.namespace"} if self.kind.namespaced else set())
        return frozenset(found | ({"spec.tier"} if self.is_tiered else set()))

    def subject(self, name: str = "") -> Subject:
        """For messages."""
        return Subject(self.plural, self.group, name, document_kind=self.kind.document_kind)


Catalogue = Mapping[tuple[str, str, str], Served]
"""By group, version, plural."""

_V3 = tuple(Served(kind) for kind in KINDS.values() if kind.api_version == V3)


def catalogue(*, standalone: bool) -> Catalogue:
    """Every v3 kind; standalone also namespaces, without which kubectl's -n would have nothing to stand on."""
    served = (*_V3, *((Served(KINDS["Namespace"]),) if standalone else ()))
    return MappingProxyType({(one.group, one.version, one.plural): one for one in served})
