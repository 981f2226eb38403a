"""A hand in our table, with 2,000 policies in force: from the end of the operator's `nft` until the kernel has our rules again.

One rule is added to a chain, or the whole table is deleted. The agent hears of it from the kernel. Whole again is what the
kernel says about the chain of one policy: everything is put back in one transaction.
"""

import asyncio
import contextlib
import subprocess
import time
from collections.abc import AsyncIterator, Mapping

from tests.bench import ground
from tests.bench.measuring import Bench, Measure, Pair, Row

from tortie.api.policy import Rule
from tortie.dataplane.render import names
from tortie.intent.keys import PolicyId
from tortie.intent.policy import Direction
from tortie.kernel import netns
from tortie.kernel.errors import NotFound
from tortie.kernel.netlink import NETLINK_NETFILTER, Request, RequestSocket, text
from tortie.kernel.nft.decode import decode_rules
from tortie.kernel.nft.uapi import INET, Msg, RuleAttr, header, message_type
from tortie.lab.spec import PodSpec

_OTHERS = 2000
_RULES, _TABLES = 10, 3
_LIMIT_SECONDS = 1.0
_DEADLINE_SECONDS = 20.0
_IN_FORCE = f"{_OTHERS} policies in force"
_BOUND = "the bound: 1 s"
_ROWS = (
    Row("repair-rule", f"a rule added by hand is gone again, {_IN_FORCE}", _BOUND, "s", target=1.0),
    Row("repair-table", f"the deleted table is back, {_IN_FORCE}", _BOUND, "s", target=1.0),
)
_CHAIN = names.policy_chain(PolicyId("NetworkPolicy", ground.NAMESPACE, "gate"), Direction.INGRESS)
_REQUEST = Request(message_type(Msg.GETRULE), 0, header(INET) + text(RuleAttr.TABLE, "tortie") + text(RuleAttr.CHAIN, _CHAIN))


def _digests(eye: RequestSocket) -> list[bytes]:
    """What the kernel has in the chain; nothing where there is no such chain."""
    try:
        return [rule.digest for rule in decode_rules(eye.dump(_REQUEST, action="read the chain"))]
    except NotFound:
        return []


def _damage(node: str, eye: RequestSocket, command: str) -> float:
    """Seconds from the end of the command until the chain is whole."""
    before = _digests(eye)
    if not before:
        raise RuntimeError("the chain is empty before any damage")
    netns.run_in_named(node, lambda: subprocess.run(["nft", command], check=True))
    done = time.perf_counter()
    while _digests(eye) != before:
        if time.perf_counter() - done > _DEADLINE_SECONDS:
            raise RuntimeError(f"{command}: not repaired")
        time.sleep(0.0005)
    return time.perf_counter() - done


@contextlib.asynccontextmanager
async def _stage() -> AsyncIterator[Measure]:
    async with ground.lab("n1") as lab:
        await ground.fill(lab.client, [ground.policy("gate", "app == 'bystander'", Rule(action="Deny", protocol="UDP"))])
        await ground.fill(lab.client, [ground.other_policy(number, "app == 'bystander'") for number in range(_OTHERS)])
        await lab.add_pod(PodSpec(name=f"{ground.NAMESPACE}/bystander", labels={"app": "bystander"}), default_node="n1")
        node = lab.names.node("n1")
        with contextlib.closing(netns.run_in_named(node, lambda: RequestSocket(NETLINK_NETFILTER))) as eye:

            async def measure(_: int) -> Mapping[str, Pair]:
                taken: dict[str, list[float]] = {row.name: [] for row in _ROWS}
                for command, row, count in (
                    (f"add rule inet tortie {_CHAIN} tcp dport 9 counter", _ROWS[0], _RULES),
                    ("delete table inet tortie", _ROWS[1], _TABLES),
                ):
                    for _number in range(count):
                        taken[row.name].append(await asyncio.to_thread(_damage, node, eye, command))
                        await asyncio.sleep(0.5)  # the applier's throttle has recovered
                return {name: Pair(seconds, [_LIMIT_SECONDS]) for name, seconds in taken.items()}

            yield measure


BENCH = Bench("repair", _ROWS, _stage)
