"""Which bit of the packet mark means what. Pure."""

from dataclasses import dataclass

from tortie.base.errors import TortieError

DEFAULT_MASK = 0xFFFF0000


class MarkMaskError(TortieError):
    """The configured mask has too few bits for us."""


@dataclass(frozen=True, slots=True)
class Marks:
    """One bit each. They are decided and read within one base chain, except that, on a node with host endpoints, `accept` tells
    the hooks behind that a packet has been allowed, or forwarded (render/hooks.py).

    `scratch0` and `scratch1` hold "one of the source (destination) port alternatives matched" within one policy rule.
    """

    accept: int
    pass_: int
    drop: int
    scratch0: int
    scratch1: int
    wireguard: int = 0
    """What WireGuard has wrapped, or came in unwrapped: not for its table of routes. 0 where it is not in use."""

    @property
    def verdict(self) -> int:
        """The bits that a policy chain may leave behind."""
        return self.accept | self.pass_

    @property
    def scratch(self) -> int:
        """Both scratch bits."""
        return self.scratch0 | self.scratch1


def allocate(mask: int, *, wireguard: bool = False) -> Marks:
    """Take bits from `mask`, lowest first, in the order accept, pass, drop, scratch0, scratch1, and wireguard if it is used."""
    bits = [1 << index for index in range(32) if mask >> index & 1]
    needed = 6 if wireguard else 5
    if len(bits) < needed:
        raise MarkMaskError(
            f"NftablesMarkMask {mask:#x} has {len(bits)} bits; give it at least {needed}" + " for WireGuard" * wireguard
        )
    return Marks(*bits[:needed])
