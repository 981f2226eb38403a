"""What the kernel says about our table, as the values that state.py compares. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tortie.kernel.errors import NftError
from tortie.kernel.netlink import Message, iterate_attributes, parse_attributes, string
from tortie.kernel.nft.elements import ElementValue, UnknownElement, decode_elements, decode_spec, key_size
from tortie.kernel.nft.objects import Hook, SetSpec, TableFamily
from tortie.kernel.nft.uapi import (
    COUNTER,
    COUNTER_BYTES,
    COUNTER_PACKETS,
    HOOKS,
    ChainAttr,
    Elements,
    Expr,
    RuleAttr,
    SetAttr,
    Table,
    parse_userdata,
)

_GENMSG = 4  # bytes of struct nfgenmsg before the attributes
_POLICIES = {0: "drop", 1: "accept"}


@dataclass(frozen=True, slots=True)
class KernelChain:
    """A chain as the kernel has it: rules by the digest that we left in them, b"" for a rule that is not ours."""

    hook: Hook | None
    digests: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class KernelSet:
    """A set as the kernel has it; `spec` is None if no spec of ours makes such a set."""

    spec: SetSpec | None
    elements: Mapping[bytes, ElementValue]


@dataclass(frozen=True, slots=True)
class KernelTable:
    """Our table. `flags` is None if there is none; `generation` is the transaction number that this was read at."""

    generation: int
    flags: int | None = None
    chains: Mapping[str, KernelChain] = field(default_factory=dict)
    sets: Mapping[str, KernelSet] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class KernelRule:
    """One rule of a dump, with its counter if it has one (packets, bytes)."""

    chain: str
    handle: int
    digest: bytes
    comment: str
    counter: tuple[int, int] | None


def decode_generation(messages: Iterable[Message]) -> int:
    """The transaction number in the answer to GETGEN."""
    for message in messages:
        attributes = parse_attributes(message.body, _GENMSG)
        if 1 in attributes:
            return int.from_bytes(attributes[1], "big")
    raise NftError("nftables: the kernel told no generation number")


def decode_table_flags(messages: Iterable[Message], table: str) -> int | None:
    """The flags of the table; None if no message is about it."""
    for message in messages:
        attributes = parse_attributes(message.body, _GENMSG)
        if string(attributes[Table.NAME]) == table:
            return int.from_bytes(attributes.get(Table.FLAGS, b""), "big")
    return None


def decode_chains(messages: Iterable[Message], table: str, family: TableFamily) -> dict[str, Hook | None]:
    """Name and hook of the table's chains. A hook that we cannot name (a device, another type) reads as no hook of ours."""
    found: dict[str, Hook | None] = {}
    for message in messages:
        attributes = parse_attributes(message.body, _GENMSG)
        if string(attributes[ChainAttr.TABLE]) == table:
            found[string(attributes[ChainAttr.NAME])] = _hook(attributes, HOOKS[family])
    return found


def _hook(attributes: Mapping[int, bytes], hooks: Sequence[str]) -> Hook | None:
    if ChainAttr.HOOK not in attributes:
        return None
    hook = parse_attributes(attributes[ChainAttr.HOOK])
    number = int.from_bytes(hook[ChainAttr.HOOK_NUMBER], "big")
    policy = int.from_bytes(attributes.get(ChainAttr.POLICY, b"\1"), "big")
    hook_number: Any = hooks[number] if number < len(hooks) else str(number)
    kind: Any = string(attributes[ChainAttr.TYPE])
    policy_name: Any = _POLICIES.get(policy, str(policy))
    # What no renderer can ask for (`Any` above) equals nothing that one asked for: such a chain is made anew.
    return Hook(
        type=kind,
        hook=hook_number,
        priority=int.from_bytes(hook[ChainAttr.HOOK_PRIORITY], "big", signed=True),
        policy=policy_name,
    )


def decode_rules(messages: Iterable[Message], *, counters: bool = False) -> list[KernelRule]:
    """Rules in the order of the dump, which is their order in each chain."""
    found = []
    for message in messages:
        attributes = parse_attributes(message.body, _GENMSG)
        notes = parse_userdata(attributes.get(RuleAttr.USERDATA, b""))
        found.append(
            KernelRule(
                chain=string(attributes[RuleAttr.CHAIN]),
                handle=int.from_bytes(attributes[RuleAttr.HANDLE], "big"),
                digest=notes.get(RuleAttr.DATA_DIGEST, b""),
                comment=string(notes.get(RuleAttr.DATA_COMMENT, b"")),
                counter=_counter(attributes.get(RuleAttr.EXPRESSIONS, b"")) if counters else None,
            )
        )
    return found


def _counter(expressions: bytes) -> tuple[int, int] | None:
    for _, expression in iterate_attributes(expressions):
        parts = parse_attributes(expression)
        if string(parts[Expr.NAME]) == COUNTER:
            numbers = parse_attributes(parts[Expr.DATA])
            packets = int.from_bytes(numbers[COUNTER_PACKETS], "big")
            return packets, int.from_bytes(numbers[COUNTER_BYTES], "big")
    return None


def decode_sets(messages: Iterable[Message]) -> dict[str, SetSpec | None]:
    """Name and spec of the named sets and maps; anonymous ones belong to their rules."""
    found: dict[str, SetSpec | None] = {}
    for message in messages:
        attributes = parse_attributes(message.body, _GENMSG)
        if not int.from_bytes(attributes.get(SetAttr.FLAGS, b""), "big") & SetAttr.ANONYMOUS:
            found[string(attributes[SetAttr.NAME])] = decode_spec(attributes)
    return found


def decode_set(spec: SetSpec, messages: Iterable[Message]) -> KernelSet:
    """A set with the elements of its dump. One that holds an element of a kind that we never make reads as foreign."""
    payloads = [
        attributes[Elements.LIST]
        for attributes in (parse_attributes(message.body, _GENMSG) for message in messages)
        if Elements.LIST in attributes
    ]
    try:
        return KernelSet(spec, decode_elements(payloads, interval=spec.interval, size=key_size(spec)))
    except UnknownElement:
        return KernelSet(None, {})
