"""Is this machine as an agent needs it: sysctls, connection table, disk space, ports, and no live Felix. Reads /proc alone."""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tortie.agent.checkup import Check
from tortie.agent.guard import refuse_beside_felix
from tortie.agent.options import AgentError

_LISTEN = "0A"
_FULL = 0.8
_LITTLE_BYTES = 100 << 20
_LITTLE_PART = 0.05


@dataclass(frozen=True, slots=True)
class Port:
    """A port that we want, and for what. `protocol` is tcp or udp."""

    protocol: str
    number: int
    use: str
    holder: str
    """The process that may have it."""


PORTS = (Port("tcp", 179, "BGP", "bird"), Port("tcp", 9099, "the agent's health page", "tortie"))


def check_host(*, running: bool, directories: Sequence[Path], proc: Path = Path("/proc")) -> list[Check]:
    """All that this module looks at. `running`: an agent runs here, which has set what it needs."""
    return [
        *_sysctls(proc / "sys", running),
        *_connections(proc / "sys/net/netfilter"),
        *_space(directories),
        *_ports(proc),
        *_felix(proc),
    ]


def _sysctls(sys: Path, running: bool) -> Iterator[Check]:
    for name in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
        value = _read(sys / name.replace(".", "/"))
        if value is None:
            yield Check(f"sysctl {name}", "note", "it does not exist: the kernel does without this family")
        elif value == "1":
            yield Check(f"sysctl {name}", "ok", "1")
        elif running:
            yield Check(
                f"sysctl {name}",
                "problem",
                f"{value}, and an agent runs",
                why="the kernel passes no packet on between pods and other nodes",
                fix=f"sysctl -w {name}=1, and look in /etc/sysctl.d for who turns it off",
            )
        else:
            yield Check(f"sysctl {name}", "note", f"{value}: an agent sets it to 1 when it starts")
    if _read(sys / "net/ipv4/conf/all/rp_filter") == "1":
        # Our own rules check the way back of what pods send, so looser values harm nothing.
        yield Check(
            "sysctl net.ipv4.conf.all.rp_filter",
            "note",
            "1: overrides each interface, so pods cannot send with the addresses that allowedSourcePrefixes lets them have",
        )


def _connections(directory: Path) -> Iterator[Check]:
    count, most = _read(directory / "nf_conntrack_count"), _read(directory / "nf_conntrack_max")
    if count is None or most is None or not most.isdigit() or int(most) == 0:
        return
    if int(count) >= _FULL * int(most):
        yield Check(
            "connections",
            "problem",
            f"{count} of {most} entries of the connection table are in use",
            why="once it is full, the kernel drops every new connection",
            fix="sysctl -w net.netfilter.nf_conntrack_max=... (twice as much), and find out who opens so many",
        )
    else:
        yield Check("connections", "ok", f"{count} of {most} entries of the connection table are in use")


def _space(directories: Sequence[Path]) -> Iterator[Check]:
    seen = set()
    for directory in directories:
        place = next((one for one in (directory, *directory.parents) if one.exists()), Path("/"))
        if os.stat(place).st_dev in seen:
            continue
        seen.add(os.stat(place).st_dev)
        usage = shutil.disk_usage(place)
        told = f"{usage.free >> 20} MiB are free at {directory}"
        if usage.free < _LITTLE_BYTES or usage.free < _LITTLE_PART * usage.total:
            yield Check(
                "disk space",
                "problem",
                told,
                why="what must outlive a restart (the datastore, BIRD's configuration) cannot be written",
                fix="make room there, or use another place (--state-dir, TORTIE_SQLITE_PATH)",
            )
        else:
            yield Check("disk space", "ok", told)


def _ports(proc: Path) -> Iterator[Check]:
    for port in PORTS:
        inode = _listener(proc, port)
        if inode is None:
            yield Check(f"port {port.number}/{port.protocol}", "ok", f"nobody has it ({port.use})")
            continue
        name = _process_of(proc, inode)
        if port.holder in name or (port.holder == "tortie" and name.startswith("python")):
            yield Check(f"port {port.number}/{port.protocol}", "ok", f"{name} has it ({port.use})")
        else:
            yield Check(
                f"port {port.number}/{port.protocol}",
                "problem",
                f"{name or 'another process'} has it",
                why=f"it is wanted for {port.use}",
                fix="stop it, or give ours another port (listenPort of BGPConfiguration, healthPort of FelixConfiguration)",
            )


