"""Which carrier has IPIP, what it is told, and what routes come of it."""

import asyncio
from collections.abc import Mapping

import pytest

from tortie.base.net import Address, Family, Interface, Prefix, parse_address, parse_interface, parse_prefix, single
from tortie.dataplane.ipip_manager import IpipManager
from tortie.dataplane.render.config import Config, parse
from tortie.intent.messages import ClusterRouteUpdate, OverlayUpdate
from tortie.intent.routes import ClusterRoute, Overlay, Owner, TunnelEnd, Way
from tortie.kernel.bpf.path_errors import PathError
from tortie.kernel.errors import NotFound, Overflow
from tortie.kernel.ipip import IpipEnd
from tortie.kernel.route import Route

OWN: Interface = parse_interface("192.0.2.1/24")
TUNNEL = parse_address("10.65.1.0")
OTHER, THIRD = parse_address("198.51.100.2"), parse_address("192.0.2.3")
BLOCK = parse_prefix("10.65.2.0/26")


class Carried:
    """A carrier that keeps what it is told."""

    def __init__(self, name: str, *, reason: str = "", failure: str = "") -> None:
        self.name, self.reason, self.failure = name, reason, failure
        self.end: IpipEnd | None = None
        self.retired = 0
        self.left = ""

    def why_not(self) -> str:
        return self.reason

    def apply(self, end: IpipEnd) -> None:
        if self.failure:
            raise (NotFound if "no such" in self.failure else Overflow)(self.failure)
        self.end = end

    def retire(self) -> None:
        if self.left:
            raise Overflow(self.left)
        self.end = None
        self.retired += 1

    def distrust(self) -> None:
        pass

    def concerned_by(self, name: str) -> bool:
        return name == "eth0"

    @property
    def owners(self) -> Mapping[Prefix, Address]:
        assert self.end is not None
        return self.end.owners


def overlay(*, used: bool = True, address: Address | None = TUNNEL) -> OverlayUpdate:
    ends = (TunnelEnd(Way.IPIP, Family.V4, address, (parse_prefix("10.65.0.0/16"),)),) if used else ()
    return OverlayUpdate(Overlay("n1", OWN, None, ends))


def route(dst: Prefix, way: Way, node: str, next_hop: Address | None = None) -> ClusterRouteUpdate:
    return ClusterRouteUpdate(dst, ClusterRoute(dst, way, Owner.AGENT, node, next_hop))


def turn(manager: IpipManager) -> None:
    asyncio.run(manager.apply())
    asyncio.run(manager.retire())


def manager_of(*carriers: Carried, excluded: tuple[Carried, ...] = (), config: Config | None = None) -> IpipManager:
    manager = IpipManager(carriers, excluded=excluded)
    manager.configure(config or Config())
    return manager


TO_OTHER = ClusterRoute(BLOCK, Way.IPIP, Owner.AGENT, "n2", OTHER)


def test_the_first_that_can_be_had_carries_and_the_others_leave_nothing() -> None:
    kernel, ebpf = Carried("kernel"), Carried("ebpf")
    manager = manager_of(kernel, ebpf)
    manager.on_update(overlay())
    turn(manager)
    assert (manager.carrier, kernel.end is not None, ebpf.end) == ("kernel", True, None)
    assert ebpf.retired == 1
    kernel.reason = "unloaded meanwhile"
    manager.on_update(overlay())
    turn(manager)
    assert manager.carrier == "kernel", "who carries goes on"


def test_one_that_is_excluded_is_not_asked_but_leaves_nothing() -> None:
    kernel, ebpf = Carried("kernel"), Carried("ebpf")
    manager = manager_of(ebpf, excluded=(kernel,))
    manager.on_update(overlay())
    turn(manager)
    assert (manager.carrier, kernel.retired) == ("ebpf", 1)


def test_what_another_one_has_left_and_cannot_be_removed_is_told() -> None:
    kernel, ebpf = Carried("kernel"), Carried("ebpf")
    for refused, excluded in ((ebpf, ()), (kernel, (kernel,))):
        manager = manager_of(*(each for each in (kernel, ebpf) if each not in excluded), excluded=excluded)
        manager.on_update(overlay())
        refused.left = "programs are in the way"
        with pytest.raises(ExceptionGroup):
            asyncio.run(manager.apply())
        told = f"IPIP that is not in use could not be removed: {refused.name}: programs are in the way"
        assert manager.problems == {"tunl0": told}
        assert manager.describe() == {"carrier": "", "problem": told}
        refused.left = ""
        turn(manager)
        assert manager.problems == {}


def test_what_cannot_be_removed_out_of_use_is_told_until_it_is() -> None:
    carrier = Carried("ebpf")
    manager = manager_of(carrier)
    manager.on_update(overlay())
    turn(manager)
    carrier.left = "busy"
    manager.on_update(overlay(used=False))
    for _ in range(2):
        with pytest.raises(ExceptionGroup):
            turn(manager)
        assert manager.problems == {"tunl0": "IPIP that is not in use could not be removed: ebpf: busy"}
    carrier.left = ""
    turn(manager)
    assert manager.problems == {}


def test_where_none_can_be_had_each_says_why_and_no_route_is_made() -> None:
    manager = manager_of(Carried("kernel", reason="no module"), Carried("ebpf", reason="not built"))
    manager.on_update(overlay())
    with pytest.raises(ExceptionGroup):
        asyncio.run(manager.apply())
    assert manager.problems == {"tunl0": "there is no way to carry IPIP on this node: kernel: no module; ebpf: not built"}
    assert manager.route(TO_OTHER) is None
    assert manager.describe()["carrier"] == ""


