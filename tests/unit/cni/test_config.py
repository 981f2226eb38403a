"""Environment and network configuration: what is accepted, what is refused and how it is named."""

import json
from typing import Any

import pytest

from tortie.base.net import parse_address
from tortie.cni.config import DEFAULT_POLICY_TIMEOUT_SECONDS, IpamConfig, parse_config, parse_request
from tortie.cni.errors import CniError
from tortie.cni.result import Wired, parse_previous

GOOD: dict[str, Any] = {
    "cniVersion": "1.0.0",
    "name": "k8s-pod-network",
    "type": "calico",
    "ipam": {"type": "calico-ipam"},
}
ENVIRONMENT = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c1", "CNI_NETNS": "/run/netns/x", "CNI_IFNAME": "eth0"}


def config_of(**more: Any) -> bytes:
    return json.dumps({**GOOD, **more}).encode()


def test_defaults_are_calicos() -> None:
    found = parse_config(config_of())
    assert found.ipam == IpamConfig(assign_ipv4=True, assign_ipv6=False)
    assert (found.mtu, found.nodename, found.allow_ip_forwarding) == (0, "", False)
    assert found.policy_timeout_seconds == DEFAULT_POLICY_TIMEOUT_SECONDS
    assert found.unknown_keys == ()


def test_calicos_own_configuration_is_accepted_and_what_has_no_effect_is_named() -> None:
    text = config_of(
        log_level="info",
        log_file_path="/var/log/calico/cni/cni.log",
        datastore_type="kubernetes",
        nodename="node1",
        mtu=1440,
        ipam={"type": "calico-ipam", "assign_ipv4": "false", "assign_ipv6": "TRUE", "ipv6_pools": ["fd00::/64", "named"]},
        container_settings={"allow_ip_forwarding": True},
        policy={"type": "k8s"},
        kubernetes={"kubeconfig": "/etc/cni/net.d/calico-kubeconfig"},
        runtimeConfig={"portMappings": []},
        policy_setup_timeout_seconds=3,
    )
    found = parse_config(text)
    assert {key for key, _ in found.ignored_keys} >= {"log_file_path", "datastore_type", "policy.type", "kubernetes.kubeconfig"}
    assert found.ipam == IpamConfig(assign_ipv4=False, assign_ipv6=True, ipv6_pools=("fd00::/64", "named"))
    assert (found.mtu, found.nodename, found.allow_ip_forwarding, found.policy_timeout_seconds) == (1440, "node1", True, 3.0)
    assert found.unknown_keys == ()


def test_unknown_keys_are_tolerated_and_named() -> None:
    found = parse_config(config_of(mtuu=1400, ipam={"type": "calico-ipam", "assign_ipv5": "true"}))
    assert found.unknown_keys == ("ipam.assign_ipv5", "mtuu")


@pytest.mark.parametrize(
    ("more", "code", "word"),
    [
        ({"cniVersion": "0.2.0"}, 1, "0.2.0"),
        ({"cniVersion": "2.0.0"}, 1, "supported versions"),
        ({"cniVersion": None}, 1, "0.2.0"),
        ({"cniVersion": 1}, 7, "cniVersion"),
        ({"name": ""}, 7, "name"),
        ({"name": "a/b"}, 7, "name"),
        ({"type": "bridge"}, 7, "type"),
        ({"ipam": {"type": "dhcp"}}, 7, "ipam.type"),
        ({"ipam": []}, 7, "ipam"),
        ({"ipam": {"type": "calico-ipam", "assign_ipv4": "maybe"}}, 7, "ipam.assign_ipv4"),
        ({"ipam": {"type": "calico-ipam", "assign_ipv4": "false"}}, 7, "needs an address"),
        ({"ipam": {"type": "calico-ipam", "ipv4_pools": "10.0.0.0/8"}}, 7, "ipam.ipv4_pools"),
        ({"mtu": 10}, 7, "mtu"),
        ({"mtu": True}, 7, "mtu"),
        ({"mtu": "1500"}, 7, "mtu"),
        ({"policy_setup_timeout_seconds": -1}, 7, "policy_setup_timeout_seconds"),
        ({"container_settings": {"allow_ip_forwarding": "yes"}}, 7, "container_settings.allow_ip_forwarding"),
        ({"cni.dev/valid-attachments": [{"ifname": "eth0"}]}, 7, "cni.dev/valid-attachments"),
        ({"prevResult": "x"}, 7, "prevResult"),
    ],
)
def test_what_is_wrong_is_named_with_the_specifications_code(more: dict[str, Any], code: int, word: str) -> None:
    with pytest.raises(CniError) as caught:
        parse_config(config_of(**more))
    assert caught.value.code == code
    assert word in str(caught.value)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b"\xff{}", b'"x"'])
