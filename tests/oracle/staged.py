"""Staged policies: what the documents would be if every staged policy were enforced."""

from collections.abc import Sequence

from tests.oracle.cluster import Document, meta

_ENFORCED = {
    "StagedNetworkPolicy": ("projectcalico.org/v3", "NetworkPolicy"),
    "StagedGlobalNetworkPolicy": ("projectcalico.org/v3", "GlobalNetworkPolicy"),
    "StagedKubernetesNetworkPolicy": ("networking.k8s.io/v1", "NetworkPolicy"),
}


def enforced(documents: Sequence[Document]) -> list[Document]:
    """Set puts the policy in the place of its namesake, Delete takes the namesake away, Learn and Ignore change nothing."""
    result = {_identity(document): document for document in documents if document["kind"] not in _ENFORCED}
    for document in documents:
        if document["kind"] not in _ENFORCED:
            continue
        spec = dict(document.get("spec") or {})
        action = spec.pop("stagedAction", "Set")
        version, kind = _ENFORCED[document["kind"]]
        real = {**document, "apiVersion": version, "kind": kind, "spec": spec}
        if action == "Set":
            result[_identity(real)] = real
        elif action == "Delete":
            result.pop(_identity(real), None)
    return list(result.values())


def _identity(document: Document) -> tuple[str, str, str, str]:
    group = str(document.get("apiVersion", "")).partition("/")[0]
    return group, document["kind"], meta(document).get("namespace", ""), meta(document)["name"]
