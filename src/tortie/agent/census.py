"""How much there is of what: counted from the messages that pass, for metrics and for status."""

from collections.abc import Iterable, Set
from typing import Any

from tortie.intent.keys import EndpointId
from tortie.intent.messages import EndpointUpdate, Message, PolicyUpdate, SetUpdate


class Census:
    """Local endpoints, active policies and sets, as the dataplane was told."""

    def __init__(self) -> None:
        self._endpoints: set[EndpointId] = set()
        self._policies: set[Any] = set()
        self._sets: set[Any] = set()

    def on_messages(self, messages: Iterable[Message]) -> None:
        """Take note of what came and what went."""
        for message in messages:
            match message:
                case EndpointUpdate(id=key, endpoint=value):
                    _put(self._endpoints, key, value)
                case PolicyUpdate(id=key, policy=value):
                    _put(self._policies, key, value)
                case SetUpdate(id=key, ipset=value):
                    _put(self._sets, key, value)
                case _:
                    pass

    @property
    def endpoints(self) -> int:
        """Endpoints of this node."""
        return len(self._endpoints)

    @property
    def endpoint_ids(self) -> Set[EndpointId]:
        """Which they are."""
        return self._endpoints

    @property
    def policies(self) -> int:
        """Policies that apply to any of them."""
        return len(self._policies)

    @property
    def selectors(self) -> int:
        """Sets that those policies need."""
        return len(self._sets)


def _put(known: set[Any], key: Any, value: object) -> None:
    if value is None:
        known.discard(key)
    else:
        known.add(key)