def _listener(proc: Path, port: Port) -> str | None:
    """The inode of the socket that listens on a port."""
    for table in (port.protocol, f"{port.protocol}6"):
        for line in (_read(proc / "net" / table) or "").splitlines()[1:]:
            words = line.split()
            wanted = len(words) > 9 and words[1].rpartition(":")[2] == f"{port.number:04X}"
            if wanted and (port.protocol == "udp" or words[3] == _LISTEN):
                return words[9]
    return None


def _process_of(proc: Path, inode: str) -> str:
    """The name of the process that has a socket; "" where that cannot be seen."""
    for entry in proc.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if any(os.readlink(fd) == f"socket:[{inode}]" for fd in (entry / "fd").iterdir()):
                return (entry / "comm").read_text().strip()
        except OSError:
            continue
    return ""


def _felix(proc: Path) -> Iterator[Check]:
    try:
        refuse_beside_felix(proc)
    except AgentError as error:
        yield Check(
            "felix",
            "problem",
            str(error),
            why="two that program one kernel undo each other's work",
            fix="stop calico-node on this node (its DaemonSet, or systemctl stop calico-node) before the agent starts",
        )
    except OSError:
        return
    else:
        yield Check("felix", "ok", "no Felix runs here")


def check_mtu(mtus: Mapping[str, int], uplink: str) -> list[Check]:
    """Whether what pods send fits through tunnels and the uplink. `mtus` are of all interfaces."""
    if uplink not in mtus:
        return [Check("mtu", "note", "there is no default route: what pods send cannot be compared with an uplink")]
    whole = mtus[uplink]
    overheads = {"vxlan.calico": 50, "vxlan-v6.calico": 70, "tunl0": 20, "wireguard.cali": 60, "wg-v6.cali": 80}
    tunnels = {name: overheads[name] for name in mtus if name in overheads}
    found = []
    for name, overhead in sorted(tunnels.items()):
        if mtus[name] > whole - overhead and name != "tunl0":
            found.append((name, f"{name} has {mtus[name]}, and {uplink} has room for {whole - overhead} inside of {whole}"))
    # tunl0 exists wherever the module is loaded; only when it is up does its size matter, and pods then have its size.
    room = min([whole, *(mtus[name] for name in tunnels if name != "tunl0")])
    pods = sorted(name for name in mtus if name.startswith("cali") and mtus[name] > room)
    if pods:
        more = f" and {len(pods) - 1} more" if len(pods) > 1 else ""
        found.append((pods[0], f"{pods[0]}{more} have up to {max(mtus[name] for name in pods)}, and the way has {room}"))
    if not found:
        return [Check("mtu", "ok", f"{uplink} has {whole}, and nothing of ours is larger than what fits")]
    return [
        Check(
            "mtu",
            "problem",
            text,
            why="large packets are lost while small ones pass: connections open and then hang",
            fix="set spec.mtu (or vxlanMTU, ipipMTU, wireguardMTU) of FelixConfiguration, or leave them 0 to be found, "
            "and restart the pods that are too large",
        )
        for _, text in found
    ]


def interface_mtus(sys: Path = Path("/sys/class/net")) -> dict[str, int]:
    """The MTU of each interface of this network namespace."""
    found = {}
    for entry in sys.iterdir() if sys.is_dir() else ():
        text = _read(entry / "mtu")
        if text is not None and text.isdigit():
            found[entry.name] = int(text)
    return found


def default_interface(proc: Path = Path("/proc")) -> str:
    """The interface of the default route with the lowest metric, of IPv4, else of IPv6; "" where there is none."""
    routes = [line.split() for line in (_read(proc / "net/route") or "").splitlines()[1:]]
    defaults = sorted((int(words[6]), words[0]) for words in routes if len(words) > 7 and words[1] == words[7] == "00000000")
    if not defaults:
        more = [line.split() for line in (_read(proc / "net/ipv6_route") or "").splitlines()]
        whole = ["0" * 32, "00"]
        defaults = sorted(
            (int(words[5], 16), words[9]) for words in more if words[:2] == whole and words[9:] not in ([], ["lo"])
        )
    return defaults[0][1] if defaults else ""


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
