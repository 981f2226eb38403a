"""Two nodes with a BIRD each: what one holds, the other's kernel learns; and BIRD's life under the agent's hands."""

import asyncio
import os
import secrets
import shutil
import signal
import stat
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest
from tests.kernel.own_time import OwnTime
from tests.kernel.spaces import named_space

from tortie.agent.bird import Bird
from tortie.api.bgp import BGPConfiguration, BGPConfigurationSpec, BGPPassword, BGPPeer, BGPPeerSpec, SecretKeyRef, ServiceCIDR
from tortie.api.bgp_filter import BGPFilter, BGPFilterRuleV4, BGPFilterSpec, FilterOperation, SetPriority
from tortie.api.ipam import BlockAffinity, BlockAffinitySpec, affinity_name
from tortie.api.ippool import IPPool, IPPoolSpec
from tortie.api.node import Node, NodeBGP, NodeSpec
from tortie.api.resource import Metadata, Resource, Update
from tortie.base.net import parse_interface, parse_prefix
from tortie.base.process import is_alive, run_blocking
from tortie.bgp.errors import ConfigError, ControlError
from tortie.calc.bgp import BgpStage
from tortie.intent.routing import Bgp, BgpPeer
from tortie.kernel import netns

pytestmark = pytest.mark.kernel

T = TypeVar("T")
PATIENCE = 30.0


class Host:
    """One node: a namespace, a run directory, and what the agent would do there."""

    def __init__(self, space: str, run_dir: Path) -> None:
        self.space = space
        self.run_dir = run_dir

    def do(self, action: Callable[[Bird], Awaitable[T]]) -> T:
        """What a new agent in this namespace does with BIRD."""

        async def act() -> T:
            return await action(Bird(self.run_dir))

        return netns.run_in_named(self.space, lambda: asyncio.run(act()))

    def ip(self, *words: str) -> str:
        return run_blocking(["ip", "-n", self.space, *words]).check().stdout.decode()

    def pid(self) -> int:
        return int((self.run_dir / "bird.pid").read_text())

    def established(self) -> set[str]:
        return {peer.name for peer in self.do(Bird.peers) if peer.established}


def stop(host: Host) -> None:
    asyncio.run(Bird(host.run_dir).stop())


@contextmanager
def nodes(count: int) -> Iterator[list[Host]]:
    """n1 (172.18.0.1), n2 ... of both families on one wire: a bridge in the namespace of n1."""
    with ExitStack() as stack:
        base = Path(tempfile.mkdtemp(prefix="tb-"))
        stack.callback(shutil.rmtree, base)
        found = [Host(stack.enter_context(named_space("tb")), base / str(number)) for number in range(1, count + 1)]
        for host in found:
            stack.callback(stop, host)
        found[0].ip("link", "add", "eth0", "type", "bridge")
        for number, host in enumerate(found, 1):
            if host is not found[0]:
                port = f"port{number}"
                found[0].ip("link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", host.space)
                found[0].ip("link", "set", port, "master", "eth0", "up")
            host.ip("link", "set", "lo", "up")
            host.ip("address", "add", f"172.18.0.{number}/16", "dev", "eth0")
            host.ip("address", "add", f"fd00:18::{number}/64", "dev", "eth0", "nodad")
            host.ip("link", "set", "eth0", "up")
            host.ip("link", "add", "cali1", "type", "veth", "peer", "name", "pod1")
            host.ip("link", "set", "cali1", "up")
            host.ip("link", "set", "pod1", "up")
        yield found


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    """Two nodes."""
    with nodes(2) as (one, two):
        yield one, two


def node(number: int, *, cluster_id: str = "", as_number: int | None = None) -> Node:
    bgp = NodeBGP(
        ipv4_address=f"172.18.0.{number}/16",
        ipv6_address=f"fd00:18::{number}/64",
        route_reflector_cluster_id=cluster_id,
        as_number=as_number,
    )
    labels = {"reflector": "yes"} if cluster_id else {}
    return Node(metadata=Metadata(name=f"n{number}", labels=labels), spec=NodeSpec(bgp=bgp))


def affinity(number: int, cidr: str) -> BlockAffinity:
    name = f"n{number}"
    spec = BlockAffinitySpec(state="confirmed", node=name, cidr=cidr)
    return BlockAffinity(metadata=Metadata(name=affinity_name(name, cidr)), spec=spec)


def pool(name: str, cidr: str, *, vxlan: bool = False, export: bool = True) -> IPPool:
    spec = IPPoolSpec(cidr=cidr, vxlan_mode="Always" if vxlan else "Never", disable_bgp_export=not export)
    return IPPool(metadata=Metadata(name=name), spec=spec)


