"""Do packets come out of VXLAN as they went in? Some kernels and network cards fill in checksums wrongly inside of tunnels."""

import os
from collections.abc import Mapping
from pathlib import Path

from tortie.agent.checkup import Check
from tortie.kernel.errors import KernelError
from tortie.kernel.ethtool import Offload, checksum_offload_is_broken

_NAMES = ("vxlan.calico", "vxlan-v6.calico")
_SWITCH = "set featureDetectOverride: ChecksumOffloadBroken=true in FelixConfiguration"


def offloads() -> dict[str, bool]:
    """Our VXLAN devices in this network namespace: whether each leaves checksums to what comes after it."""
    found = {}
    offload = Offload()
    try:
        for name in _NAMES:
            try:
                found[name] = offload.transmits_checksums(name)
            except KernelError:
                continue
    finally:
        offload.close()
    return found


def check_checksums(devices: Mapping[str, bool], *, release: str = "", proc: Path = Path("/proc")) -> list[Check]:
    """What is known against the checksums of what comes through `devices`. Nothing to ask without any."""
    if not devices:
        return []
    left = sorted(name for name, offloaded in devices.items() if offloaded)
    if left and checksum_offload_is_broken(release):
        return [
            Check(
                "checksums",
                "problem",
                f"{left[0]} leaves checksums to a kernel that fills them in wrongly ({release or os.uname().release})",
                why="masqueraded connections through VXLAN stall: the other node drops their packets",
                fix=f"{_SWITCH}, or use a kernel newer than 5.7",
            )
        ]
    wrong = {name: count for name, count in _errors(proc).items() if count}
    if not wrong:
        return [Check("checksums", "ok", "nothing has come here with a wrong checksum")]
    counted = ", ".join(f"{count} {name}" for name, count in sorted(wrong.items()))
    return [
        Check(
            "checksums",
            "note",
            f"since the start packets came with wrong checksums: {counted}; if their number grows while connections "
            f"between nodes stall, a network card spoils what is in VXLAN: {_SWITCH}",
        )
    ]


def _errors(proc: Path) -> dict[str, int]:
    """Packets to this node itself that were dropped for their checksum, by protocol."""
    found: dict[str, int] = {}
    lines = [line.split() for line in _text(proc / "net/snmp").splitlines()]
    for names, values in zip(lines[::2], lines[1::2], strict=False):
        protocol = names[0].rstrip(":")
        counts = dict(zip(names[1:], values[1:], strict=False))
        if protocol in ("Tcp", "Udp"):
            found[protocol.upper()] = int(counts.get("InCsumErrors", "0"))
    for words in map(str.split, _text(proc / "net/snmp6").splitlines()):
        if words[:1] == ["Udp6InCsumErrors"]:
            found["UDP over IPv6"] = int(words[1])
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
