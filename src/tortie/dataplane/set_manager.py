"""IP sets: each intent set is two nft sets, one a family, of which one without members is left out (populated)."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from tortie.base.net import FAMILIES, Family, Prefix
from tortie.dataplane.manager import slices
from tortie.dataplane.populated import Populated
from tortie.dataplane.render import names
from tortie.dataplane.render.config import Config
from tortie.intent.keys import SetId
from tortie.intent.messages import Message, SetDelta, SetUpdate
from tortie.intent.sets import IPSet, Member, SetKind
from tortie.kernel.errors import KernelError
from tortie.kernel.nft import objects as nft
from tortie.kernel.nft.table import NftTable

_TYPES = {
    (SetKind.NET, Family.V4): nft.ElementType.IPV4,
    (SetKind.NET, Family.V6): nft.ElementType.IPV6,
    (SetKind.IP_PORT, Family.V4): nft.ElementType.IPV4_PORT,
    (SetKind.IP_PORT, Family.V6): nft.ElementType.IPV6_PORT,
}


@dataclass(slots=True)
class _Whole:
    """The set is to be exactly this."""

    ipset: IPSet
    members: set[Member]


@dataclass(slots=True)
class _Change:
    """The set is to gain and lose members. The two are disjoint."""

    added: set[Member] = field(default_factory=set)
    removed: set[Member] = field(default_factory=set)


class SetManager:
    """Keeps no members of its own: the driver has them, and here stand only those that it has not been told yet."""

    def __init__(self, table: NftTable, populated: Populated) -> None:
        self._table = table
        self._populated = populated
        self._ipsets: dict[SetId, IPSet] = {}
        self._made: set[str] = set()
        self._pending: dict[SetId, _Whole | _Change | None] = {}

    def configure(self, config: Config) -> None:
        """Sets do not depend on the configuration."""

    def on_update(self, message: Message) -> None:
        """Merge the message into what is pending for its set."""
        match message:
            case SetUpdate(id=set_id, ipset=None):
                self._pending[set_id] = None
            case SetUpdate(id=set_id, ipset=IPSet() as ipset, members=members):
                self._pending[set_id] = _Whole(ipset, set(members))
            case SetDelta(id=set_id, added=added, removed=removed):
                self._merge(set_id, added, removed)
            case _:
                pass

    async def apply(self) -> None:
        """Tell the driver. A set's old members stay until the transaction that brings the new ones."""
        failures: list[Exception] = []
        async for set_id, change in slices(list(self._pending.items())):
            del self._pending[set_id]
            try:
                self._tell(set_id, change)
            except KernelError as error:  # rules that ask a set which is not there are refused, and deny
                failures.append(error)
        if failures:
            raise ExceptionGroup(f"{len(failures)} sets cannot be programmed", failures)

    def _tell(self, set_id: SetId, change: _Whole | _Change | None) -> None:
        match change:
            case None:
                self._ipsets.pop(set_id, None)
            case _Whole(ipset=ipset):
                self._ipsets[set_id] = ipset
            case _Change():
                pass
        for family in FAMILIES:
            name = names.set_name(set_id, family)
            match change:
                case None:
                    self._populated.bring_in(name)
                    self._made.discard(name)
                    self._table.remove_set(name)
                case _Whole(ipset=ipset, members=members):
                    self._make(name, family, ipset, _of_family(members, family))
                case _Change(added=added) if name not in self._made:
                    self._make(name, family, self._ipsets[set_id], _of_family(added, family))
                case _Change(added=added, removed=removed):
                    self._table.remove_members(name, _of_family(removed, family))
                    self._table.add_members(name, _of_family(added, family))

    def _make(self, name: str, family: Family, ipset: IPSet, members: list[Member]) -> None:
        if not members and name not in self._made:
            self._populated.leave_out(name)
            return
        self._populated.bring_in(name)
        self._made.add(name)
        self._table.put_set(_spec(ipset, family), members)

    def _merge(self, set_id: SetId, added: Iterable[Member], removed: Iterable[Member]) -> None:
        match self._pending.setdefault(set_id, _Change()):
            case _Whole(members=members):
                members.difference_update(removed)
                members.update(added)
            case _Change() as change:
                change.added.difference_update(removed)
                change.removed.update(removed)
                change.removed.difference_update(added)
                change.added.update(added)
            case None:
                raise KeyError(set_id)


def _spec(ipset: IPSet, family: Family) -> nft.SetSpec:
    return nft.SetSpec(
        names.set_name(ipset.id, family),
        _TYPES[ipset.kind, family],
        interval=ipset.kind is SetKind.NET,
        comment=names.comment(ipset.origin),
    )


def _of_family(members: Iterable[Member], family: Family) -> list[Member]:
    return [member for member in members if (member if isinstance(member, Prefix) else member.address).family is family]