CLUSTER: tuple[Resource, ...] = (
    node(1),
    node(2),
    pool("plain", "10.0.0.0/16"),
    pool("plain6", "fd00:10::/48"),
    pool("overlay", "10.1.0.0/16", vxlan=True),
    pool("secret", "10.2.0.0/16", export=False),
    affinity(1, "10.0.0.0/26"),
    affinity(1, "10.1.0.0/26"),
    affinity(1, "10.2.0.0/26"),
    affinity(1, "fd00:10::/122"),
    affinity(2, "10.0.0.64/26"),
)


def intent(name: str, *more: Resource) -> Bgp:
    """What the agent of one node works out."""
    stage = BgpStage(name)
    for resource in (*CLUSTER, *more):
        stage.on_update(Update(resource.key, resource))
    update = stage.flush()
    assert update is not None
    assert update.bgp is not None
    return update.bgp


def eventually(check: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not check():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def start_both(hosts: tuple[Host, Host]) -> None:
    """Apply on both nodes and wait for both sessions of the mesh."""
    for number, host in enumerate(hosts, 1):
        bgp = intent(f"n{number}")
        host.do(lambda bird, bgp=bgp: bird.apply(bgp))  # type: ignore[misc]
    eventually(lambda: len(hosts[0].established()) == 2, "no mesh between the nodes")


def bird_routes(host: Host, family: str = "-4") -> dict[str, str]:
    """Routes that BIRD put into the kernel: destination to the rest of the line."""
    lines = host.ip(family, "route", "show", "proto", "bird").splitlines()
    return {" ".join(line.split()[: 2 if line.startswith("blackhole") else 1]): line for line in lines}


def test_blocks_reach_the_other_kernel_and_workloads_stay_hidden(hosts: tuple[Host, Host]) -> None:
    one, two = hosts
    for address in ("10.0.0.5", "10.0.0.70", "192.0.2.5"):  # in its own block, borrowed from n2's, outside every pool
        one.ip("route", "add", f"{address}/32", "dev", "cali1", "proto", "80", "metric", "1024")
    one.ip("-6", "route", "add", "fd00:10::5/128", "dev", "cali1", "proto", "80", "metric", "1024")
    # The agent's own routes to other nodes, and its blackholes, are nothing to tell.
    one.ip("route", "add", "10.0.3.0/26", "via", "172.18.0.9", "dev", "eth0", "onlink", "proto", "80")
    one.ip(
        "-6", "route", "add", "fd00:10::40/122", "via", "fd00:18::9", "dev", "eth0", "onlink", "proto", "80", "metric", "1023"
    )
    one.ip("route", "add", "blackhole", "10.0.4.0/26", "proto", "80")
    start_both(hosts)
    eventually(lambda: len(bird_routes(two)) >= 3, f"routes missing: {bird_routes(two)}")
    eventually(lambda: len(bird_routes(two, "-6")) >= 1, f"routes missing: {bird_routes(two, '-6')}")
    four, six = bird_routes(two), bird_routes(two, "-6")
    assert set(four) == {"10.0.0.0/26", "10.0.0.70", "blackhole 10.0.0.64/26"}
    assert "via 172.18.0.1 dev eth0" in four["10.0.0.0/26"]
    assert "metric 1024" in four["10.0.0.0/26"]
    assert set(six) == {"fd00:10::/122"}
    assert "via fd00:18::1 dev eth0" in six["fd00:10::/122"]
    known = {str(route.prefix) for route in two.do(Bird.routes) if route.protocol.startswith("Mesh")}
    assert known == {"10.0.0.0/26", "10.0.0.70/32", "10.1.0.0/26", "fd00:10::/122"}, (
        "overlay blocks are told, unexported ones not"
    )
    assert set(bird_routes(one)) == {"10.0.0.64/26", "blackhole 10.0.0.0/26", "blackhole 10.2.0.0/26"}


def test_bird_steps_in_for_a_tunnel_that_is_not_complete_and_steps_back(hosts: tuple[Host, Host]) -> None:
    _, two = hosts
    start_both(hosts)
    ways = {"10.0.0.0/26", "blackhole 10.0.0.64/26"}
    eventually(lambda: set(bird_routes(two)) == ways, f"routes: {bird_routes(two)}")
    waiting = replace(intent("n2"), exceptions=(parse_prefix("10.1.0.0/26"),))
    two.do(lambda bird: bird.apply(waiting))
    eventually(lambda: set(bird_routes(two)) == {*ways, "10.1.0.0/26"}, f"routes: {bird_routes(two)}")
    two.do(lambda bird: bird.apply(intent("n2")))
    eventually(lambda: set(bird_routes(two)) == ways, f"routes: {bird_routes(two)}")


def test_a_route_reflector_tells_its_clients_of_each_other_and_is_not_in_the_way() -> None:
    world = (
        node(1, cluster_id="244.0.0.1"),
        node(3),
        BGPConfiguration(metadata=Metadata(name="default"), spec=BGPConfigurationSpec(node_to_node_mesh_enabled=False)),
        BGPPeer(metadata=Metadata(name="rr"), spec=BGPPeerSpec(node_selector="all()", peer_selector="reflector == 'yes'")),
        affinity(3, "10.0.0.128/26"),
    )
    with nodes(3) as found:
        for number, host in enumerate(found, 1):
            bgp = intent(f"n{number}", *world)
            host.do(lambda bird, bgp=bgp: bird.apply(bgp))  # type: ignore[misc]
        eventually(lambda: len(found[0].established()) == 4, "the reflector lacks a client")
        eventually(lambda: "10.0.0.128/26" in bird_routes(found[1]), "n2 does not hear of n3")
        assert found[1].established() == {"Node_172_18_0_1", "Node_fd00_18__1"}
        assert "via 172.18.0.3 dev eth0" in bird_routes(found[1])["10.0.0.128/26"], "straight to n3, not through the reflector"


def test_nodes_of_different_as_exchange_blocks(hosts: tuple[Host, Host]) -> None:
    for number, host in enumerate(hosts, 1):
        bgp = intent(f"n{number}", node(2, as_number=65002))
        host.do(lambda bird, bgp=bgp: bird.apply(bgp))  # type: ignore[misc]
    eventually(lambda: "10.0.0.64/26" in bird_routes(hosts[0]), "n1 does not hear of n2")
    eventually(lambda: "10.0.0.0/26" in bird_routes(hosts[1]), "n2 does not hear of n1")
    assert "via 172.18.0.2 dev eth0" in bird_routes(hosts[0])["10.0.0.64/26"]


def test_a_new_agent_adopts_bird_and_only_a_change_reconfigures_it(hosts: tuple[Host, Host]) -> None:
    one = hosts[0]
    one.do(lambda bird: bird.apply(intent("n1")))
    pid, before = one.pid(), one.do(Bird.status)
    assert before.router_id == "172.18.0.1"
    assert stat.S_IMODE((one.run_dir / "bird.conf").stat().st_mode) == 0o640
    one.do(lambda bird: bird.apply(intent("n1")))
    assert one.do(Bird.status).last_reconfiguration == before.last_reconfiguration
    one.do(lambda bird: bird.apply(intent("n1", affinity(1, "10.0.7.0/26"))))
    assert one.do(Bird.status).last_reconfiguration > before.last_reconfiguration
    assert one.pid() == pid, "the same process goes on"
    eventually(lambda: "blackhole 10.0.7.0/26" in bird_routes(one), "the new block is not there")


def test_a_configuration_that_bird_refuses_changes_nothing(hosts: tuple[Host, Host]) -> None:
    one = hosts[0]
    good = intent("n1")
    one.do(lambda bird: bird.apply(good))
    before = (one.run_dir / "bird.conf").read_text()
    broken = replace(good, peers=(BgpPeer("no such name!", parse_interface("172.18.0.9/16"), 1, 179, "broken"),))
    with pytest.raises(ConfigError, match="does not accept"):
        one.do(lambda bird: bird.apply(broken))
    assert (one.run_dir / "bird.conf").read_text() == before
    assert one.do(Bird.status).ready


def test_a_bird_that_was_killed_is_started_again_and_its_routes_never_left_the_kernel(hosts: tuple[Host, Host]) -> None:
    one, two = hosts
    start_both(hosts)
    eventually(lambda: "10.0.0.0/26" in bird_routes(two), "no route to n1's block")
    killed = two.pid()
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: not is_alive(killed), "BIRD survives SIGKILL")
    with pytest.raises(ControlError, match="control socket"):
        two.do(Bird.peers)
    two.do(lambda bird: bird.apply(intent("n2")))
    assert two.pid() != killed

    def back() -> bool:
        assert "10.0.0.0/26" in bird_routes(two), "a route was withdrawn while the sessions came back"
        return len(two.established()) == 2

    eventually(back, "the sessions do not come back")
    assert one.established() == {"Mesh_172_18_0_2", "Mesh_fd00_18__2"}
    assert two.established() == {"Mesh_172_18_0_1", "Mesh_fd00_18__1"}


