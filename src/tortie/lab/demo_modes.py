"""What the demo looks at in one mode: who programs which route, what is on the wire, how large a packet may be."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import TYPE_CHECKING

from tortie.base.net import Address, Family, parse_address
from tortie.kernel import netns
from tortie.kernel.link import Links
from tortie.kernel.route import PROTOCOL
from tortie.lab import fabric
from tortie.lab.capture import Capture, Cover, Crossing
from tortie.lab.cluster import Lab
from tortie.lab.modes import Mode
from tortie.lab.network import PROTOCOL_BIRD, cluster_routes
from tortie.lab.probe import ask, observe
from tortie.lab.report import Report

if TYPE_CHECKING:
    from tortie.lab.demo import Findings

TARGET, PORT = "prod/database", 5432
NEAR, FAR = "prod/backend-1", "prod/backend-2"
"""Two that may reach the target: NEAR is in its rack, on another node; FAR is in another rack, where there is one."""
MARKER = b"this text is what a listener would like to read"
VNI = 4096
ANSWER_SECONDS = 2.0
_HEADERS_BYTES = {Family.V4: 28, Family.V6: 48}
"""IP and UDP."""
_DO_NOT_FRAGMENT = {
    Family.V4: ((socket.IPPROTO_IP, 10, 2),),  # IP_MTU_DISCOVER: always
    Family.V6: ((socket.IPPROTO_IPV6, 23, 2), (socket.IPPROTO_IPV6, 62, 1)),  # IPV6_MTU_DISCOVER: always; IPV6_DONTFRAG
}


# ---- routes ----
def routes(lab: Lab, report: Report, findings: Findings) -> None:
    """Show every node's ways to the others' addresses, and who programs them."""
    owners = fabric.node_addresses(lab.state.spec)
    by = {PROTOCOL: "the agent", PROTOCOL_BIRD: "BIRD"}
    shown: dict[str, list[dict[str, object]]] = {}
    for node in lab.state.spec.nodes:
        shown[node.name] = []
        for route in sorted(cluster_routes(lab.names, node.name), key=lambda route: (route.dst, route.table)):
            via = (
                f" via {route.via}" + (f" ({owners[str(route.via)]})" if str(route.via) in owners else "") if route.via else ""
            )
            report.note(f"{node.name}: {route.dst!s:<24}{via} dev {route.device}, by {by[route.protocol]}")
            entry = {"dst": str(route.dst), "via": str(route.via or ""), "dev": route.device, "protocol": route.protocol}
            shown[node.name].append({**entry, "table": route.table})
    findings.steps["routes"] = shown


# ---- the wire ----
async def wire(lab: Lab, mode: Mode, report: Report, findings: Findings) -> None:
    """Let pods speak, watch the fabric, and see whether each packet crosses as its mode says, and in no other way."""
    shown = []
    for where, source, covers in (("within a rack", NEAR, mode.within), ("between racks", FAR, mode.across)):
        if not covers:
            continue
        node, target_node = lab.pod(source).node, lab.pod(TARGET).node
        seen = await _listen(lab, source)
        for version, cover in sorted(covers.items()):
            family = Family(version)
            pods = _address(lab, source, family), _address(lab, TARGET, family)
            nodes = lab.node_interface(node, family).address, lab.node_interface(target_node, family).address
            example, problem = judge(seen, cover, pods=pods, nodes=nodes)
            if example:
                report.note(f"on the fabric: {example}")
            shown.append({"from": source, "to": TARGET, "family": version, "cover": cover, "example": str(example or "")})
            findings.expect(not problem, f"IPv{version} {where}: {problem or _WORDS[cover]}", report)
    findings.steps["wire"] = shown


_WORDS: dict[Cover, str] = {
    "plain": "packets cross with the pods' own addresses, nothing around them",
    "vxlan": f"every packet is in VXLAN (UDP 4789, VNI {VNI}) from node to node, none goes without",
    "ipip": "every packet is in IP in IP (protocol 4) from node to node, none goes without",
    "wireguard": "only WireGuard's UDP from node to node: no address of a pod, no word of what they say",
}


def judge(
    seen: list[Crossing], cover: Cover, *, pods: tuple[Address, Address], nodes: tuple[Address, Address]
) -> tuple[Crossing | None, str]:
    """An example of what crossed from pod to pod, and what is wrong with it ("" for nothing)."""
    readable = [each for each in seen if (each.innermost.source, each.innermost.destination) == pods]
    if cover == "wireguard":
        between = [each for each in seen if each.cover == cover and (each.source, each.destination) == nodes]
        if readable:
            return readable[0], f"the pods' packet can be read: {readable[0]}"
        if any(MARKER in each.frame for each in seen):
            return None, "what a pod said crosses in clear"
        return (between[0], "") if between else (None, "no packet of WireGuard was seen")
    if not readable:
        return None, "no packet of the pods was seen"
    for each in readable:
        if each.cover != cover:
            return each, f"a packet crosses in another way ({each.cover}): {each}"
        if cover != "plain" and (each.source, each.destination) != nodes:
            return each, f"a tunnel's ends are not the two nodes: {each}"
        if cover == "vxlan" and each.vni != VNI:
            return each, f"the VXLAN's number is {each.vni}, not {VNI}"
    if not any(MARKER in each.frame for each in readable):
        return readable[0], "what the pod said did not cross"
    return readable[0], ""


async def _listen(lab: Lab, source: str) -> list[Crossing]:
    """What leaves the node of a pod while the pod opens a connection to the target and says something to it."""
    asked = [ask(lab, source, TARGET, protocol="tcp", port=PORT, family=family) for family in lab.families]
    capture = Capture(lab.names.fabric, lab.pod(source).node)
    capture.start()
    try:
        await observe(lab, [question for question in asked if question is not None])
        for family in lab.families:
            await _answered(lab, source, family, MARKER)
    finally:
        seen = await asyncio.to_thread(capture.stop)
    return seen


def _address(lab: Lab, pod: str, family: Family) -> Address:
    return next(address for address in map(parse_address, lab.pod(pod).sandbox.addresses) if address.family is family)


# ---- how large ----
async def sizes(lab: Lab, mode: Mode, report: Report, findings: Findings) -> None:
    """A packet that fills a pod's interface passes whole; one byte more does not leave the pod."""
    source = FAR if mode.across else NEAR
    with netns.opened(lab.pod(source).netns) as space, Links(netns_fd=space) as links:
        mtu = links.get("eth0").mtu
    findings.steps["mtu"] = {"pod": mtu, "expected": mode.mtu}
    findings.expect(mtu == mode.mtu, f"the pods' MTU is {mtu} (uplinks: {lab.state.spec.mtu})", report)
    for family in lab.families:
        room = mtu - _HEADERS_BYTES[family]
        passed = await _answered(lab, source, family, bytes(room))
        findings.expect(passed is True, f"IPv{family.value}: {mtu} bytes that must not be fragmented arrive", report)
        refused = await _answered(lab, source, family, bytes(room + 1)) is None
        findings.expect(refused, f"IPv{family.value}: {mtu + 1} bytes are refused where they are sent", report)


async def _answered(lab: Lab, source: str, family: Family, payload: bytes) -> bool | None:
    """True if the target answers a datagram that may not be fragmented, None if our own stack refuses it as too large."""
    number = socket.AF_INET if family is Family.V4 else socket.AF_INET6
    opened = netns.run_in_named(lab.pod(source).netns, lambda: socket.socket(number, socket.SOCK_DGRAM))
    loop = asyncio.get_running_loop()
    with opened:
        opened.setblocking(False)
        for option in _DO_NOT_FRAGMENT[family]:
            opened.setsockopt(*option)
        await loop.sock_connect(opened, (str(_address(lab, TARGET, family)), PORT))
        try:
            await loop.sock_sendall(opened, payload)
            async with asyncio.timeout(ANSWER_SECONDS):
                return bool(await loop.sock_recv(opened, 512))
        except TimeoutError:
            return False
        except OSError as error:
            if error.errno == errno.EMSGSIZE:
                return None
            return False
