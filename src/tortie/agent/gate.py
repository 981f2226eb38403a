"""Who asks whether a pod's policy is in the kernel asks about the pod as it is stored now, not as it was a moment ago.

A pod that is made again under its old name has the same endpoint: until its change has come through the watch, the
calculation and an apply, what is in force is the policy of the pod before it.
"""

import asyncio
from functools import partial

from tortie.agent.applier import Applier
from tortie.agent.pipeline import Pipeline
from tortie.api.resource import Key, Resource
from tortie.datastore.client import Client
from tortie.datastore.errors import DoesNotExist
from tortie.datastore.syncer import Syncer
from tortie.intent.keys import EndpointId


class Gate:
    """What the CNI plugin waits at."""

    def __init__(self, client: Client, syncer: Syncer, *, pipeline: Pipeline, applier: Applier) -> None:
        self._client = client
        self._syncer = syncer
        self._pipeline = pipeline
        self._applier = applier

    async def wait_until_programmed(self, endpoint: EndpointId, timeout_seconds: float) -> bool:
        """True once the endpoint as it was stored when asked, or later, has its policy in the kernel; False when that took
        too long, or it is not stored. Raises DatastoreError."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._reach(Key("WorkloadEndpoint", endpoint.namespace, endpoint.name))
                return await self._applier.wait_until_programmed(endpoint, timeout_seconds)
        except (TimeoutError, DoesNotExist):
            return False

    async def _reach(self, key: Key) -> None:
        """Return when the stored value has been handed to the dataplane."""
        while True:
            stored = await self._client.get(key)
            seen = self._syncer.known(key)
            if seen is not None and seen.metadata.resource_version == stored.metadata.resource_version:
                return await self._pipeline.settled()
            await self._pipeline.wait_for(partial(self._has_changed, key, seen))

    def _has_changed(self, key: Key, before: Resource | None) -> bool:
        return self._syncer.known(key) is not before
