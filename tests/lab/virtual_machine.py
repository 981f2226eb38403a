"""A stand-in for a virtual machine: two TAP devices, and a thread that carries frames from one to the other.

The TAP on the node is what a hypervisor would make. The other one is the guest's network card, in a network namespace whose
kernel plays the guest: it answers ARP, has addresses and a default route, and knows nothing of the node.
"""

import contextlib
import fcntl
import os
import select
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tortie.kernel import netns

_TUNSETIFF = 0x400454CA
_IFF_TAP, _IFF_NO_PI = 0x0002, 0x1000
HOST_MAC = "ee:ee:ee:ee:ee:ee"
GATEWAYS = {4: "169.254.1.1", 6: "fe80::ecee:eeff:feee:eeee"}
"""Where a guest sends everything: the node answers for the first, and the second follows from the TAP's MAC."""


class VirtualMachine:
    """One guest with a card on a TAP of a node."""

    def __init__(self, lab: str, name: str, *, node: str, addresses: tuple[str, str]) -> None:
        self.tap = f"tap{name}"
        self.addresses = dict(zip((4, 6), addresses, strict=True))
        self._node = f"tortie-{lab}.node.{node}"
        self._guest = f"tortie-{lab}.vm.{name}"
        self._open: list[int] = []
        self._cable: threading.Thread | None = None
        self._unplug, self._plug = os.pipe()
        self._servers: list[subprocess.Popen[bytes]] = []

    def power_on(self) -> None:
        """The hypervisor makes the TAP; the guest boots and configures its card."""
        _ip("netns", "add", self._guest)
        self._open = [
            netns.run_in_named(self._node, lambda: _open_tap(self.tap)),
            netns.run_in_named(self._guest, lambda: _open_tap("eth0")),
        ]
        _ip("-n", self._node, "link", "set", self.tap, "address", HOST_MAC, "up")
        self.run("sysctl", "-qw", "net.ipv6.conf.eth0.accept_dad=0").check_returncode()
        for line in (
            "link set lo up",
            "link set eth0 up",
            f"addr add {self.addresses[4]}/32 dev eth0",
            f"addr add {self.addresses[6]}/128 dev eth0 nodad",
            f"route add {GATEWAYS[4]} dev eth0 scope link",
            f"route add default via {GATEWAYS[4]}",
            f"-6 route add default via {GATEWAYS[6]} dev eth0",
        ):
            _ip("-n", self._guest, *line.split())
        self._cable = threading.Thread(target=self._carry, args=tuple(self._open), daemon=True)
        self._cable.start()

    def power_off(self) -> None:
        """Everything of the guest is gone, the TAP too. Twice is fine."""
        for server in self._servers:
            server.terminate()
            server.wait(30)
        self._servers = []
        if self._cable is not None:
            os.write(self._plug, b"x")
            self._cable.join()
            os.read(self._unplug, 1)
            self._cable = None
        for descriptor in self._open:
            os.close(descriptor)
        self._open = []
        subprocess.run(["ip", "netns", "delete", self._guest], check=False, stderr=subprocess.DEVNULL)

    def close(self) -> None:
        """Power off for good."""
        self.power_off()
        os.close(self._unplug)
        os.close(self._plug)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """A command in the guest."""
        return subprocess.run(
            ["ip", "netns", "exec", self._guest, *command], capture_output=True, text=True, check=False, timeout=30
        )

    def serve(self, log: Path, *what: str) -> None:
        """Servers in the guest, such as tcp:80, until it is powered off; they listen when this returns."""
        command = ["ip", "netns", "exec", self._guest, sys.executable, "-m", "tortie.lab.serve", self.tap, *what]
        with log.open("wb") as output:
            server = subprocess.Popen(command, stdout=output, stderr=output)
        self._servers.append(server)
        deadline = time.monotonic() + 30
        while "ready" not in log.read_text():
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, "the guest's servers do not start"
            time.sleep(0.05)

    def _carry(self, left: int, right: int) -> None:
        other = {left: right, right: left}
        while True:
            readable, _, _ = select.select([left, right, self._unplug], [], [])
            if self._unplug in readable:
                return
            for descriptor in readable:
                with contextlib.suppress(OSError):  # a card that is not up yet takes no frame
                    os.write(other[descriptor], os.read(descriptor, 65536))


@contextlib.contextmanager
def virtual_machine(lab: str, name: str, *, node: str, addresses: tuple[str, str]) -> Iterator[VirtualMachine]:
    """A guest that is running."""
    machine = VirtualMachine(lab, name, node=node, addresses=addresses)
    try:
        machine.power_on()
        yield machine
    finally:
        machine.close()


def _open_tap(name: str) -> int:
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI))
    return descriptor


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
