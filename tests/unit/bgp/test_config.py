"""What BIRD is told, as golden files. Set TORTIE_GOLDEN=1 to write them anew, then read the difference."""

import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tortie.base.net import Interface, parse_address, parse_interface, parse_prefix
from tortie.base.process import run_blocking
from tortie.bgp.config import config_hash, render
from tortie.bgp.errors import ConfigError
from tortie.bgp.limits import why_refused
from tortie.intent.route_filter import FilterRule, NetMatch, Operation, RouteFilter
from tortie.intent.routing import Advertisement, Bfd, Bgp, BgpPeer, Block, LocalWorkload, Pool, ServiceRoutes

GOLDEN = Path(__file__).parents[2] / "golden" / "bgp"


def block(cidr: str, *, confirmed: bool = True) -> Block:
    return Block(parse_prefix(cidr), confirmed)


def pool(cidr: str, *, ipip: str = "Never", vxlan: str = "Never", export: bool = True) -> Pool:
    prefix = parse_prefix(cidr)
    return Pool(prefix, nat_outgoing=True, ipip_mode=ipip, vxlan_mode=vxlan, disabled=False, disable_bgp_export=not export)


def mesh(address: str, *, passive: bool = False) -> BgpPeer:
    interface = parse_interface(address)
    name = "Mesh_" + str(interface.address).replace(".", "_").replace(":", "_")
    return BgpPeer(name, interface, 64512, 179, "Connection to n2", passive=passive)


