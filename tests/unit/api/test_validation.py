"""Metadata, every kind that is not a policy, and how errors reach the user."""

from typing import Any

import pytest

from tortie.api.defaults import with_defaults
from tortie.api.documents import decode, load_documents
from tortie.api.errors import ValidationError
from tortie.api.kinds import KINDS
from tortie.api.validation import check, check_document, validate

GOOD: dict[str, dict[str, Any]] = {
    "NetworkSet": {"nets": ["10.0.0.1/8", "fd00::1"]},
    "GlobalNetworkSet": {"nets": []},
    "WorkloadEndpoint": {
        "orchestrator": "k8s",
        "node": "node-1",
        "pod": "web-0",
        "endpoint": "eth0",
        "interfaceName": "cali0123456789a",
        "ipNetworks": ["10.0.0.5/32", "fd00::5"],
        "mac": "02:00:00:00:00:01",
        "profiles": ["kns.default"],
        "ports": [{"name": "http", "protocol": "TCP", "port": 80}, {"protocol": "UDP", "port": 53, "hostPort": 53}],
        "ipNATs": [{"internalIP": "10.0.0.5", "externalIP": "192.0.2.1"}],
        "ipv4Gateway": "169.254.1.1",
    },
    "HostEndpoint": {
        "node": "node-1",
        "interfaceName": "eth0",
        "expectedIPs": ["192.0.2.1", "fd00::1"],
        "profiles": ["projectcalico-default-allow"],
        "ports": [{"name": "ssh", "protocol": "TCP", "port": 22}, {"name": "ntp", "protocol": 17, "port": 123}],
    },
    "Node": {
        "bgp": {"ipv4Address": "172.18.0.2/16", "ipv6Address": "fd00::2/64", "asNumber": "1.10"},
        "addresses": [{"address": "172.18.0.2/16", "type": "CalicoNodeIP"}, {"address": "172.18.0.2", "type": "InternalIP"}],
    },
    "IPPool": {"cidr": "10.244.0.0/16", "natOutgoing": True},
    "IPReservation": {"reservedCIDRs": ["10.0.0.0/30", "10.0.0.9"]},
    "IPAMConfiguration": {"strictAffinity": True, "autoAllocateBlocks": True, "maxBlocksPerHost": 20},
    "IPAMBlock": {
        "cidr": "10.0.0.0/31",
        "affinity": "host:n1",
        "allocations": [None, 0],
        "unallocated": [0],
        "attributes": [{}],
    },
    "BlockAffinity": {"cidr": "10.0.0.0/26", "node": "n1", "state": "confirmed"},
    "BGPConfiguration": {
        "asNumber": 64512,
        "communities": [{"name": "c", "value": "1:2"}],
        "prefixAdvertisements": [{"cidr": "10.0.0.0/8", "communities": ["c", "1:2:3"]}],
        "ignoredInterfaces": ["eth*"],
    },
    "BGPPeer": {"peerIP": "[fd00::1]:179", "asNumber": 64513, "nodeSelector": "has(rr)", "reachableBy": "fd00::2"},
    "FelixConfiguration": {
        "defaultEndpointToHostAction": "accept",
        "routeRefreshInterval": "1m30s",
        "nftablesMarkMask": 0xFF000000,
    },
    "ClusterInformation": {"datastoreReady": True},
}


def _problems(kind: str, spec: dict[str, Any], *, metadata: dict[str, Any] | None = None) -> dict[str, str]:
    known = KINDS[kind]
    name = "default" if kind in ("ClusterInformation", "IPAMConfiguration", "BGPConfiguration") else "a"
    given = ({} if kind == "WorkloadEndpoint" else {"name": name}) | ({"namespace": "n"} if known.namespaced else {})
    document = {
        "apiVersion": known.api_version,
        "kind": known.document_kind,
        "metadata": given | (metadata or {}),
        "spec": spec,
    }
    return {error.path: error.reason for error in validate(with_defaults(decode(document)))}


