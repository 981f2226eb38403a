"""Beginning, restart, repair, routes and masquerading of a node's dataplane, with real packets."""

import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from tests.kernel.dataplane_node import PROFILE, Node, allow_all, config, endpoint, endpoint_id, ipset, node, policy, pool, tier
from tests.kernel.dataplane_stage import (
    NODE,
    OUTSIDE,
    Pod,
    Stage,
    connect,
    echo,
    open_socket,
    ping,
    stage,
    tcp_passes,
    tcp_server,
    udp_arrives,
)

from tortie.base.net import FAMILIES, Family, Interface, parse_address
from tortie.intent.messages import EndpointUpdate, HostUpdate, ProfileUpdate
from tortie.intent.policy import Action
from tortie.intent.routing import Host
from tortie.intent.sets import SetKind

pytestmark = pytest.mark.kernel

DENY = {"action": Action.DENY}


@pytest.fixture
def built() -> Iterator[Stage]:
    with stage() as made:
        yield made


def routes(built: Stage, family: Family, *, protocol: str = "80") -> set[tuple[str, str]]:
    """(destination, device) of the node's routes of a protocol."""
    lines = built.show(built.node, "ip", f"-{family.value}", "route", "show", "proto", protocol).splitlines()
    return {(words[0], words[2]) for words in map(str.split, lines)}


def routes_after_apply(made: Node, family: Family) -> set[tuple[str, str]]:
    made.tell()
    return routes(made.stage, family)


