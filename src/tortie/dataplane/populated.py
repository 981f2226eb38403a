"""Which nft sets exist: one family of an intent set that has never had a member is left out, and rules do without it.

Most clusters have sets of one family only. The kernel looks sets up by walking a list and checks every rule with every change,
so what can never match costs time with the first programming, with each change and with each packet.
"""

from collections.abc import Iterable

from tortie.kernel.nft import objects as nft


class Populated:
    """Shared by the set manager, which says what is left out, and the policy manager, which leaves it out of rules.

    A set that has had a member stays until it is removed, so that one member that comes and goes re-renders nothing.
    """

    def __init__(self) -> None:
        self._absent: set[str] = set()
        self._appeared: set[str] = set()

    def leave_out(self, name: str) -> None:
        """This nft set is needed and has no members: it is not made."""
        self._absent.add(name)

    def is_left_out(self, name: str) -> bool:
        """True if the set is needed and not made."""
        return name in self._absent

    def bring_in(self, name: str) -> None:
        """The set is made now, or is not needed any more: rules that did without it are to be rendered again."""
        if name in self._absent:
            self._absent.discard(name)
            self._appeared.add(name)

    def take_appeared(self) -> frozenset[str]:
        """Sets that were brought in since the last call."""
        appeared = frozenset(self._appeared)
        self._appeared.clear()
        return appeared

    def prune(self, chain: nft.Chain) -> tuple[nft.Chain, frozenset[str]]:
        """The chain without what asks sets that are left out, and which those were.

        No address is in an empty set: a rule that wants one there never matches and goes; one that wants it not there loses
        the question.
        """
        missing = {name for rule in chain.rules for name in _asked(rule) if name in self._absent}
        if not missing:
            return chain, frozenset()
        rules = (_without(rule, missing) for rule in chain.rules)
        return nft.Chain(chain.name, tuple(rule for rule in rules if rule is not None), chain.hook), frozenset(missing)


def _asked(rule: nft.Rule) -> Iterable[str]:
    return (each.set_name for each in rule.statements if isinstance(each, nft.NetIn | nft.AddressPortIn))


def _without(rule: nft.Rule, missing: set[str]) -> nft.Rule | None:
    kept: list[nft.Statement] = []
    for statement in rule.statements:
        if isinstance(statement, nft.NetIn | nft.AddressPortIn) and statement.set_name in missing:
            if statement.op == "==":
                return None
        else:
            kept.append(statement)
    return nft.Rule(tuple(kept), rule.comment)
