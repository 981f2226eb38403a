"""What writes a DSCP into packets that leave the cluster."""

from tortie.base.net import Family
from tortie.dataplane.render.qos import dscp_set, render_dscp
from tortie.dataplane.render.text import chain_text


def test_each_value_has_a_rule_a_family_for_what_leaves_pools_and_nodes() -> None:
    def line(ip: str, version: int, value: int) -> str:
        sets = f"@cali{version}0all-ipam-pools {ip} daddr != @cali{version}0all-hosts-net"
        source = f"meta nfproto ipv{version} {ip} saddr @cali{version}0dscp-{value}"
        return f'\t\t{source} {ip} daddr != {sets} {ip} dscp set {value} comment "DSCP {value}"'

    assert chain_text(render_dscp([46, 8])).splitlines() == [
        "\tchain mangle-cali-egress-dscp {",
        "\t\ttype filter hook postrouting priority -150; policy accept;",
        line("ip", 4, 8),
        line("ip", 4, 46),
        line("ip6", 6, 8),
        line("ip6", 6, 46),
        "\t}",
    ]


def test_a_values_addresses_of_both_families_have_a_set_each() -> None:
    assert [dscp_set(0, family).name for family in Family] == ["cali40dscp-0", "cali60dscp-0"]