@pytest.mark.parametrize("kind", GOOD)
def test_good_resources_are_accepted(kind: str) -> None:
    assert _problems(kind, GOOD[kind]) == {}


@pytest.mark.parametrize(
    ("kind", "change", "path", "hint"),
    [
        ("NetworkSet", {"nets": ["10.0.0.0/8", "ten"]}, "spec.nets[1]", "CIDR"),
        ("NetworkSet", {"nets": ["10.0.0.1", "10.0.0.1"]}, "spec.nets[1]", "twice"),
        ("WorkloadEndpoint", {"node": ""}, "spec.node", "is required"),
        ("WorkloadEndpoint", {"qosControls": {"dscp": "CS7"}}, "spec.qosControls.dscp", "0 to 63"),
        ("WorkloadEndpoint", {"qosControls": {"ingressPacketRate": -1}}, "spec.qosControls.ingressPacketRate", "or more"),
        ("HostEndpoint", {"node": ""}, "spec.node", "is required"),
        ("HostEndpoint", {"node": "N 1"}, "spec.node", "a-z"),
        ("HostEndpoint", {"interfaceName": "", "expectedIPs": []}, "spec.interfaceName", "unless expectedIPs is set"),
        ("HostEndpoint", {"interfaceName": "much-too-long-a-name"}, "spec.interfaceName", "1 to 15"),
        ("HostEndpoint", {"interfaceName": "eth*"}, "spec.interfaceName", "1 to 15"),
        ("HostEndpoint", {"expectedIPs": ["192.0.2.0/24"]}, "spec.expectedIPs[0]", "address"),
        ("HostEndpoint", {"expectedIPs": ["192.0.2.1", "192.0.2.1"]}, "spec.expectedIPs[1]", "twice"),
        ("HostEndpoint", {"profiles": ["a", "a"]}, "spec.profiles[1]", "twice"),
        ("HostEndpoint", {"ports": [{"name": "x", "protocol": "ICMP", "port": 1}]}, "spec.ports[0].protocol", "SCTP"),
        ("HostEndpoint", {"ports": [{"name": "x", "protocol": "UDPLite", "port": 1}]}, "spec.ports[0].protocol", "SCTP"),
        ("HostEndpoint", {"ports": [{"name": "x", "protocol": "TCP", "port": 0}]}, "spec.ports[0].port", "1 to 65535"),
        ("HostEndpoint", {"ports": [{"name": "", "protocol": "TCP", "port": 5}]}, "spec.ports[0].name", "port name"),
        ("WorkloadEndpoint", {"pod": "x-"}, "spec.pod", "a-z"),
        ("WorkloadEndpoint", {"interfaceName": "much-too-long-a-name"}, "spec.interfaceName", "1 to 15"),
        ("WorkloadEndpoint", {"mac": "02:00"}, "spec.mac", "MAC"),
        ("WorkloadEndpoint", {"ipNetworks": ["10.0.0.0/31"], "ipNATs": []}, "spec.ipNetworks[0]", "single address"),
        ("WorkloadEndpoint", {"ipv4Gateway": "fd00::1"}, "spec.ipv4Gateway", "IPv4"),
        ("WorkloadEndpoint", {"ports": [{"name": "x", "protocol": "ICMP", "port": 1}]}, "spec.ports[0].protocol", "SCTP"),
        ("WorkloadEndpoint", {"ports": [{"name": "x", "protocol": "TCP"}]}, "spec.ports[0].port", "1 to 65535"),
        ("WorkloadEndpoint", {"ports": [{"protocol": "TCP", "port": 1}]}, "spec.ports[0].name", "hostPort"),
        (
            "WorkloadEndpoint",
            {"ipNATs": [{"internalIP": "10.0.0.6", "externalIP": "192.0.2.1"}]},
            "spec.ipNATs[0].internalIP",
            "ipNetworks",
        ),
        ("WorkloadEndpoint", {"qosControls": {"dscp": 64}}, "spec.qosControls.dscp", "0 to 63"),
        ("Node", {"bgp": {}}, "spec.bgp", "is empty"),
        ("Node", {"bgp": {"ipv4Address": "fd00::1/64"}}, "spec.bgp.ipv4Address", "IPv4"),
        ("Node", {"bgp": {"ipv4Address": "10.0.0.1/24", "asNumber": "70000.1"}}, "spec.bgp.asNumber", "65535"),
        ("Node", {"addresses": [{"address": "10.0.0.1", "type": "Hostname"}]}, "spec.addresses[0].type", "CalicoNodeIP"),
        ("Node", {"vxlanTunnelMACAddr": "zz"}, "spec.vxlanTunnelMACAddr", "MAC"),
        ("IPPool", {"cidr": ""}, "spec.cidr", "is required"),
        ("IPPool", {"cidr": "10.244.1.0/16"}, "spec.cidr", "did you mean 10.244.0.0/16"),
        ("IPPool", {"cidr": "169.254.0.0/17"}, "spec.cidr", "link-local"),
        ("IPPool", {"blockSize": 19}, "spec.blockSize", "20 to 32"),
        ("IPPool", {"cidr": "fd00::/64", "blockSize": 64}, "spec.blockSize", "116 to 128"),
        ("IPPool", {"cidr": "10.0.0.0/27"}, "spec.cidr", "one block of /26"),
        ("IPPool", {"ipipMode": "Always", "vxlanMode": "Always"}, "spec.vxlanMode", "Never"),
        ("IPPool", {"cidr": "fd00::/64", "ipipMode": "Always"}, "spec.ipipMode", "IPv6"),
        ("IPPool", {"namespaceSelector": "all()"}, "spec.namespaceSelector", "Tunnel"),
        ("IPPool", {"nodeSelector": "global()"}, "spec.nodeSelector", "global()"),
        ("IPPool", {"allowedUses": ["LoadBalancer", "Workload"]}, "spec.allowedUses", "combined"),
        ("IPPool", {"allowedUses": ["LoadBalancer"], "nodeSelector": "has(x)"}, "spec.nodeSelector", "all()"),
        ("IPPool", {"allowedUses": ["LoadBalancer"], "disableBGPExport": True}, "spec.disableBGPExport", "LoadBalancer"),
        ("IPReservation", {"reservedCIDRs": ["x"]}, "spec.reservedCIDRs[0]", "CIDR"),
        ("IPAMConfiguration", {"ipCooldownSeconds": 1201}, "spec.ipCooldownSeconds", "1200"),
        ("IPAMConfiguration", {"strictAffinity": False}, "spec.maxBlocksPerHost", "strictAffinity"),
        (
            "IPAMConfiguration",
            {"strictAffinity": False, "maxBlocksPerHost": 0, "autoAllocateBlocks": False},
            "spec.autoAllocateBlocks",
            "strictAffinity",
        ),
        ("IPAMBlock", {"allocations": [None, 1]}, "spec.allocations[1]", "no attribute"),
        ("IPAMBlock", {"allocations": [None]}, "spec.allocations", "2 items"),
        ("IPAMBlock", {"affinity": "n1"}, "spec.affinity", "host:NAME"),
        ("IPAMBlock", {"unallocated": [2]}, "spec.unallocated[0]", "0 to 1"),
        ("BlockAffinity", {"type": "other"}, "spec.type", "virtual"),
        ("BlockAffinity", {"deleted": True}, "spec.deleted", "delete the resource"),
        ("BGPConfiguration", {"asNumber": "x"}, "spec.asNumber", "AS number"),
        ("BGPConfiguration", {"listenPort": 0}, "spec.listenPort", "1 to 65535"),
        ("BGPConfiguration", {"prefixAdvertisements": []}, "spec.communities", "prefixAdvertisements"),
        ("BGPConfiguration", {"communities": [{"name": "c", "value": "70000:1"}]}, "spec.communities[0].value", "65535"),
        ("BGPConfiguration", {"ignoredInterfaces": ["*"]}, "spec.ignoredInterfaces[0]", "not * alone"),
        ("BGPConfiguration", {"logSeverityScreen": "loud"}, "spec.logSeverityScreen", "Trace"),
        (
            "BGPConfiguration",
            {"nodeToNodeMeshEnabled": False, "nodeMeshMaxRestartTime": "10s"},
            "spec.nodeMeshMaxRestartTime",
            "nodeToNodeMeshEnabled",
        ),
        ("BGPConfiguration", {"nodeMeshMaxRestartTime": "soon"}, "spec.nodeMeshMaxRestartTime", "duration"),
        ("BGPPeer", {"node": "n1"}, "spec.nodeSelector", "combined with node"),
        ("BGPPeer", {"peerIP": "10.0.0.1:99999", "reachableBy": ""}, "spec.peerIP", "65535"),
        ("BGPPeer", {"peerIP": "10.0.0.1"}, "spec.reachableBy", "same IP version"),
        ("BGPPeer", {"peerIP": "", "reachableBy": ""}, "spec.peerIP", "required"),
        ("BGPPeer", {"peerIP": "", "reachableBy": "", "peerSelector": "all()"}, "spec.asNumber", "peerSelector"),
        ("BGPPeer", {"keepOriginalNextHop": True, "nextHopMode": "Self"}, "spec.nextHopMode", "keepOriginalNextHop"),
        ("FelixConfiguration", {"routeTableRange": {"min": 1, "max": 251}}, "spec.routeTableRange.max", "250"),
        ("FelixConfiguration", {"routeTableRanges": [{"min": 9, "max": 8}]}, "spec.routeTableRanges[0].max", "below min"),
        ("FelixConfiguration", {"routeTableRanges": [{"min": 1, "max": 70000}]}, "spec.routeTableRanges", "65535"),
        ("FelixConfiguration", {"natOutgoingAddress": "fd00::1"}, "spec.natOutgoingAddress", "IPv4"),
        ("FelixConfiguration", {"kubeNodePortRanges": ["http"]}, "spec.kubeNodePortRanges[0]", "range"),
        ("FelixConfiguration", {"kubeNodePortRanges": [1] * 8}, "spec.kubeNodePortRanges", "at most 7"),
        ("FelixConfiguration", {"externalNodesList": ["fd00::/8"]}, "spec.externalNodesList[0]", "IPv4"),
        ("FelixConfiguration", {"mtuIfacePattern": "("}, "spec.mtuIfacePattern", "regular expression"),
        ("FelixConfiguration", {"nftablesMarkMask": 1}, "spec.nftablesMarkMask", "two bits"),
        ("FelixConfiguration", {"interfacePrefix": "a b"}, "spec.interfacePrefix", "prefixes"),
        ("FelixConfiguration", {"healthPort": 70000}, "spec.healthPort", "65535"),
        (
            "FelixConfiguration",
            {"failsafeInboundHostPorts": [{"port": 70000}]},
            "spec.failsafeInboundHostPorts[0].port",
            "65535",
        ),
        (
            "FelixConfiguration",
            {"healthTimeoutOverrides": [{"name": "a", "timeout": "-1s"}]},
            "spec.healthTimeoutOverrides[0].timeout",
            "negative",
        ),
    ],
)
def test_bad_field_is_refused_by_name(kind: str, change: dict[str, Any], path: str, hint: str) -> None:
    found = _problems(kind, GOOD[kind] | change)
    assert list(found) == [path]
    assert hint in found[path]