def bgp(**changes: object) -> Bgp:
    plain = Bgp(
        node="n1",
        as_number=64512,
        router_id="172.18.0.1",
        ipv4=parse_interface("172.18.0.1/16"),
        ipv6=None,
        listen_port=179,
        bind_node_ip=False,
        log_level="Info",
        blocks=(block("10.0.0.0/26"),),
        pools=(pool("10.0.0.0/16"),),
        peers=(mesh("172.18.0.2/16", passive=True),),
        ignored_interfaces=(),
        cluster_id="",
        ipv4_priority=1024,
        ipv6_priority=1024,
        programs_no_encap=True,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def external(address: str, name: str, **changes: object) -> BgpPeer:
    interface: Interface = parse_interface(address)
    peer = BgpPeer(name, interface, 65001, 179, "BGPPeer tor", is_mesh=False)
    return replace(peer, **changes)  # type: ignore[arg-type]


def workload(address: str, interface: str, virtual: str) -> BgpPeer:
    name = "Local_Workload_" + address.partition("/")[0].replace(".", "_").replace(":", "_")
    local = LocalWorkload(interface, parse_address(virtual))
    return external(address, name, description="BGPPeer routers, default/router", passive=True, workload=local)


CASES: Mapping[str, Bgp] = {
    "workloads": bgp(
        ipv6=parse_interface("fd00:18::1/64"),
        pools=(pool("10.0.0.0/16"), pool("fd00:10::/48")),
        peers=(
            workload("10.0.0.5/32", "cali123", "169.254.10.1"),
            workload("fd00:10::5/128", "cali123", "fe80::a"),
            mesh("172.18.0.2/16"),
            external("172.18.0.3/16", "Node_172_18_0_3", as_number=64512, next_hop_mode="Keep"),
            external("192.0.2.1/32", "Global_192_0_2_1"),
        ),
    ),
    "mesh-dual-stack": bgp(
        ipv6=parse_interface("fd00:18::1/64"),
        blocks=(block("10.0.0.0/26"), block("fd00:10::/122")),
        pools=(pool("10.0.0.0/16"), pool("fd00:10::/48")),
        peers=(mesh("172.18.0.2/16", passive=True), mesh("fd00:18::2/64", passive=True)),
    ),
    "overlays": bgp(
        log_level="Warning",
        blocks=(block("10.0.0.0/26"), block("10.0.0.64/26", confirmed=False), block("10.4.0.9/32")),
        pools=(
            pool("10.0.0.0/16"),
            pool("10.1.0.0/16", vxlan="CrossSubnet"),
            pool("10.2.0.0/16", ipip="Always"),
            pool("10.3.0.0/16", export=False),
            pool("10.4.0.0/16"),
            pool("10.4.4.0/24", vxlan="Always"),
        ),
        programs_no_encap=False,
        exceptions=(parse_prefix("10.1.0.64/26"), parse_prefix("10.1.0.128/26"), parse_prefix("fd00:10::/122")),
        ipv4_priority=512,
    ),
    "reflector": bgp(
        cluster_id="244.0.0.1",
        bind_node_ip=True,
        listen_port=1790,
        log_level="Debug",
        ignored_interfaces=("docker*",),
        peers=(
            external("172.18.0.2/16", "Node_172_18_0_2", as_number=64512, rr_client=True, password_ref=("secret", "key")),
            external(
                "192.0.2.1/32",
                "Global_192_0_2_1_port_1179",
                port=1179,
                ttl_security=3,
                next_hop_mode="Keep",
                source_node_ip=False,
                restart_seconds=90,
                keepalive_seconds=7,
                local_as_number=65099,
                allowed_local_as=2,
                reachable_by=parse_address("172.18.0.254"),
                password_ref=("nobody", "knows"),
                password_optional=True,
            ),
        ),
    ),
    "ipv6-only": bgp(
        ipv4=None,
        ipv6=parse_interface("fd00:18::1/64"),
        router_id="12.34.56.78",
        blocks=(block("fd00:10::/122"),),
        pools=(pool("fd00:10::/48"), pool("fd00:11::/48", vxlan="Always")),
        peers=(mesh("fd00:18::2/64"),),
    ),
    "services-and-filters": bgp(
        ipv6=parse_interface("fd00:18::1/64"),
        cluster_id="244.0.0.1",
        pools=(pool("10.0.0.0/16"), pool("fd00:10::/48"), pool("10.9.0.0/16", export=False)),
        advertisements=(
            Advertisement(parse_prefix("10.0.0.0/16"), ((65000, 1), (65000, 2, 3))),
            Advertisement(parse_prefix("fd96::/112"), ((65000, 4),)),
            Advertisement(parse_prefix("10.5.0.0/16"), ()),
        ),
        services=ServiceRoutes(
            advertised=tuple(map(parse_prefix, ("10.96.0.0/12", "203.0.113.9/32", "fd96::/112"))),
            ranges=tuple(map(parse_prefix, ("10.96.0.0/12", "203.0.113.0/24", "fd96::/112"))),
            reflected=(parse_prefix("203.0.113.0/24"),),
        ),
        filters=(
            RouteFilter(
                "edge.example-1",
                import_v4=(FilterRule(accept=False, net=NetMatch(parse_prefix("0.0.0.0/0"), exact=True, negated=False)),),
                export_v6=(FilterRule(accept=True, internal=True, community=(1, 2, 3)),),
            ),
        ),
        peers=(
            external("172.18.0.9/16", "Node_172_18_0_9", filters=("edge.example-1",), bfd=Bfd(100, 3)),
            external("fd00:18::9/64", "Node_fd00_18__9", filters=("edge.example-1",)),
        ),
    ),
}
PASSWORDS = {("secret", "key"): "rosebud"}


@pytest.mark.parametrize("name", CASES)
def test_the_configuration_is_that_of_the_golden_file(name: str) -> None:
    text = render(CASES[name], PASSWORDS)
    path = GOLDEN / f"{name}.conf"
    if os.environ.get("TORTIE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


def test_every_golden_file_belongs_to_a_case() -> None:
    assert {path.stem for path in GOLDEN.glob("*.conf")} == set(CASES)


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.conf")), ids=lambda path: path.stem)
def test_bird_accepts_every_golden_file(path: Path) -> None:
    program = shutil.which("bird", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        pytest.skip("bird2 is not installed")
    run_blocking([program, "-p", "-c", str(path)]).check()


def test_the_hash_follows_the_content_and_nothing_else() -> None:
    assert config_hash(render(bgp())) == config_hash(render(bgp())) != ""
    assert config_hash(render(bgp())) != config_hash(render(bgp(listen_port=1179)))
    assert config_hash(render(CASES["reflector"], PASSWORDS)) != config_hash(render(CASES["reflector"]))
    assert config_hash("router id 1.2.3.4;") == ""


def test_a_missing_password_means_no_session_unless_it_is_optional() -> None:
    text = render(CASES["reflector"])
    assert "password" not in text
    assert "Node_172_18_0_2" not in text
    assert "protocol bgp Global_192_0_2_1_port_1179" in text


@pytest.mark.parametrize("password", ['say "please"', "two\nlines"])
def test_a_password_that_bird_cannot_take_is_refused_and_not_repeated(password: str) -> None:
    with pytest.raises(ConfigError, match="password of Node_172_18_0_2") as caught:
        render(CASES["reflector"], {("secret", "key"): password})
    assert password not in str(caught.value)


def test_an_interface_pattern_cannot_break_out_of_its_quotes() -> None:
    with pytest.raises(ConfigError, match="ignoredInterfaces"):
        render(bgp(ignored_interfaces=('eth0"; protocol kernel {} #',)))


def test_a_node_name_cannot_break_out_of_its_comment() -> None:
    text = render(bgp(node='n1\nprotocol bgp evil {}"'))
    assert "\nprotocol bgp evil" not in text


def test_peers_of_a_family_that_the_node_lacks_are_left_out() -> None:
    text = render(bgp(peers=(mesh("172.18.0.2/16"), mesh("fd00:18::2/64"))))
    assert "Mesh_172_18_0_2" in text
    assert "Mesh_fd00" not in text
    assert "ipv6" not in text


EVERY_MATCH = FilterRule(
    accept=True,
    net=NetMatch(parse_prefix("10.0.0.0/8"), exact=True, negated=True, lengths=(16, 24)),
    from_peers=True,
    interface="eth*",
    community=(65000, 1),
    as_path_prefix=(65000, 4200000000),
    metric=77,
    internal=False,
    operations=(Operation(add_community=(1, 2, 3)), Operation(prepend=(65001, 65002)), Operation(metric=5)),
)


def test_every_match_and_operation_of_a_filter_is_said_in_birds_words() -> None:
    text = render(bgp(filters=(RouteFilter("edge", export_v4=(EVERY_MATCH,)),), peers=(mesh("172.18.0.2/16"),)))
    (line,) = [line.strip() for line in text.splitlines() if "65001" in line]
    assert line == (
        'if ! same_as && net !~ [ 10.0.0.0/8{16,24} ] && source = RTS_BGP && defined(ifname) && ifname ~ "eth*"'
        " && (65000,1) ~ bgp_community && bgp_path ~ [= 65000 4200000000 * =]"
        " && defined(bgp_local_pref) && bgp_local_pref = 2147483570 then"
        " { bgp_large_community.add((1,2,3)); bgp_path.prepend(65002); bgp_path.prepend(65001);"
        " bgp_local_pref = 2147483642; accept; }"
    )


def test_filters_run_in_order_after_the_metric_and_before_what_is_told_anyway() -> None:
    one = RouteFilter("one", export_v4=(FilterRule(accept=False),))
    two = RouteFilter("two", export_v4=(FilterRule(accept=True),), import_v4=(FilterRule(accept=False),))
    peer = external("172.18.0.9/16", "Node_172_18_0_9", filters=("two", "one"))
    text = render(bgp(filters=(one, two), peers=(peer,)))
    assert (
        "export filter { tortie_metric4(); 'bgp_two_exportFilterV4'(false); 'bgp_one_exportFilterV4'(false);"
        " tortie_export4(false); };" in text
    )
    assert "import filter { 'bgp_two_importFilterV4'(false); tortie_import4(); };" in text


def test_a_session_never_lacks_a_filter_that_it_names() -> None:
    with pytest.raises(ConfigError, match="'gone'"):
        render(bgp(peers=(external("172.18.0.9/16", "Node_172_18_0_9", filters=("gone",)),)))


@pytest.mark.parametrize("name", ["x" * 60, "x" * 59 + "y", 'odd "name"'])
def test_names_of_filters_become_symbols_of_birds(name: str) -> None:
    text = render(bgp(filters=(RouteFilter(name, import_v4=(FilterRule(accept=True),)),)))
    (line,) = [line for line in text.splitlines() if line.startswith("function 'bgp_")]
    assert re.fullmatch(r"function '[0-9A-Za-z_.:-]{1,64}'\(bool same_as\)", line)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"port": 70000}, "port"),
        ({"ttl_security": 256}, "ttlSecurity"),
        ({"restart_seconds": 4096}, "maxRestartTime"),
        ({"keepalive_seconds": 0}, "keepaliveTime"),
        ({"keepalive_seconds": 241}, "keepaliveTime"),
        ({"allowed_local_as": 1 << 31}, "numAllowedLocalASNumbers"),
        ({"allowed_local_as": -1}, "numAllowedLocalASNumbers"),
        ({"rr_client": True, "as_number": 64512}, "routeReflectorClusterID"),
        ({"rr_client": True}, "inside one AS"),
        ({"refused": "there is no BGPFilter"}, "there is no BGPFilter"),
    ],
)
def test_a_session_that_bird_would_refuse_is_left_out_and_named_and_the_others_stay(
    changes: dict[str, object], field: str
) -> None:
    odd = external("172.18.0.9/16", "Node_172_18_0_9", **changes)
    whole = bgp(peers=(mesh("172.18.0.2/16"), odd), cluster_id="not an address")
    text = render(whole)
    assert "Mesh_172_18_0_2" in text
    assert "Node_172_18_0_9" not in text
    assert field in why_refused(whole, odd)


