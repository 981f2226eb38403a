"""Pod templates of Deployments, StatefulSets, DaemonSets and Jobs: each counts as one pod, under the workload's own name."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from tortie.api.kubernetes import Pod, PodSpec
from tortie.api.resource import Metadata
from tortie.insight.errors import InsightError
from tortie.insight.raw import map_at

TEMPLATE_KINDS = frozenset({"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob"})


def is_workload(document: Mapping[str, Any]) -> bool:
    """True for a raw document that carries a pod template which we read."""
    group = str(document.get("apiVersion", "")).partition("/")[0]
    return group in ("apps", "batch") and str(document.get("kind")) in TEMPLATE_KINDS


def template_pod(document: Mapping[str, Any]) -> Pod:
    """The pod that a workload stands for. Raises InsightError, naming the field, if the template is malformed."""
    kind = str(document["kind"])
    meta = map_at(document, "metadata", where=kind)
    where = f"{kind} {meta.get('namespace') or 'default'}/{meta.get('name')}"
    path = ("spec", "jobTemplate", "spec", "template") if kind == "CronJob" else ("spec", "template")
    template = map_at(document, *path, where=where)
    if not template:
        raise InsightError(f"{where}: {'.'.join(path)} is missing; a {kind} needs a pod template")
    labels = map_at(document, *path, "metadata", "labels", where=where)
    try:
        metadata = msgspec.convert(
            {"name": meta.get("name"), "namespace": meta.get("namespace") or "default", "labels": labels}, Metadata
        )
        pod_spec = msgspec.convert(_without_nulls(template.get("spec") or {}), PodSpec)
    except msgspec.ValidationError as error:
        raise InsightError(f"{where}: spec.template: {error}") from error
    # Where the scheduler will put it is not known, whatever the template asks for.
    return Pod(metadata=metadata, spec=msgspec.structs.replace(pod_spec, node_name=""))


def without_clashes(pods: Iterable[Pod], taken: Iterable[Pod]) -> list[Pod]:
    """Template pods whose names no real pod and no earlier template has; a second one is left out."""
    seen = {pod.key for pod in taken}
    result = []
    for pod in pods:
        if pod.key not in seen:
            seen.add(pod.key)
            result.append(pod)
    return result


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value