def test_types_and_patterns_of_felix_fields_are_enforced_on_decoding() -> None:
    with pytest.raises(ValidationError) as caught:
        _problems(
            "FelixConfiguration",
            {"bpfEnabled": "yes", "routeRefreshInterval": "1.5s", "ipForwarding": "on", "nftablesMarkMask": -1, "nope": 1},
        )
    assert [error.path for error in caught.value.errors] == [
        "spec.bpfEnabled",
        "spec.routeRefreshInterval",
        "spec.ipForwarding",
        "spec.nftablesMarkMask",
        "spec.nope",
    ]


def test_felix_node_selector_is_for_configurations_by_selector_only() -> None:
    spec = {"nodeSelector": "all()"}
    assert _problems("FelixConfiguration", spec, metadata={"name": "racks"}) == {}
    assert list(_problems("FelixConfiguration", spec, metadata={"name": "default"})) == ["spec.nodeSelector"]
    assert list(_problems("FelixConfiguration", spec, metadata={"name": "node.n1"})) == ["spec.nodeSelector"]


def test_bgp_configuration_of_one_node_cannot_decide_for_the_cluster() -> None:
    assert _problems("BGPConfiguration", {"logSeverityScreen": "Debug"}, metadata={"name": "node.n1"}) == {}
    spec = {"asNumber": 1, "nodeToNodeMeshEnabled": True}
    assert set(_problems("BGPConfiguration", spec, metadata={"name": "node.n1"})) == {
        "spec.asNumber",
        "spec.nodeToNodeMeshEnabled",
    }
    assert list(_problems("BGPConfiguration", {}, metadata={"name": "other"})) == ["metadata.name"]


