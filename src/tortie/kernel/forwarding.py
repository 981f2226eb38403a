"""What makes the node a workload's first hop: parameters of the workload's device (routes.md, section 1).

The node answers ARP for every address that the workload asks for, and forwards what comes. A device that the CNI plugin made
has all this already; of a virtual machine's TAP device only the agent can see to it. The parameters go with the device.
"""

from tortie.kernel import sysctl
from tortie.kernel.errors import NotFound

_IPV4 = "net/ipv4/conf"


class Forwarding:
    """The devices of one network namespace; None is the calling thread's."""

    def __init__(self, netns_fd: int | None = None) -> None:
        self._netns_fd = netns_fd
        try:
            self._reverse_path = sysctl.read_in(netns_fd, f"{_IPV4}/default/rp_filter")
        except NotFound:
            self._reverse_path = "1"

    def prepare(self, device: str, *, any_source: bool = False) -> bool:
        """Set what is not set yet; False if there is no such device. A family that this kernel lacks is passed over.

        With `any_source` the kernel's own check of sources is off on the device; otherwise it is the namespace's default.
        """
        missing = sysctl.write_many(
            {
                f"{_IPV4}/{device}/route_localnet": 1,
                f"net/ipv4/neigh/{device}/proxy_delay": 0,
                f"{_IPV4}/{device}/proxy_arp": 1,
                f"{_IPV4}/{device}/forwarding": 1,
                f"{_IPV4}/{device}/rp_filter": "0" if any_source else self._reverse_path,
                f"net/ipv6/conf/{device}/proxy_ndp": 1,
                f"net/ipv6/conf/{device}/forwarding": 1,
                f"net/ipv6/conf/{device}/accept_ra": 0,
            },
            netns_fd=self._netns_fd,
        )
        return f"{_IPV4}/{device}/forwarding" not in missing
