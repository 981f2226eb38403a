"""Which of this machine's addresses is the node's: every method that Calico has, and why it came out so.

Pure, apart from `reach`, which asks the kernel (and for a name, DNS) by which address a destination is reached.
"""

import re
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from tortie.agent.options import AgentError
from tortie.base.net import Address, Family, Interface, is_peer_address, parse_address, parse_interface, parse_prefix
from tortie.kernel.link import Links

IP_VARIABLES = {Family.V4: "IP", Family.V6: "IP6"}
METHOD_VARIABLES = {Family.V4: "IP_AUTODETECTION_METHOD", Family.V6: "IP6_AUTODETECTION_METHOD"}
METHODS = "first-found, can-reach=DEST, interface=REGEX,..., skip-interface=REGEX,..., cidr=CIDR,... or kubernetes-internal-ip"
FIRST_FOUND = "first-found"
_NOT_AN_UPLINK = (
    "lo$|docker|cbr|dummy|virbr|lxcbr|veth|br-|cali|tap|tunl|flannel|kube-ipvs|cni|nodelocaldns"
    "|vxlan[.-]|wireguard[.]cali|wg-v6[.]cali"
)
"""Interfaces that no method takes by itself (Calico's list, and bridges of containers): `interface=` alone looks at them."""

_PORT = 80
_MOST_TOLD = 20
Reach = Callable[[str, Family], Address | None]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A global address of an interface that is up."""

    device: str
    interface: Interface


@dataclass(frozen=True, slots=True)
class Choice:
    """How a node came by its address of one family. `interface` None: it has none."""

    family: Family
    interface: Interface | None
    method: str
    """The variable and its value, or the method of autodetection."""
    reason: str
    device: str = ""
    detected: bool = False
    """By a method that was asked for, which may find another one later."""
    passed_over: tuple[str, ...] = ()


def survey(links: Links) -> tuple[Candidate, ...]:
    """Every global address of an interface that is up, in the kernel's order."""
    names = {link.index: link.name for link in links.list() if link.up}
    return tuple(
        Candidate(names[entry.index], entry.interface)
        for entry in sorted(links.addresses(), key=lambda entry: entry.index)
        if entry.index in names and entry.is_global
    )


def reach(destination: str, family: Family) -> Address | None:
    """The address by which this machine would speak to a destination; None if it has no way, or no such name exists."""
    domain = socket.AF_INET if family is Family.V4 else socket.AF_INET6
    try:
        with socket.socket(domain, socket.SOCK_DGRAM) as asked:
            asked.connect(socket.getaddrinfo(destination, _PORT, domain, socket.SOCK_DGRAM)[0][4])  # sends nothing
            return parse_address(asked.getsockname()[0].partition("%")[0])
    except (OSError, UnicodeError):  # the latter: what can be no name (a label that is empty or too long)
        return None