def test_name_of_a_workload_endpoint_must_follow_from_its_spec() -> None:
    spec = GOOD["WorkloadEndpoint"]
    assert _problems("WorkloadEndpoint", spec, metadata={"name": "node--1-k8s-web--0-eth0"}) == {}
    found = _problems("WorkloadEndpoint", spec, metadata={"name": "other"})
    assert found == {"metadata.name": "must be node--1-k8s-web--0-eth0, which follows from the spec"}


@pytest.mark.parametrize(
    ("kind", "metadata", "path", "hint"),
    [
        ("Tier", {"name": ""}, "metadata.name", "is required"),
        ("Tier", {"name": "", "generateName": "x-"}, "metadata.name", "generateName"),
        ("Tier", {"name": "a.b"}, "metadata.name", "63"),
        ("Tier", {"namespace": "n"}, "metadata.namespace", "not a namespaced"),
        ("IPPool", {"name": "Upper"}, "metadata.name", "a-z"),
        ("IPPool", {"name": "a" * 254}, "metadata.name", "253"),
        ("IPPool", {"name": "a..b"}, "metadata.name", "each part"),
        ("NetworkPolicy", {"name": "a.b.c"}, "metadata.name", "one dot"),
        ("GlobalNetworkPolicy", {"name": "knp.default.x"}, "metadata.name", "one dot"),
        ("NetworkPolicy", {"namespace": ""}, "metadata.namespace", "is required"),
        ("NetworkPolicy", {"namespace": "A"}, "metadata.namespace", "63"),
        (
            "NetworkSet",
            {"labels": {"projectcalico.org/namespace": "n"}},
            "metadata.labels['projectcalico.org/namespace']",
            "system",
        ),
        ("Tier", {"labels": {"a": "b c"}}, "metadata.labels.a", "value"),
        ("Tier", {"labels": {"a/b/c": ""}}, "metadata.labels['a/b/c']", "each part"),
        ("Tier", {"annotations": {"a": "x" * 262145}}, "metadata.annotations", "262144"),
        ("ClusterInformation", {"name": "other"}, "metadata.name", "default"),
        ("IPAMConfiguration", {"name": "other"}, "metadata.name", "default"),
        ("Namespace", {"name": "a.b"}, "metadata.name", "63"),
    ],
)
def test_bad_metadata_is_refused(kind: str, metadata: dict[str, Any], path: str, hint: str) -> None:
    given = {"IPPool": GOOD["IPPool"]}.get(kind, {})
    found = _problems(kind, given, metadata=metadata)
    assert list(found) == [path]
    assert hint in found[path]