def test_a_route_waits_for_the_tunnel_and_goes_with_it() -> None:
    carrier = Carried("kernel")
    manager = manager_of(carrier, config=parse({"IpInIpMtu": "1400"}))
    assert manager.route(TO_OTHER) is None
    manager.on_update(overlay(address=None))
    turn(manager)
    assert carrier.end is not None
    assert (carrier.end.underlay, carrier.end.address, carrier.end.mtu) == (OWN.address, None, 1400)
    assert manager.route(TO_OTHER) == Route(dst=BLOCK, via=OTHER, device="tunl0", onlink=True, mtu=1400)
    carrier.failure = "no room"
    manager.invalidate()
    with pytest.raises(ExceptionGroup):
        asyncio.run(manager.apply())
    assert manager.route(TO_OTHER) is not None, "a change is refused, the tunnel stays"
    assert manager.problems == {"tunl0": "no room"}
    carrier.failure = "no such device"
    manager.invalidate()
    with pytest.raises(ExceptionGroup):
        asyncio.run(manager.apply())
    assert manager.route(TO_OTHER) is None
    carrier.failure = ""
    turn(manager)
    assert manager.route(TO_OTHER) is not None
    manager.on_update(overlay(used=False))
    assert manager.route(TO_OTHER) is None
    turn(manager)
    assert (carrier.retired, manager.carrier) == (1, "")


def test_every_destination_is_told_with_the_address_of_its_node() -> None:
    """Also one that is reached otherwise: who has it may still be the one that sends to us."""
    carrier = Carried("ebpf")
    manager = manager_of(carrier)
    manager.on_update(overlay())
    own, direct, unknown = (parse_prefix(text) for text in ("10.65.1.0/26", "10.65.3.0/26", "10.65.9.0/26"))
    plain = parse_prefix("10.99.3.0/26")
    manager.on_update(route(own, Way.LOCAL, "n1"))
    manager.on_update(route(BLOCK, Way.IPIP, "n2", OTHER))
    manager.on_update(route(direct, Way.DIRECT, "n3", THIRD))
    manager.on_update(route(plain, Way.BGP, "n3"))
    manager.on_update(route(unknown, Way.BGP, "n9"))
    manager.on_update(route(parse_prefix("fd00::/122"), Way.BGP, "n3"))
    turn(manager)
    nodes = {single(OTHER): OTHER, single(THIRD): THIRD}
    assert carrier.owners == {own: OWN.address, BLOCK: OTHER, direct: THIRD, plain: THIRD, **nodes}
    manager.on_update(ClusterRouteUpdate(BLOCK, None))
    turn(manager)
    assert carrier.owners == {own: OWN.address, direct: THIRD, plain: THIRD, single(THIRD): THIRD}


def test_machines_outside_of_the_cluster_are_told_as_configured() -> None:
    carrier = Carried("ebpf")
    manager = manager_of(carrier, config=parse({"ExternalNodesCIDRList": "203.0.113.0/24,2001:db8::/32"}))
    manager.on_update(overlay())
    turn(manager)
    assert carrier.end is not None
    assert carrier.end.external == (parse_prefix("203.0.113.0/24"),)


def test_only_devices_that_matter_are_looked_at_again() -> None:
    manager = manager_of(Carried("ebpf"))
    assert not manager.links_changed({"tunl0"})
    assert not manager.addresses_changed()
    manager.on_update(overlay())
    turn(manager)
    assert not manager.links_changed({"cali123"})
    assert manager.links_changed({"eth0"})
    assert manager.links_changed({"tunl0", "cali123"})
    assert manager.addresses_changed()


def test_a_route_follows_what_the_network_says_of_its_way_alone() -> None:
    third = ClusterRoute(parse_prefix("10.65.3.0/26"), Way.IPIP, Owner.AGENT, "n3", THIRD)
    direct = parse_address("192.0.2.4")
    manager = manager_of(Carried("ebpf"))
    assert manager.hear([PathError(OWN.address, OTHER, 1400)]) == frozenset(), "nothing is tunnelled yet"
    manager.on_update(overlay())
    for each in (TO_OTHER, third, ClusterRoute(parse_prefix("10.65.4.0/26"), Way.DIRECT, Owner.AGENT, "n4", direct)):
        manager.on_update(ClusterRouteUpdate(each.dst, each))
    turn(manager)
    said = [
        PathError(OWN.address, OTHER, 1400),
        PathError(OWN.address, OTHER, 1300),
        PathError(OWN.address, direct, 1300),
        PathError(THIRD, THIRD, 1300),
        PathError(OWN.address, THIRD, 1500),
    ]
    assert manager.hear(said) == {OTHER}
    assert [found.mtu for each in (TO_OTHER, third) if (found := manager.route(each))] == [1280, 1480]
    assert manager.hear(said) == frozenset(), "known already"
    manager.configure(parse({"IpInIpMtu": "1200"}))
    assert [found.mtu for each in (TO_OTHER, third) if (found := manager.route(each))] == [1200, 1200]
    assert manager.forget_paths() == frozenset(), "it was said just now"
    manager.on_update(overlay(used=False))
    assert manager.forget_paths() == {OTHER, THIRD}
