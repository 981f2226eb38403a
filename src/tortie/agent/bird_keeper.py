"""Keeps BIRD in line with the last BgpUpdate and the secrets that it names, and knows how its peers are.

A session whose password cannot be read is not configured at all: without the password it would accept anybody who has the
peer's address. So is one that BIRD itself refuses: it would refuse all others with it. Names and reasons stand in `peers`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, NamedTuple

from tortie.agent.bird import Bird
from tortie.agent.bird_peers import SignatureCounts, Withheld, describe, read_signature_counts
from tortie.agent.secrets import MissingSecret, SecretError, SecretsDirectory
from tortie.base import log
from tortie.base.aio import Backoff
from tortie.base.errors import TortieError
from tortie.bgp.config import Passwords
from tortie.bgp.errors import ConfigError
from tortie.bgp.limits import why_refused
from tortie.intent.routing import Bgp, BgpPeer

_log = log.get(__name__)
POLL_SECONDS = 1.0
TAKE_OVER_SECONDS = 30.0
"""For so long BIRD keeps its configuration while routes that it is to give up are not in the kernel by another hand."""
_MOST_REFUSED = 20
"""Where BIRD refuses more sessions than that, it is not for one of them."""

Refusal = Callable[[Bgp], Awaitable[str]]


class Resolved(NamedTuple):
    """An intent with its passwords: what BIRD can be given, and what it cannot."""

    bgp: Bgp
    passwords: Passwords
    withheld: tuple[Withheld, ...]


class BirdKeeper:
    """`want` may be called at any time from the loop; `run` does the work. A failure is tried again, and told in `failure`."""

    def __init__(self, bird: Bird, secrets: SecretsDirectory, taken_over: Callable[[float], Awaitable[bool]]) -> None:
        """`taken_over` returns when BIRD may be configured: the routes that it gives up thereby are there without it; or False
        after so many seconds."""
        self._bird = bird
        self._taken_over = taken_over
        self._secrets = secrets
        self._wanted: Bgp | None = None
        self._resolved: Resolved | None = None
        self._refused: tuple[Withheld, ...] = ()
        self._counts = SignatureCounts()
        self._changed = asyncio.Event()
        self.ready = False
        """True once BIRD runs with the configuration that was wanted last."""
        self.failure = ""
        self.peers: list[dict[str, Any]] = []

    def want(self, bgp: Bgp | None) -> None:
        """Take the newest intent. None (this node has no address) leaves BIRD as it is."""
        if bgp is not None:
            self._wanted = bgp
            self.ready = False
            self._changed.set()

    async def run(self) -> None:
        """Without end."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow(), name="bird configuration")
            tasks.create_task(self._watch(), name="bird peers")

    async def _follow(self) -> None:
        backoff = Backoff(first=0.1, last=10.0)
        while True:
            await self._changed.wait()
            if not await self._taken_over(TAKE_OVER_SECONDS):
                _log.warning("BIRD is configured although routes that it gives up are not all in the kernel yet")
            self._changed.clear()
            assert self._wanted is not None
            try:
                await self._apply(self._resolve(self._wanted))
                self.ready = not self._changed.is_set()
                self.failure = ""
                backoff.reset()
            except (TortieError, OSError) as error:  # no file descriptors, no space: it passes
                self.failure = str(error)
                _log.error("BIRD: %s", error)
                self._changed.set()
                await backoff.wait()

    async def _apply(self, resolved: Resolved) -> None:
        """Hand it over; without the sessions for which BIRD does not take it."""
        try:
            await self._bird.apply(resolved.bgp, passwords=resolved.passwords)
            self._refused = ()
        except ConfigError:
            found = await sieve(resolved.bgp, lambda bgp: self._bird.refusal(bgp, resolved.passwords))
            if not found:
                raise
            for item in found:
                if item not in self._refused:
                    _log.error("BGP session %s is not configured: %s", item.peer.name, item.reason)
            self._refused = found
            without = {item.peer for item in found}
            kept = tuple(peer for peer in resolved.bgp.peers if peer not in without)
            await self._bird.apply(_with(resolved.bgp, kept), passwords=resolved.passwords)

    def _resolve(self, wanted: Bgp) -> Resolved:
        """Read the secrets as they are now."""
        before = {item.reason for item in self._resolved.withheld} if self._resolved is not None else set()
        self._resolved = resolve(wanted, self._secrets)
        for item in self._resolved.withheld:
            if item.reason not in before:
                _log.error("BGP session %s is not configured: %s", item.peer.name, item.reason)
        return self._resolved

    async def _watch(self) -> None:
        """Peers' states for the status file; a BIRD that died is started again; a secret that changed is put into force.

        A secret that is just being written may be absent or half there, so a change counts when it is seen twice.
        """
        seen: Resolved | None = None
        while True:
            await asyncio.sleep(POLL_SECONDS)
            if self._wanted is None:
                continue
            try:
                before, seen = seen, resolve(self._wanted, self._secrets)
                if seen == before and seen != self._resolved:
                    self._changed.set()
                found = await self._bird.peers()
            except (TortieError, OSError) as error:
                self.peers = []
                _log.warning("BIRD does not answer, starting it again: %s", error)
                self._changed.set()
                continue
            self._counts.sample(asyncio.get_running_loop().time(), read_signature_counts())
            withheld = (*(self._resolved.withheld if self._resolved is not None else ()), *self._refused)
            self.peers = describe(found, self._wanted.peers, withheld=withheld, counts=self._counts)


def resolve(wanted: Bgp, secrets: SecretsDirectory) -> Resolved:
    """Read every secret that `wanted` names; the sessions that would lack theirs, or that BIRD refuses, are left out."""
    passwords: dict[tuple[str, str], str] = {}
    withheld: list[Withheld] = []
    for peer in wanted.peers:
        refusal = why_refused(wanted, peer)
        if refusal:
            withheld.append(Withheld(peer, refusal))
            continue
        if peer.password_ref is None:
            continue
        try:
            passwords[peer.password_ref] = secrets.read(*peer.password_ref)
        except MissingSecret as error:
            if not peer.password_optional:
                withheld.append(Withheld(peer, str(error)))
        except SecretError as error:
            withheld.append(Withheld(peer, str(error)))
    without = {item.peer for item in withheld}
    return Resolved(
        replace(wanted, peers=tuple(peer for peer in wanted.peers if peer not in without)), passwords, tuple(withheld)
    )


async def sieve(bgp: Bgp, refusal: Refusal) -> tuple[Withheld, ...]:
    """The sessions without which BIRD takes all the rest, with its words; none if it refuses for something else."""
    if await refusal(_with(bgp, ())):
        return ()
    kept: tuple[BgpPeer, ...] = ()
    refused: list[Withheld] = []
    groups = [bgp.peers]
    while groups:
        group = groups.pop()
        words = await refusal(_with(bgp, (*kept, *group))) if group else ""
        if not words:
            kept += group
        elif len(group) > 1:
            groups += [group[len(group) // 2 :], group[: len(group) // 2]]
        else:
            refused.append(Withheld(group[0], f"BIRD does not accept this session: {words}"))
            if len(refused) > _MOST_REFUSED:
                return ()
    return tuple(refused)


def _with(bgp: Bgp, peers: tuple[BgpPeer, ...]) -> Bgp:
    """With these sessions alone, and the filters that they name."""
    named = {name for peer in peers for name in peer.filters}
    return replace(bgp, peers=peers, filters=tuple(each for each in bgp.filters if each.name in named))