def test_what_is_no_json_object_cannot_be_decoded(text: bytes) -> None:
    with pytest.raises(CniError) as caught:
        parse_config(text)
    assert caught.value.code == 6


def test_a_very_long_policy_timeout_is_cut_to_what_a_runtime_waits_for() -> None:
    assert parse_config(config_of(policy_setup_timeout_seconds=3600)).policy_timeout_seconds == 60.0


def test_valid_attachments_tell_absent_from_empty() -> None:
    assert parse_config(config_of()).valid_attachments is None
    assert parse_config(config_of(**{"cni.dev/valid-attachments": []})).valid_attachments == frozenset()


def test_the_pod_is_read_from_the_arguments() -> None:
    arguments = "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web;K8S_POD_INFRA_CONTAINER_ID=c1"
    found = parse_request({**ENVIRONMENT, "CNI_ARGS": arguments})
    assert (found.namespace, found.pod, found.command, found.interface) == ("shop", "web", "ADD", "eth0")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"CNI_COMMAND": ""}, "CNI_COMMAND"),
        ({"CNI_COMMAND": "add"}, "CNI_COMMAND"),
        ({"CNI_CONTAINERID": ""}, "CNI_CONTAINERID"),
        ({"CNI_CONTAINERID": "../x"}, "CNI_CONTAINERID"),
        ({"CNI_IFNAME": ""}, "CNI_IFNAME"),
        ({"CNI_IFNAME": "x" * 16}, "CNI_IFNAME"),
        ({"CNI_IFNAME": "a b"}, "CNI_IFNAME"),
        ({"CNI_NETNS": ""}, "CNI_NETNS"),
        ({"CNI_ARGS": "K8S_POD_NAME"}, "CNI_ARGS"),
    ],
)
def test_a_wrong_variable_is_named(change: dict[str, str], word: str) -> None:
    with pytest.raises(CniError) as caught:
        parse_request({**ENVIRONMENT, **change})
    assert caught.value.code == 4
    assert word in str(caught.value)


def test_del_needs_no_namespace_and_status_nothing() -> None:
    assert parse_request({**ENVIRONMENT, "CNI_COMMAND": "DEL", "CNI_NETNS": ""}).netns == ""
    assert parse_request({"CNI_COMMAND": "STATUS"}).container_id == ""


def test_an_error_document_has_the_specifications_keys() -> None:
    assert CniError(7, "what", "why").document("1.0.0") == {"cniVersion": "1.0.0", "code": 7, "msg": "what", "details": "why"}
    assert "details" not in CniError(7, "what").document("1.0.0")


# ---- results ----
WIRED = Wired(
    host_device="cali1",
    host_mac="ee:ee:ee:ee:ee:ee",
    device="eth0",
    mac="02:00:00:00:00:01",
    mtu=1500,
    netns="/run/netns/x",
    addresses=(parse_address("10.0.0.1"), parse_address("fd00::1")),
)


@pytest.mark.parametrize("version", ["0.3.1", "1.0.0", "1.1.0"])
def test_a_result_can_be_read_back_as_a_previous_one(version: str) -> None:
    found = parse_previous(WIRED.document(version), "eth0")
    assert (found.host_device, found.mac, found.addresses) == ("cali1", WIRED.mac, frozenset(WIRED.addresses))


def test_a_previous_result_with_other_plugins_interfaces_gives_only_ours() -> None:
    document = WIRED.document("1.0.0")
    document["interfaces"].append({"name": "net1", "sandbox": "/run/netns/x"})
    document["ips"].append({"address": "192.0.2.1/24", "interface": 2})
    assert parse_previous(document, "eth0").addresses == frozenset(WIRED.addresses)


@pytest.mark.parametrize(
    "change", [{"interfaces": []}, {"interfaces": [{}]}, {"ips": [{"address": "x", "interface": 1}]}, {"ips": [1]}]
)
def test_a_previous_result_that_is_none_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(CniError, match="prevResult"):
        parse_previous({**WIRED.document("1.0.0"), **change}, "eth0")
