"""The table of configuration keys: complete, told apart, and obeyed."""

import json
from pathlib import Path
from typing import Any

import pytest

from tortie.cni.config import AddressManager, parse_config
from tortie.cni.config_keys import KEYS, SILENT, Handling, survey
from tortie.cni.errors import CniError

CALICOS = """
cniVersion name type ipam ipam.type ipam.subnet ipam.assign_ipv4 ipam.assign_ipv6 ipam.ipv4_pools ipam.ipv6_pools mtu
require_mtu_file num_queues nodename nodename_file nodename_file_optional ipam_lock_file datastore_type etcd_endpoints
etcd_discovery_srv etcd_scheme etcd_key_file etcd_cert_file etcd_ca_cert_file log_level log_file_path log_file_max_size
log_file_max_age log_file_max_count policy policy.type policy.k8s_api_root policy.k8s_auth_token policy.k8s_client_certificate
policy.k8s_client_key policy.k8s_certificate_authority kubernetes kubernetes.k8s_api_root kubernetes.kubeconfig
kubernetes.node_name feature_control feature_control.ip_addrs_no_ipam feature_control.floating_ips container_settings
container_settings.allow_ip_forwarding include_default_routes dataplane_options device_type readiness_gates
policy_setup_timeout_seconds endpoint_status_dir calico_api_group qps burst mode vxlan_mac_prefix vxlan_vni args hostname
etcd_authority windows_use_single_network windows_disable_host_subnet_nat_rule
"""
"""kube-controllers.md, section 8."""

SPECIFICATIONS = "prevResult runtimeConfig capabilities cni.dev/valid-attachments disableCheck disableGC dns"

OF_TYPE: dict[type, Any] = {str: "x", int: 3, bool: True, dict: {"a": 1}, list: ["x"], object: "true"}
GOOD: dict[str, Any] = {"cniVersion": "1.0.0", "name": "net", "type": "calico", "ipam": {"type": "calico-ipam"}}


def nested(key: str, value: Any) -> dict[str, Any]:
    outer, dot, inner = key.partition(".")
    return {outer: {inner: value}} if dot and outer != "cni" else {key: value}


@pytest.mark.parametrize("key", [*CALICOS.split(), *SPECIFICATIONS.split()])
def test_every_key_of_calico_and_of_the_specification_has_its_place(key: str) -> None:
    assert key in KEYS


@pytest.mark.parametrize("key", [key for key, found in KEYS.items() if found.handling is not Handling.EFFECTIVE])
def test_what_has_no_effect_says_why(key: str) -> None:
    assert len(KEYS[key].reason) > 10


@pytest.mark.parametrize("key", [key for key, found in KEYS.items() if found.handling is Handling.IGNORED])
def test_an_ignored_key_is_reported_with_its_reason_unless_a_runtime_adds_it(key: str) -> None:
    found = survey(nested(key, OF_TYPE[KEYS[key].kind]), foreign_ipam=False)
    assert ((key, KEYS[key].reason) in found.ignored) == (key not in SILENT)
    if KEYS[key].kind is not dict:
        assert found.unknown == ()


@pytest.mark.parametrize("key", [key for key, found in KEYS.items() if found.kind is not object])
def test_a_value_of_another_type_is_refused_by_name(key: str) -> None:
    wrong = 3 if KEYS[key].kind is not int else "3"
    with pytest.raises(CniError, match=key.replace(".", r"\.")) as caught:
        survey(nested(key, wrong), foreign_ipam=False)
    assert caught.value.code == 7


def test_netkit_is_refused_and_veth_is_fine() -> None:
    assert survey({"device_type": "veth"}, foreign_ipam=False).ignored == ()
    with pytest.raises(CniError, match="only veth"):
        survey({"device_type": "netkit"}, foreign_ipam=False)


EFFECTS: list[tuple[dict[str, Any], str, Any]] = [
    ({"mtu": 1400}, "mtu", 1400),
    ({"require_mtu_file": True}, "require_mtu_file", True),
    ({"num_queues": 4}, "num_queues", 4),
    ({"nodename": "n1"}, "nodename", "n1"),
    ({"policy_setup_timeout_seconds": 7}, "policy_timeout_seconds", 7.0),
    ({"policy_setup_timeout_action": "proceed"}, "fail_without_policy", False),
    ({"container_settings": {"allow_ip_forwarding": True}}, "allow_ip_forwarding", True),
    ({"feature_control": {"ip_addrs_no_ipam": True}}, "addresses_without_ipam", True),
    ({"feature_control": {"floating_ips": True}}, "floating_addresses", True),
    ({"include_default_routes": True}, "default_routes", True),
    ({"readiness_gates": ["http://127.0.0.1/x"]}, "readiness_gates", ("http://127.0.0.1/x",)),
    ({"cni.dev/valid-attachments": []}, "valid_attachments", frozenset()),
]


@pytest.mark.parametrize(("more", "field", "value"), EFFECTS)
def test_an_effective_key_becomes_a_value(more: dict[str, Any], field: str, value: Any) -> None:
    assert getattr(parse_config(json.dumps(GOOD).encode()), field) != value
    assert getattr(parse_config(json.dumps({**GOOD, **more}).encode()), field) == value


@pytest.mark.parametrize(
    ("more", "word"),
    [
        ({"policy_setup_timeout_action": "wait"}, "policy_setup_timeout_action"),
        ({"readiness_gates": ["ftp://x"]}, "readiness_gates"),
        ({"num_queues": 1000}, "num_queues"),
        ({"ipam": {"type": "calico-ipam", "routes": [{"gw": "10.0.0.1"}]}}, r"ipam\.routes"),
    ],
)
def test_a_value_out_of_range_is_named(more: dict[str, Any], word: str) -> None:
    with pytest.raises(CniError, match=word):
        parse_config(json.dumps({**GOOD, **more}).encode())


def test_host_locals_own_keys_are_its_own_business() -> None:
    ipam = {"type": "host-local", "subnet": "usePodCidr", "dataDir": "/x", "resolvConf": "/y"}
    found = parse_config(json.dumps({**GOOD, "ipam": ipam}).encode())
    assert found.ipam.manager is AddressManager.HOST_LOCAL
    assert (found.unknown_keys, found.ignored_keys) == ((), ())


def test_as_an_ipam_plugin_we_do_not_judge_the_keys_of_the_plugin_that_calls() -> None:
    text = json.dumps({**GOOD, "type": "bridge", "mtu": "strange", "isGateway": True}).encode()
    found = parse_config(text, program="calico-ipam")
    assert (found.ipam_only, found.unknown_keys, found.ignored_keys) == (True, (), ())
    with pytest.raises(CniError, match="type"):
        parse_config(text, program="calico")


def test_the_manual_names_every_key() -> None:
    manual = (Path(__file__).parents[3] / "docs" / "cni.md").read_text(encoding="utf-8")
    assert [key for key in KEYS if f"`{key}`" not in manual] == []
