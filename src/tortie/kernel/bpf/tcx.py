"""BPF programs in the way of a device's packets: its chains at TCX (Linux 6.6), in one network namespace.

A program that is attached without a link stays until it is detached or its device goes, and is replaced in one step, so that
no packet meets neither the old nor the new. Unlike clsact (filters.py) the device knows nothing of it: it does not stop for
the first program, nor for the last. Ours are recognised by their name, which the kernel tells holders of CAP_SYS_ADMIN alone.
Others' programs stay where they are; ours hangs after those that were there first, and before all filters of tc.
"""

import contextlib
import errno
from collections.abc import Callable, Iterator
from typing import TypeVar

from tortie.kernel import netns
from tortie.kernel.bpf import syscalls
from tortie.kernel.bpf.filters import Side
from tortie.kernel.errors import Busy, Invalid, KernelError, NotFound, PermissionDenied, Unsupported
from tortie.kernel.link import Links

_HOOKS: dict[Side, int] = {"ingress": 46, "egress": 47}
_ATTEMPTS = 5
_NAME_LENGTH = 15

T = TypeVar("T")


def program_name(name: str) -> str:
    """What a program must be called when it is loaded, to be known here by `name`: the kernel takes no dashes."""
    return name.replace("-", "_")[:_NAME_LENGTH]


class Tcx:
    """The chains of one namespace: that of `netns_fd`, or the calling thread's. One thread at a time."""

    def __init__(self, netns_fd: int | None = None) -> None:
        self._netns_fd = netns_fd
        self._links = Links(netns_fd)

    def close(self) -> None:
        """Give back the sockets; may be called again."""
        self._links.close()

    def put(self, device: str, side: Side, *, name: str, program: int) -> None:
        """Put a program (a descriptor) into the way, in place of those of ours that are there; it may be there already.
        Raises NotFound, and Unsupported where the kernel has no TCX or does not tell this process whose programs are whose."""
        index = self._links.get(device).index
        try:
            syscalls.close(syscalls.open_program(syscalls.program_id(program)))
        except PermissionDenied as error:
            raise Unsupported(f"TCX: {error}", error.errno) from error
        self._retried(lambda: _put(index, side, device, name=name, program=program), f"TCX programs at {side} of {device}")

    def get(self, device: str, side: Side, *, name: str) -> int | None:
        """The number of our program there; None if there is none, or no such device. Raises PermissionDenied where programs
        are there and it is not told whose."""
        link = self._links.find(device)
        return self._here(lambda: _number(link.index, side, device, name)) if link is not None else None

    def remove(self, device: str, side: Side, *, name: str) -> bool:
        """Take ours out of the way. True if one was there. Raises PermissionDenied as `get`."""
        link = self._links.find(device)
        return link is not None and self._here(lambda: _remove(link.index, side, device, name))

    def devices(self, side: Side, *, name: str) -> frozenset[str]:
        """Devices that have a program of ours, of this name, on this side. Where it is not told whose they are, none are."""
        links = self._links.list()

        def work() -> frozenset[str]:
            found = set()
            for link in links:
                with contextlib.suppress(PermissionDenied):
                    found.update([link.name] if _number(link.index, side, link.name, name) is not None else [])
            return frozenset(found)

        return self._here(work)

    def _here(self, work: Callable[[], T]) -> T:
        """Work in our namespace: bpf(2) has no sockets that would stay in it."""
        return netns.in_netns(self._netns_fd, work)

    def _retried(self, work: Callable[[], None], what: str) -> None:
        """Somebody else may change the chain between our reading and our writing."""
        for _ in range(_ATTEMPTS):
            try:
                return self._here(work)
            except KernelError as error:
                if error.errno not in (errno.ESTALE, errno.ENOENT):
                    raise
        raise Busy(f"{what}: they keep changing", errno.ESTALE)


def _put(index: int, side: Side, device: str, *, name: str, program: int) -> None:
    chain = _read(index, side, device)
    if chain is None:
        raise Unsupported("TCX: this kernel does not have it")
    action = f"put BPF program {name} on {side} of {device} (TCX)"
    with _ours(chain, name) as ours:
        wanted = syscalls.program_id(program)
        stale = {number: descriptor for number, descriptor in ours.items() if number != wanted}
        if wanted not in ours:
            replaced = stale.pop(next(iter(stale))) if stale else None
            revision = chain.revision if replaced is None else 0  # a second agent must not put a second one
            syscalls.attach(program, index, _HOOKS[side], action=action, revision=revision, replaced=replaced)
        for descriptor in stale.values():
            syscalls.detach(descriptor, index, _HOOKS[side], action=action)


def _remove(index: int, side: Side, device: str, name: str) -> bool:
    chain = _read(index, side, device)
    if chain is None:
        return False
    with _ours(chain, name) as ours:
        for descriptor in ours.values():
            with contextlib.suppress(NotFound):
                syscalls.detach(descriptor, index, _HOOKS[side], action=f"remove our program on {side} of {device} (TCX)")
        return bool(ours)


def _number(index: int, side: Side, device: str, name: str) -> int | None:
    chain = _read(index, side, device)
    if chain is None:
        return None
    with _ours(chain, name) as ours:
        return next(iter(ours), None)


def _read(index: int, side: Side, device: str) -> syscalls.Chain | None:
    """None where there can be no program of ours: no TCX, no such device, no right to ask."""
    try:
        return syscalls.chain(index, _HOOKS[side], action=f"list BPF programs on {side} of {device}")
    except (Invalid, NotFound, Unsupported, PermissionDenied):
        return None


@contextlib.contextmanager
def _ours(chain: syscalls.Chain, name: str) -> Iterator[dict[int, int]]:
    """Those of a chain that have our name, and no link, which ours never have: a descriptor of each, by number."""
    with contextlib.ExitStack() as stack:
        found: dict[int, int] = {}
        for number in (number for number, link in zip(chain.programs, chain.links, strict=True) if not link):
            try:
                descriptor = syscalls.open_program(number)
            except NotFound:  # gone meanwhile
                continue
            stack.callback(syscalls.close, descriptor)
            if syscalls.program(descriptor).name == program_name(name):
                found[number] = descriptor
        yield found
