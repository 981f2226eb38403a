"""A pod's cable: veth pair, addresses, routes and sysctls (routes.md, section 1), as steps that can be undone.

Everything here blocks (deleting a veth takes 16 ms) and belongs into a worker thread, whose network namespace is the node's.
Every undo is safe where its step did nothing, or half of it.
"""

from collections.abc import Callable
from dataclasses import dataclass

from tortie.base import log
from tortie.base.net import Address, Family, Interface, Prefix, parse_address, single
from tortie.cni import errors
from tortie.cni.errors import CniError
from tortie.kernel import netns, sysctl
from tortie.kernel.errors import AlreadyExists, KernelError
from tortie.kernel.link import Links
from tortie.kernel.route import METRIC, PROTOCOL, Route, RouteFailure, Routes

_log = log.get(__name__)

HOST_MAC = "ee:ee:ee:ee:ee:ee"
GATEWAYS = {Family.V4: parse_address("169.254.1.1"), Family.V6: parse_address("fe80::ecee:eeff:feee:eeee")}
"""What a pod sends everything to: an address that is nobody's, and the link-local address of HOST_MAC."""
_LINK_LOCAL_LENGTH = 64
_BOOT = 3
"""Protocol of the routes inside the pod, as of any that are set up by hand."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be there in the end. `mtu` 0 and `mac` "" leave the choice to the kernel."""

    host_device: str
    device: str
    addresses: tuple[Address, ...]
    mtu: int = 0
    mac: str = ""
    allow_ip_forwarding: bool = False
    queues: int = 1
    routes: tuple[Prefix, ...] = ()
    """What the pod sends through its device; empty means everything."""
    default_routes: bool = False
    """True: everything, in addition to `routes`."""
    remark: str = ""
    """What the node's end carries for those who find it."""

    def has(self, family: Family) -> bool:
        """True if the pod has an address of the family."""
        return any(address.family is family for address in self.addresses)

    def pod_routes(self) -> tuple[Route, ...]:
        """Routes inside the pod, those first that others depend on."""
        found = []
        if self.has(Family.V4):
            found.append(Route(dst=single(GATEWAYS[Family.V4]), device=self.device, protocol=_BOOT))
        for family, gateway in GATEWAYS.items():
            if not self.has(family):
                continue
            everything = () if self.routes and not self.default_routes else (Prefix(family, 0, 0),)
            wanted = (*everything, *(route for route in self.routes if route.family is family))
            found += [Route(dst=dst, via=gateway, device=self.device, protocol=_BOOT) for dst in dict.fromkeys(wanted)]
        return tuple(found)

    def host_routes(self) -> tuple[Route, ...]:
        """Routes of the node to the pod."""
        return tuple(
            Route(dst=single(address), device=self.host_device, metric=METRIC, protocol=PROTOCOL) for address in self.addresses
        )


class Ground:
    """The node (the calling thread's namespace) and one pod, open for work by that thread. NotFound, or CniError 4, if
    `pod_fd` is not a pod's namespace."""

    def __init__(self, pod_fd: int) -> None:
        self.pod_fd = pod_fd
        try:
            pod = netns.in_netns(pod_fd, netns.current_identity)
        except KernelError as error:
            raise CniError(errors.INVALID_ENVIRONMENT, "CNI_NETNS is not a network namespace", str(error)) from error
        if pod == netns.current_identity():
            raise CniError(errors.INVALID_ENVIRONMENT, "CNI_NETNS is the node's own network namespace")
        self.host_links = Links()
        self.host_routes = Routes()
        self.pod_links = Links(pod_fd)
        self.pod_routes = Routes(pod_fd)

    def __enter__(self) -> "Ground":
        return self

    def __exit__(self, *_: object) -> None:
        for part in (self.host_links, self.host_routes, self.pod_links, self.pod_routes):
            part.close()


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the wiring and how to take it back."""

    name: str
    do: Callable[[Ground, Plan], None]
    undo: Callable[[Ground, Plan], None]


def wire(ground: Ground, plan: Plan) -> str:
    """Take all steps; returns the pod's MAC. When one fails, those taken and the failed one are undone, in reverse."""
    begun: list[Step] = []
    try:
        for step in STEPS:
            begun.append(step)
            step.do(ground, plan)
        return ground.pod_links.get(plan.device).mac
    except BaseException:
        _undo(ground, plan, begun)
        raise


