"""What every manager promises."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Protocol, TypeVar

from tortie.dataplane.render.config import Config
from tortie.intent.messages import Message

_T = TypeVar("_T")

_SLICE = 10


class Manager(Protocol):
    """Turns one kind of intent into desired state of a driver. Knows no other manager."""

    def configure(self, config: Config) -> None:
        """Remember the configuration and mark dirty what depends on it. Called before the first `apply`."""

    def on_update(self, message: Message) -> None:
        """Note what a message changes; ignore what it does not concern. Only marks dirty."""

    async def apply(self) -> None:
        """Work off what is dirty. May be repeated; what failed stays dirty."""


async def slices(items: Iterable[_T]) -> AsyncIterator[_T]:
    """The items, giving way to the rest of the process every so often: rendering a whole node takes longer than the loop
    may be held."""
    for index, item in enumerate(items, start=1):
        yield item
        if index % _SLICE == 0:
            await asyncio.sleep(0)
