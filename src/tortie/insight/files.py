"""The text of files as a world: resources, pod templates, and where each rule is written."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeVar

import msgspec

from tortie.api.documents import Document, load_documents, load_raw
from tortie.api.kinds import KINDS
from tortie.api.kubernetes import Pod
from tortie.api.node import Node
from tortie.api.resource import Key, Resource
from tortie.api.validation import check_document
from tortie.insight.errors import InsightError
from tortie.insight.nodes import is_kubernetes_node, node_of
from tortie.insight.workloads import is_workload, template_pod
from tortie.insight.world import World

_KNOWN_KINDS = frozenset((kind.api_version.partition("/")[0], kind.document_kind) for kind in KINDS.values())
_OURS = frozenset({"projectcalico.org", "crd.projectcalico.org", "tortie.io", "networking.k8s.io", "policy.networking.k8s.io"})

_T = TypeVar("_T")


class Text(NamedTuple):
    """The contents of one file and what to call it."""

    origin: str
    text: str


@dataclass(slots=True)
class Loaded:
    """What the files held. `ignored` counts documents by kind that have no say in policy, such as ConfigMap."""

    resources: list[Resource] = field(default_factory=list)
    templates: list[Pod] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    """Kubernetes' nodes; a Calico Node of the same name counts instead."""
    locations: dict[tuple[Key, str], str] = field(default_factory=dict)
    ignored: dict[str, int] = field(default_factory=dict)

    def world(self) -> World:
        """The world they describe. Raises InsightError, ConversionError."""
        known = {resource.key for resource in self.resources}
        resources = [*self.resources, *(node for node in self.nodes if node.key not in known)]
        return World.from_resources(resources, templates=self.templates, locations=self.locations)


def load(texts: Iterable[Text]) -> Loaded:
    """Read files and check them as a datastore would. Raises ValidationError (as `check_document` does) and InsightError.

    A resource, node or workload that stands in two places is an error. So is a kind that we should know and do not.
    """
    loaded = Loaded()
    for origin, text in texts:
        for raw in _expanded(load_raw(text, origin=origin)):
            if is_workload(raw):
                pod = _read(template_pod, raw, origin)
                if raw["metadata"].get("name"):  # by generateName any number may be made
                    _place(loaded, Key(str(raw["kind"]), pod.metadata.namespace, pod.metadata.name), here=origin)
                loaded.templates.append(pod)
            elif is_kubernetes_node(raw):
                node = _read(node_of, raw, origin)
                _place(loaded, Key("KubernetesNode", "", node.metadata.name), here=origin)
                loaded.nodes.append(node)
            elif _is_foreign(raw) and not _is_test(raw):
                kind = str(raw["kind"])
                loaded.ignored[kind] = loaded.ignored.get(kind, 0) + 1
        for document in load_documents(text, origin=origin, skip=_is_foreign):
            _add(loaded, document)
    return loaded


def _read(reader: Callable[[Mapping[str, Any]], _T], raw: Mapping[str, Any], origin: str) -> _T:
    try:
        return reader(raw)
    except InsightError as error:
        raise InsightError(f"{origin}: {error}") from error


def _add(loaded: Loaded, document: Document) -> None:
    document = replace(document, resource=_in_namespace(document.resource))
    resource = check_document(document)
    key = resource.key
    _place(loaded, key, here=f"{document.origin}:{document.line}")
    for path, line in document.positions.items():
        if len(path) == 3 and path[0] == "spec" and path[1] in ("ingress", "egress"):
            loaded.locations[key, f"spec.{path[1]}[{path[2]}]"] = f"{document.origin}:{line}"
    loaded.resources.append(resource)


def _place(loaded: Loaded, key: Key, *, here: str) -> None:
    """Say where it stands. Raises InsightError if it stands elsewhere, too."""
    if (key, "") in loaded.locations:
        raise InsightError(f"{here}: {key} is defined a second time; the first is at {loaded.locations[key, '']}")
    loaded.locations[key, ""] = here


def _in_namespace(resource: Resource) -> Resource:
    """In namespace `default` where a namespace is missing, as clients do."""
    if resource.metadata.namespace or not KINDS[resource.kind].namespaced:
        return resource
    metadata = msgspec.structs.replace(resource.metadata, namespace="default")
    return msgspec.structs.replace(resource, metadata=metadata)


def _is_foreign(document: Mapping[str, Any]) -> bool:
    """True for kinds of Kubernetes and of others that policy does not look at. Kinds of policy APIs are never foreign."""
    group, kind = str(document.get("apiVersion", "")).partition("/")[0], document.get("kind")
    if _is_test(document):
        return True
    return isinstance(kind, str) and bool(group) and group not in _OURS and (group, kind) not in _KNOWN_KINDS


def _is_test(document: Mapping[str, Any]) -> bool:
    """True for assertions about a cluster, which may lie beside what describes it."""
    return document.get("kind") == "PolicyTest" and str(document.get("apiVersion", "")).startswith("tortie.io/")


def _expanded(values: Iterable[Any]) -> Iterator[Mapping[str, Any]]:
    for value in values:
        items = value.get("items") if isinstance(value, dict) and value.get("kind") == "List" else [value]
        for item in items if isinstance(items, list) else ():
            if isinstance(item, dict):
                yield item
