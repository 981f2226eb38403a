"""What the server says it serves: discovery in both forms, the OpenAPI documents, the version."""

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from tortie.apiserver.patching import ACCEPTED, STRATEGIC_PATCH
from tortie.apiserver.schema import schema_name, schemas, without_3
from tortie.apiserver.served import Catalogue, Served

VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
_STATUS_VERBS = ("get", "patch", "update")
DISCOVERY_V2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"

_PARAMETERS = {
    "list": ("labelSelector", "fieldSelector", "limit", "continue", "resourceVersion", "watch", "timeoutSeconds"),
    "write": ("dryRun", "fieldManager", "fieldValidation"),
    "patch": ("dryRun", "fieldManager", "fieldValidation", "force"),
    "delete": ("dryRun", "gracePeriodSeconds", "propagationPolicy"),
}


def groups(catalogue: Catalogue) -> list[tuple[str, str]]:
    """Every group and version that is served, in order; the core group is empty."""
    return list(dict.fromkeys((served.group, served.version) for served in catalogue.values()))


def of_group(catalogue: Catalogue, group: str, version_: str) -> list[Served]:
    """What one group and version holds, by name."""
    found = [served for served in catalogue.values() if (served.group, served.version) == (group, version_)]
    return sorted(found, key=lambda served: served.plural)


def aggregated(catalogue: Catalogue, *, core: bool) -> dict[str, Any]:
    """APIGroupDiscoveryList of the core group (`/api`) or of the named ones (`/apis`)."""
    items = [
        {
            "metadata": {"name": group, "creationTimestamp": None} if group else {"creationTimestamp": None},
            "versions": [
                {
                    "version": version_,
                    "freshness": "Current",
                    "resources": [_discovered(served) for served in of_group(catalogue, group, version_)],
                }
            ],
        }
        for group, version_ in groups(catalogue)
        if (not group) is core
    ]
    return {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items}


def group_list(catalogue: Catalogue) -> dict[str, Any]:
    """APIGroupList of /apis."""
    found = [api_group(group, version_) for group, version_ in groups(catalogue) if group]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": found}


def api_group(group: str, version_: str) -> dict[str, Any]:
    """APIGroup of /apis/<group>."""
    entry = {"groupVersion": f"{group}/{version_}", "version": version_}
    return {"kind": "APIGroup", "apiVersion": "v1", "name": group, "versions": [entry], "preferredVersion": entry}


def resource_list(catalogue: Catalogue, group: str, version_: str) -> dict[str, Any]:
    """APIResourceList of one group and version."""
    resources: list[dict[str, Any]] = []
    for served in of_group(catalogue, group, version_):
        entry: dict[str, Any] = {
            "name": served.plural,
            "singularName": served.singular,
            "namespaced": served.kind.namespaced,
            "kind": served.kind.document_kind,
            "verbs": list(VERBS),
        }
        resources.append(entry | ({"shortNames": list(served.short_names)} if served.short_names else {}))
        if served.has_status:
            name = {"name": f"{served.plural}/status", "singularName": "", "verbs": list(_STATUS_VERBS)}
            resources.append({**name, "namespaced": served.kind.namespaced, "kind": served.kind.document_kind})
    group_version = f"{group}/{version_}" if group else version_
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources}


def product_version() -> dict[str, str]:
    """The answer of /version: a Kubernetes release whose habits we follow, and our own in its metadata."""
    try:
        ours = version("tortie")
    except PackageNotFoundError:
        ours = "0"
    fixed = {"gitCommit": "", "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z", "goVersion": "none"}
    return {"major": "1", "minor": "34", "gitVersion": f"v1.34.0+tortie-{ours}", **fixed, "compiler": "cpython",
            "platform": "linux"}  # fmt: skip


# ---- OpenAPI ----
def openapi_v3(catalogue: Catalogue, group: str, version_: str) -> dict[str, Any]:
    """The OpenAPI 3 document of one group and version."""
    return {
        "openapi": "3.0.0",
        "info": {"title": "Tortie", "version": product_version()["gitVersion"]},
        "paths": _paths(of_group(catalogue, group, version_), three=True),
        "components": {"schemas": schemas(catalogue, group=group, version=version_)},
    }


