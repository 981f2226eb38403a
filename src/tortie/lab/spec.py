"""lab.yaml: a whole case in one file. Decoding collects all errors and names the field.

apiVersion: tortie.io/v1
kind: Lab
name: demo
families: [4, 6]
backend: bird                    # CALICO_NETWORKING_BACKEND of every agent: bird, vxlan or none
mtu: 1500                       # of the nodes' uplinks
nodes: [{name: n1}, {name: n2, rack: 1, labels: {rack: b}}]   # a rack is a subnet of its own; the fabric routes between them
pools: [{cidr: 10.244.0.0/16, vxlanMode: CrossSubnet}, {cidr: fd00:10:244::/56}]
felix: {wireguardEnabled: true}  # spec of FelixConfiguration default (felixAnnotations: its annotations)
bgp: {nodeToNodeMeshEnabled: true}  # spec of BGPConfiguration default
namespaces: [{name: prod, labels: {env: prod}}]
pods:
- {name: prod/database, node: n1, labels: {app: database}, serve: [tcp:5432, tcp:8080]}
apply: [policy.yaml]            # files relative to lab.yaml, applied in order at the end
probes: [{from: prod/a, to: prod/b, protocol: tcp, port: 80, expect: allowed}]
"""

import re
from pathlib import Path
from typing import Any, Literal

import msgspec

from tortie.base.errors import TortieError

NAME = re.compile(r"^[a-z0-9]([-a-z0-9]{0,13}[a-z0-9])?$")
SERVE = re.compile(r"^(tcp|udp):([0-9]{1,5})$")
Protocol = Literal["tcp", "udp", "icmp"]
Datastore = Literal["sqlite", "etcd", "kubernetes"]
Backend = Literal["bird", "vxlan", "none"]
ModeName = Literal["plain", "vxlan", "vxlan-cross-subnet", "ipip", "wireguard", "dual-stack", "reflectors"]
"""What `tortie lab demo --mode` shows, each with a lab file of its own (mode-*.yaml)."""
EncapMode = Literal["", "Never", "Always", "CrossSubnet"]
MAX_RACKS = 100
MTU_LIMITS = 1280, 65000
"""IPv6 asks for 1280 at least; a veth takes no more than this."""


class LabError(TortieError):
    """A lab cannot be read, built or asked; the text says what to do."""


class _Spec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """Base: immutable, unknown fields refused."""


class NodeSpec(_Spec, frozen=True, kw_only=True):
    """One node. Addresses are given by the lab."""

    name: str
    labels: dict[str, str] = {}
    rack: int = 0
    """Nodes of one rack share an L2 segment and a subnet; what goes to another rack goes through the fabric."""
    as_number: int = 0
    """Of this node alone, as in Node.spec.bgp; 0 is the cluster's."""
    route_reflector_cluster_id: str = msgspec.field(default="", name="routeReflectorClusterID")
    """As in Node.spec.bgp: with one, the node is a route reflector."""


class PoolSpec(_Spec, frozen=True, kw_only=True):
    """One IP pool, as in IPPool.spec."""

    cidr: str
    block_size: int = 0
    nat_outgoing: bool = False
    ipip_mode: EncapMode = ""
    vxlan_mode: EncapMode = ""


class NamespaceSpec(_Spec, frozen=True, kw_only=True):
    """One namespace with labels."""

    name: str
    labels: dict[str, str] = {}


class PodSpec(_Spec, frozen=True, kw_only=True):
    """One pod: `name` is namespace/name; `serve` what it listens on, e.g. tcp:5432; an empty `node` means the lab chooses."""

    name: str
    node: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    service_account: str = "default"
    serve: tuple[str, ...] = ()
    ports: dict[str, str] = {}
    """Named ports: name to tcp:NUMBER."""

    @property
    def namespace(self) -> str:
        """The part before the slash."""
        return self.name.partition("/")[0]

    @property
    def pod(self) -> str:
        """The part behind the slash."""
        return self.name.partition("/")[2]


class ProbeSpec(_Spec, frozen=True, kw_only=True):
    """One question: may `from` reach `to`? Endpoints are namespace/pod, node/NAME or an address. family 0 asks for all."""

    source: str = msgspec.field(name="from")
    to: str
    protocol: Protocol = "tcp"
    port: int = 0
    family: Literal[0, 4, 6] = 0
    expect: Literal["", "allowed", "denied", "refused", "unreachable"] = ""


class LabSpec(_Spec, frozen=True, kw_only=True):
    """One lab."""

    api_version: Literal["tortie.io/v1"] = "tortie.io/v1"
    kind: Literal["Lab"] = "Lab"
    name: str = "lab"
    datastore: Datastore = "sqlite"
    kubeconfig: str = ""
    """Somebody else's cluster, for datastore kubernetes; else the lab has one of its own."""
    families: tuple[Literal[4, 6], ...] = (4, 6)
    as_number: int = 64512
    backend: Backend = "bird"
    """CALICO_NETWORKING_BACKEND of every agent: BIRD runs with `bird` alone."""
    mtu: int = 1500
    """Of every node's uplink."""
    felix: dict[str, Any] = {}
    """Spec of FelixConfiguration `default`; empty: there is none but what the agents make."""
    felix_annotations: dict[str, str] = {}
    bgp: dict[str, Any] = {}
    """Spec of BGPConfiguration `default`, beside `asNumber`."""
    nodes: tuple[NodeSpec, ...] = ()
    pools: tuple[PoolSpec, ...] = (
        PoolSpec(cidr="10.244.0.0/16", nat_outgoing=True),
        PoolSpec(cidr="fd00:10:244::/56", nat_outgoing=True),
    )
    namespaces: tuple[NamespaceSpec, ...] = ()
    pods: tuple[PodSpec, ...] = ()
    apply: tuple[str, ...] = ()
    probes: tuple[ProbeSpec, ...] = ()


