"""One transaction of nf_tables as bytes: all of it or nothing. Pure.

Messages take consecutive sequence numbers, so that the kernel's answer to any of them leads back to the object that it was
about (`Batch.culprit`).
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from tortie.kernel.netlink import (
    NLM_F_ACK,
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REQUEST,
    attribute,
    be32,
    nested,
    pack_message,
    text,
)
from tortie.kernel.nft.elements import (
    ElementValue,
    anonymous_set_attributes,
    element_lists,
    list_header,
    set_attributes,
)
from tortie.kernel.nft.encode import AnonymousLookup, EncodedRule
from tortie.kernel.nft.expressions import lookup
from tortie.kernel.nft.objects import Hook, SetSpec, TableFamily
from tortie.kernel.nft.uapi import (
    BATCH_BEGIN,
    BATCH_END,
    BATCH_GENERATION,
    FAMILIES,
    HOOKS,
    SUBSYSTEM,
    ChainAttr,
    Elements,
    Msg,
    RuleAttr,
    SetAttr,
    Table,
    header,
    message_type,
)

_POLICY = {"drop": 0, "accept": 1}


class Culprit(NamedTuple):
    """What one message is about."""

    kind: str  # "table", "chain", "rule", "set", "element"
    name: str
    position: int = 0

    def __str__(self) -> str:
        if self.kind == "rule":
            return f"rule {self.position} of chain {self.name!r}"
        if self.kind == "element":
            return f"elements of set {self.name!r}"
        return f"{self.kind} {self.name!r}"


@dataclass(slots=True)
class Batch:
    """Messages in the order in which the kernel shall see them."""

    table: str
    family: TableFamily = "inet"
    _header: bytes = field(init=False)
    _messages: list[tuple[int, int, bytes]] = field(default_factory=list)
    _culprits: list[Culprit] = field(default_factory=list)
    _set_ids: int = 0
    _nonce: str = field(default_factory=lambda: os.urandom(4).hex())

    def __post_init__(self) -> None:
        self._header = header(FAMILIES[self.family])

    def __len__(self) -> int:
        return len(self._messages)

    def culprit(self, index: int) -> Culprit | None:
        """What message `index` is about; None for the frame around the messages."""
        return self._culprits[index] if 0 <= index < len(self._culprits) else None

    def to_bytes(self, sequence: int, generation: int | None = None) -> bytes:
        """The whole batch; `sequence` is the number of its frame, message `index` has sequence + 1 + index.

        With `generation` the kernel refuses it (ERESTART) if any transaction came between. The last message asks for an
        acknowledgement, so that silence is never taken for success.
        """
        frame = header(0, SUBSYSTEM)
        condition = be32(BATCH_GENERATION, generation) if generation is not None else b""
        parts = [pack_message(BATCH_BEGIN, NLM_F_REQUEST, sequence=sequence, body=frame + condition)]
        last = len(self._messages) - 1
        for index, (kind, flags, body) in enumerate(self._messages):
            asked = flags | NLM_F_REQUEST | (NLM_F_ACK if index == last else 0)
            parts.append(pack_message(kind, asked, sequence=sequence + 1 + index, body=body))
        parts.append(pack_message(BATCH_END, NLM_F_REQUEST, sequence=sequence + 2 + last, body=frame))
        return b"".join(parts)

    def _add(self, message: int, flags: int, body: bytes, culprit: Culprit) -> None:
        self._messages.append((message_type(message), flags, self._header + body))
        self._culprits.append(culprit)

    # ---- table ----
    def put_table(self, flags: int = 0) -> None:
        """Create the table, or take over one that has lost its owner."""
        body = text(Table.NAME, self.table) + be32(Table.FLAGS, flags)
        self._add(Msg.NEWTABLE, NLM_F_CREATE, body, Culprit("table", self.table))

    def delete_table(self) -> None:
        """Delete the table with all that it holds."""
        self._add(Msg.DELTABLE, 0, text(Table.NAME, self.table), Culprit("table", self.table))

    # ---- chains ----
    def put_chain(self, name: str, hook: Hook | None) -> None:
        """Create a chain, empty; of an existing base chain, set the policy."""
        body = text(ChainAttr.TABLE, self.table) + text(ChainAttr.NAME, name)
        if hook is not None:
            body += nested(
                ChainAttr.HOOK,
                be32(ChainAttr.HOOK_NUMBER, HOOKS[self.family].index(hook.hook)),
                be32(ChainAttr.HOOK_PRIORITY, hook.priority),
            )
            body += be32(ChainAttr.POLICY, _POLICY[hook.policy]) + text(ChainAttr.TYPE, hook.type)
        self._add(Msg.NEWCHAIN, NLM_F_CREATE, body, Culprit("chain", name))

    def flush_chain(self, name: str) -> None:
        """Delete a chain's rules."""
        body = text(RuleAttr.TABLE, self.table) + text(RuleAttr.CHAIN, name)
        self._add(Msg.DELRULE, 0, body, Culprit("chain", name))

    def delete_chain(self, name: str) -> None:
        """Delete an empty chain that nothing refers to any more."""
        body = text(ChainAttr.TABLE, self.table) + text(ChainAttr.NAME, name)
        self._add(Msg.DELCHAIN, 0, body, Culprit("chain", name))

    def append_rules(self, chain: str, rules: Iterable[EncodedRule]) -> None:
        """Append rules to a chain, each behind the anonymous sets that it needs."""
        front = text(RuleAttr.TABLE, self.table) + text(RuleAttr.CHAIN, chain)
        for index, rule in enumerate(rules):
            culprit = Culprit("rule", chain, index)
            parts = [p if isinstance(p, bytes) else self._fill(p, culprit) for p in rule.parts]
            body = front + nested(RuleAttr.EXPRESSIONS, *parts) + attribute(RuleAttr.USERDATA, rule.userdata)
            self._add(Msg.NEWRULE, NLM_F_CREATE | NLM_F_APPEND, body, culprit)

    def _fill(self, gap: AnonymousLookup, culprit: Culprit) -> bytes:
        """Create an anonymous set and return the lookup in it."""
        set_id = self._next_set_id()
        # A name of its own: for the pattern "__set%d" the kernel would compare all names of the table, per set.
        name = f"__{self._nonce}.{set_id}"
        front = text(SetAttr.TABLE, self.table) + text(SetAttr.NAME, name)
        body = front + anonymous_set_attributes(gap.anonymous, set_id)
        self._add(Msg.NEWSET, NLM_F_CREATE | NLM_F_EXCL, body, culprit)
        interval = gap.anonymous.interval
        keys: list[tuple[bytes, ElementValue]] = [(low + high if interval else low, None) for low, high in gap.anonymous.ranges]
        for elements, _ in element_lists(keys, interval=interval):
            listed = list_header(self.table, name, set_id) + elements
            self._add(Msg.NEWSETELEM, NLM_F_CREATE, listed, culprit)
        return lookup(name, inverted=gap.inverted, set_id=set_id)

    def _next_set_id(self) -> int:
        self._set_ids += 1
        return self._set_ids

    # ---- sets ----
    def create_set(self, spec: SetSpec) -> None:
        """Create a set or map."""
        front = text(SetAttr.TABLE, self.table) + text(SetAttr.NAME, spec.name)
        body = front + set_attributes(spec, self._next_set_id())
        self._add(Msg.NEWSET, NLM_F_CREATE | NLM_F_EXCL, body, Culprit("set", spec.name))

    def delete_set(self, name: str) -> None:
        """Delete a set that no rule uses any more, with its elements.

        The elements go by a message of their own first: older kernels count what a map's elements jump to until the end of
        the transaction otherwise, and would not let go of those chains.
        """
        culprit = Culprit("set", name)
        self._add(Msg.DELSETELEM, 0, list_header(self.table, name), culprit)
        body = text(SetAttr.TABLE, self.table) + text(SetAttr.NAME, name)
        self._add(Msg.DELSET, 0, body, culprit)

    def add_elements(self, name: str, elements: Iterable[tuple[bytes, ElementValue]], *, interval: bool) -> None:
        """Add elements."""
        front = list_header(self.table, name)
        for listed, _ in element_lists(elements, interval=interval):
            self._add(Msg.NEWSETELEM, NLM_F_CREATE, front + listed, Culprit("element", name))

    def remove_elements(self, name: str, keys: Iterable[bytes], *, interval: bool) -> None:
        """Remove elements that the kernel has."""
        front = list_header(self.table, name)
        for listed, _ in element_lists(((key, None) for key in keys), interval=interval):
            self._add(Msg.DELSETELEM, 0, front + listed, Culprit("element", name))


assert Elements.TABLE == SetAttr.TABLE == ChainAttr.TABLE == RuleAttr.TABLE == Table.NAME == 1  # monitor relies on it