def openapi_v2(catalogue: Catalogue) -> dict[str, Any]:
    """The OpenAPI 2 document of everything."""
    definitions: dict[str, Any] = {}
    paths: dict[str, Any] = {}
    for group, version_ in groups(catalogue):
        definitions |= without_3(schemas(catalogue, group=group, version=version_, ref="#/definitions/"))
        paths |= _paths(of_group(catalogue, group, version_), three=False)
    info = {"title": "Tortie", "version": product_version()["gitVersion"]}
    return {"swagger": "2.0", "info": info, "paths": paths, "definitions": definitions}


def root_of(group: str, version_: str) -> str:
    """The path of a group and version."""
    return f"/apis/{group}/{version_}" if group else f"/api/{version_}"


def _discovered(served: Served) -> dict[str, Any]:
    kind = {"group": served.group, "version": served.version, "kind": served.kind.document_kind}
    found: dict[str, Any] = {
        "resource": served.plural,
        "responseKind": kind,
        "scope": "Namespaced" if served.kind.namespaced else "Cluster",
        "singularResource": served.singular,
        "verbs": list(VERBS),
    }
    if served.short_names:
        found["shortNames"] = list(served.short_names)
    if served.has_status:
        found["subresources"] = [{"subresource": "status", "responseKind": kind, "verbs": list(_STATUS_VERBS)}]
    return found


def _paths(served: Iterable[Served], *, three: bool) -> dict[str, Any]:
    paths: dict[str, Any] = {}
    for one in served:
        root = root_of(one.group, one.version)
        scope = f"{root}/namespaces/{{namespace}}" if one.kind.namespaced else root
        above = [_parameter("namespace", "path", three=three)] if one.kind.namespaced else []
        collection, single = f"{scope}/{one.plural}", f"{scope}/{one.plural}/{{name}}"
        name = _parameter("name", "path", three=three)
        paths[collection] = {
            "get": _operation(one, "list", three=three),
            "post": _operation(one, "post", three=three),
            "delete": _operation(one, "deletecollection", three=three),
            **({"parameters": above} if above else {}),
        }
        for path in (single, *((f"{single}/status",) if one.has_status else ())):
            verbs = ("get", "put", "patch") if path != single else ("get", "put", "patch", "delete")
            paths[path] = {verb: _operation(one, verb, three=three) for verb in verbs} | {"parameters": [*above, name]}
        if one.kind.namespaced:
            paths[f"{root}/{one.plural}"] = {"get": _operation(one, "list", three=three)}
    return paths


def _operation(served: Served, action: str, *, three: bool) -> dict[str, Any]:
    """One verb of a path. Strategic patches are accepted but not offered: a merge patch says the same of our kinds."""
    ref = f"{'#/components/schemas/' if three else '#/definitions/'}{schema_name(served)}"
    ref += "List" if action == "list" else ""
    content: dict[str, Any] = {"schema": {"$ref": ref}}
    answer = {"description": "OK", **({"content": {"application/json": content}} if three else content)}
    group = {"list": "list", "deletecollection": "list", "post": "write", "put": "write", "get": ""}.get(action, action)
    kind = {"group": served.group, "version": served.version, "kind": served.kind.document_kind}
    found: dict[str, Any] = {
        "responses": {"200": answer},
        "parameters": [_parameter(name, "query", three=three) for name in _PARAMETERS.get(group, ())],
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": kind,
    }
    if action in ("post", "put", "patch"):
        types = [each for each in ACCEPTED if each != STRATEGIC_PATCH] if action == "patch" else ["application/json"]
        body = {"schema": {"type": "object"} if action == "patch" else {"$ref": ref}}
        if three:
            found["requestBody"] = {"content": dict.fromkeys(types, body)}
        else:
            found["consumes"] = types
            found["parameters"].append({"name": "body", "in": "body", "required": True, **body})
    return found


def _parameter(name: str, place: str, *, three: bool) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    found: dict[str, Any] = {"name": name, "in": place, **({"schema": schema} if three else schema)}
    return found | ({"required": True} if place == "path" else {"uniqueItems": True} if not three else {})
