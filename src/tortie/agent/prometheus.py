"""The page of metrics in Prometheus' text format: Calico's names where the meaning is the same, `tortie_` for our own."""

import gc
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple

from tortie.agent.http import Answer
from tortie.base.metrics import Metrics, Observed

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

HELP: Mapping[str, str] = {
    "felix_active_local_endpoints": "Workload endpoints of this node that are enforced.",
    "felix_active_local_policies": "Policies that apply to an endpoint of this node.",
    "felix_active_local_selectors": "Sets of addresses that policies of this node need.",
    "felix_calc_graph_output_events": "Messages from calculation to the dataplane.",
    "felix_calc_graph_update_time_seconds": "Time to calculate what follows from one batch of updates.",
    "felix_calc_graph_updates_processed": "Updates of the datastore that were taken in.",
    "felix_cluster_num_host_endpoints": "Host endpoints of the cluster.",
    "felix_cluster_num_hosts": "Nodes of the cluster.",
    "felix_cluster_num_policies": "Policies of the cluster, those of Kubernetes included.",
    "felix_cluster_num_profiles": "Profiles of the cluster, those of namespaces and service accounts included.",
    "felix_cluster_num_tiers": "Tiers of the cluster.",
    "felix_cluster_num_workload_endpoints": "Workload endpoints of the cluster.",
    "felix_host": "This node, in the label host; always 1.",
    "felix_int_dataplane_apply_time_seconds": "Time to bring the kernel in line.",
    "felix_int_dataplane_failures": "Times that the kernel could not be brought in line completely, and will be tried again.",
    "felix_int_dataplane_messages": "Messages that the dataplane took.",
    "felix_int_dataplane_msg_batch_size": "Messages that the dataplane took at once.",
    "felix_ipsets_calico": "Sets and maps of ours in the kernel.",
    "felix_log_errors": "Log lines of level error and above.",
    "felix_nft_calls": "Transactions that were sent to nftables.",
    "felix_nft_chains": "Chains of ours in the kernel.",
    "felix_nft_errors": "Transactions that nftables refused for good.",
    "felix_nft_list_calls": "Times that our table was read back from the kernel.",
    "felix_nft_rules": "Rules of ours in the kernel.",
    "felix_resync_state": "1 waiting for the datastore, 2 first listing, 3 in sync.",
    "felix_route_table_num_routes": "Routes to workloads of this node.",
    "tortie_bird_peers": "BGP sessions that are configured.",
    "tortie_bird_peers_established": "BGP sessions that are established.",
    "tortie_datastore_connected": "1 while the datastore answers.",
    "tortie_loop_lag_seconds": "How late the event loop woke a sleeper.",
    "tortie_parameters_reported": "Parameters that are not what somebody asked for.",
    "tortie_policy_to_kernel_seconds": "From a change seen in the datastore until the kernel enforces it.",
    "tortie_ready": "1 while the agent is ready.",
}
"""What each metric of ours means; a test holds the agent to it."""

_PROCESS_HELP: Mapping[str, tuple[str, str]] = {
    "process_cpu_seconds_total": ("counter", "User and system time of the agent."),
    "process_open_fds": ("gauge", "Open file descriptors."),
    "process_max_fds": ("gauge", "Limit of open file descriptors."),
    "process_resident_memory_bytes": ("gauge", "Resident memory."),
    "process_virtual_memory_bytes": ("gauge", "Virtual memory."),
    "process_start_time_seconds": ("gauge", "Start of the process since the epoch."),
}


class Sample(NamedTuple):
    """One line: labels are written as they stand."""

    suffix: str
    value: float
    labels: str = ""


_WIREGUARD_HELP: Mapping[str, tuple[str, str]] = {
    "wireguard_meta": ("gauge", "WireGuard devices of this node, in labels; always 1."),
    "wireguard_bytes_rcvd": ("counter", "Bytes received from a peer."),
    "wireguard_bytes_sent": ("counter", "Bytes sent to a peer."),
    "wireguard_latest_handshake_seconds": ("gauge", "Last handshake with a peer, in seconds since the epoch."),
}
_PEER_FIELDS = {
    "wireguard_bytes_rcvd": "receivedBytes",
    "wireguard_bytes_sent": "sentBytes",
    "wireguard_latest_handshake_seconds": "lastHandshake",
}


