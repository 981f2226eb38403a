"""FelixConfiguration and the table of parameters agree, and fields become the raw texts that the agent reads."""

import pytest
from msgspec.structs import fields

from tortie.api.felix import (
    BPFConntrackTimeouts,
    FelixConfigurationSpec,
    HealthTimeoutOverride,
    ProtoPort,
    RouteTableRange,
)
from tortie.api.felix_params import BY_FIELD, BY_NAME, PARAMETERS, raw_values


def test_every_field_has_a_parameter_and_every_parameter_its_field() -> None:
    names = {field.encode_name for field in fields(FelixConfigurationSpec)}
    # nodeSelector chooses nodes; it is no parameter.
    assert names - {"nodeSelector"} == set(BY_FIELD)
    assert len(BY_NAME) == len(PARAMETERS) == 209


def test_field_names_follow_calico() -> None:
    assert {"bpfCTLBLogFilter", "ipv4NormalRoutePriority", "bpfDSROptoutCIDRs", "floatingIPs", "wireguardMTUV6"} <= set(
        BY_FIELD
    )


@pytest.mark.parametrize(
    ("spec", "raw"),
    [
        (FelixConfigurationSpec(), {}),
        (FelixConfigurationSpec(default_endpoint_to_host_action="Drop"), {"DefaultEndpointToHostAction": "Drop"}),
        (FelixConfigurationSpec(bpf_enabled=False, vxlan_vni=7), {"BPFEnabled": "false", "VXLANVNI": "7"}),
        (FelixConfigurationSpec(route_refresh_interval="1m30s"), {"RouteRefreshInterval": "90"}),
        (FelixConfigurationSpec(iptables_lock_probe_interval="50ms"), {"IptablesLockProbeIntervalMillis": "50"}),
        (FelixConfigurationSpec(nftables_mark_mask=0xFF000000), {"NftablesMarkMask": "0xff000000"}),
        (
            FelixConfigurationSpec(external_nodes_list=("10.0.0.1", "10.1.0.0/16")),
            {"ExternalNodesCIDRList": "10.0.0.1,10.1.0.0/16"},
        ),
        (FelixConfigurationSpec(failsafe_inbound_host_ports=()), {"FailsafeInboundHostPorts": "none"}),
        (
            FelixConfigurationSpec(
                failsafe_inbound_host_ports=(
                    ProtoPort(port=22),
                    ProtoPort(port=53, protocol="UDP", net="10.0.0.0/8"),
                    ProtoPort(port=1, protocol="TCP", net="fd00::/8"),
                )
            ),
            {"FailsafeInboundHostPorts": "tcp:22,udp:10.0.0.0/8:53,tcp:[fd00::/8]:1"},
        ),
        (
            FelixConfigurationSpec(route_table_ranges=(RouteTableRange(min=1, max=2), RouteTableRange(min=9, max=9))),
            {"RouteTableRanges": "1-2,9-9"},
        ),
        (FelixConfigurationSpec(route_table_range=RouteTableRange(min=1, max=250)), {"RouteTableRange": "1-250"}),
        (
            FelixConfigurationSpec(health_timeout_overrides=(HealthTimeoutOverride(name="a", timeout="1m"),)),
            {"HealthTimeoutOverrides": "a=1m"},
        ),
        (FelixConfigurationSpec(bpf_log_filters={"b": "2", "a": "1"}), {"BPFLogFilters": "a=1,b=2"}),
        (
            FelixConfigurationSpec(bpf_conntrack_timeouts=BPFConntrackTimeouts(tcp_syn_sent="5s", udp_timeout="Auto")),
            {"BPFConntrackTimeouts": "TCPSynSent=5s,UDPTimeout=Auto"},
        ),
    ],
)
def test_fields_become_raw_texts(spec: FelixConfigurationSpec, raw: dict[str, str]) -> None:
    assert raw_values(spec) == raw


def test_annotations_override_fields_but_cannot_reach_local_parameters() -> None:
    spec = FelixConfigurationSpec(interface_prefix="cali")
    annotations = {
        "config.projectcalico.org/InterfacePrefix": "tap",
        "config.projectcalico.org/DatastoreType": "kubernetes",
        "config.projectcalico.org/Unknown": "x",
        "other": "y",
    }
    assert raw_values(spec, annotations) == {"InterfacePrefix": "tap"}
