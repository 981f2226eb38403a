"""Network namespaces of one test: random names, always removed."""

import contextlib
import os
import secrets
from collections.abc import Iterator

from tortie.kernel import netns


@contextlib.contextmanager
def spaces(prefix: str, count: int) -> Iterator[list[int]]:
    """Descriptors of so many new namespaces."""
    stack = contextlib.ExitStack()
    with stack:
        found = []
        for _ in range(count):
            name = f"{prefix}{os.getpid()}-{secrets.token_hex(4)}"
            netns.create(name)
            stack.callback(netns.delete, name)
            found.append(stack.enter_context(netns.opened(name)))
        yield found


@contextlib.contextmanager
def named_space(prefix: str) -> Iterator[str]:
    """The name of one new namespace."""
    name = f"{prefix}{os.getpid()}-{secrets.token_hex(4)}"
    netns.create(name)
    try:
        yield name
    finally:
        netns.delete(name)
