"""Real Kubernetes for the conformance tests: one API server without controllers, emptied of custom resources between tests.

Emptying, compaction and looking at raw bytes go to its etcd directly, through the JSON gateway on its unix socket.
"""

import atexit
import base64
import http.client
import json
import socket
from collections.abc import Iterable
from contextlib import ExitStack
from functools import cache
from typing import Any

from tests.kubernetes.control_plane import Cluster, running

from tortie.api.kinds import KINDS
from tortie.datastore.kubernetes.places import GROUPS, Place, is_custom, place_of

NAMESPACES = ("one", "two", "shop")
CLUSTER_NETWORK_POLICY = Place("policy.networking.k8s.io/v1alpha2", "clusternetworkpolicies", "ClusterNetworkPolicy", False)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(self._path)


class Server:
    """One API server with Calico's CRDs, of both groups, and ours."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def clear(self) -> None:
        """Remove every custom resource, at once."""
        for group in ("crd.projectcalico.org", "projectcalico.org", "tortie.io", "policy.networking.k8s.io"):
            start = f"/registry/{group}/"
            self.etcd("kv/deleterange", key=start, range_end=f"/registry/{group}0")

    def etcd(self, what: str, **fields: Any) -> Any:
        """A request to etcd's JSON gateway; text is sent as the bytes it is."""
        body = {name: _text(value) if isinstance(value, str | bytes) else value for name, value in fields.items()}
        # The socket's name has a colon in it, and etcd made it in its working directory.
        connection = _UnixConnection(str(self.cluster.folder / "etcd" / "clients:0"))
        try:
            connection.request("POST", f"/v3/{what}", json.dumps(body))
            return json.load(connection.getresponse())
        finally:
            connection.close()

    def stored(self, prefix: str) -> dict[str, bytes]:
        """What etcd holds below a prefix."""
        found = self.etcd("kv/range", key=prefix, range_end=prefix + "\x7f").get("kvs", ())
        return {base64.b64decode(pair["key"]).decode(): base64.b64decode(pair["value"]) for pair in found}

    def put(self, place: Place, namespace: str, name: str, value: bytes) -> None:
        """Store bytes behind the API server's back."""
        group = place.api_version.partition("/")[0]
        inside = f"{namespace}/" if namespace else ""
        self.etcd("kv/put", key=f"/registry/{group}/{place.plural}/{inside}{name}", value=value)


def start(stack: ExitStack) -> Server:
    """A server of your own, ready."""
    cluster = stack.enter_context(running(controllers=False))
    places = dict.fromkeys(place_of(kind, group) for group in GROUPS for kind in KINDS if is_custom(kind))
    install(cluster, [*places, CLUSTER_NETWORK_POLICY])
    cluster.apply(*({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in NAMESPACES))
    return Server(cluster)


def install(cluster: Cluster, places: Iterable[Place]) -> None:
    """CRDs that take anything, served when this returns."""
    cluster.apply(*(_crd(place) for place in places))
    cluster.wait_served()


def _crd(place: Place) -> dict[str, Any]:
    group, _, version = place.api_version.partition("/")
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": place.name,
            "annotations": {"api-approved.kubernetes.io": "unapproved, for tests"},
        },
        "spec": {
            "group": group,
            "names": {"kind": place.kind, "plural": place.plural, "singular": place.kind.lower()},
            "scope": "Namespaced" if place.namespaced else "Cluster",
            "versions": [{"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }


@cache
def shared() -> Server:
    """One server for all tests that only need an empty store; it ends with the test process."""
    stack = ExitStack()
    atexit.register(stack.close)
    return start(stack)


def _text(value: str | bytes) -> str:
    return base64.b64encode(value.encode() if isinstance(value, str) else value).decode()
