"""Pod templates of Deployments, StatefulSets, DaemonSets, Jobs and their like: each counts as one pod of the same name."""

from collections.abc import Iterable, Mapping
from itertools import chain, count
from typing import Any

import msgspec

from tortie.api.kubernetes import Pod, PodSpec
from tortie.api.resource import Metadata, OwnerReference
from tortie.insight.errors import InsightError
from tortie.insight.raw import map_at

TEMPLATE_KINDS = frozenset(
    {
        ("apps", "Deployment"),
        ("apps", "StatefulSet"),
        ("apps", "DaemonSet"),
        ("apps", "ReplicaSet"),
        ("batch", "Job"),
        ("batch", "CronJob"),
        ("v1", "ReplicationController"),
    }
)
"""By group, or version where there is no group."""


def is_workload(document: Mapping[str, Any]) -> bool:
    """True for a raw document that carries a pod template which we read."""
    group = str(document.get("apiVersion", "")).partition("/")[0]
    return (group, str(document.get("kind"))) in TEMPLATE_KINDS


def template_pod(document: Mapping[str, Any]) -> Pod:
    """The pod that a workload stands for. Raises InsightError, naming the field, if the template is malformed."""
    kind = str(document["kind"])
    meta = map_at(document, "metadata", where=kind)
    # A name that a server would make from generateName is not known; without what it would append it is unique enough.
    name = meta.get("name") or str(meta.get("generateName") or "").rstrip("-.")
    if not name:
        raise InsightError(f"{kind}: metadata.name is missing")
    where = f"{kind} {meta.get('namespace') or 'default'}/{name}"
    path = ("spec", "jobTemplate", "spec", "template") if kind == "CronJob" else ("spec", "template")
    template = map_at(document, *path, where=where)
    if not template:
        raise InsightError(f"{where}: {'.'.join(path)} is missing; a {kind} needs a pod template")
    of_pod = map_at(document, *path, "metadata", where=where)
    fields = {field: of_pod[field] for field in ("labels", "annotations") if of_pod.get(field)}
    try:
        metadata = msgspec.convert({"name": name, "namespace": meta.get("namespace") or "default"} | fields, Metadata)
        pod_spec = msgspec.convert(_without_nulls(template.get("spec") or {}), PodSpec)
    except msgspec.ValidationError as error:
        raise InsightError(f"{where}: {'.'.join(path)}: {error}") from error
    owner = OwnerReference(api_version=str(document["apiVersion"]), kind=kind, name=metadata.name)
    # Where the scheduler will put it is not known, whatever the template asks for.
    return Pod(
        metadata=msgspec.structs.replace(metadata, owner_references=(owner,)),
        spec=msgspec.structs.replace(pod_spec, node_name=""),
    )


def without_clashes(pods: Iterable[Pod], taken: Iterable[Pod]) -> list[Pod]:
    """Template pods, each under a name of its own.

    One whose name a pod or an earlier template has is called after its kind as well (`backup-cronjob`), and numbered if
    that is taken too. None is left out: policies that select it would seem to select nothing.
    """
    seen = {pod.key for pod in taken}
    result = []
    for pod in pods:
        name, kind = pod.metadata.name, pod.metadata.owner_references[0].kind.lower()
        candidates = chain((name, f"{name}-{kind}"), (f"{name}-{kind}-{number}" for number in count(2)))
        placed = next(each for each in (_called(pod, candidate) for candidate in candidates) if each.key not in seen)
        seen.add(placed.key)
        result.append(placed)
    return result


def _called(pod: Pod, name: str) -> Pod:
    return msgspec.structs.replace(pod, metadata=msgspec.structs.replace(pod.metadata, name=name))


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value
