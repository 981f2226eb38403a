"""What the kernel of this node has of one policy: chains, rules with counters, and whether they are what is rendered."""

from collections.abc import Iterator, Mapping
from typing import Any

from tortie.dataplane.populated import Populated
from tortie.dataplane.render.names import TABLE
from tortie.dataplane.render.policy import render_policy
from tortie.insight.trace import Trace
from tortie.kernel.netlink import NETLINK_NETFILTER, RequestSocket
from tortie.kernel.nft import objects as nft
from tortie.kernel.nft.decode import KernelRule, KernelTable
from tortie.kernel.nft.encode import EncodedChain, encode_chain
from tortie.kernel.nft.read import read_rules, read_table


def kernel_document(trace: Trace) -> dict[str, Any]:
    """Read the kernel's table in this network namespace. Needs root. Raises KernelError."""
    socket = RequestSocket(NETLINK_NETFILTER)
    try:
        table = read_table(socket, TABLE)
        listed = read_rules(socket, TABLE, counters=True) if table.flags is not None else []
    finally:
        socket.close()
    if table.flags is None:
        return {"table": None, "equal": not trace.chains, "chains": []}
    by_chain: dict[str, list[KernelRule]] = {}
    for rule in listed:
        by_chain.setdefault(rule.chain, []).append(rule)
    chains = [_chain(chain, table, by_chain.get(chain.name, [])) for chain in _rendered(trace, table)]
    return {"table": f"inet {TABLE}", "equal": all(chain["equal"] for chain in chains), "chains": chains}


def _rendered(trace: Trace, table: KernelTable) -> Iterator[nft.Chain]:
    """The chains as an agent renders them, without questions to sets that have no members and therefore are not made."""
    policy = trace.programmed
    for use in trace.chains:
        assert policy is not None
        for chain in render_policy(policy, use.direction, layer=use.layer, config=trace.config):
            populated = Populated()
            for name in encode_chain(chain).sets - table.sets.keys():
                populated.leave_out(name)
            yield populated.prune(chain)[0]


def _chain(wanted: nft.Chain, table: KernelTable, listed: list[KernelRule]) -> dict[str, Any]:
    encoded = encode_chain(wanted)
    known = table.chains.get(wanted.name)
    document: dict[str, Any] = {"chain": wanted.name, "inKernel": known is not None, "equal": False}
    if known is None:
        document["difference"] = "the chain is not there"
        document["rules"] = []
        return document
    difference = _difference(encoded, known.digests)
    document["equal"] = not difference
    if difference:
        document["difference"] = difference
    document["rules"] = [_rule(rule, position, encoded) for position, rule in enumerate(listed)]
    return document


def _difference(wanted: EncodedChain, digests: tuple[bytes, ...]) -> str:
    """What sets the kernel's rules apart from the rendered ones; "" if nothing does."""
    if digests == wanted.digests:
        return ""
    if len(digests) != len(wanted.digests):
        return f"it has {len(digests)} rules, and {len(wanted.digests)} are rendered"
    first = next(place for place, (has, wants) in enumerate(zip(digests, wanted.digests, strict=True)) if has != wants)
    return f"rule {first} is not the one that is rendered"


def _rule(rule: KernelRule, position: int, wanted: EncodedChain) -> Mapping[str, Any]:
    ours = position < len(wanted.digests) and wanted.digests[position] == rule.digest
    # The kernel's copy of a comment may be clipped.
    comment = wanted.rules[position].comment if ours else rule.comment
    document: dict[str, Any] = {"handle": rule.handle, "comment": comment, "asRendered": ours}
    if rule.counter is not None:
        document["packets"], document["bytes"] = rule.counter
    return document
