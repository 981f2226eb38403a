"""Pages that are about the server and not about resources: health, version, discovery, OpenAPI, metrics."""

import hashlib
from dataclasses import dataclass
from functools import cache
from typing import Any

import msgspec

from tortie.apiserver import discovery, protobuf
from tortie.apiserver.hub import Hubs
from tortie.apiserver.served import Catalogue
from tortie.base.metrics import Metrics

_JSON = "application/json"
_TEXT = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class StaticPage:
    """A body, what it is, and its digest where clients keep it."""

    body: bytes
    content_type: str = _JSON
    etag: str = ""


class Public:
    """Those pages."""

    def __init__(self, catalogue: Catalogue, metrics: Metrics, hubs: Hubs) -> None:
        self._catalogue = catalogue
        self._metrics = metrics
        self._hubs = hubs
        self._document = cache(self._make_document)

    def health(self, path: str, unready: str) -> tuple[int, str] | None:
        """Status and text of a health check, which needs no login; None for other paths. Away from its datastore the server
        lives, and is not ready."""
        match path.rstrip("/"):
            case "/livez":
                return 200, "ok"
            case "/readyz" | "/healthz":
                return (503, f"not ready: {unready}") if unready else (200, "ok")
            case _:
                return None

    def page(self, path: str, accept: str) -> StaticPage | None:
        """A page by its path; None where there is none."""
        path = path.rstrip("/")
        if path == "/metrics":
            return StaticPage(self._prometheus(), _TEXT)
        if path in ("/api", "/apis") and "as=APIGroupDiscoveryList" in accept and "v=v2" in accept.replace("v=v2beta1", ""):
            found = discovery.aggregated(self._catalogue, core=path == "/api")
            return self._hashed(msgspec.json.encode(found), discovery.DISCOVERY_V2)
        if path == "/openapi/v2" and "proto-openapi.spec.v2" in accept:
            empty = protobuf.empty_openapi_v2(discovery.product_version()["gitVersion"])
            return self._hashed(empty, protobuf.OPENAPI_V2)
        return self._document(path)

    def _make_document(self, path: str) -> StaticPage | None:
        found = self._found(path)
        if found is None:
            return None
        body = msgspec.json.encode(found)
        return self._hashed(body, _JSON) if path.startswith("/openapi/") else StaticPage(body)

    def _found(self, path: str) -> dict[str, Any] | None:
        versions = {discovery.root_of(*each): each for each in discovery.groups(self._catalogue)}
        if path in versions:
            return discovery.resource_list(self._catalogue, *versions[path])
        if path.startswith("/openapi/v3/") and path.removeprefix("/openapi/v3") in versions:
            return discovery.openapi_v3(self._catalogue, *versions[path.removeprefix("/openapi/v3")])
        for group, version in versions.values():
            if group and path == f"/apis/{group}":
                return discovery.api_group(group, version)
        match path:
            case "/api":
                core = [version for group, version in versions.values() if not group]
                return {"kind": "APIVersions", "apiVersion": "v1", "versions": core, "serverAddressByClientCIDRs": []}
            case "/apis":
                return discovery.group_list(self._catalogue)
            case "/version":
                return dict(discovery.product_version())
            case "/openapi/v2":
                return discovery.openapi_v2(self._catalogue)
            case "/openapi/v3":
                return {"paths": {root.lstrip("/"): {"serverRelativeURL": self._openapi_url(root)} for root in versions}}
            case "":
                return {"paths": sorted([*versions, "/version", "/openapi/v2", "/openapi/v3", "/metrics", "/readyz", "/livez"])}
            case _:
                return None

    def _openapi_url(self, root: str) -> str:
        """Names the content, so that clients may keep it for good."""
        page = self._document(f"/openapi/v3{root}")
        assert page is not None
        return f"/openapi/v3{root}?hash={page.etag.strip(chr(34))}"

    def _hashed(self, body: bytes, content_type: str) -> StaticPage:
        return StaticPage(body, content_type, f'"{hashlib.sha256(body).hexdigest()[:32].upper()}"')

    def _prometheus(self) -> bytes:
        for kind, watchers in self._hubs.watchers.items():
            self._metrics.set(f'tortie_apiserver_watchers{{kind="{kind}"}}', watchers)
        lines: list[str] = []
        families: dict[str, list[str]] = {}
        for name, value in self._metrics.snapshot().items():
            families.setdefault(name.partition("{")[0], []).append(f"{name} {value:g}")
        for family, samples in families.items():
            kind = "counter" if family.endswith(("_total", "_count", "_sum")) else "gauge"
            lines += [f"# TYPE {family} {kind}", *samples]
        return ("\n".join(lines) + "\n").encode()
