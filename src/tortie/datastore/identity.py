"""Is this still the datastore whose state is in force? The cluster's GUID tells.

An empty datastore, or another cluster's, says "there are no pods" just as clearly as our own would. Whoever followed it would
tear down everything that lives. So the first GUID that is seen is remembered, in a file across restarts, and a datastore with
another one, or suddenly without one, is not believed until the operator says so.
"""

import os
from pathlib import Path

from tortie.api.cluster import ClusterInformation
from tortie.api.resource import Resource
from tortie.base import log
from tortie.datastore.client import Client
from tortie.datastore.errors import DoesNotExist, Replaced
from tortie.datastore.initialize import CLUSTER_INFORMATION

KEY = CLUSTER_INFORMATION.key
_log = log.get(__name__)


class Identity:
    """Remembers one GUID. `path` keeps it across restarts; `accept` forgets what was kept, so that the next one is taken."""

    def __init__(self, path: Path | None = None, *, accept: bool = False) -> None:
        self._path = path
        self._guid = "" if accept else self._read()
        self.refusal = ""
        """Why the datastore that answers now is not believed; "" while it is."""

    @property
    def guid(self) -> str:
        """The cluster that is followed; "" until one is known."""
        return self._guid

    def admit(self, guid: str) -> None:
        """Compare with the GUID that a datastore has now ("" for none). Raises Replaced; takes the first one that it sees."""
        if self._guid and guid != self._guid:
            found = f"cluster GUID {guid}" if guid else "no cluster GUID (it is empty, or was never ours)"
            self.refusal = (
                f"datastore replaced: it has {found}, the state in force is from {self._guid}; "
                "put the old one back, or restart the agent with --accept-datastore to follow this one"
            )
            raise Replaced(self.refusal)
        self.refusal = ""
        if guid and not self._guid:
            self._guid = guid
            self._write()

    async def admit_client(self, client: Client) -> None:
        """`admit` what a datastore says now. Raises Replaced or what the client raises."""
        try:
            found: Resource | None = await client.get(KEY)
        except DoesNotExist:
            found = None
        self.admit(guid_of(found))

    def _read(self) -> str:
        try:
            return "" if self._path is None else self._path.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            return ""
        except (OSError, UnicodeDecodeError) as error:
            _log.error("%s cannot be read, any datastore will be believed: %s", self._path, error)
            return ""

    def _write(self) -> None:
        if self._path is None:
            return
        temporary = self._path.with_name(f"{self._path.name}.new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with open(temporary, "w", encoding="ascii") as file:
                file.write(f"{self._guid}\n")
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._path)
        except OSError as error:
            _log.error("%s cannot be written; after a restart any datastore will be believed: %s", self._path, error.strerror)


def guid_of(resource: Resource | None) -> str:
    """The GUID in a ClusterInformation; "" where there is none."""
    return resource.spec.cluster_guid if isinstance(resource, ClusterInformation) else ""