LIMITS = st.fixed_dictionaries(
    {
        "port": st.integers(-1, 70000),
        "ttl_security": st.integers(-1, 300),
        "restart_seconds": st.none() | st.integers(-1, 1 << 33),
        "keepalive_seconds": st.none() | st.integers(-1, 1 << 17),
        "allowed_local_as": st.integers(-1, 1 << 33),
        "rr_client": st.booleans(),
        "as_number": st.sampled_from([64512, 65001]),
        "bfd": st.none() | st.builds(Bfd, st.integers(10, 60000), st.integers(2, 255)),
    }
)


@settings(max_examples=40, deadline=None)
@given(LIMITS, st.sampled_from(["", "244.0.0.1", "fd00::1", "x"]))
def test_whatever_one_session_asks_for_bird_takes_the_configuration(changes: dict[str, object], cluster_id: str) -> None:
    program = shutil.which("bird", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        pytest.skip("bird2 is not installed")
    text = render(bgp(peers=(external("172.18.0.9/16", "odd", **changes),), cluster_id=cluster_id))
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
        file.write(text)
        file.flush()
        run_blocking([program, "-p", "-c", file.name]).check()


def test_a_workload_is_listened_for_on_its_virtual_address_alone_where_others_are_not_listened_on() -> None:
    text = render(bgp(bind_node_ip=True, peers=(workload("10.0.0.5/32", "cali1", "169.254.10.1"),)))
    session = text[text.index("protocol bgp Local_Workload") :]
    assert all(line in session for line in ("local 169.254.10.1 port 179", "strict bind on;", "free bind on;"))
    both = bgp(ipv6=parse_interface("fd00:18::1/64"), bind_node_ip=True)
    refused = why_refused(both, workload("fd00:10::5/128", "cali1", "fe80::a"))
    assert "spec.localWorkloadPeeringIPV6 fe80::a must not be link-local" in refused
