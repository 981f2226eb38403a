"""One calculation, measured in a process of its own: `python -m tests.bench.calculation POLICIES ENDPOINTS LOCAL [--where]`.

Prints one JSON object. With `--where` it is run under a profiler and says which module the time went to. The cluster has 200
namespaces with an app label in 50 values; of ten policies seven select one app of one namespace, one is global with `in`, one
global with `!=`, one global with `has` and a tier of its own; they name sets by selector, by namespace and by named port.
"""

import argparse
import cProfile
import gc
import json
import pstats
import resource
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from tortie.agent import garbage
from tortie.api.endpoint import EndpointPort, WorkloadEndpoint, WorkloadEndpointSpec
from tortie.api.kubernetes import Namespace
from tortie.api.policy import GlobalNetworkPolicy, NetworkPolicy
from tortie.api.resource import Metadata, Resource, Update
from tortie.api.tier import Tier, TierSpec
from tortie.calc.graph import Graph
from tortie.convert.feed import convert_update

NODE, OTHER = "here", "elsewhere"
_NAMESPACES, _APPS, _RELABELS = 200, 50, 2000
_HTTP = (EndpointPort(name="http", port=80),)


def cluster(policies: int, endpoints: int, local: int) -> Iterator[Resource]:
    """The resources, as a datastore would list them. `local` endpoints are spread evenly among the others."""
    yield Tier(metadata=Metadata(name="platform"), spec=TierSpec(order=100.0, default_action="Pass"))
    for number in range(_NAMESPACES):
        yield Namespace(metadata=Metadata(name=f"ns{number}", labels={"team": f"t{number % 10}"}))
    for number in range(policies):
        yield _policy(number)
    stride = max(1, endpoints // max(1, local))
    for number in range(endpoints):
        labels = {"app": f"app{number // _NAMESPACES % _APPS}", "pod-template-hash": f"h{number // 400}"}
        yield endpoint(number, labels, node=NODE if number % stride == 0 else OTHER)


def endpoint(number: int, labels: dict[str, str], *, node: str) -> WorkloadEndpoint:
    """A pod of namespace number modulo 200."""
    namespace = f"ns{number % _NAMESPACES}"
    spec = WorkloadEndpointSpec(
        orchestrator="k8s",
        node=node,
        pod=f"pod-{number}",
        endpoint="eth0",
        interface_name=f"cali{number:011x}",
        ip_networks=(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}/32",),
        profiles=(f"kns.{namespace}",),
        ports=_HTTP,
    )
    name = f"{node}-k8s-pod--{number}-eth0"
    return WorkloadEndpoint(metadata=Metadata(name=name, namespace=namespace, labels=labels), spec=spec)


def _policy(number: int) -> Resource:
    app, peer, team = f"app{number % _APPS}", f"app{(number + 1) % _APPS}", f"t{number % 10}"
    ingress = [
        {"action": "Allow", "protocol": "TCP", "source": {"selector": f"app == '{peer}'"}, "destination": {"ports": [80, 443]}},
        {
            "action": "Allow",
            "protocol": "TCP",
            "source": {"namespaceSelector": f"team == '{team}'"},
            "destination": {"ports": ["http"]},
        },
    ]
    spec: dict[str, Any] = {"order": 1000.0, "types": ["Ingress"], "ingress": ingress}
    match number % 10:
        case 7:
            spec["selector"] = f"app in {{'{app}', '{peer}'}} && projectcalico.org/namespace == 'ns{number % _NAMESPACES}'"
        case 8:
            spec["selector"] = f"app == '{app}' && pod-template-hash != 'h{number}'"
        case 9:
            spec |= {"tier": "platform", "selector": f"has(missing-{number}) || pod-template-hash == 'h{number}'"}
        case _:
            spec["selector"] = f"projectcalico.org/orchestrator == 'k8s' && app == '{app}'"
            metadata = {"name": f"policy-{number}", "namespace": f"ns{number % _NAMESPACES}"}
            return msgspec.convert({"metadata": metadata, "spec": spec}, NetworkPolicy)
    return msgspec.convert({"metadata": {"name": f"policy-{number}"}, "spec": spec}, GlobalNetworkPolicy)


def measure(policies: int, endpoints: int, *, local: int, where: bool = False) -> dict[str, Any]:
    """Seconds and MiB. `decode` is a floor: the same resources out of JSON and nothing else."""
    resources = list(cluster(policies, endpoints, local))
    texts = [(type(each), msgspec.json.encode(each)) for each in resources]
    started = time.perf_counter()
    for kind, text in texts:
        msgspec.json.decode(text, type=kind)
    decode = time.perf_counter() - started
    del texts
    updates = [convert_update(Update(each.key, each)) for each in resources]
    del resources
    gc.collect()
    before = _resident_mib()
    garbage.start_loading()
    graph = Graph(NODE)
    profiler = cProfile.Profile() if where else None
    started = time.perf_counter()
    if profiler is not None:
        profiler.enable()
    graph.on_updates(updates)
    graph.on_in_sync()
    messages = graph.flush()
    if profiler is not None:
        profiler.disable()
    snapshot = time.perf_counter() - started
    garbage.loaded()
    result: dict[str, Any] = {
        "snapshot": snapshot,
        "decode": decode,
        "messages": len(messages),
        "evaluations": graph.evaluations,
        "residentMib": _resident_mib(),
        "graphMib": _resident_mib() - before,
        "relabelMicroseconds": relabels(graph),
    }
    if profiler is not None:
        result["where"] = _by_module(profiler)
    return result


def relabels(graph: Graph) -> list[float]:
    """Microseconds for each of many changes of one local endpoint's labels, to a combination that is known or not."""
    taken = []
    for number in range(_RELABELS):
        template = "h0" if number % 2 else f"new-{number}"
        changed = endpoint(200 * 4000, {"app": f"app{number % 25}", "pod-template-hash": template}, node=NODE)
        updates = [Update(changed.key, changed)]
        started = time.perf_counter()
        graph.on_updates(updates)
        graph.flush()
        taken.append((time.perf_counter() - started) * 1e6)
    return taken


def _by_module(profiler: cProfile.Profile) -> dict[str, float]:
    """Share of the time by the module whose own code ran; builtins are counted with `other`."""
    seconds: Counter[str] = Counter()
    for (filename, _, _), (_, _, own, _, _) in pstats.Stats(profiler).stats.items():  # type: ignore[attr-defined]
        parts = Path(filename).parts
        module = ".".join(parts[parts.index("tortie") + 1 :]).removesuffix(".py") if "tortie" in parts else "other"
        seconds[module] += own
    total = sum(seconds.values()) or 1.0
    return {module: round(share / total, 3) for module, share in seconds.most_common(12)}


def _resident_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.calculation", description="Measure one calculation.")
    parser.add_argument("policies", type=int)
    parser.add_argument("endpoints", type=int)
    parser.add_argument("local", type=int)
    parser.add_argument("--where", action="store_true", help="say which module the time went to (slower)")
    given = parser.parse_args(arguments)
    print(json.dumps(measure(given.policies, given.endpoints, local=given.local, where=given.where)))


if __name__ == "__main__":
    main()
