"""Host endpoints over time: restarts, repairs, what the kernel refuses, interfaces that cannot be read, and the end."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from tests.kernel.dataplane_node import PROFILE, Node, config, endpoint, ipset, node, policy, tier
from tests.kernel.dataplane_stage import NODE, Stage, connect, echo, stage, tcp_server
from tests.kernel.host_ground import ALLOW, DENY, NO, YES, Ground, dport, gone, hep, host_ground, sport

from tortie.agent.applier import Applier
from tortie.agent.notifications import follow_addresses
from tortie.base.metrics import Metrics
from tortie.base.net import FAMILIES, Family, parse_prefix
from tortie.dataplane.render import names
from tortie.intent.messages import InSync, ServiceNetsUpdate
from tortie.intent.policy import Direction, Match
from tortie.intent.sets import SetKind
from tortie.kernel import netns
from tortie.kernel.errors import KernelError
from tortie.kernel.link import AddressMonitor, Links
from tortie.kernel.nft.objects import Chain, Jump, Rule

pytestmark = pytest.mark.kernel

MISSING = ALLOW | {"source": Match(sets=("s:nobody-put-it",))}
"""The kernel refuses a rule that asks a set which does not exist."""
FOREIGN = "table inet foreign {\nchain c {\ntype filter hook input priority 5\ncounter accept\n}\n}"


@pytest.fixture
def ground() -> Iterator[Ground]:
    with host_ground() as made:
        yield made


def every_kind() -> tuple[Any, ...]:
    """A host endpoint with every kind of policy, and one for all other interfaces."""
    undecided = tier(ingress=("some",), egress=("some",), default_pass=True)
    some = tier(ingress=("some",), egress=("some",))
    return (
        policy("some", ingress=(ALLOW | dport(80),), egress=(ALLOW | dport(80), ALLOW | sport(80))),
        hep(some, untracked=(undecided,), pre_dnat=(undecided,), forward=(some,)),
        hep(some, name="all", interface="*", forward=(some,), profiles=(PROFILE,)),
        ServiceNetsUpdate((parse_prefix("10.96.0.0/16"), parse_prefix("fd96::/112"))),
    )


def test_a_node_without_host_endpoints_has_nothing_of_them(ground: Ground) -> None:
    before = ground.table()
    ground.tell(*every_kind())
    grown = ground.table()
    for chain in ("raw-OUTPUT", "mangle-PREROUTING", "mangle-POSTROUTING", "filter-OUTPUT"):
        assert f"chain {chain} " in grown
        assert f"chain {chain} " not in before
    for layer in ("raw", "mangle", "filter"):
        assert f"chain {layer}-cali-pi-np/shop/some " in grown
    ground.tell(gone(), gone("all"), policy("some"), ServiceNetsUpdate(()))
    assert ground.table() == before, "and they leave nothing behind"


def test_policies_stand_only_in_the_layers_that_ask_them(ground: Ground) -> None:
    ground.tell(
        policy("early", ingress=(DENY | dport(81),), egress=(DENY | dport(81),)),
        hep(pre_dnat=(tier(ingress=("early",), default_pass=True),), profiles=(PROFILE,)),
    )
    table = ground.table()
    assert "chain mangle-cali-pi-np/shop/early" in table
    for absent in ("filter-cali-pi-np/shop/early", "raw-cali-pi-np/shop/early", "mangle-cali-po-np/shop/early"):
        assert absent not in table
    assert "chain mangle-cali-pro-kns.shop" in table, "profiles are asked about what the node sends to a translated address"
    assert "chain mangle-cali-pri-kns.shop" not in table
    ground.tell(endpoint(ground.a, tier(ingress=("early",))))
    assert "chain filter-cali-pi-np/shop/early" in ground.table()


def test_a_restart_touches_nothing_that_is_right_and_removes_what_is_not(ground: Ground) -> None:
    ground.foreign(FOREIGN)
    ground.tell(*every_kind(), hep(name="old", interface="uplink2"))
    stage, everything = ground.node.stage, (*every_kind(), endpoint(ground.a), endpoint(ground.b))
    ours = ("nft", "-a", "-s", "list", "table", "inet", "tortie")
    with node(stage) as second:
        second.start(*everything, hep(name="old", interface="uplink2"))
        before = stage.show(stage.node, *ours)
    with node(stage) as third:
        third.start(*everything, hep(name="old", interface="uplink2"))
        assert stage.show(stage.node, *ours) == before
    with node(stage) as fourth:
        fourth.start(*everything)
        after = stage.show(stage.node, *ours)
        assert "th-uplink2" not in after
        assert "th-uplink " in after
    assert "policy accept" in stage.show(stage.node, "nft", "list", "table", "inet", "foreign")


def test_rules_of_others_are_left_alone_and_ours_are_repaired(ground: Ground) -> None:
    ground.foreign(FOREIGN)
    ground.tell(hep())
    stage = ground.node.stage
    stage.show(stage.node, "nft", "flush", "chain", "inet", "tortie", "filter-INPUT")
    assert ground.into_host(8080) == YES
    ground.node.dataplane.invalidate("the test says so")
    ground.tell()
    assert ground.into_host(8080) == NO
    assert "counter packets" in stage.show(stage.node, "nft", "list", "table", "inet", "foreign")


def test_a_change_of_the_marks_changes_all_hooks_at_once(ground: Ground) -> None:
    ground.tell(*every_kind())
    assert (ground.into_host(80), ground.into_host(81)) == (YES, NO)
    ground.tell(config(NftablesMarkMask="0xff00"))
    assert "0x00010000" not in ground.table()
    assert (ground.into_host(80), ground.into_host(81)) == (YES, NO)


# ---- what the kernel refuses ----
@pytest.mark.parametrize("kind", ["normal", "untracked", "pre_dnat"])
def test_a_refused_policy_denies_and_failsafe_ports_stay_open(ground: Ground, kind: str) -> None:
    bad = tier(ingress=("bad",), default_pass=True)
    kinds: dict[str, Any] = {} if kind == "normal" else {kind: (bad,)}
    normal = (bad,) if kind == "normal" else ()
    ground.tell(policy("bad", ingress=(MISSING,)), hep(*normal, **kinds, profiles=(PROFILE,)))
    assert any("np/shop/bad" in name for name in ground.node.dataplane.refused)
    assert ground.into_host(8080) == NO
    assert ground.into_host(22) == YES
    assert ground.into_host(8080, source=ground.second) == YES, "all else goes on"
    ground.tell(ipset("s:nobody-put-it", SetKind.NET), policy("bad", ingress=(MISSING, ALLOW | dport(1))))
    assert not ground.node.dataplane.refused
    assert ground.into_host(8080) == YES


def test_a_refused_host_endpoint_closes_but_locks_nobody_out(ground: Ground) -> None:
    name = names.host_chain("uplink", Direction.INGRESS)
    ground.tell(hep(profiles=(PROFILE,)))
    with tcp_server(ground.host, Family.V4, 8080) as server:
        client = connect(ground.outside, Family.V4, NODE[Family.V4], 8080)
        assert client is not None
        accepted, _ = server.accept()
        accepted.settimeout(1)
        with client, accepted:
            ground.node.table.put_chain(Chain(name, (Rule((Jump("nowhere"),)),)))
            ground.tell()
            assert name in ground.node.dataplane.refused
            assert echo(client, accepted)
    assert ground.into_host(8080) == NO
    assert ground.into_host(22) == YES


def test_a_policy_that_nobody_knows_denies(ground: Ground) -> None:
    ground.tell(hep(tier(ingress=("late",)), profiles=(PROFILE,)))
    assert ground.into_host(8080) == NO
    ground.tell(policy("late", ingress=(ALLOW,)))
    assert ground.into_host(8080) == YES


# ---- interfaces ----
def test_interfaces_that_cannot_be_read_leave_in_force_what_is(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    by_address = hep(interface="", expected=(NODE[Family.V4],))
    ground.tell(by_address)
    assert ground.into_host(8080) == NO

    def refuse(_: Links) -> tuple[()]:
        raise KernelError("links cannot be read")

    with monkeypatch.context() as broken:
        broken.setattr(Links, "list", refuse)
        assert ground.node.dataplane.addresses_changed()
        with pytest.raises(ExceptionGroup, match="not complete"):
            ground.tell(
                policy("web", ingress=(ALLOW | dport(80),)),
                hep(tier(ingress=("web",)), interface="", expected=(NODE[Family.V4],)),
            )
        assert (ground.into_host(80), ground.into_host(8080)) == (YES, NO), "the rest goes on"
        with node(ground.node.stage) as second, pytest.raises(KernelError):
            second.tell(by_address, InSync())
        assert (ground.into_host(80), ground.into_host(8080)) == (YES, NO), "who never knew writes nothing"
    ground.tell()
    assert ground.into_host(8080) == NO


def test_an_address_that_comes_or_goes_is_noticed() -> None:
    with stage("psd") as built, node(built) as made:
        made.start(hep(interface="", expected=("203.0.113.9",)))
        made.run(lambda: _follow(built, made))


async def _follow(built: Stage, made: Node) -> None:
    applier = Applier(made.dataplane, Metrics())
    with netns.opened(built.node) as fd:
        monitor = AddressMonitor(fd)

    async def becomes(expected: set[str]) -> None:
        async with asyncio.timeout(5):
            while set(made.dataplane.host_endpoints) != expected:
                await asyncio.sleep(0.02)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(applier.run()), group.create_task(follow_addresses(monitor, made.dataplane, applier))]
        for action, expected in (("add", {"uplink"}), ("del", set())):
            await asyncio.to_thread(built.batch, built.node, f"addr {action} 203.0.113.9/32 dev uplink")
            await becomes(expected)
        for task in tasks:
            task.cancel()


# ---- sources ----
@pytest.mark.shows("PS-10.8")
def test_the_kernels_own_source_check_is_off_where_other_sources_are_allowed(ground: Ground) -> None:
    stage, setting = ground.node.stage, f"net.ipv4.conf.{ground.a.interface}.rp_filter"
    default = stage.show(ground.host, "sysctl", "-n", "net.ipv4.conf.default.rp_filter")
    stage.sysctl(ground.host, {setting: 1})
    ground.node.dataplane.links_changed({ground.a.interface})
    spoofing = endpoint(ground.a, allowed_source_prefixes=(parse_prefix("10.77.0.64/26"),))
    ground.tell(spoofing)
    assert stage.show(ground.host, "sysctl", "-n", setting) == default
    stage.sysctl(ground.host, {setting: 1})
    ground.tell(config(WorkloadSourceSpoofing="Any"))
    assert stage.show(ground.host, "sysctl", "-n", setting).strip() == "0"
    ground.tell(endpoint(ground.a))
    assert stage.show(ground.host, "sysctl", "-n", setting) == default


def test_host_policy_is_for_both_families(ground: Ground) -> None:
    only4 = ALLOW | dport(80) | {"ip_version": 4}
    ground.tell(policy("four", ingress=(only4,)), hep(tier(ingress=("four",))))
    assert ground.into_host(80) == [family is Family.V4 for family in FAMILIES]
