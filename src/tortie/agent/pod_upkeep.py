"""Keeps WorkloadEndpoints true to their pods where no Kubernetes backend converts pods on the fly (sqlite, etcd).

A pod that is relabelled must meet the policies of its new labels, and its bandwidth follows its annotations. Calico's
kube-controllers do this for the whole cluster; here each agent does it for its own node's pods. Updates only: CNI alone
creates and deletes endpoints.
"""

import msgspec

from tortie.api.endpoint import WorkloadEndpoint
from tortie.api.kubernetes import Pod
from tortie.api.resource import Key
from tortie.base import log
from tortie.convert.errors import ConversionError
from tortie.convert.pods import is_networked, workload_endpoint
from tortie.datastore.client import Client
from tortie.datastore.errors import DatastoreError, DoesNotExist, UpdateConflict
from tortie.datastore.syncer import Batch

_log = log.get(__name__)
KINDS = ("Pod",)
RETRY_SECONDS = 5.0


class PodUpkeep:
    """A sink for `Syncer.run` over pods."""

    def __init__(self, client: Client, node: str) -> None:
        self._client = client
        self._node = node
        self._owed: dict[Key, Pod] = {}
        """Pods whose endpoint could not be written, as they were last seen."""

    async def on_batch(self, batch: Batch) -> None:
        """Bring the endpoints of this node's changed pods up to date."""
        for update in batch.updates:
            self._owed.pop(update.key, None)
            pod = update.value
            if isinstance(pod, Pod) and pod.spec.node_name == self._node and is_networked(pod):
                await self._attempt(update.key, pod)

    async def retry(self) -> None:
        """Try again what failed while the datastore was away."""
        for key, pod in list(self._owed.items()):
            if self._owed.pop(key, None) is not None:
                await self._attempt(key, pod)

    async def _attempt(self, key: Key, pod: Pod) -> None:
        try:
            await self._update(pod)
        except ConversionError as error:
            _log.warning("endpoint of pod %s/%s stays as it is: %s", key.namespace, key.name, error)
        except DatastoreError as error:
            self._owed[key] = pod
            _log.warning("endpoint of pod %s/%s is stale, will be tried again: %s", key.namespace, key.name, error)

    async def _update(self, pod: Pod) -> None:
        wanted = workload_endpoint(pod, addresses=())
        while True:
            try:
                stored = await self._client.get(wanted.key)
            except DoesNotExist:
                return
            assert isinstance(stored, WorkloadEndpoint)
            changed = msgspec.structs.replace(
                stored,
                metadata=msgspec.structs.replace(stored.metadata, labels=wanted.metadata.labels),
                spec=msgspec.structs.replace(
                    stored.spec,
                    ports=wanted.spec.ports,
                    qos_controls=wanted.spec.qos_controls,
                    profiles=wanted.spec.profiles,
                    service_account_name=wanted.spec.service_account_name,
                ),
            )
            if changed == stored:
                return
            try:
                await self._client.update(changed)
                return
            except UpdateConflict:
                continue
            except DoesNotExist:
                return
