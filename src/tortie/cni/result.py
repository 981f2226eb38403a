"""Result of ADD, in the shape of the version that was asked for, and the reading of a previous one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tortie.base.net import Address, parse_interface, single
from tortie.cni import errors
from tortie.cni.errors import CniError

_NO_IP_VERSION = ("1.0.0", "1.1.0")  # since 1.0.0 an ips entry does not name its IP version
_WITH_MTU = ("1.1.0",)


@dataclass(frozen=True, slots=True)
class Wired:
    """What a pod got."""

    host_device: str
    host_mac: str
    device: str
    mac: str
    mtu: int
    netns: str
    addresses: tuple[Address, ...]

    def document(self, cni_version: str) -> dict[str, Any]:
        """The result as the runtime reads it: host end, pod end, and the addresses of the latter; no gateway, as Calico."""
        host: dict[str, Any] = {"name": self.host_device, "mac": self.host_mac}
        pod: dict[str, Any] = {"name": self.device, "mac": self.mac, "sandbox": self.netns}
        if cni_version in _WITH_MTU:
            host["mtu"] = pod["mtu"] = self.mtu
        ips = []
        for address in self.addresses:
            entry: dict[str, Any] = {"address": str(single(address)), "interface": 1}
            ips.append(entry if cni_version in _NO_IP_VERSION else {"version": str(address.family.value), **entry})
        return {"cniVersion": cni_version, "interfaces": [host, pod], "ips": ips, "dns": {}}


def addresses_document(addresses: tuple[Address, ...], cni_version: str) -> dict[str, Any]:
    """The result of an IPAM plugin. The route of each address to itself is Calico's, and tells other plugins nothing new."""
    ips = []
    for address in addresses:
        entry: dict[str, Any] = {"address": str(single(address))}
        ips.append(entry if cni_version in _NO_IP_VERSION else {"version": str(address.family.value), **entry})
    routes = [{"dst": str(single(address))} for address in addresses]
    return {"cniVersion": cni_version, "ips": ips, "routes": routes, "dns": {}}


@dataclass(frozen=True, slots=True)
class Previous:
    """What a previous result says of our two devices; "" where it says nothing."""

    host_device: str
    mac: str
    addresses: frozenset[Address]


def parse_previous(found: Mapping[str, Any], interface: str) -> Previous:
    """Read a prevResult as far as it is about `interface`. Raises CniError 7."""
    try:
        devices = [
            (str(item["name"]), str(item.get("mac", "")), item.get("sandbox", "")) for item in found.get("interfaces", ())
        ]
        index = next((index for index, item in enumerate(devices) if item[0] == interface and item[2]), None)
        addresses = frozenset(
            parse_interface(str(item["address"])).address
            for item in found.get("ips", ())
            if item.get("interface") is None or item["interface"] == index
        )
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise CniError(errors.INVALID_CONFIG, "network configuration: prevResult is not a CNI result", str(error)) from None
    if index is None:
        raise CniError(errors.INVALID_CONFIG, f"network configuration: prevResult has no interface {interface} in a sandbox")
    host = next((name for name, _, sandbox in devices if not sandbox), "")
    return Previous(host, devices[index][1].lower(), addresses)
