"""What this release does not act on is refused by name; nothing in the api is forgotten."""

from collections.abc import Iterator

import msgspec
import pytest
from msgspec import inspect

from tortie.api import felix_params
from tortie.api.bgp import (
    BGPConfiguration,
    BGPConfigurationSpec,
    BGPPassword,
    BGPPeer,
    BGPPeerSpec,
    SecretKeyRef,
    ServiceCIDR,
)
from tortie.api.controllers import (
    Controllers,
    KubeControllersConfiguration,
    KubeControllersConfigurationSpec,
    KubeControllersConfigurationStatus,
    ReconciledController,
)
from tortie.api.defaults import with_defaults
from tortie.api.documents import decode
from tortie.api.endpoint import IPNAT, QoSControls, WorkloadEndpoint, WorkloadEndpointSpec
from tortie.api.felix import FelixConfiguration, FelixConfigurationSpec, ProtoPort
from tortie.api.hostendpoint import HostEndpoint, HostEndpointSpec
from tortie.api.ippool import IPPool, IPPoolSpec
from tortie.api.kinds import KINDS
from tortie.api.policy import (
    EntityRule,
    GlobalNetworkPolicy,
    GlobalNetworkPolicySpec,
    HTTPMatch,
    ICMPFields,
    NetworkPolicy,
    NetworkPolicySpec,
    Rule,
    RuleMetadata,
    ServiceAccountMatch,
    ServiceMatch,
)
from tortie.api.resource import Metadata, Resource
from tortie.api.staged import (
    StagedGlobalNetworkPolicy,
    StagedGlobalNetworkPolicySpec,
    StagedNetworkPolicy,
    StagedNetworkPolicySpec,
)
from tortie.dataplane.enforcement import RELEASE, TABLE, unenforced
from tortie.dataplane.render.config import parse


def _structs() -> Iterator[type[msgspec.Struct]]:
    """Every struct that a user can write, without metadata and status."""
    seen: set[type[msgspec.Struct]] = set()
    todo: list[inspect.Type] = [
        field.type
        for kind in KINDS.values()
        for field in _fields(kind.struct)
        if field.name not in ("metadata", "status", "kind", "api_version")
    ]
    while todo:
        match todo.pop():
            case inspect.UnionType(types):
                todo += types
            case inspect.VarTupleType(item_type):
                todo.append(item_type)
            case inspect.DictType(value_type=value_type):
                todo.append(value_type)
            case inspect.StructType(cls) if cls not in seen:
                seen.add(cls)
                todo += [field.type for field in _fields(cls)]
                yield cls


def _fields(struct: type[msgspec.Struct]) -> tuple[inspect.Field, ...]:
    type_ = inspect.type_info(struct)
    assert isinstance(type_, inspect.StructType)
    return type_.fields


def test_every_field_of_the_api_is_either_enforced_or_refused() -> None:
    for struct in _structs():
        assert struct in TABLE, f"{struct.__name__} is missing in the table of what is enforced"
        coverage = TABLE[struct]
        classified = sorted([*coverage.enforced, *coverage.refused])
        assert classified == sorted(struct.__struct_fields__), struct.__name__


def test_a_kind_that_nothing_acts_on_is_refused_by_its_fields_but_not_for_what_was_reported() -> None:
    asked = KubeControllersConfigurationSpec(controllers=Controllers(namespace=ReconciledController(reconciler_period="5m")))
    configuration = KubeControllersConfiguration(
        metadata=Metadata(name="default"), spec=asked, status=KubeControllersConfigurationStatus(running_config=asked)
    )
    assert [error.path for error in unenforced(with_defaults(configuration))] == ["spec.controllers"]


def test_the_table_names_no_struct_that_is_gone() -> None:
    reachable = set(_structs()) | {kind.struct for kind in KINDS.values()}
    assert set(TABLE) <= reachable


