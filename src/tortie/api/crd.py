"""CustomResourceDefinitions of all kinds that Kubernetes can keep for us (datastore.md, section 3.2).

definitions()   # file name -> document: crd.projectcalico.org/v1, projectcalico.org/v3, and our own group

The v1 group is the form of storage that Calico has always used: no rules between fields, metadata in an annotation (which
`datastore.kubernetes` writes). The v3 group is what people write, so it checks what an API server can check, names short names
and columns.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from tortie.api.agent import TORTIE_V1
from tortie.api.cel import CelRule
from tortie.api.kinds import KINDS, Kind
from tortie.api.resource import V3
from tortie.api.schema import Schema, description_of, field_schema, fields_of, required_fields
from tortie.api.schema_rules import RULES

STORAGE_V1 = "crd.projectcalico.org/v1"

NOT_CUSTOM = frozenset(("Profile", "WorkloadEndpoint", "Node"))
"""Kinds of Calico's that on Kubernetes are views of Namespace, ServiceAccount, Pod and Node."""

V1_NAMES: Mapping[str, tuple[str, str]] = MappingProxyType({"IPAMConfiguration": ("IPAMConfig", "ipamconfigs")})
"""Kind and plural where the form of storage has others."""


@dataclass(frozen=True, slots=True)
class PrinterColumn:
    """One column that kubectl shows."""

    name: str
    path: str
    type: str = "string"

    def as_schema(self) -> dict[str, str]:
        """As additionalPrinterColumns has it."""
        return {"name": self.name, "type": self.type, "jsonPath": self.path}


AGE = PrinterColumn("Age", ".metadata.creationTimestamp", "date")
_TIERED = (PrinterColumn("Tier", ".spec.tier"), PrinterColumn("Order", ".spec.order", "number"))

PRINTER_COLUMNS: Mapping[str, tuple[PrinterColumn, ...]] = {
    "NetworkPolicy": _TIERED,
    "GlobalNetworkPolicy": (*_TIERED, AGE),
    "StagedNetworkPolicy": _TIERED,
    "StagedGlobalNetworkPolicy": _TIERED,
    "Tier": (
        PrinterColumn("Order", ".spec.order", "number"),
        PrinterColumn("DefaultAction", ".spec.defaultAction"),
        PrinterColumn("Status", '.status.conditions[?(@.type=="Ready")].status'),
    ),
    "GlobalNetworkSet": (AGE,),
    "HostEndpoint": (PrinterColumn("Node", ".spec.node"), PrinterColumn("Interface", ".spec.interfaceName")),
    "IPPool": (
        PrinterColumn("CIDR", ".spec.cidr"),
        PrinterColumn("VXLAN", ".spec.vxlanMode"),
        PrinterColumn("IPIP", ".spec.ipipMode"),
        PrinterColumn("NAT", ".spec.natOutgoing", "boolean"),
        PrinterColumn("Allocatable", '.status.conditions[?(@.type=="Allocatable")].status'),
        AGE,
    ),
    "IPAMConfiguration": (
        PrinterColumn("StrictAffinity", ".spec.strictAffinity", "boolean"),
        PrinterColumn("MaxBlocksPerHost", ".spec.maxBlocksPerHost", "integer"),
        PrinterColumn("AutoAllocateBlocks", ".spec.autoAllocateBlocks", "boolean"),
    ),
    "IPAMBlock": (
        PrinterColumn("CIDR", ".spec.cidr"),
        PrinterColumn("Affinity", ".spec.affinity"),
        PrinterColumn("ClaimTime", ".spec.affinityClaimTime", "date"),
    ),
    "IPAMHandle": (PrinterColumn("ID", ".spec.handleID"),),
    "BlockAffinity": (
        PrinterColumn("CIDR", ".spec.cidr"),
        PrinterColumn("Node", ".spec.node"),
        PrinterColumn("Type", ".spec.type"),
    ),
    "BGPPeer": (
        PrinterColumn("Node Selector", ".spec.nodeSelector"),
        PrinterColumn("Node", ".spec.node"),
        PrinterColumn("Local ASN", ".spec.localASNumber"),
        PrinterColumn("Peer Selector", ".spec.peerSelector"),
        PrinterColumn("Peer IP", ".spec.peerIP"),
        PrinterColumn("Peer ASN", ".spec.asNumber"),
    ),
    "CalicoNodeStatus": (PrinterColumn("Node", ".spec.node"), PrinterColumn("Classes", ".spec.classes")),
    "ClusterInformation": (
        PrinterColumn("Version", ".spec.calicoVersion"),
        PrinterColumn("Ready", ".spec.datastoreReady", "boolean"),
        PrinterColumn("Types", ".spec.clusterType"),
    ),
    "AgentStatus": (
        PrinterColumn("Ready", ".spec.ready", "boolean"),
        PrinterColumn("Reported", ".spec.reportedAt"),
        PrinterColumn("Endpoints", ".spec.localEndpoints", "integer"),
    ),
}
"""By kind; kinds that are missing show their age."""

