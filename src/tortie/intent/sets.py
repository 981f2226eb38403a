"""IP sets: the members that a rule's selector or named port stands for."""

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from tortie.base.net import Address, Prefix
from tortie.intent.keys import SetId


class SetKind(Enum):
    """NET holds prefixes (both families); IP_PORT holds address, protocol and port."""

    NET = "net"
    IP_PORT = "ip,port"


class PortMember(NamedTuple):
    """Member of an IP_PORT set."""

    address: Address
    protocol: int
    port: int


Member = Prefix | PortMember


@dataclass(frozen=True, slots=True)
class IPSet:
    """What a set is. `origin` is the text it came from: the canonical selector, or selector, protocol and port name."""

    id: SetId
    kind: SetKind
    origin: str
