"""This node's addresses: chosen at the start, looked after while the agent lives, told with their reasons.

What was found by a method is looked for again when addresses of the machine change, and every AUTODETECT_POLL_INTERVAL. What
is not found any more is kept; what another node has already is refused.
"""

import asyncio
from typing import Any

from tortie.agent import autodetect
from tortie.agent.autodetect import Choice, Chooser
from tortie.agent.node import refuse_duplicates, register, stored_addresses, stored_node
from tortie.agent.options import AgentError, AgentOptions
from tortie.api.formats import parse_duration
from tortie.api.node import Node
from tortie.base import log
from tortie.base.errors import TortieError
from tortie.base.net import FAMILIES, Address, Family, Interface, parse_address
from tortie.datastore.client import Client
from tortie.kernel.errors import KernelError, Overflow
from tortie.kernel.link import AddressMonitor, Links

_log = log.get(__name__)
POLL_VARIABLE = "AUTODETECT_POLL_INTERVAL"
_POLL_SECONDS = 60.0
_LEAST_POLL_SECONDS = 1.0
_SETTLE_SECONDS = 1.0
"""Addresses that change come in crowds, and some come back."""


class NodeAddresses:
    """`start` before anything else needs the node; `run` afterwards. `problem` says why the newest choice is not in force."""

    def __init__(self, options: AgentOptions, client: Client, links: Links) -> None:
        self._options = options
        self._client = client
        self._links = links
        self._choices: dict[Family, Choice] = {}
        self._poll_seconds, self._poll_problem = _poll_seconds(options.environment.get(POLL_VARIABLE, ""))
        self.problem = ""

    @property
    def addresses(self) -> dict[Family, Interface]:
        """Those in force."""
        return {family: each.interface for family, each in self._choices.items() if each.interface is not None}

    async def start(self) -> None:
        """Choose, and put them into this node's resource. Raises AgentError when there is none, or when somebody has it."""
        stored = await stored_node(self._client, self._options.node)
        self._choices = await self._choose(stored)
        if not self.addresses:
            why = "; ".join(f"IPv{family.value}: {each.method}: {each.reason}" for family, each in self._choices.items())
            raise AgentError(f"this node has no address: set IP or IP6 to address/length ({why})")
        await self._register(self._choices, stored)
        if self._poll_problem:
            _log.warning("%s", self._poll_problem)

    async def run(self) -> None:
        """Look again, without end."""
        changed = asyncio.Event()
        monitor = AddressMonitor()

        def on_readable() -> None:
            try:
                if not monitor.read():
                    return
            except Overflow:
                pass
            changed.set()

        loop = asyncio.get_running_loop()
        loop.add_reader(monitor.fileno(), on_readable)
        try:
            while True:
                try:
                    async with asyncio.timeout(self._poll_seconds):
                        await changed.wait()
                    await asyncio.sleep(_SETTLE_SECONDS)
                except TimeoutError:
                    pass
                changed.clear()
                await self._look_again()
        finally:
            loop.remove_reader(monitor.fileno())
            monitor.close()

    def describe(self) -> list[dict[str, Any]]:
        """What the status file says of them."""
        return [
            {
                "family": family.value,
                "address": str(each.interface or ""),
                "method": each.method,
                "interface": each.device,
                "why": each.reason,
                "passedOver": list(each.passed_over),
            }
            for family, each in sorted(self._choices.items())
        ]

    async def _look_again(self) -> None:
        if not any(each.detected for each in self._choices.values()):
            return
        try:
            stored = await stored_node(self._client, self._options.node)
            found = await self._choose(stored)
            choices = {
                family: found[family] if each.detected and found[family].interface is not None else each
                for family, each in self._choices.items()
            }
            wanted = {family: each.interface for family, each in choices.items() if each.interface is not None}
            lost = [
                f"IPv{family.value}: {each.method} finds nothing now; {each.interface} is kept"
                for family, each in self._choices.items()
                if each.detected and each.interface is not None and not found[family].device
            ]
            if wanted != self.addresses:
                await self._register(choices, stored)
                _log.info("this node's addresses are now %s", ", ".join(map(str, wanted.values())))
            self._choices = choices
            problem = "; ".join(lost)
        except (TortieError, KernelError) as error:
            problem = f"the node's addresses stay as they are: {error}"
        if problem and problem != self.problem:
            _log.warning("%s", problem)
        self.problem = problem

    async def _choose(self, stored: Node | None) -> dict[Family, Choice]:
        chooser = Chooser(
            self._options.environment,
            autodetect.survey(self._links),
            stored=stored_addresses(stored),
            internal=_internal(stored),
        )
        # Asking for a name can take as long as DNS likes.
        return await asyncio.to_thread(lambda: {family: chooser.choose(family) for family in FAMILIES})

    async def _register(self, choices: dict[Family, Choice], stored: Node | None) -> None:
        wanted = {family: each.interface for family, each in choices.items() if each.interface is not None}
        new = {family: each for family, each in wanted.items() if stored_addresses(stored).get(family) != each}
        if new and self._options.environment.get("DISABLE_NODE_IP_CHECK", "") != "true":
            await refuse_duplicates(self._client, self._options.node, new)
        await register(self._client, self._options.node, wanted, as_number=self._options.environment.get("AS", ""))


def _internal(node: Node | None) -> list[Address]:
    found = []
    for each in node.spec.addresses if node is not None else ():
        try:
            if each.type == "InternalIP":
                found.append(parse_address(each.address))
        except ValueError:
            continue
    return found


def _poll_seconds(text: str) -> tuple[float, str]:
    """How often to look, and what is wrong with what was asked for."""
    if not text:
        return _POLL_SECONDS, ""
    try:
        seconds = parse_duration(text)
    except ValueError:
        seconds = 0.0
    if seconds < _LEAST_POLL_SECONDS:
        return _POLL_SECONDS, f"{POLL_VARIABLE}={text!r}: use a duration of 1s or more; {_POLL_SECONDS:g}s is used"
    return seconds, ""