SHORT_NAMES: Mapping[str, tuple[str, ...]] = {
    "NetworkPolicy": ("cnp", "caliconetworkpolicy"),
    "GlobalNetworkPolicy": ("gnp", "cgnp"),
    "StagedNetworkPolicy": ("scnp", "snp"),
    "StagedGlobalNetworkPolicy": ("sgnp",),
    "StagedKubernetesNetworkPolicy": ("sknp",),
    "GlobalNetworkSet": ("gns",),
    "HostEndpoint": ("hep", "heps"),
    "IPAMConfiguration": ("ipamconfig", "ipamconfigs"),
    "BlockAffinity": ("affinity", "affinities"),
    "BGPConfiguration": ("bgpconfig", "bgpconfigs"),
    "ClusterInformation": ("clusterinfo", "clusterinfos"),
    "KubeControllersConfiguration": ("kcc", "kccs"),
}
"""What kubectl calls a kind besides its names."""

SELECTABLE: Mapping[str, tuple[str, ...]] = dict.fromkeys(
    ("NetworkPolicy", "GlobalNetworkPolicy", "StagedNetworkPolicy", "StagedGlobalNetworkPolicy"), (".spec.tier",)
)
"""Fields that `--field-selector` takes besides those of the metadata."""


def custom_kinds() -> tuple[Kind, ...]:
    """Kinds that are custom resources on Kubernetes: Calico's that have objects of their own, and ours."""
    return tuple(
        kind for kind in KINDS.values() if (kind.is_ours and kind.kind not in NOT_CUSTOM) or kind.api_version == TORTIE_V1
    )


def definitions() -> dict[str, dict[str, Any]]:
    """Every definition by the name of its file."""
    found = {}
    for kind in custom_kinds():
        groups = (STORAGE_V1, V3) if kind.is_ours else (kind.api_version,)
        for api_version in groups:
            document = definition(kind, api_version)
            names = document["spec"]
            found[f"{names['group']}_{names['names']['plural']}.yaml"] = document
    return dict(sorted(found.items()))


def definition(kind: Kind, api_version: str) -> dict[str, Any]:
    """The definition of one kind in one group."""
    group, _, version = api_version.partition("/")
    stored = api_version == STORAGE_V1
    name, plural = V1_NAMES.get(kind.kind, (kind.kind, kind.plural)) if stored else (kind.kind, kind.plural)
    names: dict[str, Any] = {"kind": name, "listKind": f"{name}List", "plural": plural, "singular": name.lower()}
    entry: dict[str, Any] = {
        "name": version,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": _schema(kind, stored=stored)},
    }
    if not stored:
        names |= {"shortNames": list(SHORT_NAMES[kind.kind])} if kind.kind in SHORT_NAMES else {}
        columns = [column.as_schema() for column in PRINTER_COLUMNS.get(kind.kind, ())]
        entry |= {"additionalPrinterColumns": columns} if columns else {}
        entry |= {"subresources": {"status": {}}} if _has_status(kind) else {}
        paths = SELECTABLE.get(kind.kind, ())
        entry |= {"selectableFields": [{"jsonPath": path} for path in paths]} if paths else {}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "names": names,
            "scope": "Namespaced" if kind.namespaced else "Cluster",
            "versions": [entry],
        },
    }


def _schema(kind: Kind, *, stored: bool) -> Schema:
    properties: dict[str, Schema] = {
        "apiVersion": {"type": "string", "description": "The group and version of this object."},
        "kind": {"type": "string", "description": "The kind of this object."},
        "metadata": {"type": "object"},
    }
    for known in fields_of(kind.struct):
        if known.encode_name not in properties:
            properties[known.encode_name] = field_schema(kind.struct, known, rules=not stored)
    if stored and kind.kind == "BlockAffinity":
        # In the form of storage this is a text, and a text it stays for whoever else reads it.
        properties["spec"]["properties"]["deleted"] |= {"type": "string", "default": "false"}
    schema: Schema = {"type": "object", "description": description_of(kind.struct), "properties": properties}
    required = required_fields(kind.struct)
    if required:
        schema["required"] = sorted(required)
    rules: tuple[CelRule, ...] = RULES.get(kind.struct, ())
    if rules and not stored:
        schema["x-kubernetes-validations"] = [rule.as_schema() for rule in rules]
    return schema


def _has_status(kind: Kind) -> bool:
    return any(known.encode_name == "status" for known in fields_of(kind.struct))