def test_everything_in_the_kernel_path_is_accepted() -> None:
    entity = EntityRule(
        nets=("10.0.0.0/8",),
        not_nets=("10.1.0.0/16",),
        selector="all()",
        not_selector="has(x)",
        namespace_selector="all()",
        ports=(80, "1:2", "http"),
        not_ports=(81,),
        service_accounts=ServiceAccountMatch(names=("a",), selector="all()"),
        services=ServiceMatch(name="s", namespace="n"),
    )
    rule = Rule(
        action="Log",
        ip_version=4,
        protocol="TCP",
        not_protocol=132,
        icmp=ICMPFields(type=8),
        not_icmp=ICMPFields(type=8, code=0),
        source=entity,
        destination=entity,
        metadata=RuleMetadata(annotations={"a": "b"}),
    )
    spec = NetworkPolicySpec(tier="t", order=1, selector="all()", types=("Ingress",), ingress=(rule,), egress=(rule,))
    assert unenforced(NetworkPolicy(metadata=Metadata(name="p", labels={"a": "b"}), spec=spec)) == []


@pytest.mark.parametrize(
    ("resource", "paths"),
    [
        (
            NetworkPolicy(
                spec=NetworkPolicySpec(
                    ingress=(Rule(action="Allow"), Rule(action="Allow", http=HTTPMatch(methods=("GET",)))),
                    egress=(Rule(action="Allow", destination=EntityRule(services=ServiceMatch(name="s"))),),
                )
            ),
            ["spec.ingress[1].http"],
        ),
        (GlobalNetworkPolicy(spec=GlobalNetworkPolicySpec(do_not_track=True, apply_on_forward=True)), []),
        (GlobalNetworkPolicy(spec=GlobalNetworkPolicySpec(pre_dnat=True, apply_on_forward=True)), []),
        (StagedGlobalNetworkPolicy(spec=StagedGlobalNetworkPolicySpec(pre_dnat=True, staged_action="Learn")), []),
        (
            StagedNetworkPolicy(spec=StagedNetworkPolicySpec(ingress=(Rule(action="Allow", http=HTTPMatch()),))),
            ["spec.ingress[0].http"],
        ),
        (HostEndpoint(spec=HostEndpointSpec(node="n", interface_name="*", expected_ips=("10.0.0.1",), profiles=("p",))), []),
        (IPPool(spec=IPPoolSpec(ipip_mode="Always")), []),
        (IPPool(spec=IPPoolSpec(vxlan_mode="CrossSubnet")), []),
        (IPPool(spec=IPPoolSpec(ipip_mode="Never", vxlan_mode="Never", nat_outgoing=True)), []),
        (
            WorkloadEndpoint(
                spec=WorkloadEndpointSpec(
                    ip_nats=(IPNAT(internal_ip="10.0.0.1", external_ip="10.0.0.2"),),
                    qos_controls=QoSControls(ingress_bandwidth=1, egress_packet_rate=1, dscp="EF"),
                    allow_spoofed_source_prefixes=("10.0.0.0/8",),
                )
            ),
            [],
        ),
        (WorkloadEndpoint(spec=WorkloadEndpointSpec(qos_controls=QoSControls())), []),
        (
            BGPConfiguration(
                spec=BGPConfigurationSpec(
                    as_number=1, bind_mode="NodeIP", node_mesh_password=BGPPassword(secret_key_ref=SecretKeyRef(key="k"))
                )
            ),
            [],
        ),
        (BGPConfiguration(spec=BGPConfigurationSpec(bind_mode="None", node_to_node_mesh_enabled=False, listen_port=178)), []),
        (
            BGPConfiguration(spec=BGPConfigurationSpec(service_cluster_ips=(ServiceCIDR(cidr="10.96.0.0/12"),))),
            [],
        ),
        (
            BGPPeer(spec=BGPPeerSpec(local_workload_selector="all()", filters=("f",), local_as_number=5)),
            [],
        ),
        (BGPPeer(spec=BGPPeerSpec(peer_ip="10.0.0.1", as_number=1, ttl_security=1, next_hop_mode="Self")), []),
        (
            FelixConfiguration(spec=FelixConfigurationSpec(bpf_enabled=True, wireguard_enabled=True, interface_prefix="tap")),
            ["spec.bpfEnabled"],
        ),
    ],
)
def test_fields_are_refused_by_name_and_release(resource: Resource, paths: list[str]) -> None:
    errors = unenforced(resource)
    assert sorted(error.path for error in errors) == sorted(paths)
    assert all(f"({RELEASE})" in error.reason and "; pass --allow-unenforced" in error.reason for error in errors)


