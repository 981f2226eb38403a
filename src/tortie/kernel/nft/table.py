"""The driver: wanted state in, one atomic transaction out, nothing outside our table touched.

Ours is everything in table `inet tortie` (or another family or name that is given). A process with no memory reads the table
back and recognises unchanged rules by the digest in their user data, so that a restart changes nothing that is right: chains
that are equal are not touched and their counters go on.

Puts come from one thread (the event loop's) and are cheap; the kernel is talked to by the table's own single thread, so
transactions never overlap. `apply` takes what was put before it was called; later puts wait for the next one.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from tortie.kernel.errors import (
    ERESTART,
    Busy,
    KernelError,
    NftError,
    NotFound,
    Overflow,
    PermissionDenied,
    Unsupported,
    kernel_error,
)
from tortie.kernel.netlink import NETLINK_NETFILTER, NLMSG_ERROR, Acknowledgement, RequestSocket, parse_acknowledgement
from tortie.kernel.netns import in_netns
from tortie.kernel.nft.batch import Batch, Culprit
from tortie.kernel.nft.elements import ElementKey, ElementValue, check_member, check_spec
from tortie.kernel.nft.encode import EncodedChain, check_name, encode_chain
from tortie.kernel.nft.objects import Chain, SetSpec, TableFamily
from tortie.kernel.nft.read import read_rules, read_table
from tortie.kernel.nft.state import Plan, TableState

Members = Mapping[ElementKey, ElementValue] | Mapping[str, ElementValue] | Iterable[ElementKey]

_ATTEMPTS = 4  # the first and three more
_CONDITIONAL_ATTEMPTS = 2  # how often a read-back may lose against other tables' transactions before we stop asking
_BACKOFF_SECONDS = 0.02  # times four with each attempt
_SEND_BUFFER = 256 << 20  # a transaction is one datagram; the memory is only taken while one is sent

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ApplyStats:
    """What one apply did. `read_back` is the reason why the kernel's table was read first, empty if it was not."""

    messages: int = 0
    bytes: int = 0
    chains_written: int = 0
    chains_removed: int = 0
    sets_created: int = 0
    sets_removed: int = 0
    elements_added: int = 0
    elements_removed: int = 0
    attempts: int = 0
    read_back: str = ""
    seconds: float = 0.0


class NftRefused(NftError):
    """The kernel refused these objects for what they are: the same transaction without them might be taken."""

    def __init__(self, message: str, errno: int, culprits: tuple[Culprit, ...]) -> None:
        super().__init__(message, errno)
        self.culprits = culprits


