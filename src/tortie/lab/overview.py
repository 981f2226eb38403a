"""The state of one lab, as data and as text."""

from typing import Any

from rich.console import Console
from rich.table import Table

from tortie.base import process
from tortie.lab.cluster import Lab
from tortie.lab.network import cluster_routes, count_ways, read_network
from tortie.lab.state import read_agent_status


async def overview(lab: Lab) -> dict[str, Any]:
    """The modes of the network, nodes with their agents' own reports, and pods."""
    nodes = []
    for node in lab.state.spec.nodes:
        pid = lab.state.agents.get(node.name, 0)
        alive = bool(pid) and process.is_alive(pid)
        nodes.append(
            {
                "name": node.name,
                "rack": node.rack,
                "addresses": [str(lab.node_interface(node.name, family)) for family in lab.families],
                "ways": count_ways(cluster_routes(lab.names, node.name)),
                "agentPid": pid,
                "agentAlive": alive,
                "agent": read_agent_status(lab.names, node.name),
            }
        )
    pods = [
        {"name": name, "node": pod.node, "addresses": pod.sandbox.addresses, "netns": pod.netns, "serve": list(pod.serve)}
        for name, pod in sorted(lab.state.pods.items())
    ]
    datastore = lab.state.spec.datastore
    return {
        "apiVersion": "tortie.io/v1",
        "kind": "LabStatus",
        "name": lab.state.spec.name,
        "datastore": str({"etcd": lab.names.etcd, "kubernetes": lab.names.kubernetes}.get(datastore, lab.names.datastore)),
        "backend": lab.state.spec.backend,
        "network": (await read_network(lab.client)).describe(),
        "nodes": nodes,
        "pods": pods,
    }


def print_overview(report: dict[str, Any]) -> None:
    """For people."""
    console = Console(highlight=False)
    console.print(f"lab {report['name']}, datastore {report['datastore']}")
    console.print(f"backend {report['backend']}; {'; '.join(report['network'])}", soft_wrap=True)
    nodes = Table(box=None, pad_edge=False)
    for column in ("NODE", "RACK", "AGENT", "READY", "APPLIES", "BGP", "WAYS", "PROBLEM"):
        nodes.add_column(column)
    for node in report["nodes"]:
        agent = node["agent"] or {}
        peers = agent.get("bgpPeers", [])
        up = sum(1 for peer in peers if peer["established"])
        nodes.add_row(
            node["name"],
            str(node["rack"]),
            f"pid {node['agentPid']}" if node["agentAlive"] else "dead",
            str(bool(agent.get("ready") and node["agentAlive"])).lower(),
            str(agent.get("applies", "")),
            f"{up}/{len(peers)} established",
            ", ".join(f"{count} {way}" for way, count in sorted(node["ways"].items())) or "none",
            str(agent.get("failure") or ""),
        )
    console.print(nodes)
    for node in report["nodes"]:
        for peer in (node["agent"] or {}).get("bgpPeers", []):
            if not peer["established"]:
                console.print(f"{node['name']}: BGP {peer['name']} is {peer['state']}: {peer['reason']}", soft_wrap=True)
    pods = Table(box=None, pad_edge=False)
    for column in ("POD", "NODE", "ADDRESSES", "SERVES"):
        pods.add_column(column)
    for pod in report["pods"]:
        pods.add_row(pod["name"], pod["node"], " ".join(pod["addresses"]), " ".join(pod["serve"]))
    console.print(pods)