@pytest.mark.parametrize("name", ["a", "tier.a", "knp.default.a.b.c", "ossg.default.x"])
def test_names_of_network_policies(name: str) -> None:
    assert _problems("NetworkPolicy", {}, metadata={"name": name}) == {}


KUBERNETES_POLICY: dict[str, Any] = {
    "podSelector": {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "c", "operator": "Exists"}]},
    "policyTypes": ["Ingress", "Egress"],
    "ingress": [
        {
            "from": [{"podSelector": {}}, {"ipBlock": {"cidr": "10.0.0.1/8", "except": ["10.1.0.0/16"]}}],
            "ports": [{"port": 80}, {"port": "http"}, {"protocol": "UDP", "port": 1, "endPort": 5}, {}],
        }
    ],
}


@pytest.mark.parametrize("spec", [{"interfaceName": "*"}, {"expectedIPs": ["fd00::1"]}])
def test_a_host_endpoint_needs_one_way_to_find_its_interface(spec: dict[str, Any]) -> None:
    assert _problems("HostEndpoint", {"node": "node-1"} | spec) == {}


def test_fields_of_a_host_endpoints_port_that_are_missing_are_named() -> None:
    with pytest.raises(ValidationError) as caught:
        _problems("HostEndpoint", {"node": "n", "interfaceName": "*", "ports": [{}]})
    assert [error.path for error in caught.value.errors] == [f"spec.ports[0].{name}" for name in ("name", "protocol", "port")]


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ({"addressType": "IPv4", "endpoints": [{"addresses": ["fd00::1"]}]}, "endpoints[0].addresses[0]"),
        ({"addressType": "IPv6", "endpoints": [{"addresses": ["fd00::1"]}, {}]}, "endpoints[1].addresses"),
        ({"addressType": "IPX"}, "addressType"),
        ({"addressType": "IPv4", "ports": [{"port": 0}]}, "ports[0].port"),
        ({"addressType": "IPv4", "ports": [{"port": 1, "protocol": "tcp"}]}, "ports[0].protocol"),
    ],
)
def test_a_bad_endpoint_slice_is_refused_at_its_field(document: dict[str, Any], path: str) -> None:
    head = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "s", "namespace": "n"}}
    assert [error.path for error in validate(decode(head | document))] == [path]


