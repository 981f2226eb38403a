"""What the demo shows in addition when it runs on a real Kubernetes: the cluster's own view, and who was refused what."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tortie.lab import kubernetes_store
from tortie.lab.cluster import Lab
from tortie.lab.report import Report

if TYPE_CHECKING:
    from tortie.lab.demo import Findings


async def show_cluster(lab: Lab, report: Report, findings: Findings) -> None:
    """kubectl's table of pods; what the API server says of their addresses is what CNI gave them."""
    kubectl = kubernetes_store.kubectl(lab.names, "admin")
    report.note("$ kubectl get pods -A -o wide")
    report.block((await kubectl.run("get", "pods", "-A", "-o", "wide")).decode())
    listing = await kubectl.get("/api/v1/pods")
    known = {
        f"{item['metadata']['namespace']}/{item['metadata']['name']}": [entry["ip"] for entry in item["status"]["podIPs"]]
        for item in listing["items"]
    }
    wired = {name: pod.sandbox.addresses for name, pod in lab.state.pods.items()}
    findings.steps["kubernetes"] = {"version": (await kubectl.get("/version"))["gitVersion"], "pods": known}
    findings.expect(known == wired, "the API server knows every pod as running, with the addresses that CNI gave it", report)


def show_audit(lab: Lab, report: Report, findings: Findings) -> None:
    """The API server's own record of the agents: what they asked for, and that nothing was refused."""
    asked: dict[str, int] = {}
    refused: list[str] = []
    for line in (lab.names.kubernetes / "audit.log").read_bytes().splitlines():
        try:
            event = msgspec.json.decode(line)
        except msgspec.DecodeError:
            continue  # the line that is being written
        if event["user"]["username"] != kubernetes_store.AGENT_USER:
            continue
        verb, resource = event["verb"], event.get("objectRef", {}).get("resource", event["requestURI"])
        asked[verb] = asked.get(verb, 0) + 1
        if event.get("responseStatus", {}).get("code") == 403:
            refused.append(f"{verb} {resource}")
    report.note("the agents asked: " + ", ".join(f"{count} {verb}" for verb, count in sorted(asked.items())))
    findings.steps["audit"] = {"asked": asked, "refused": sorted(set(refused))}
    findings.expect(bool(asked) and not refused, f"the API server refused them {len(refused)} requests", report)
