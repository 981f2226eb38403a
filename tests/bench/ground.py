"""What the rows stand on: labs and namespaces with names of their own, filled datastores, CNI executed as a runtime does."""

import contextlib
import itertools
import os
import secrets
import subprocess
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from tortie.api.defaults import with_defaults
from tortie.api.policy import EntityRule, NetworkPolicy, NetworkPolicySpec, Rule
from tortie.api.resource import Metadata, Resource
from tortie.base.net import parse_address
from tortie.cni.wiring import Ground, Plan, wire
from tortie.datastore.client import Client
from tortie.kernel import netns, sysctl
from tortie.kernel.link import Links
from tortie.lab.cluster import Lab
from tortie.lab.runtime import find_plugin
from tortie.lab.spec import LabSpec, NodeSpec

_count = itertools.count()
NAMESPACE = "bench"


@contextlib.asynccontextmanager
async def lab(*nodes: str, **spec: Any) -> AsyncIterator[Lab]:
    """A lab of these nodes, gone afterwards."""
    name = f"tk{os.getpid() % 100000}{next(_count)}{secrets.token_hex(1)}"
    built = await Lab.up(LabSpec(name=name, nodes=tuple(NodeSpec(name=node) for node in nodes), **spec))
    try:
        await built.add_namespace(NAMESPACE, {})
        yield built
    finally:
        await built.down()


@contextlib.contextmanager
def spaces(count: int) -> Iterator[list[str]]:
    """The names of so many new network namespaces."""
    with contextlib.ExitStack() as stack:
        names = []
        for _ in range(count):
            name = f"tk{os.getpid()}-{secrets.token_hex(4)}"
            netns.create(name)
            stack.callback(netns.delete, name)
            names.append(name)
        yield names


@contextlib.contextmanager
def plain_node(pod_count: int) -> Iterator[tuple[str, list[str], list[str]]]:
    """A node with our cables and no rules: its namespace, its pods' namespaces, their IPv4 addresses."""
    with spaces(pod_count + 1) as (node, *pods):
        addresses = [f"10.98.0.{number}" for number in range(1, pod_count + 1)]
        netns.run_in_named(node, lambda: sysctl.write("net/ipv4/ip_forward", "1"))
        for number, (pod, address) in enumerate(zip(pods, addresses, strict=True)):
            with netns.opened(pod) as fd:
                plan = Plan(f"cali{number}", "eth0", (parse_address(address),))
                netns.run_in_named(node, partial(_cable, fd, plan))
        yield node, pods, addresses


def _cable(pod: int, plan: Plan) -> None:
    with Links() as links:
        links.set_up("lo")
    with Ground(pod) as ground_of_pod:
        wire(ground_of_pod, plan)


def policy(
    name: str,
    selector: str,
    *rules: Rule,
    namespace: str = NAMESPACE,
    order: float | None = None,
) -> NetworkPolicy:
    """An ingress policy."""
    spec = NetworkPolicySpec(selector=selector, order=order, types=("Ingress",), ingress=rules)
    return NetworkPolicy(metadata=Metadata(name=name, namespace=namespace), spec=spec)


def other_policy(number: int, selector: str, *, namespace: str = NAMESPACE) -> NetworkPolicy:
    """One of many: five rules that the bench's own packets do not match."""
    return policy(f"other-{number:05d}", selector, *other_rules(number, 5), namespace=namespace, order=float(number))


def other_rules(number: int, count: int) -> tuple[Rule, ...]:
    """Rules that the bench's own packets do not match, for addresses and for ports in turns."""
    by_address = EntityRule(nets=(f"198.18.{number >> 8 & 255}.{number & 255}/32",))
    return tuple(
        Rule(action="Allow", protocol="TCP", source=by_address)
        if index % 2 == 0
        else Rule(action="Allow", protocol="TCP", destination=EntityRule(ports=(20_000 + (number + index * 1000) % 10_000,)))
        for index in range(count)
    )


async def fill(client: Client, resources: Iterable[Resource]) -> None:
    """Create resources as `tortie create` would."""
    for resource in resources:
        await client.create(with_defaults(resource))


@dataclass(frozen=True, slots=True)
class Executed:
    """One execution of a CNI plugin: what it printed is its result, or its error if `status` is not 0."""

    seconds: float
    status: int
    answer: dict[str, Any]


def ask(plugin: Path, environment: dict[str, str], config: dict[str, Any]) -> Executed:
    """Run a plugin in the calling thread's network namespace, whatever it answers."""
    text = msgspec.json.encode(config)
    started = time.perf_counter()
    done = subprocess.run([plugin], input=text, env=environment, capture_output=True, check=False)
    seconds = time.perf_counter() - started
    return Executed(seconds, done.returncode, msgspec.json.decode(done.stdout) if done.stdout.strip() else {})


def execute(plugin: Path, environment: dict[str, str], config: dict[str, Any]) -> Executed:
    """The same; raises RuntimeError with the plugin's own words unless it succeeds."""
    done = ask(plugin, environment, config)
    if done.status != 0:
        raise RuntimeError(
            f"{plugin.name} {environment['CNI_COMMAND']}: {done.answer.get('msg')} {done.answer.get('details', '')}"
        )
    return done


def tortie_environment(command: str, *, container: str, namespace: str, pod: str, socket: Path) -> dict[str, str]:
    """What a runtime tells the plugin, for a pod of NAMESPACE whose network namespace is known by name."""
    return {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": container,
        "CNI_NETNS": netns.path_of(namespace) if namespace else "",
        "CNI_IFNAME": "eth0",
        "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE={NAMESPACE};K8S_POD_NAME={pod}",
        "CNI_PATH": str(find_plugin().parent),
        "TORTIE_CNI_SOCKET": str(socket),
    }


TORTIE_CONFIG: dict[str, Any] = {
    "cniVersion": "1.1.0",
    "name": "bench",
    "type": "tortie-cni",
    "ipam": {"type": "calico-ipam", "assign_ipv4": "true", "assign_ipv6": "false"},
}
"""IPv4 only, as the peer that it is measured beside."""
