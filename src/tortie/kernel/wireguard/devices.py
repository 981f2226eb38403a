"""WireGuard with whatever this machine has: the kernel's devices, else wireguard-go's. Asked anew for every device."""

from pathlib import Path

from tortie.kernel import mount, sysctl
from tortie.kernel.errors import NotFound, Unsupported, kernel_error
from tortie.kernel.link import Links
from tortie.kernel.wireguard import generic, userspace
from tortie.kernel.wireguard.device import Change, Device, Wireguard
from tortie.kernel.wireguard.generic import KernelWireguard
from tortie.kernel.wireguard.userspace import UserspaceWireguard

_QUEUE_PACKETS = 4096
"""What waits for wireguard-go, which like any process may have to wait a while; the usual 500 are soon full."""


class WireguardDevices:
    """Both back ends as one. A device stays with the one that made it; of another kind is none of ours, and makes room."""

    def __init__(
        self, links: Links, kernel: KernelWireguard, userspace: UserspaceWireguard, *, netns_fd: int | None = None
    ) -> None:
        self._links = links
        self._kernel = kernel
        self._userspace = userspace
        self._netns_fd = netns_fd

    def prepare(self, name: str) -> None:
        """Let the kernel's own check of sources pass what belongs to WireGuard.

        Who may send what is checked by key, so a packet that has come out of the device need not go back into it; and the mark
        of a packet counts when the way back is looked for. Off altogether where that is possible: even the loose check lets
        nothing pass while the device has no address yet, and others send as soon as they know our key.
        """
        everywhere = sysctl.read_in(
            self._netns_fd, "net/ipv4/conf/all/rp_filter"
        )  # the stricter of the two holds, and 2 beats 1
        values = {"net/ipv4/conf/all/src_valid_mark": 1, f"net/ipv4/conf/{name}/rp_filter": 0 if everywhere == "0" else 2}
        sysctl.write_many(values, netns_fd=self._netns_fd)

    async def create(self, name: str) -> None:
        """Make the device, down, or adopt the one that is there."""
        found = self._links.find(name)
        if found is not None and found.kind == generic.KIND:
            return
        if found is not None and found.kind != userspace.KIND:
            self._links.delete(name)
        if found is None or not self._userspace.serves(name):
            try:
                await self._userspace.delete(name)
                await self._kernel.create(name)
            except Unsupported:
                await self._userspace.create(name)
                self._links.set_queue_length(name, _QUEUE_PACKETS)

    async def delete(self, name: str) -> bool:
        """Remove the device and whatever serves it. True if it was there."""
        return await self._userspace.delete(name)

    def read(self, name: str) -> Device:
        """How the device is set, and how its peers are."""
        return self._back_end(name).read(name)

    def write(self, name: str, change: Change) -> None:
        """Change what `change` names, and nothing else."""
        self._back_end(name).write(name, change)

    def set_threaded(self, name: str, threaded: bool) -> None:
        """Whether the kernel works packets off in threads of their own, on all processors. wireguard-go always does."""
        if not self.in_kernel(name):
            return

        def write() -> None:
            path = Path(f"/sys/class/net/{name}/threaded")
            try:
                if path.read_text().strip() != str(int(threaded)):
                    path.write_text(str(int(threaded)))
            except OSError as error:
                raise kernel_error(error.errno or 0, f"set threads of {name}") from error

        mount.with_sysfs(self._netns_fd, write)

    def widen(self, name: str) -> None:
        """Room for what comes in while wireguard-go has no processor; the kernel needs none."""
        if not self.in_kernel(name):
            self._userspace.widen(name)

    def in_kernel(self, name: str) -> bool:
        """True if the kernel itself does the work."""
        found = self._links.find(name)
        return found is not None and found.kind == generic.KIND

    def _back_end(self, name: str) -> Wireguard:
        found = self._links.find(name)
        if found is None:
            raise NotFound(f"WireGuard device {name}: there is no such device")
        return self._kernel if found.kind == generic.KIND else self._userspace