def unwire(ground: Ground, plan: Plan) -> None:
    """Undo all steps, whatever of them was done."""
    _undo(ground, plan, list(STEPS))


def remove_host_device(name: str) -> None:
    """Remove the node's end of a cable (the pod's end goes with it); one that is not there is fine."""
    with Links() as links:
        links.delete(name)


def remove_pod_device(pod_fd: int, name: str) -> None:
    """Remove the pod's end (the node's goes with it); no device and no namespace are fine."""
    try:
        pod = netns.in_netns(pod_fd, netns.current_identity)
    except KernelError:
        return
    if pod == netns.current_identity():
        raise CniError(errors.INVALID_ENVIRONMENT, "CNI_NETNS is the node's own network namespace")
    with Links(pod_fd) as links:
        links.delete(name)


def _undo(ground: Ground, plan: Plan, steps: list[Step]) -> None:
    for step in reversed(steps):
        try:
            step.undo(ground, plan)
        except KernelError as error:  # the other undos must still run
            _log.error("%s: undoing %r failed: %s", plan.host_device, step.name, error)


# ---- the steps ----
def _nothing(_ground: Ground, _plan: Plan) -> None:
    """What needs no undo."""


def _remove_stale(ground: Ground, plan: Plan) -> None:
    ground.host_links.delete(plan.host_device)


def _make_pair(ground: Ground, plan: Plan) -> None:
    made = ground.host_links.create_veth(
        plan.host_device,
        plan.device,
        peer_netns=ground.pod_fd,
        mtu=plan.mtu or None,
        mac=HOST_MAC,
        peer_mac=plan.mac or None,
        queues=plan.queues,
    )
    if plan.remark:
        ground.host_links.set_alias(plan.host_device, plan.remark)
    if made.mac != HOST_MAC:  # udev may have given it another one by now
        ground.host_links.set_mac(plan.host_device, HOST_MAC)


def _set_host(ground: Ground, plan: Plan) -> None:
    name = plan.host_device
    values = {
        f"net/ipv4/conf/{name}/route_localnet": 1,
        f"net/ipv4/neigh/{name}/proxy_delay": 0,
        f"net/ipv4/conf/{name}/proxy_arp": 1,
        f"net/ipv4/conf/{name}/forwarding": 1,
    }
    if plan.has(Family.V6):
        values |= {
            f"net/ipv6/conf/{name}/disable_ipv6": 0,
            f"net/ipv6/conf/{name}/accept_dad": 0,
            f"net/ipv6/conf/{name}/proxy_ndp": 1,
            f"net/ipv6/conf/{name}/forwarding": 1,
            f"net/ipv6/conf/{name}/accept_ra": 0,
        }
    else:  # leaving the routers' groups of a family that the pod lacks would double what DEL takes
        values[f"net/ipv6/conf/{name}/disable_ipv6"] = 1
    _require(plan, sysctl.write_many(values))


def _raise_host(ground: Ground, plan: Plan) -> None:
    ground.host_links.set_up(plan.host_device)
    if plan.has(Family.V6):
        gateway = Interface(GATEWAYS[Family.V6], _LINK_LOCAL_LENGTH)
        ground.host_links.add_address(plan.host_device, gateway)


def _set_pod(ground: Ground, plan: Plan) -> None:
    forwarding = int(plan.allow_ip_forwarding)
    values = {"net/ipv4/ip_forward": forwarding}
    if plan.has(Family.V6):
        values |= {
            "net/ipv6/conf/all/disable_ipv6": 0,
            "net/ipv6/conf/default/disable_ipv6": 0,
            "net/ipv6/conf/lo/disable_ipv6": 0,
            f"net/ipv6/conf/{plan.device}/disable_ipv6": 0,
            f"net/ipv6/conf/{plan.device}/accept_dad": 0,
            "net/ipv6/conf/all/forwarding": forwarding,
        }
    _require(plan, sysctl.write_many(values, netns_fd=ground.pod_fd))


