"""This node's public keys in its resource, so that other nodes know them: published when the device has one, taken away when it
has none, corrected when somebody else wrote another. The private ones stay on the node.

It also looks after the devices between changes of intent: whether a session has come, whether a peer still answers, and whether
somebody asked for a new key.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from tortie.agent.applier import Applier
from tortie.api.node import Node, NodeStatus
from tortie.api.resource import Key
from tortie.base import log
from tortie.base.errors import TortieError
from tortie.base.net import FAMILIES, Family
from tortie.dataplane.wireguard_manager import WireguardManager
from tortie.datastore.client import Client
from tortie.datastore.errors import DoesNotExist, UpdateConflict

_log = log.get(__name__)
_POLL_SECONDS = 1.0
_RESTLESS_SECONDS = 0.1
_RETRY_SECONDS = 2.0
_RECHECK_SECONDS = 30.0
REQUEST = "rotate-key"
"""A file of this name in the folder of requests asks for new keys."""


def folder_of(run_dir: Path) -> Path:
    """Where a node's WireGuard has its sockets and finds requests."""
    return run_dir / "wireguard"


def ask_for_rotation(run_dir: Path) -> None:
    """Have the agent of this run directory take new keys; it does so within a second. Raises OSError."""
    folder = folder_of(run_dir)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    (folder / REQUEST).touch(mode=0o600)


def is_rotation_pending(run_dir: Path) -> bool:
    """True until the agent has taken up the last request."""
    return (folder_of(run_dir) / REQUEST).exists()


class WireguardKeys:
    """Run it. `problem` says why the keys could not be published, "" if they are."""

    def __init__(self, client: Client, node: str, *, manager: WireguardManager, applier: Applier, run_dir: Path) -> None:
        self._client = client
        self._node = node
        self._manager = manager
        self._applier = applier
        self._request = folder_of(run_dir) / REQUEST
        self._published: Mapping[Family, str] | None = None
        self._due = 0.0
        self.problem = ""

    async def run(self) -> None:
        """Without end."""
        loop = asyncio.get_running_loop()
        while True:
            turns = self._applier.turns
            if self._take_request():
                self._manager.rotate()
                self._applier.retry()
            if self._manager.look():
                self._applier.retry()
            await self._publish(loop.time())
            try:
                async with asyncio.timeout(_RESTLESS_SECONDS if self._manager.restless else _POLL_SECONDS):
                    await self._applier.wait_for_turn(turns)
            except TimeoutError:
                continue

    def describe(self) -> dict[str, Any]:
        """For the status file."""
        return {"problem": self.problem, "devices": self.devices()}

    def devices(self) -> list[dict[str, Any]]:
        """Those in use, and their peers."""
        return self._manager.describe()

    def _take_request(self) -> bool:
        try:
            self._request.unlink()
        except FileNotFoundError:
            return False
        except OSError as error:
            _log.error("%s cannot be removed: %s", self._request, error.strerror)
            return False
        _log.info("new WireGuard keys are asked for")
        return True

    async def _publish(self, now: float) -> None:
        """When they changed, and every now and then where there are any."""
        keys = self._manager.public_keys
        if len(keys) < len(FAMILIES):
            return  # the first apply is still to come
        unsettled = keys != self._published or (any(keys.values()) and now >= self._due)
        if not unsettled or (self.problem and now < self._due):
            return
        try:
            await write_keys(self._client, self._node, keys)
        except (TortieError, OSError) as error:
            if str(error) != self.problem:
                _log.error("this node's WireGuard keys are not published, will be tried again: %s", error)
            self.problem = str(error)
            self._due = now + _RETRY_SECONDS
            return
        self.problem = ""
        self._due = now + _RECHECK_SECONDS
        if keys != self._published:
            self._published = dict(keys)
            self._manager.published(keys)
            self._applier.retry()


async def write_keys(client: Client, name: str, keys: Mapping[Family, str]) -> bool:
    """Make the node's resource tell exactly these public keys; True if it told others. Raises errors of the datastore."""
    while True:
        stored = await client.get(Key("Node", "", name))
        assert isinstance(stored, Node)
        before = stored.status or NodeStatus()
        after = msgspec.structs.replace(before, wireguard_public_key=keys[Family.V4], wireguard_public_key_v6=keys[Family.V6])
        if after == before:
            return False
        try:
            await client.update(msgspec.structs.replace(stored, status=None if after == NodeStatus() else after))
        except (UpdateConflict, DoesNotExist):
            continue
        _log.info("node %s has the public keys %s", name, {f"IPv{family}": key or "none" for family, key in keys.items()})
        return True
