"""CHECK: compare what is in the kernel with what ADD made. Blocks; belongs into a worker thread in the node's namespace."""

from collections.abc import Iterator

from tortie.base.net import Interface
from tortie.cni.wiring import GATEWAYS, HOST_MAC, Ground, Plan
from tortie.kernel.link import Link
from tortie.kernel.route import PROTOCOL


def differences(ground: Ground, plan: Plan, *, mac: str = "") -> tuple[str, ...]:
    """In words, everything that is not as planned; `mac` is the pod's as ADD told it ("" to leave it out)."""
    return (*_pod(ground, plan, mac), *_node(ground, plan))


def _pod(ground: Ground, plan: Plan, mac: str) -> Iterator[str]:
    link = ground.pod_links.find(plan.device)
    where = f"device {plan.device} in the pod"
    if link is None:
        yield f"{where}: missing"
        return
    yield from _link(link, where, plan)
    if mac and link.mac != mac:
        yield f"{where}: MAC address is {link.mac}, not {mac}"
    wanted = {Interface(address, address.family.bits) for address in plan.addresses}
    found = {entry.interface for entry in ground.pod_links.addresses(plan.device) if entry.is_global}
    for address in sorted(wanted - found):
        yield f"{where}: address {address} is missing"
    for address in sorted(found - wanted):
        yield f"{where}: address {address} is not expected"
    neighbours = {entry.address: entry.mac for entry in ground.pod_links.neighbours(plan.device) if entry.permanent}
    for family, gateway in GATEWAYS.items():
        if plan.has(family) and neighbours.get(gateway) != HOST_MAC:
            yield f"{where}: the permanent neighbour {gateway} is missing"
    routes = set(ground.pod_routes.list())
    for route in (each.as_kernel() for each in plan.pod_routes()):
        if route not in routes:
            yield f"route in the pod: {route} is missing"


def _node(ground: Ground, plan: Plan) -> Iterator[str]:
    link = ground.host_links.find(plan.host_device)
    where = f"device {plan.host_device} of the node"
    if link is None:
        yield f"{where}: missing"
        return
    yield from _link(link, where, plan)
    if link.mac != HOST_MAC:
        yield f"{where}: MAC address is {link.mac}, not {HOST_MAC}"
    inside = ground.pod_links.find(plan.device)
    if inside is not None and (link.peer != inside.index or inside.peer != link.index):
        yield f"{where}: not the other end of {plan.device} in the pod"
    routes = set(ground.host_routes.list(protocol=PROTOCOL))
    for route in (each.as_kernel() for each in plan.host_routes()):
        if route not in routes:
            yield f"route of the node: {route} is missing"


def _link(link: Link, where: str, plan: Plan) -> Iterator[str]:
    if not link.up:
        yield f"{where}: down"
    if plan.mtu and link.mtu != plan.mtu:
        yield f"{where}: MTU is {link.mtu}, not {plan.mtu}"