class NftTable:
    """One table of ours in the given network namespace, or in the calling thread's.

    With `owned` the kernel lets nobody else change the table while this driver lives, and keeps it afterwards, until another
    takes it over or anybody deletes it. Kernels before 6.9 cannot; there the table is one that anybody may change.

    put_* and remove_* are idempotent and only record; a value that cannot be programmed raises NftError at once and leaves
    what was wanted before. Nothing reaches the kernel before `apply`.
    """

    def __init__(
        self, *, name: str = "tortie", family: TableFamily = "inet", netns_fd: int | None = None, owned: bool = False
    ) -> None:
        check_name("table", name)
        self.name = name
        self.family = family
        self._socket = in_netns(netns_fd, lambda: RequestSocket(NETLINK_NETFILTER, send_buffer=_SEND_BUFFER))
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"nft-{family}-{name}")
        self._chains: dict[str, Chain] = {}
        self._specs: dict[str, SetSpec] = {}
        self._replaced: set[str] = set()
        self._withheld: set[str] = set()
        self._recorded: list[Callable[[TableState], None]] = []
        self._handed_over: deque[list[Callable[[TableState], None]]] = deque()
        # Below: only the table's thread, except that anyone may set _stale.
        self._state = TableState(name, family, owned=owned)
        self._stale = "first apply"
        self._culprits: tuple[Culprit, ...] = ()

    @property
    def port_id(self) -> int:
        """The netlink port that our transactions come from: what a monitor ignores."""
        return self._socket.port_id

    @property
    def size(self) -> tuple[int, int, int]:
        """How many chains, rules and sets are wanted."""
        return len(self._chains), sum(len(chain.rules) for chain in self._chains.values()), len(self._specs)

    @property
    def pending(self) -> bool:
        """True if an apply would have something to do or to check."""
        return bool(self._recorded or self._handed_over or self._stale)

    # ---- wanted ----
    def put_chain(self, chain: Chain) -> None:
        """Want this chain with exactly these rules. Chains may refer to each other in any order of puts."""
        if self._chains.get(chain.name) == chain:
            return
        encoded = encode_chain(chain)
        self._chains[chain.name] = chain
        self._replaced.discard(chain.name)
        self._record(lambda state: state.put_chain(encoded))

    def remove_chain(self, name: str) -> None:
        """Want no such chain; an unknown one is fine."""
        self._replaced.discard(name)
        if self._chains.pop(name, None) is not None:
            self._record(lambda state: state.remove_chain(name))

    def put_set(self, spec: SetSpec, members: Members) -> None:
        """Want this set or map with exactly these members (a mapping to verdicts for a map)."""
        check_spec(spec)
        checked = _checked(spec, members)
        self._specs[spec.name] = spec
        self._withheld.discard(spec.name)
        self._record(lambda state: state.put_set(spec, checked))

    def remove_set(self, name: str) -> None:
        """Want no such set; an unknown one is fine."""
        self._withheld.discard(name)
        if self._specs.pop(name, None) is not None:
            self._record(lambda state: state.remove_set(name))

    def add_members(self, name: str, members: Members) -> None:
        """Want these members too."""
        checked = _checked(self._spec(name), members)
        self._record(lambda state: state.add_members(name, checked))

    def remove_members(self, name: str, keys: Iterable[ElementKey]) -> None:
        """Want these members no longer; unknown ones are fine."""
        spec = self._spec(name)
        frozen = tuple(keys)
        for key in frozen:
            check_member(spec, key, None, with_value=False)
        self._record(lambda state: state.remove_members(name, frozen))

    # ---- what the kernel refuses ----
    def stand_in(self, chain: Chain) -> None:
        """Have this in the kernel in the place of the chain of its name, until other rules are put there or `retry_refused`."""
        if chain.name in self._chains:
            encoded = encode_chain(chain)
            self._replaced.add(chain.name)
            self._record(lambda state: state.put_chain(encoded))

    def withhold_set(self, name: str) -> tuple[str, ...]:
        """Keep a set out of the kernel, until it is put anew or `retry_refused`. Returns the chains that refer to it."""
        self._withheld.add(name)
        self._record(lambda state: state.withhold_set(name))
        return tuple(chain.name for chain in self._chains.values() if name in encode_chain(chain).sets)

    @property
    def refused(self) -> frozenset[str]:
        """Names of the chains that something stands in for, and of the sets that are withheld."""
        return frozenset(self._replaced | self._withheld)

    def retry_refused(self) -> None:
        """Want again what was refused: the next `apply` tries it."""
        for name in sorted(self._replaced):
            encoded = encode_chain(self._chains[name])
            self._record(partial(_put_chain, encoded))
        if self._withheld:
            self._record(TableState.release_sets)
        self._replaced.clear()
        self._withheld.clear()

    def _spec(self, name: str) -> SetSpec:
        spec = self._specs.get(name)
        if spec is None:
            raise NftError(f"set {name!r}: put_set must come before its members change")
        return spec

    def _record(self, operation: Callable[[TableState], None]) -> None:
        self._recorded.append(operation)

    def invalidate(self, reason: str) -> None:
        """Distrust what is known: the next apply reads the kernel's table back and repairs it."""
        self._stale = reason or "invalidated"

    # ---- kernel ----
    async def apply(self) -> ApplyStats:
        """Make the kernel's table the wanted one, in one transaction.

        On NftError the kernel holds what it held before; everything stays wanted, and the next apply tries again. Safe to
        cancel: the transaction then still happens or does not, and the next apply knows. NftRefused names the objects that
        the transaction fails for, whatever else is tried.
        """
        if not self.pending:
            return ApplyStats()
        if self._recorded:
            self._handed_over.append(self._recorded)
            self._recorded = []
        return await self._run(self._apply)

    async def delete(self) -> None:
        """Delete the table and forget all that was wanted. A table that is not there is fine."""
        self._recorded.clear()
        self._handed_over.clear()
        self._chains.clear()
        self._specs.clear()
        self._replaced.clear()
        self._withheld.clear()
        await self._run(self._delete)

    async def counters(self) -> Mapping[tuple[str, str | int], tuple[int, int]]:
        """(packets, bytes) of every rule that counts, by chain and comment, or by chain and index for a rule without one.

        Rules of one chain with the same comment are added up.
        """
        return await self._run(self._counters)

    async def close(self) -> None:
        """Stop the thread and close the socket. The kernel's table stays."""
        await asyncio.to_thread(self._thread.shutdown)
        self._socket.close()

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    # ---- in the table's thread ----
    def _apply(self) -> ApplyStats:
        started = time.monotonic()
        while self._handed_over:
            for operation in self._handed_over.popleft():
                operation(self._state)
        reasons: list[str] = []
        failure: KernelError | None = None
        for attempt in range(_ATTEMPTS):
            if attempt:
                time.sleep(_BACKOFF_SECONDS * 4 ** (attempt - 1))
            try:
                plan, size = self._attempt(reasons, conditional=attempt < _CONDITIONAL_ATTEMPTS)
            except KernelError as error:
                failure = error
                self._stale = "a transaction failed"
                if isinstance(error, Unsupported) and any(each.kind == "table" for each in self._culprits):
                    self._state.disown()
                continue
            return _stats(plan, size, attempts=attempt + 1, read_back=", ".join(reasons), since=started)
        assert failure is not None
        text = f"nftables: table {self.family} {self.name}: {failure}"
        if self._culprits and not isinstance(failure, Busy | Overflow | PermissionDenied):
            raise NftRefused(text, failure.errno, self._culprits) from failure
        raise NftError(text, failure.errno) from failure

    def _attempt(self, reasons: list[str], *, conditional: bool) -> tuple[Plan, int]:
        """Read back if need be, plan, send, remember. Returns the plan and its size in bytes."""
        generation: int | None = None
        if self._stale:
            reasons.append(self._stale)
            self._stale = ""  # before the reading: what is invalidated during it is read next time
            actual = read_table(self._socket, self.name, family=self.family)
            generation = actual.generation if conditional else None
            self._state.adopt(actual)
        self._culprits = ()
        plan = self._state.plan()
        size = self._send(plan.batch, generation) if len(plan.batch) else 0
        self._state.committed(plan)
        return plan, size

    def _send(self, batch: Batch, generation: int | None = None) -> int:
        sequence = self._socket.next_sequence(len(batch) + 2)
        data = batch.to_bytes(sequence, generation)
        self._socket.send(data)
        answers = [parse_acknowledgement(m) for m in self._socket.drain() if m.type == NLMSG_ERROR]
        ours = [answer for answer in answers if 0 <= answer.sequence - sequence <= len(batch) + 1]
        refused = sorted(answer for answer in ours if answer.errno)
        if refused:
            raise self._refusal(batch, sequence, refused)
        if all(answer.sequence != sequence + len(batch) for answer in ours):
            raise NftError("the kernel did not acknowledge the transaction")
        return len(data)

    def _refusal(self, batch: Batch, sequence: int, refused: list[Acknowledgement]) -> KernelError:
        """The error for the first message that the kernel refused."""
        first = refused[0]
        named = (batch.culprit(answer.sequence - sequence - 1) for answer in refused)
        self._culprits = tuple(dict.fromkeys(each for each in named if each is not None))
        culprit = batch.culprit(first.sequence - sequence - 1)
        if culprit is None:
            action = "another transaction came between" if first.errno == ERESTART else "the transaction as a whole"
            return kernel_error(first.errno, action, first.detail)
        more = f"{len(refused) - 1} messages more were refused" if len(refused) > 1 else ""
        detail = ", ".join(part for part in (first.detail, more) if part)
        return kernel_error(first.errno, f"{culprit}{self._hint(culprit)}", detail)

    def _hint(self, culprit: Culprit) -> str:
        """What we know about an object that the kernel refused and that the kernel does not say."""
        if culprit.kind == "element":
            missing = self._state.missing_targets(culprit.name)
            return f" (jumps to {', '.join(map(repr, missing))}, which nobody put)" if missing else ""
        chain = self._state.wanted_chain(culprit.name) if culprit.kind in ("rule", "chain") else None
        if chain is None:
            return ""
        comment = chain.rules[culprit.position].comment if culprit.kind == "rule" else ""
        missing = self._state.missing_references(chain)
        needs = f"needs {', '.join(map(repr, missing))}, which nobody put" if missing else ""
        parts = ", ".join(part for part in (comment, needs) if part)
        return f" ({parts})" if parts else ""

    def _delete(self) -> None:
        self._state.forget()
        self._stale = "table deleted"
        batch = Batch(self.name, self.family)
        batch.delete_table()
        try:
            self._send(batch)
        except NotFound:
            return

    def _counters(self) -> dict[tuple[str, str | int], tuple[int, int]]:
        try:
            rules = read_rules(self._socket, self.name, counters=True, family=self.family)
        except NotFound:
            return {}
        found: dict[tuple[str, str | int], tuple[int, int]] = {}
        position: dict[str, int] = {}
        for rule in rules:
            index = position.get(rule.chain, 0)
            position[rule.chain] = index + 1
            if rule.counter is None:
                continue
            comment = rule.comment
            chain = self._state.wanted_chain(rule.chain)
            if chain is not None and index < len(chain.rules) and chain.rules[index].digest == rule.digest:
                comment = chain.rules[index].comment  # the kernel's copy may be clipped
            packets, octets = found.get((rule.chain, comment or index), (0, 0))
            found[rule.chain, comment or index] = (packets + rule.counter[0], octets + rule.counter[1])
        return found


def _put_chain(chain: EncodedChain, state: TableState) -> None:
    state.put_chain(chain)


def _checked(spec: SetSpec, members: Members) -> dict[ElementKey, ElementValue]:
    """The members as a mapping of our own; NftError for one that does not fit the set."""
    frozen: dict[ElementKey, ElementValue] = {}
    if isinstance(members, Mapping):
        frozen.update(members)
    else:
        frozen.update(dict.fromkeys(members))
    for key, value in frozen.items():
        check_member(spec, key, value)
    return frozen


def _stats(plan: Plan, size: int, *, attempts: int, read_back: str, since: float) -> ApplyStats:
    added, removed = plan.elements
    return ApplyStats(
        messages=len(plan.batch),
        bytes=size,
        chains_written=len(plan.write_chains),
        chains_removed=len(plan.delete_chains - plan.put_chains.keys()),
        sets_created=sum(change.create for change in plan.sets.values()),
        sets_removed=len(plan.delete_sets),
        elements_added=added,
        elements_removed=removed,
        attempts=attempts,
        read_back=read_back,
        seconds=time.monotonic() - since,
    )