def eventually(condition: Callable[[], bool], seconds: float = 30.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def test_nothing_is_written_before_the_state_is_complete(built: Stage) -> None:
    a = built.pod(1)
    with node(built) as made:
        made.tell(ProfileUpdate(PROFILE, allow_all()), endpoint(a))
        assert built.show(built.node, "nft", "list", "ruleset") == ""
        assert routes(built, Family.V4) == set()
        assert not made.dataplane.programmed(endpoint_id(a))
        made.start()
        assert made.dataplane.programmed(endpoint_id(a))
        assert ping(built.node, Family.V4, a.address(Family.V4))


def test_an_agent_that_is_gone_leaves_a_node_that_still_enforces(built: Stage) -> None:
    a, b = built.pod(1), built.pod(2)
    with node(built) as made:
        made.start(policy("none", ingress=(DENY,)), endpoint(a), endpoint(b, tier(ingress=("none",))))
    for family in FAMILIES:
        with tcp_server(a.netns, family, 80), tcp_server(b.netns, family, 80):
            assert tcp_passes(b.netns, family, a.address(family), 80)
            assert not tcp_passes(a.netns, family, b.address(family), 80)
    # A workload that comes while nobody is there is closed, also towards the host.
    c = built.pod(3)
    built.batch(built.node, f"route add {c.address(Family.V4)} dev {c.interface}")
    assert not ping(c.netns, Family.V4, a.address(Family.V4))
    assert not ping(c.netns, Family.V4, NODE[Family.V4])


def test_a_restart_changes_nothing_that_is_right_and_removes_what_is_not(built: Stage) -> None:
    a, b, c = built.pod(1), built.pod(2), built.pod(3)
    everything = (
        policy("web", ingress=({"action": Action.ALLOW},)),
        ipset("s:x", SetKind.NET, *a.addresses),
        endpoint(a),
        endpoint(b, tier(ingress=("web",))),
        pool("10.77.0.0/16", nat=True),
    )
    with node(built) as first:
        first.start(*everything, endpoint(c), policy("old", ingress=(DENY,)))
    before = built.show(built.node, "nft", "-a", "list", "table", "inet", "tortie")
    stop, lost = threading.Event(), []

    def talk() -> None:
        while not stop.is_set():
            if not udp_arrives(a.netns, Family.V4, b.netns, b.address(Family.V4), 7000):
                lost.append(time.monotonic())

    talker = threading.Thread(target=talk)
    talker.start()
    try:
        with node(built) as second:
            second.tell(ProfileUpdate(PROFILE, allow_all()), *everything)
            assert routes(built, Family.V4) == {(pod.address(Family.V4), pod.interface) for pod in (a, b, c)}
            second.start()
            after = built.show(built.node, "nft", "-a", "list", "table", "inet", "tortie")
            stop.set()
            talker.join()
            assert second.dataplane.due_in() is not None, "the third pod's routes may be those of a pod that is being added now"
            assert eventually(lambda: len(routes_after_apply(second, Family.V4)) == 2)
    finally:
        stop.set()
        talker.join()
    assert lost == []
    assert "filter-cali-fw-cali3" in before
    assert "filter-cali-fw-cali3" not in after
    assert "shop/old" not in after

    def handles(text: str) -> dict[str, str]:
        chains = [line.split() for line in text.splitlines() if line.strip().startswith("chain ")]
        return {words[1]: words[-1] for words in chains}

    kept = handles(after)
    assert kept.items() <= handles(before).items(), "no chain was made anew"
    assert {"filter-FORWARD", "filter-cali-tw-cali2", "filter-cali-pi-np/shop/web"} <= kept.keys()
    assert ("fd77::3", c.interface) not in routes(built, Family.V6)


def test_connections_outlive_a_restart(built: Stage) -> None:
    a, b = built.pod(1), built.pod(2)
    with node(built) as first:
        first.start(endpoint(a), endpoint(b))
        with tcp_server(b.netns, Family.V6, 80) as server:
            client = connect(a.netns, Family.V6, b.address(Family.V6), 80)
            assert client is not None
            accepted, _ = server.accept()
    accepted.settimeout(1)
    with client, accepted:
        assert echo(client, accepted)
        with node(built) as second:
            second.start(endpoint(a), endpoint(b))
            assert echo(client, accepted)


def test_what_others_break_is_repaired_and_what_is_theirs_stays(built: Stage) -> None:
    a, b = built.pod(1), built.pod(2)
    theirs = "table inet theirs { chain c { type filter hook forward priority 5; policy accept; counter; }; }"
    built.show(built.node, "nft", theirs)
    built.batch(built.node, "route add 198.51.100.0/24 dev cali1 proto 99")
    with node(built) as made:
        made.start(policy("none", ingress=(DENY,)), endpoint(a), endpoint(b, tier(ingress=("none",))))
        built.show(built.node, "nft", "flush", "chain", "inet", "tortie", "filter-cali-tw-cali2")
        built.batch(built.node, f"route del {a.address(Family.V4)} dev cali1 proto 80")
        with tcp_server(b.netns, Family.V4, 80):
            assert tcp_passes(a.netns, Family.V4, b.address(Family.V4), 80) is False, "no route"
        made.dataplane.invalidate("somebody was here")
        made.tell()
        assert (a.address(Family.V4), "cali1") in routes(built, Family.V4)
        with tcp_server(a.netns, Family.V4, 80), tcp_server(b.netns, Family.V4, 80):
            assert tcp_passes(b.netns, Family.V4, a.address(Family.V4), 80)
            assert not tcp_passes(a.netns, Family.V4, b.address(Family.V4), 80)
    assert "table inet theirs" in built.show(built.node, "nft", "list", "ruleset")
    assert routes(built, Family.V4, protocol="99") == {("198.51.100.0/24", "cali1")}


# ---- endpoints and routes ----
def test_a_workload_whose_interface_comes_late_gets_its_routes_then(built: Stage) -> None:
    a = built.pod(1)
    late = Pod("", "cali2", 2)
    with node(built) as made:
        made.start(endpoint(a), endpoint(late))
        assert made.dataplane.programmed(endpoint_id(late)), "its policy is there before it is"
        assert {device for _, device in routes(built, Family.V4)} == {"cali1"}
        b = built.pod(2)
        assert not made.dataplane.links_changed({"cali3", "eth0"})  # nobody wants a route there: nothing to do
        assert made.dataplane.links_changed({"cali2", "eth0"})
        made.tell()
        for family in FAMILIES:
            assert (b.address(family), "cali2") in routes(built, family)
            assert ping(a.netns, family, b.address(family))


def test_a_workload_that_goes_takes_its_routes_and_chains_along(built: Stage) -> None:
    a, b = built.pod(1), built.pod(2)
    with node(built) as made:
        made.start(endpoint(a), endpoint(b))
        made.tell(EndpointUpdate(endpoint_id(b), None))
        assert not made.dataplane.programmed(endpoint_id(b))
        for family in FAMILIES:
            assert {device for _, device in routes(built, family)} == {"cali1"}
        assert "cali2" not in built.show(built.node, "nft", "list", "table", "inet", "tortie")


@pytest.mark.shows("PS-12.3")
def test_whoever_gets_an_address_next_is_not_reached_by_the_connections_of_the_one_before(built: Stage) -> None:
    a, b = built.pod(1), built.pod(2)
    closed = (policy("none", ingress=(DENY,)), endpoint(b, tier(ingress=("none",))))
    with node(built) as made:
        made.start(endpoint(a), endpoint(b))
        for family in FAMILIES:
            with (
                open_socket(a.netns, family, socket.SOCK_DGRAM) as sender,
                open_socket(b.netns, family, socket.SOCK_DGRAM) as receiver,
            ):
                receiver.bind(("", 6000))
                made.tell(endpoint(b))
                sender.sendto(b"hello", (b.address(family), 6000))
                _, peer = receiver.recvfrom(64)
                receiver.sendto(b"reply", peer)
                assert sender.recv(64) == b"reply"
                made.tell(*closed)
                sender.sendto(b"again", (b.address(family), 6000))
                assert receiver.recv(64) == b"again", "the same workload keeps its connections"
                made.tell(EndpointUpdate(endpoint_id(b), None))
                made.tell(*closed)
                sender.sendto(b"stray", (b.address(family), 6000))
                with pytest.raises(TimeoutError):
                    receiver.recv(64)


def test_a_workload_that_changes_its_interface_moves_its_routes(built: Stage) -> None:
    a, b = built.pod(1), built.pod(2)
    with node(built) as made:
        made.start(endpoint(a))
        made.tell(endpoint(a, interface=b.interface))
        assert routes(built, Family.V4) == {(a.address(Family.V4), "cali2")}
        assert made.dataplane.programmed(endpoint_id(a))


@pytest.mark.shows("PS-6.20")
def test_of_two_claims_to_an_interface_the_lower_id_holds_until_it_goes(built: Stage) -> None:
    a = built.pod(1)
    other = endpoint_id(a)._replace(name="aaa")
    rival = endpoint(a, id=other, profiles=()).endpoint
    with node(built) as made:
        made.start(endpoint(a), EndpointUpdate(other, rival))
        assert made.dataplane.programmed(other)
        assert not made.dataplane.programmed(endpoint_id(a))
        assert not ping(a.netns, Family.V4, OUTSIDE[Family.V4]), "the lower id has no profile"
        made.tell(EndpointUpdate(other, None))
        assert made.dataplane.programmed(endpoint_id(a))
        assert ping(a.netns, Family.V4, OUTSIDE[Family.V4])


def test_one_endpoint_that_cannot_be_programmed_does_not_stop_the_others(built: Stage) -> None:
    a, b = built.pod(1), built.pod(2)
    with node(built) as made:
        broken = endpoint(Pod("", "cali-with-a-name-too-long", 9))
        with pytest.raises(ExceptionGroup) as raised:
            made.start(endpoint(a), broken, endpoint(b))
        assert "cali-with-a-name-too-long" in repr(raised.value.exceptions)
        assert made.dataplane.programmed(endpoint_id(a))
        assert not made.dataplane.programmed(broken.id)
        assert ping(a.netns, Family.V4, b.address(Family.V4))
        made.tell(EndpointUpdate(broken.id, None))


def test_a_policy_that_cannot_be_programmed_denies_and_does_not_stop_the_others(built: Stage) -> None:
    a, b = built.pod(1), built.pod(2)
    with node(built) as made:
        bad = policy("bad", ingress=({"action": Action.ALLOW, "protocol": 4711},))
        with pytest.raises(ExceptionGroup):
            made.start(bad, endpoint(a), endpoint(b, tier(ingress=("bad",))))
        assert not ping(a.netns, Family.V4, b.address(Family.V4))
        assert ping(b.netns, Family.V4, a.address(Family.V4))


def test_a_configuration_that_makes_no_sense_keeps_the_one_before(built: Stage) -> None:
    a = built.pod(1)
    with node(built) as made:
        made.start(endpoint(a), config(DefaultEndpointToHostAction="Accept"))
        with pytest.raises(ExceptionGroup):
            made.tell(config(DefaultEndpointToHostAction="Perhaps"))
        with tcp_server(built.node, Family.V4, 8080):
            assert tcp_passes(a.netns, Family.V4, NODE[Family.V4], 8080)


# ---- masquerading ----
def seen_from(built: Stage, source: Pod, family: Family, target: str, address: str) -> str:
    """The source address that a datagram has when it arrives."""
    with (
        open_socket(target, family, socket.SOCK_DGRAM) as receiver,
        open_socket(source.netns, family, socket.SOCK_DGRAM) as sender,
    ):
        receiver.bind(("", 6000))
        sender.sendto(b"who am I", (address, 6000))
        return str(receiver.recvfrom(64)[1][0])


def test_a_pool_with_nat_outgoing_is_masqueraded_towards_the_outside_only(built: Stage) -> None:
    a, b = built.pod(1), built.pod(2)
    pools = {Family.V4: "10.77.0.0/24", Family.V6: "fd77::/64"}
    hosts = HostUpdate(
        "other", Host("other", *(Interface(parse_address(OUTSIDE[family]), family.bits // 2) for family in FAMILIES))
    )
    with node(built) as made:
        made.start(endpoint(a), endpoint(b), hosts, *(pool(cidr, nat=True) for cidr in pools.values()))
        for family in FAMILIES:
            assert seen_from(built, a, family, built.outside, OUTSIDE[family]) == NODE[family]
            assert seen_from(built, a, family, b.netns, b.address(family)) == a.address(family)
        made.tell(config(NATOutgoingExclusions="IPPoolsAndHostIPs"))
        for family in FAMILIES:
            assert seen_from(built, a, family, built.outside, OUTSIDE[family]) == a.address(family)
        made.tell(config(), *(pool(cidr, nat=False) for cidr in pools.values()))
        for family in FAMILIES:
            assert seen_from(built, a, family, built.outside, OUTSIDE[family]) == a.address(family)


def test_a_workload_whose_interface_has_no_prefix_of_ours_is_not_reachable_and_is_named(built: Stage) -> None:
    pod = built.pod(1)
    with node(built) as made:
        made.start(config(InterfacePrefix="tap"), endpoint(pod))
        assert made.dataplane.problems == {endpoint_id(pod): made.dataplane.problems[endpoint_id(pod)]}
        assert "InterfacePrefix (tap)" in made.dataplane.problems[endpoint_id(pod)]
        assert not made.dataplane.programmed(endpoint_id(pod))
        assert not any(routes(built, family) for family in FAMILIES)
        made.tell(config(InterfacePrefix="tap,cali"))
        assert made.dataplane.problems == {}
        assert made.dataplane.programmed(endpoint_id(pod))
        assert routes(built, Family.V4) == {(pod.address(Family.V4), pod.interface)}
        assert all(ping(built.node, family, pod.address(family)) for family in FAMILIES)
        made.tell(config(InterfacePrefix="tap"))
        assert not any(routes(built, family) for family in FAMILIES)


def test_a_device_that_nobody_prepared_becomes_a_first_hop_again_and_again(built: Stage) -> None:
    pod = built.pod(1)
    names = [f"net.ipv4.conf.{pod.interface}.{name}" for name in ("proxy_arp", "forwarding")]
    names += [f"net.ipv6.conf.{pod.interface}.{name}" for name in ("proxy_ndp", "forwarding")]

    def spoil() -> None:
        built.sysctl(built.node, dict.fromkeys(names, 0))

    def values() -> list[str]:
        return [built.show(built.node, "sysctl", "-n", name).strip() for name in names]

    spoil()
    with node(built) as made:
        made.start(endpoint(pod))
        assert values() == ["1"] * len(names)
        spoil()
        made.dataplane.links_changed({pod.interface})
        made.tell()
        assert values() == ["1"] * len(names)


@pytest.mark.shows("PS-12.3")
@pytest.mark.parametrize("family", FAMILIES)
def test_an_address_that_changed_hands_while_no_agent_ran_takes_no_connection_along(built: Stage, family: Family) -> None:
    a, b = built.pod(1), built.pod(2)
    address = a.address(family)
    with node(built) as first:
        first.start(endpoint(a))
        with tcp_server(a.netns, family, 7000) as server:
            client = connect(built.outside, family, address, 7000)
            assert client is not None
            accepted, _ = server.accept()
            with client, accepted:
                assert echo(client, accepted)
    with node(built) as second:
        second.start(endpoint(b, addresses=(*a.addresses, *b.addresses)))
        assert second.conntrack.forget([parse_address(address)]) == 0, "policy has judged them for the old owner only"