def test_a_field_with_an_effect_of_its_own_says_which() -> None:
    document = {
        "apiVersion": "policy.networking.k8s.io/v1alpha2",
        "kind": "ClusterNetworkPolicy",
        "metadata": {"name": "p"},
        "spec": {
            "tier": "Admin",
            "priority": 1,
            "subject": {"namespaces": {}},
            "egress": [
                {"action": "Deny", "to": [{"namespaces": {}}, {"nodes": {}}, {"networks": ["10.0.0.0/8"]}]},
                {"action": "Accept", "to": [{"domainNames": ["example.org"]}], "protocols": [{"tcp": {}}]},
            ],
        },
    }
    errors = unenforced(decode(document))
    assert [error.path for error in errors] == ["spec.egress[0].to[1].nodes", "spec.egress[1].to[0].domainNames"]
    assert all("the rule denies everything" in error.reason for error in errors)


def test_felix_parameters_of_host_endpoints_and_of_sources_are_acted_on() -> None:
    spec = FelixConfigurationSpec(
        failsafe_inbound_host_ports=(),
        failsafe_outbound_host_ports=(ProtoPort(port=53, protocol="UDP", net="10.0.0.0/8"),),
        service_loop_prevention="Reject",
        workload_source_spoofing="Any",
        nftables_filter_allow_action="Return",
        nftables_mangle_allow_action="Return",
        nftables_mark_mask=0xFF000000,
        external_nodes_list=("192.0.2.0/24",),
        vxlan_port=8472,
    )
    assert unenforced(FelixConfiguration(spec=spec)) == []
    parsed = parse(felix_params.raw_values(spec))
    assert (parsed.failsafe_in, parsed.service_loop, parsed.source_spoofing, parsed.vxlan_port) == ((), "REJECT", True, 8472)
    assert [(str(port.net), port.protocol, port.port) for port in parsed.failsafe_out] == [("10.0.0.0/8", 17, 53)]
    assert [str(net) for net in parsed.external_nodes] == ["192.0.2.0/24"]


def test_felix_fields_set_to_what_holds_anyway_ask_nothing() -> None:
    spec = FelixConfigurationSpec(
        bpf_enabled=False,
        iptables_refresh_interval="3m",
        chain_insert_mode="Insert",
        iptables_mark_mask=0xFFFF0000,
        ipv6_support=True,
    )
    assert [error.path for error in unenforced(FelixConfiguration(spec=spec))] == []


def test_defaults_that_we_fill_in_ourselves_are_never_refused() -> None:
    metadata: dict[str, str] = {"name": "a"}
    for kind in ("NetworkPolicy", "GlobalNetworkPolicy", "Tier", "IPPool", "FelixConfiguration", "BGPConfiguration", "Node"):
        resource = decode({"apiVersion": KINDS[kind].api_version, "kind": kind, "metadata": metadata})
        assert unenforced(with_defaults(resource)) == [], kind


@pytest.mark.parametrize(
    ("field", "value", "fix"),
    [
        ("vxlanVNI", 1 << 24, "use 1 to 16777215"),
        ("vxlanVNI", 0, "use 1 to 16777215"),
        ("vxlanPort", 65536, "use 1 to 65535"),
        ("wireguardListeningPort", 0, "use 1 to 65535"),
        ("wireguardListeningPortV6", -1, "use 1 to 65535"),
        ("vxlanMTU", -1, "use 0 (found by itself), or"),
        ("ipipMTU", 70000, "use 0 (found by itself), or"),
        ("wireguardMTU", -1500, "use 0 (found by itself), or"),
        ("deviceRouteProtocol", 256, "use a number from 3 to 255"),
    ],
)
def test_a_value_that_would_make_every_agent_not_ready_is_refused_with_what_is_possible(
    field: str, value: int, fix: str
) -> None:
    """Calico's API takes any number there, so ours does; the command line is where somebody reads why it is none."""
    spec = msgspec.convert({field: value}, FelixConfigurationSpec)
    (error,) = unenforced(FelixConfiguration(metadata=Metadata(name="default"), spec=spec))
    assert str(error).startswith(f"spec.{field}")
    assert fix in str(error)
    assert "--allow-unenforced" in str(error)


def test_values_at_the_limits_are_accepted() -> None:
    spec = FelixConfigurationSpec(vxlan_vni=(1 << 24) - 1, vxlan_port=65535, vxlan_mtu=0, device_route_protocol=255)
    assert unenforced(FelixConfiguration(metadata=Metadata(name="default"), spec=spec)) == []