def test_stop_ends_bird_and_is_idempotent(hosts: tuple[Host, Host]) -> None:
    one = hosts[0]
    one.do(lambda bird: bird.apply(intent("n1")))
    pid = one.pid()
    one.do(Bird.stop)
    assert not is_alive(pid)
    one.do(Bird.stop)


def test_a_password_is_needed_on_both_ends_and_stays_in_the_file(hosts: tuple[Host, Host]) -> None:
    one, two = hosts
    password = secrets.token_urlsafe(12)
    reference = BGPPassword(secret_key_ref=SecretKeyRef(name="bgp", key="mesh"))
    settings = BGPConfiguration(metadata=Metadata(name="default"), spec=BGPConfigurationSpec(node_mesh_password=reference))
    passwords = {("bgp", "mesh"): password}
    one.do(lambda bird: bird.apply(intent("n1", settings), passwords=passwords))
    two.do(lambda bird: bird.apply(intent("n2", settings), passwords={("bgp", "mesh"): "wrong"}))
    time.sleep(4)
    assert two.established() == set()
    two.do(lambda bird: bird.apply(intent("n2", settings), passwords=passwords))
    eventually(lambda: len(two.established()) == 2, "no session with the right password")
    for host in hosts:
        assert password not in (host.run_dir / "bird.log").read_text()


