"""What must be ready before pods are wired: the addresses in `readiness_gates`, and the file that says the MTU."""

import asyncio
import http.client
import urllib.error
import urllib.request
from collections.abc import Iterable, Sequence
from pathlib import Path

from tortie.cni import errors
from tortie.cni.errors import CniError

_STEP_SECONDS = 5.0
_TOTAL_SECONDS = 30.0
_ANSWER_SECONDS = 5.0
_SMALLEST_MTU, _LARGEST_MTU = 576, 65535


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirection is an answer like any other."""

    def redirect_request(self, *_: object) -> None:
        """Never follow."""


_OPENER = urllib.request.build_opener(_NoRedirect, urllib.request.ProxyHandler({}))


async def wait_for_gates(gates: Sequence[str]) -> None:
    """Return when every gate answers 2xx or 3xx. Raises CniError 11 after 30 s."""
    loop = asyncio.get_running_loop()
    end = loop.time() + _TOTAL_SECONDS
    closed = await closed_gates(gates)
    while closed:
        if loop.time() + _STEP_SECONDS > end:
            raise CniError(errors.TRY_AGAIN_LATER, f"readiness gate not open after {_TOTAL_SECONDS:g} s: {closed[0]}")
        await asyncio.sleep(_STEP_SECONDS)
        closed = await closed_gates(gates)


async def closed_gates(gates: Sequence[str]) -> list[str]:
    """Those that are not ready now, in words."""
    found = await asyncio.gather(*(asyncio.to_thread(_problem, gate) for gate in gates))
    return [f"{gate}: {problem}" for gate, problem in zip(gates, found, strict=True) if problem]


def _problem(url: str) -> str:
    try:
        with _OPENER.open(url, timeout=_ANSWER_SECONDS) as answer:
            status = answer.status
    except urllib.error.HTTPError as error:
        status = error.code
        error.close()
    except (OSError, ValueError, http.client.HTTPException) as error:
        return str(error)
    return "" if 200 <= status < 400 else f"status {status}"


def mtu_from_files(files: Iterable[Path], *, required: bool) -> int:
    """The number in the first file that exists; 0 when there is none. Raises CniError 11 for a required or unreadable one."""
    names = [str(path) for path in files]
    for name in names:
        try:
            text = Path(name).read_text(encoding="ascii").strip()
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as error:
            raise CniError(errors.TRY_AGAIN_LATER, f"MTU file {name} cannot be read", str(error)) from error
        if not text.isdecimal() or not _SMALLEST_MTU <= int(text) <= _LARGEST_MTU:
            text = f"MTU file {name} says {text[:50]!r}: a number from {_SMALLEST_MTU} to {_LARGEST_MTU} is expected"
            raise CniError(errors.TRY_AGAIN_LATER, text)
        return int(text)
    if required:
        where = " or ".join(names) or "nowhere"
        raise CniError(errors.TRY_AGAIN_LATER, f"require_mtu_file is set, and there is no MTU file (looked for {where})")
    return 0
