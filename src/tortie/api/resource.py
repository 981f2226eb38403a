"""What all resources share: the key that names one, its metadata, the frozen struct that carries it."""

from typing import Any, NamedTuple

import msgspec


class Key(NamedTuple):
    """Identity of a resource. `namespace` is empty for cluster-scoped kinds. Sorts by kind, namespace, name."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}({self.namespace}/{self.name})" if self.namespace else f"{self.kind}({self.name})"


class Value(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Base of every value in the api: immutable, compared by value, camelCase in JSON, defaults left out."""


class OwnerReference(Value, frozen=True, kw_only=True):
    """metav1.OwnerReference."""

    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class Metadata(Value, frozen=True, kw_only=True):
    """metav1.ObjectMeta, the part that a store keeps. `resource_version` is opaque text, "" for what was never stored."""

    name: str = ""
    generate_name: str = ""
    namespace: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    uid: str = ""
    resource_version: str = ""
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    finalizers: tuple[str, ...] = ()
    owner_references: tuple[OwnerReference, ...] = ()
    generation: int | None = None
    # Kubernetes writes these; we accept them so that `kubectl get -o yaml` can be applied, and never keep them.
    managed_fields: Any = None
    self_link: str = ""


class Resource(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Base of every kind. Each kind fixes `api_version` and `kind` as defaults and adds `spec` (and `status`)."""

    api_version: str
    kind: str
    metadata: Metadata = Metadata()

    @property
    def key(self) -> Key:
        """Identity of this resource."""
        return Key(self.kind, self.metadata.namespace, self.metadata.name)


class Update(NamedTuple):
    """One change of state: the key and the whole current value, or None when it does not exist (level, not edge)."""

    key: Key
    value: Resource | None


V3 = "projectcalico.org/v3"
"""apiVersion of every Calico kind."""