def test_a_run_directory_that_is_too_deep_for_a_socket_is_refused() -> None:
    with pytest.raises(ControlError, match="107"):
        Bird(Path("/run") / ("x" * 100))


def reflects(host: Host, prefix: str) -> bool:
    """The host has a route there from n1."""
    command = ["birdc", "-s", str(host.run_dir / "bird.ctl"), "show", "route", prefix, "protocol", "Node_172_18_0_1"]
    return "Node_172_18_0_1" in run_blocking(command).check().stdout.decode()


def test_moving_from_the_mesh_to_reflectors_loses_no_route() -> None:
    """The order that docs/bgp.md names: the reflector and its sessions first, the end of the mesh last."""
    reflected = BGPPeer(
        metadata=Metadata(name="rr"), spec=BGPPeerSpec(node_selector="all()", peer_selector="reflector == 'yes'")
    )
    no_mesh = BGPConfiguration(metadata=Metadata(name="default"), spec=BGPConfigurationSpec(node_to_node_mesh_enabled=False))
    with nodes(3) as found:

        def step(*world: Resource) -> None:
            for number, host in enumerate(found, 1):
                bgp = intent(f"n{number}", affinity(3, "10.0.0.128/26"), *world)
                host.do(lambda bird, bgp=bgp: bird.apply(bgp))  # type: ignore[misc]

        def whole() -> bool:
            return "10.0.0.128/26" in bird_routes(found[1]) and "10.0.0.64/26" in bird_routes(found[2])

        step(node(3))
        eventually(whole, "no routes by the mesh")
        lost: list[float] = []
        watching = threading.Event()

        def watch() -> None:
            while not watching.is_set():
                if not whole():
                    lost.append(time.monotonic())

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            # Node 1 leaves the mesh with its cluster id; nodes 2 and 3 keep theirs until they have it from node 1.
            step(node(3), node(1, cluster_id="244.0.0.1"), reflected)
            eventually(lambda: len(found[0].established()) == 4, "the reflector lacks a client")
            # A session that stands has not told everything yet.
            eventually(lambda: reflects(found[1], "10.0.0.128/26"), "n2 does not hear of n3 from the reflector")
            eventually(lambda: reflects(found[2], "10.0.0.64/26"), "n3 does not hear of n2 from the reflector")
            step(node(3), node(1, cluster_id="244.0.0.1"), reflected, no_mesh)
            eventually(lambda: found[1].established() == {"Node_172_18_0_1", "Node_fd00_18__1"}, "the mesh stays")
            time.sleep(2)
        finally:
            watching.set()
            watcher.join()
        assert lost == []
        assert "via 172.18.0.3 dev eth0" in bird_routes(found[1])["10.0.0.128/26"], "straight to n3"