class Chooser:
    """What one choice is made from. `internal` are the InternalIPs that Kubernetes has for this node."""

    def __init__(
        self,
        environment: Mapping[str, str],
        candidates: Iterable[Candidate],
        *,
        stored: Mapping[Family, Interface],
        internal: Sequence[Address] = (),
        reach: Reach = reach,
    ) -> None:
        self._environment = environment
        self._candidates = tuple(candidates)
        self._stored = stored
        self._internal = tuple(internal)
        self._reach = reach

    def choose(self, family: Family) -> Choice:
        """The node's address of one family. Raises AgentError for what cannot be understood."""
        variable = IP_VARIABLES[family]
        text = self._environment.get(variable, "").strip()
        if text == "none":
            return Choice(family, None, f"{variable}=none", "switched off")
        if text not in ("", "autodetect"):
            return self._given(family, variable, text)
        kept = self._stored.get(family)
        asked = text == "autodetect" or METHOD_VARIABLES[family] in self._environment
        if not asked and kept is not None and self._device_of(kept.address):
            device = self._device_of(kept.address)
            return Choice(family, kept, f"{variable} is not set", "it stands in the Node already", device=device)
        choice = self._detect(family, self._environment.get(METHOD_VARIABLES[family], "").strip() or FIRST_FOUND)
        if choice.interface is None and kept is not None:
            # An interface that is down for a while must not take the node out of the cluster.
            choice = replace(choice, interface=kept, reason=f"{choice.reason}; the one in the Node is kept")
        return replace(choice, detected=asked)

    def _given(self, family: Family, variable: str, text: str) -> Choice:
        """An address as written; without a mask, with that of the interface which has it."""
        method = f"{variable}={text}"
        try:
            found = parse_interface(text)
        except ValueError as error:
            raise AgentError(f"{method}: {error}") from error
        if found.address.family is not family:
            raise AgentError(f"{method}: an IPv{family.value} address is expected")
        if not is_peer_address(found.address):
            raise AgentError(f"{method}: no address by which other nodes reach this one (link-local, multicast or unspecified)")
        device = self._device_of(found.address)
        reason = "told so" if device else "told so, and no interface of this machine has it"
        if "/" not in text and device:
            found = self._interface_of(found.address) or found
            reason = f"told so, the length of the subnet is that of {device}"
        return Choice(family, found, method, reason, device=device)

    def _detect(self, family: Family, method: str) -> Choice:
        name, _, argument = method.partition("=")
        match name:
            case "first-found" if not argument:
                return self._first(family, method, lambda each: "", "the first address of the first interface")
            case "interface" | "skip-interface" | "cidr" if not argument.strip(", "):
                pass
            case "interface":
                return self._by_interface(family, method, _patterns(family, method, argument))
            case "skip-interface":
                skipped = re.compile("|".join(f"({each.pattern})" for each in _patterns(family, method, argument)))
                return self._first(
                    family,
                    method,
                    lambda each: f"{skipped.pattern} matches" if skipped.search(each.device) else "",
                    "the first interface that is not skipped",
                )
            case "cidr":
                return self._by_network(family, method, argument)
            case "can-reach" if argument:
                found = self._reach(argument, family)
                return self._by_address(family, method, found, f"by it {argument} is reached", f"no way to {argument}")
            case "kubernetes-internal-ip" if not argument:
                internal = next((each for each in self._internal if each.family is family), None)
                why = "Kubernetes has no InternalIP of this family for the node"
                return self._by_address(family, method, internal, "the node's InternalIP in Kubernetes", why)
        raise AgentError(f"{METHOD_VARIABLES[family]}={method!r}: use {METHODS}")

    def _first(self, family: Family, method: str, objection: Callable[[Candidate], str], reason: str) -> Choice:
        """The first address that nothing speaks against, of interfaces that can be an uplink."""
        passed: list[str] = []
        for each in self._of(family):
            against = "not an uplink" if re.match(_NOT_AN_UPLINK, each.device) else objection(each)
            if not against:
                return Choice(family, each.interface, method, reason, each.device, passed_over=_told(passed))
            passed.append(f"{each.interface} of {each.device}: {against}")
        why = "no interface has one that may be taken" if passed else "no interface has one"
        return Choice(family, None, method, why, passed_over=_told(passed))

    def _by_interface(self, family: Family, method: str, patterns: Sequence[re.Pattern[str]]) -> Choice:
        for pattern in patterns:
            for each in self._of(family):
                if pattern.search(each.device):
                    passed = [f"{other.interface} of {other.device}" for other in self._of(family) if other != each]
                    reason = f"the first address of an interface that {pattern.pattern} matches"
                    return Choice(family, each.interface, method, reason, each.device, passed_over=_told(passed))
        passed = [f"{other.interface} of {other.device}: not named" for other in self._of(family)]
        return Choice(family, None, method, "no interface of that name has one", passed_over=_told(passed))

    def _by_network(self, family: Family, method: str, argument: str) -> Choice:
        try:
            networks = [parse_prefix(text.strip(), strict=False) for text in argument.split(",") if text.strip()]
        except ValueError as error:
            raise AgentError(f"{METHOD_VARIABLES[family]}={method!r}: {error}") from error
        return self._first(
            family,
            method,
            lambda each: "" if any(network.contains(each.interface.address) for network in networks) else "outside of it",
            "the first address within it",
        )

    def _by_address(self, family: Family, method: str, found: Address | None, reason: str, why_not: str) -> Choice:
        passed = _told(f"{each.interface} of {each.device}" for each in self._of(family) if each.interface.address != found)
        if found is None:
            return Choice(family, None, method, why_not, passed_over=passed)
        here = self._interface_of(found)
        if here is None:
            return Choice(family, None, method, f"no interface has {found}", passed_over=passed)
        return Choice(family, here, method, reason, self._device_of(found), passed_over=passed)

    def _of(self, family: Family) -> list[Candidate]:
        return [each for each in self._candidates if each.interface.address.family is family]

    def _device_of(self, address: Address) -> str:
        return next((each.device for each in self._candidates if each.interface.address == address), "")

    def _interface_of(self, address: Address) -> Interface | None:
        return next((each.interface for each in self._candidates if each.interface.address == address), None)


def _patterns(family: Family, method: str, argument: str) -> list[re.Pattern[str]]:
    try:
        return [re.compile(text.strip()) for text in argument.split(",") if text.strip()]
    except re.error as error:
        raise AgentError(f"{METHOD_VARIABLES[family]}={method!r}: not a regular expression: {error}") from error


def _told(texts: Iterable[str]) -> tuple[str, ...]:
    """As many as anybody reads: a node can have hundreds."""
    return tuple(texts)[:_MOST_TOLD]