def test_a_slice_of_names_and_one_without_port_numbers_are_none_of_our_business() -> None:
    head = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "s", "namespace": "n"}}
    named = {"addressType": "FQDN", "endpoints": [{"addresses": ["db.example.org"], "zone": "a"}], "ports": [{"name": "x"}]}
    assert validate(decode(head | named)) == []


def test_a_service_may_be_headless_and_its_addresses_are_addresses() -> None:
    head = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "n"}}
    headless = {"clusterIP": "None", "clusterIPs": ["None"], "sessionAffinity": "None", "ports": [{"port": 80}]}
    assert validate(decode(head | {"spec": headless})) == []
    bad = {"clusterIP": "ten", "externalIPs": ["10.0.0.0/8"], "ports": [{"port": 0}]}
    assert [error.path for error in validate(decode(head | {"spec": bad}))] == [
        "spec.clusterIP",
        "spec.externalIPs[0]",
        "spec.ports[0].port",
    ]


def test_good_kubernetes_policy_is_accepted() -> None:
    assert _problems("KubernetesNetworkPolicy", KUBERNETES_POLICY) == {}


@pytest.mark.parametrize(
    ("change", "path", "hint"),
    [
        ({"policyTypes": ["ingress"]}, "spec.policyTypes[0]", "Ingress or Egress"),
        ({"policyTypes": ["Egress", "Egress"]}, "spec.policyTypes[1]", "twice"),
        ({"podSelector": {"matchLabels": {"a": "b!"}}}, "spec.podSelector.matchLabels.a", "value"),
        (
            {"podSelector": {"matchExpressions": [{"key": "a", "operator": "in", "values": ["x"]}]}},
            "spec.podSelector.matchExpressions[0].operator",
            "NotIn",
        ),
        (
            {"podSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}},
            "spec.podSelector.matchExpressions[0].values",
            "required",
        ),
        (
            {"podSelector": {"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["x"]}]}},
            "spec.podSelector.matchExpressions[0].values",
            "empty",
        ),
        ({"ingress": [{"from": [{}]}]}, "spec.ingress[0].from[0]", "podSelector, namespaceSelector or ipBlock"),
        (
            {"egress": [{"to": [{"podSelector": {}, "ipBlock": {"cidr": "10.0.0.0/8"}}]}]},
            "spec.egress[0].to[0].ipBlock",
            "combined",
        ),
        ({"egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.1"}}]}]}, "spec.egress[0].to[0].ipBlock.cidr", "10.0.0.1/32"),
        (
            {"egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/16"]}}]}]},
            "spec.egress[0].to[0].ipBlock.except[0]",
            "inside 10.0.0.0/8",
        ),
        ({"ingress": [{"ports": [{"port": 0}]}]}, "spec.ingress[0].ports[0].port", "1 to 65535"),
        ({"ingress": [{"ports": [{"port": "80"}]}]}, "spec.ingress[0].ports[0].port", "without quotes"),
        ({"ingress": [{"ports": [{"protocol": "ICMP"}]}]}, "spec.ingress[0].ports[0].protocol", "SCTP"),
        ({"ingress": [{"ports": [{"port": 9, "endPort": 8}]}]}, "spec.ingress[0].ports[0].endPort", "9 to 65535"),
        ({"ingress": [{"ports": [{"endPort": 8}]}]}, "spec.ingress[0].ports[0].endPort", "numeric port"),
    ],
)
def test_bad_kubernetes_policy_is_refused(change: dict[str, Any], path: str, hint: str) -> None:
    found = _problems("KubernetesNetworkPolicy", {"podSelector": {}} | change)
    assert list(found) == [path]
    assert hint in found[path]