def test_filters_between_nodes_hold_in_both_directions_and_services_stay_out_of_the_kernel(hosts: tuple[Host, Host]) -> None:
    rules = BGPFilterSpec(
        export_v4=(BGPFilterRuleV4(action="Reject", cidr="10.0.0.0/26", match_operator="Equal"),),
        import_v4=(
            BGPFilterRuleV4(
                action="Accept",
                cidr="10.0.0.64/26",
                match_operator="In",
                source="RemotePeers",
                peer_type="iBGP",
                operations=(FilterOperation(set_priority=SetPriority(value=77)),),
            ),
        ),
    )
    world = (
        BGPFilter(metadata=Metadata(name="one.way"), spec=rules),
        BGPPeer(
            metadata=Metadata(name="p"),
            spec=BGPPeerSpec(node="n1", peer_ip="172.18.0.2", as_number=64512, filters=("one.way",)),
        ),
        BGPConfiguration(
            metadata=Metadata(name="default"),
            spec=BGPConfigurationSpec(node_to_node_mesh_enabled=False, service_cluster_ips=(ServiceCIDR(cidr="10.96.0.0/16"),)),
        ),
    )
    for number, host in enumerate(hosts, 1):
        # The filter is n1's: the session back from n2 is the same BGPPeer's and has it too, so n2 is given it without.
        plain = BGPPeer(metadata=Metadata(name="p"), spec=BGPPeerSpec(node="n1", peer_ip="172.18.0.2", as_number=64512))
        bgp = intent(f"n{number}", *world, *([plain] if number == 2 else []))
        host.do(lambda bird, bgp=bgp: bird.apply(bgp))  # type: ignore[misc]
    one, two = hosts
    eventually(lambda: "10.0.0.64/26" in bird_routes(one), "n1 does not hear of n2")
    assert "metric 77" in bird_routes(one)["10.0.0.64/26"]
    heard = {str(route.prefix) for route in two.do(Bird.routes) if route.protocol.startswith("Node")}
    assert "10.96.0.0/16" in heard
    assert "10.0.0.0/26" not in heard
    assert not any("10.96." in line for host in hosts for line in bird_routes(host))


def bfd_is_fast(host: Host) -> bool:
    """Both sessions are up, and silence of a second ends them: BFD begins with a packet a second."""
    shown = run_blocking(["birdc", "-s", str(host.run_dir / "bird.ctl"), "show", "bfd", "sessions"]).check().stdout.decode()
    timeouts = [float(line.split()[-1]) for line in shown.splitlines() if " Up " in line]
    return len(timeouts) == 2 and max(timeouts) < 1.0


def test_a_dead_path_is_noticed_within_a_second_by_bfd(hosts: tuple[Host, Host]) -> None:
    fast = BGPConfiguration(metadata=Metadata(name="default", annotations={"tortie.io/bfd": "Enabled"}))
    one, two = hosts
    for number, host in enumerate(hosts, 1):
        bgp = intent(f"n{number}", fast)
        host.do(lambda bird, bgp=bgp: bird.apply(bgp))  # type: ignore[misc]
    eventually(lambda: "10.0.0.0/26" in bird_routes(two), "no route to n1's block")
    eventually(lambda: len(two.established()) == 2, "a session is missing")
    eventually(lambda: bfd_is_fast(one) and bfd_is_fast(two), "BFD stays as slow as it begins")
    one.ip("link", "set", "port2", "down")
    taken = OwnTime(two.pid()).until(lambda: "10.0.0.0/26" not in bird_routes(two), "the route through a dead path stays")
    assert taken < 1.0
    one.ip("link", "set", "port2", "up")
    eventually(lambda: "10.0.0.0/26" in bird_routes(two), "the route does not come back")


def test_ten_thousand_routes_are_taken_in_a_moment(hosts: tuple[Host, Host]) -> None:
    """A condition for each route, in place of a set, took BIRD more than its ten seconds' patience to read again."""
    one, two = hosts
    start_both(hosts)
    blocks = [affinity(1, f"10.{16 + index // 1024}.{index // 4 % 256}.{index % 4 * 64}/26") for index in range(10_000)]
    bgp = intent("n1", pool("large", "10.16.0.0/12"), *blocks)
    two.do(lambda bird: bird.apply(intent("n2", pool("large", "10.16.0.0/12"))))
    began = OwnTime(one.pid())
    one.do(lambda bird: bird.apply(bgp))
    assert began.seconds() < 3, "BIRD takes long to read its configuration"
    eventually(lambda: len(bird_routes(two)) >= 10_000, "routes are missing")
    assert began.seconds() < 10
    began = OwnTime(one.pid())
    one.do(lambda bird: bird.apply(replace(bgp, log_level="Warning")))
    assert began.seconds() < 3, "BIRD takes long to read its configuration again"