def _raise_pod(ground: Ground, plan: Plan) -> None:
    ground.pod_links.set_up("lo")
    ground.pod_links.set_up(plan.device)


def _add_addresses(ground: Ground, plan: Plan) -> None:
    for address in plan.addresses:
        ground.pod_links.add_address(plan.device, Interface(address, address.family.bits))


def _remove_addresses(ground: Ground, plan: Plan) -> None:
    for address in plan.addresses:
        ground.pod_links.delete_address(plan.device, Interface(address, address.family.bits))


def _add_neighbours(ground: Ground, plan: Plan) -> None:
    """Both ends know each other's MAC. Else the pod would wait for proxy ARP, which needs a default route on the node, and
    the node's ARP for the pod would need an IPv4 address to ask from (of IPv6, the link-local one does)."""
    for family, gateway in GATEWAYS.items():
        if plan.has(family):
            ground.pod_links.add_neighbour(plan.device, gateway, HOST_MAC)
    mac = ground.pod_links.get(plan.device).mac
    for address in plan.addresses:
        if address.family is Family.V4:
            ground.host_links.add_neighbour(plan.host_device, address, mac)


def _remove_neighbours(ground: Ground, plan: Plan) -> None:
    for gateway in GATEWAYS.values():
        ground.pod_links.delete_neighbour(plan.device, gateway)
    for address in plan.addresses:
        ground.host_links.delete_neighbour(plan.host_device, address)


def _add_pod_routes(ground: Ground, plan: Plan) -> None:
    _raise_first(ground.pod_routes.replace(plan.pod_routes()))


def _remove_pod_routes(ground: Ground, plan: Plan) -> None:
    ground.pod_routes.delete(plan.pod_routes())


def _add_host_routes(ground: Ground, plan: Plan) -> None:
    """A route of ours to another device is a leftover (IPAM gave the address to this pod); a foreign one is a conflict."""
    taken = [failure for failure in ground.host_routes.add(plan.host_routes()) if not _is_taken_by_us(ground, failure)]
    _raise_first(tuple(taken))
    _raise_first(ground.host_routes.replace(plan.host_routes()))


def _is_taken_by_us(ground: Ground, failure: RouteFailure) -> bool:
    if not isinstance(failure.error, AlreadyExists):
        return False
    return any(route.dst == failure.route.dst for route in ground.host_routes.list(protocol=PROTOCOL))


def _remove_host_routes(ground: Ground, plan: Plan) -> None:
    ground.host_routes.delete(plan.host_routes())


def _require(plan: Plan, missing: tuple[str, ...]) -> None:
    """Parameters of a family that the pod uses must exist; proxy_delay is only a convenience."""
    for name in missing:
        family = Family.V6 if name.startswith("net/ipv6") else Family.V4
        if plan.has(family) and not name.endswith("proxy_delay"):
            raise CniError(errors.INTERNAL, f"sysctl {name} does not exist: this kernel has no IPv{family.value} here")


def _raise_first(failures: tuple[RouteFailure, ...]) -> None:
    if failures:
        raise failures[0].error


STEPS: tuple[Step, ...] = (
    Step("remove a stale device", _remove_stale, _nothing),
    Step("veth pair", _make_pair, _remove_stale),
    Step("sysctls of the node", _set_host, _nothing),  # they go with the device
    Step("node's end up", _raise_host, _nothing),
    Step("sysctls of the pod", _set_pod, _nothing),  # the next ADD sets them as it needs them
    Step("pod's end up", _raise_pod, _nothing),
    Step("addresses", _add_addresses, _remove_addresses),
    Step("neighbours", _add_neighbours, _remove_neighbours),
    Step("routes of the pod", _add_pod_routes, _remove_pod_routes),
    Step("routes of the node", _add_host_routes, _remove_host_routes),
)
