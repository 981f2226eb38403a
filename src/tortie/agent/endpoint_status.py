"""Files that say which workload endpoints are enforced: Calico's `endpoint-status` folder, read by CNI plugins and others.

One file for each local endpoint once its policy is in the kernel, gone with it; what an earlier agent left is cleared away.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import msgspec

from tortie.api.names import parse_workload_endpoint_name
from tortie.base import log
from tortie.base.net import Family
from tortie.intent.endpoint import Endpoint
from tortie.intent.keys import EndpointId

_log = log.get(__name__)
FOLDER = "endpoint-status"
_TEMPORARY = ".new"
_LONGEST_NAME = 255
# What Calico leaves as it is in one segment of a path.
_UNESCAPED = "$&+:=@"


def file_name(endpoint: EndpointId) -> str:
    """Orchestrator, workload and endpoint, each escaped, with spaces between (api.md). Raises ValueError."""
    parts = parse_workload_endpoint_name(endpoint.name)
    workload = f"{endpoint.namespace}/{parts.workload}" if endpoint.namespace else parts.workload
    return " ".join(quote(part, safe=_UNESCAPED) for part in (parts.orchestrator, workload, parts.endpoint))


def content(endpoint: Endpoint) -> bytes:
    """What a file says."""
    nets = {family: [str(net) for net in endpoint.addresses if net.family is family] for family in Family}
    fields = {
        "ifaceName": endpoint.interface,
        "mac": endpoint.mac,
        "ipv4Nets": nets[Family.V4],
        "ipv6Nets": nets[Family.V6],
    }
    return msgspec.json.encode({name: value for name, value in fields.items() if value})


class EndpointStatusFiles:
    """The folder below one prefix. `sync` may be called from any thread, one at a time."""

    def __init__(self, prefix: Path) -> None:
        self._folder = prefix / FOLDER
        self._written: dict[str, bytes] | None = None

    def sync(self, endpoints: Mapping[EndpointId, Endpoint]) -> None:
        """Make the folder say that exactly these are enforced. Raises OSError; what was done by then stays done."""
        wanted: dict[str, bytes] = {}
        for endpoint_id, endpoint in endpoints.items():
            try:
                name = file_name(endpoint_id)
            except ValueError as error:
                _log.warning("no status file: %s", error)
                continue
            if len(name) > _LONGEST_NAME:
                _log.warning("no status file for %s: its name would be too long", endpoint_id.name)
                continue
            wanted[name] = content(endpoint)
        written = self._left_behind() if self._written is None else self._written
        self._written = written
        for name in written.keys() - wanted.keys():
            (self._folder / name).unlink(missing_ok=True)
            del written[name]
        for name, text in wanted.items():
            if written.get(name) != text:
                self._write(name, text)
                written[name] = text

    def clear(self) -> None:
        """Remove all files: the folder is no longer the one that is configured."""
        self.sync({})

    def _left_behind(self) -> dict[str, bytes]:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o755)
        # Their contents do not matter: what is still right is written again.
        return {entry.name: b"" for entry in self._folder.iterdir() if entry.is_file()}

    def _write(self, name: str, text: bytes) -> None:
        temporary = self._folder / _TEMPORARY
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            os.write(descriptor, text)
        finally:
            os.close(descriptor)
        temporary.replace(self._folder / name)
