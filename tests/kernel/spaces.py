"""Network namespaces of one test: random names, always removed; when IPv6 can be used there; packets in order."""

import contextlib
import os
import secrets
import subprocess
import time
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


@contextlib.contextmanager
def on_one_processor() -> Iterator[None]:
    """All that packets need is done by one, so that its queue keeps the order and what is sent last is seen last."""
    processors = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(processors)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, processors)


def until_ipv6(name: str, *devices: str) -> None:
    """Return when IPv6 can be used on these devices of a namespace, which are up at both ends.

    The kernel notices a carrier, and ends the search for duplicates, in its own time: longer when others hold its lock.
    """
    deadline = time.monotonic() + 30
    while True:
        command = ["ip", "-n", name, "-6", "-o", "address"]
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
        ready = {line.split()[1] for line in lines if "scope link" in line}
        waiting = set(devices) - ready | {line.split()[1] for line in lines if "tentative" in line} & set(devices)
        if not waiting:
            return
        assert time.monotonic() < deadline, f"no IPv6 yet on {waiting} in {name}"
        time.sleep(0.01)