def load_spec(path: Path) -> LabSpec:
    """Read and check a lab.yaml; policy files in it become absolute. Raises LabError with every problem found."""
    from tortie.api.documents import load_raw

    try:
        raw = load_raw(path.read_text())
    except OSError as error:
        raise LabError(f"{path}: cannot be read: {error.strerror}") from error
    if len(raw) != 1:
        raise LabError(f"{path}: one document is expected, {len(raw)} were found")
    spec = decode_spec(raw[0], where=str(path))
    return msgspec.structs.replace(
        spec,
        apply=tuple(str((path.parent / name).resolve()) for name in spec.apply),
        kubeconfig=str((path.parent / spec.kubeconfig).resolve()) if spec.kubeconfig else "",
    )


def decode_spec(raw: Any, *, where: str = "lab") -> LabSpec:
    """Turn a decoded document into a spec and check it. Raises LabError."""
    try:
        spec = msgspec.convert(raw, LabSpec)
    except msgspec.ValidationError as error:
        raise LabError(f"{where}: {error}") from error
    check_spec(spec, where=where)
    return spec


def check_spec(spec: LabSpec, *, where: str = "lab") -> None:
    """Check what types cannot say. Raises LabError with every problem."""
    problems = [*_name_problems(spec), *_network_problems(spec), *_reference_problems(spec)]
    if problems:
        raise LabError(f"{where}: " + "; ".join(problems))


def _name_problems(spec: LabSpec) -> list[str]:
    problems = [] if NAME.match(spec.name) else [f"name {spec.name!r}: up to 15 of a-z, 0-9 and - are allowed"]
    for index, node in enumerate(spec.nodes):
        if not NAME.match(node.name):
            problems.append(f"nodes[{index}].name {node.name!r}: up to 15 of a-z, 0-9 and - are allowed")
    for field, names in (
        ("nodes", [node.name for node in spec.nodes]),
        ("namespaces", [namespace.name for namespace in spec.namespaces]),
        ("pods", [pod.name for pod in spec.pods]),
    ):
        problems += [f"{field}: {name!r} appears twice" for name in sorted({n for n in names if names.count(n) > 1})]
    if spec.kubeconfig and spec.datastore != "kubernetes":
        problems.append(f"kubeconfig goes with datastore kubernetes, not with {spec.datastore}")
    if not spec.families:
        problems.append("families: at least one of 4 and 6 is needed")
    return problems


def _network_problems(spec: LabSpec) -> list[str]:
    problems: list[str] = []
    for index, node in enumerate(spec.nodes):
        if not 0 <= node.rack < MAX_RACKS:
            problems.append(f"nodes[{index}].rack {node.rack}: 0-{MAX_RACKS - 1} is needed")
    low, high = MTU_LIMITS
    if not low <= spec.mtu <= high:
        problems.append(f"mtu {spec.mtu}: {low}-{high} is needed")
    from tortie.lab.settings import problems_of_settings  # kilobytes of schema that no other command of the lab needs

    return [*problems, *problems_of_settings(spec)]


def _reference_problems(spec: LabSpec) -> list[str]:
    problems: list[str] = []
    nodes = {node.name for node in spec.nodes}
    for index, pod in enumerate(spec.pods):
        problems += check_pod(pod, where=f"pods[{index}]")
        if pod.node and pod.node not in nodes:
            problems.append(f"pods[{index}].node {pod.node!r}: no such node; there are {', '.join(sorted(nodes)) or 'none'}")
    for index, probe in enumerate(spec.probes):
        if probe.protocol != "icmp" and not 0 < probe.port < 65536:
            problems.append(f"probes[{index}].port {probe.port}: 1-65535 is needed for {probe.protocol}")
    return problems


def check_pod(pod: PodSpec, *, where: str = "pod") -> list[str]:
    """The problems of one pod's own fields."""
    problems: list[str] = []
    if not re.match(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?/[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", pod.name):
        problems.append(f"{where}.name {pod.name!r}: namespace/name is expected")
    for text in (*pod.serve, *pod.ports.values()):
        found = SERVE.match(text)
        if not found or not 0 < int(found[2]) < 65536:
            problems.append(f"{where}: port {text!r}: tcp:NUMBER or udp:NUMBER is expected")
    return problems


def default_spec(name: str, node_count: int) -> LabSpec:
    """A lab of n nodes and no pods."""
    spec = LabSpec(name=name, nodes=tuple(NodeSpec(name=f"n{number}") for number in range(1, node_count + 1)))
    check_spec(spec)
    return spec