def render(
    metrics: Metrics,
    *,
    host: str,
    process: bool = True,
    runtime: bool = True,
    wireguard: Sequence[Mapping[str, Any]] = (),
) -> str:
    """All that `metrics` holds, the process's own numbers where they are asked for, and those of WireGuard's devices."""
    lines = list(_family("felix_host", "gauge", HELP["felix_host"], [Sample("", 1, f'{{host="{_escaped(host)}"}}')]))
    families = {
        **{name: ("counter", [Sample("", value)]) for name, value in metrics.counters.items()},
        **{name: ("gauge", [Sample("", value)]) for name, value in metrics.gauges.items()},
        **{name: ("summary", _summary(seen)) for name, seen in metrics.observed.items()},
        **{f"{name}_max": ("gauge", [Sample("", seen.largest)]) for name, seen in metrics.observed.items()},
    }
    for name, (kind, samples) in sorted(families.items()):
        lines += _family(name, kind, _help(name), samples)
    if process:
        for name, value in process_numbers().items():
            lines += _family(name, *_PROCESS_HELP[name], [Sample("", value)])
    if runtime:
        lines += _collector()
    if wireguard:
        lines += _wireguard(wireguard, host)
    return "\n".join(lines) + "\n"


def page(
    metrics: Metrics,
    *,
    host: str,
    process: bool = True,
    runtime: bool = True,
    wireguard: Sequence[Mapping[str, Any]] = (),
) -> Answer:
    """The same as an answer over HTTP."""
    text = render(metrics, host=host, process=process, runtime=runtime, wireguard=wireguard)
    return Answer(HTTPStatus.OK, text, CONTENT_TYPE)


def process_numbers() -> dict[str, float]:
    """What /proc says of this process; without what cannot be read (out of file descriptors, say)."""
    found: dict[str, float] = {}
    try:
        # Everything behind the command's name, which may hold spaces and brackets: field 3 is the first.
        words = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        ticks = os.sysconf("SC_CLK_TCK")
        boot = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime "))
        found["process_cpu_seconds_total"] = (int(words[11]) + int(words[12])) / ticks
        found["process_start_time_seconds"] = int(boot.split()[1]) + int(words[19]) / ticks
        found["process_virtual_memory_bytes"] = int(words[20])
        found["process_resident_memory_bytes"] = int(words[21]) * os.sysconf("SC_PAGE_SIZE")
        limits = Path("/proc/self/limits").read_text().splitlines()
        soft = next(line for line in limits if line.startswith("Max open files")).split()[3]
        found["process_max_fds"] = math.inf if soft == "unlimited" else int(soft)
        found["process_open_fds"] = len(os.listdir("/proc/self/fd"))
    except (OSError, StopIteration, ValueError, IndexError):
        return found
    return found


def _family(name: str, kind: str, text: str, samples: list[Sample]) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"
    for sample in samples:
        yield f"{name}{sample.suffix}{sample.labels} {_number(sample.value)}"


def _help(name: str) -> str:
    base = name.removesuffix("_max")
    text = HELP.get(name) or HELP.get(base, "No description.")
    return f"The largest so far. {text}" if name not in HELP and base in HELP else text


def _summary(seen: Observed) -> list[Sample]:
    return [Sample("_sum", seen.total), Sample("_count", seen.count)]


def _collector() -> Iterator[str]:
    samples = [Sample("", each["collections"], f'{{generation="{index}"}}') for index, each in enumerate(gc.get_stats())]
    return _family("python_gc_collections_total", "counter", "Runs of the garbage collector.", samples)


def _wireguard(devices: Sequence[Mapping[str, Any]], host: str) -> Iterator[str]:
    """Calico's names and labels. A node without a key is no peer, and has no numbers."""
    found: dict[str, list[Sample]] = {name: [] for name in _WIREGUARD_HELP}
    for device in devices:
        own = f'hostname="{_escaped(host)}",interface="{device["device"]}"'
        key = f'listen_port="{device["port"]}",public_key="{device["publicKey"]}"'
        found["wireguard_meta"].append(Sample("", 1, f"{{{own},{key}}}"))
        for peer in device["peers"]:
            if peer["publicKey"]:
                labels = f'{{{own},peer_endpoint="{peer["endpoint"]}",peer_key="{peer["publicKey"]}"}}'
                for name, field in _PEER_FIELDS.items():
                    found[name].append(Sample("", peer[field], labels))
    for name, samples in found.items():
        if samples:
            yield from _family(name, *_WIREGUARD_HELP[name], samples)


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