def test_pods_are_checked_as_far_as_they_are_read() -> None:
    spec = {"containers": [{"name": "c", "ports": [{"containerPort": 0}, {"containerPort": 1, "protocol": "tcp"}]}]}
    assert set(_problems("Pod", spec)) == {
        "spec.containers[0].ports[0].containerPort",
        "spec.containers[0].ports[1].protocol",
    }


def test_check_returns_the_resource_with_defaults_or_raises_with_lines() -> None:
    text = (
        "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata:\n  name: p\nspec:\n  cidr: 10.0.0.0/16\n"
        "  vxlanMode: Always\n  ipipMode: Always\n"
    )
    (document,) = load_documents(text, origin="pool.yaml")
    with pytest.raises(ValidationError) as caught:
        check_document(document)
    assert str(caught.value) == (
        "error with field spec.vxlanMode = 'Always' (must be Never while ipipMode is not) at pool.yaml:7"
    )
    with pytest.raises(ValidationError):
        check(document.resource)
    (good,) = load_documents(text.replace("  ipipMode: Always\n", ""))
    assert check_document(good) == check(good.resource) == with_defaults(good.resource)


def test_error_in_a_missing_field_has_the_line_of_what_surrounds_it() -> None:
    text = "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata:\n  name: p\nspec:\n  natOutgoing: true\n"
    with pytest.raises(ValidationError, match=r"spec\.cidr \(is required\) at p\.yaml:5"):
        check_document(load_documents(text, origin="p.yaml")[0])
