"""`python -m tests.bench.pods_server COUNT`: answers lists and watches of pods with bytes that were made beforehand.

It prints its port. A list comes in the pages that were asked for; a watch gives one MODIFIED for each pod, then nothing more.
"""

import asyncio
import contextlib
import json
import sys
from collections.abc import Sequence
from urllib.parse import parse_qs, urlsplit

VERSION = 1_000_000


def pod(number: int, version: int) -> dict[str, object]:
    """A pod of a deployment as a cluster of today serves it: two and a half kilobytes, most of which is nobody's business."""
    name, app = f"web-{number // 20:05d}-6b7f9c4d8-{number:05x}", f"app-{number // 20}"
    fields = ("metadata", "spec", "status", "conditions")
    managed: dict[str, object] = {f"f:{field}": {".": {}, "f:a": {}, "f:b": {}} for field in fields}
    conditions = [
        {"type": kind, "status": "True", "lastProbeTime": None, "lastTransitionTime": "2026-01-02T03:04:05Z"}
        for kind in ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
    ]
    return {
        "metadata": {
            "name": name,
            "generateName": f"web-{number // 20:05d}-6b7f9c4d8-",
            "namespace": f"team-{number % 100}",
            "uid": f"00000000-0000-4000-8000-{number:012x}",
            "resourceVersion": str(version),
            "creationTimestamp": "2026-01-02T03:04:05Z",
            "labels": {"app": app, "tier": "web", "pod-template-hash": "6b7f9c4d8"},
            "annotations": {"cni.projectcalico.org/podIP": f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}/32"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": app, "uid": "u", "controller": True}],
            "managedFields": [
                {"manager": who, "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": managed}
                for who in ("kube-controller-manager", "kubelet")
            ],
        },
        "spec": {
            "nodeName": f"node-{number % 500}",
            "serviceAccountName": "web",
            "containers": [
                {
                    "name": "web",
                    "image": "registry.example/web:1",
                    "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
                    "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
                    "volumeMounts": [{"name": "token", "readOnly": True, "mountPath": "/var/run/secrets"}],
                }
            ],
            "volumes": [{"name": "token", "projected": {"sources": [], "defaultMode": 420}}],
            "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"}],
        },
        "status": {
            "phase": "Running",
            "conditions": conditions,
            "hostIP": "172.18.0.2",
            "podIP": f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}",
            "podIPs": [{"ip": f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"}],
            "containerStatuses": [{"name": "web", "ready": True, "restartCount": 0, "imageID": "sha256:" + "0" * 64}],
        },
    }


class Server:
    """Pods as bytes."""

    def __init__(self, count: int) -> None:
        self._listed = [json.dumps(pod(number, number + 1), separators=(",", ":")).encode() for number in range(count)]
        events = (pod(number, VERSION + number + 1) for number in range(count))
        self._events = [
            b'{"type":"MODIFIED","object":' + json.dumps(each, separators=(",", ":")).encode() + b"}\n" for each in events
        ]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                query = {name: values[0] for name, values in parse_qs(urlsplit(head.split()[1]).query).items()}
                if "watch" in query:
                    await self._watch(writer)
                else:
                    await self._list(writer, query)
        writer.close()

    async def _list(self, writer: asyncio.StreamWriter, query: dict[str, str]) -> None:
        at, limit = int(query.get("continue", "0")), int(query.get("limit", "0")) or len(self._listed)
        rest = str(at + limit) if at + limit < len(self._listed) else ""
        meta = json.dumps({"resourceVersion": str(VERSION), "continue": rest}).encode()
        body = self._joined(b'{"kind":"PodList","metadata":' + meta + b',"items":[', self._listed[at : at + limit])
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body))
        writer.write(body)
        await writer.drain()

    async def _watch(self, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        for event in self._events:
            writer.write(b"%x\r\n%b\r\n" % (len(event), event))
            await writer.drain()
        await asyncio.sleep(3600)

    def _joined(self, start: bytes, items: Sequence[bytes]) -> bytes:
        return start + b",".join(items) + b"]}"


async def main(count: int) -> None:
    server = await asyncio.start_server(Server(count).serve, "127.0.0.1", 0, limit=1 << 20)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
