"""Any sequence of requests leaves the store as a dictionary would be, and its log replays to the same contents."""

import tempfile
from contextlib import aclosing
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conformance.backends import BACKENDS, PARAMETERS, netset

from tortie.api.resource import Key, Resource
from tortie.datastore.client import Client
from tortie.datastore.errors import AlreadyExists, DatastoreError, DoesNotExist, UpdateConflict


class Step(NamedTuple):
    """One request. `stale` makes it name a revision that is not the stored one."""

    verb: Literal["create", "update", "delete"]
    name: str
    net: str
    stale: bool


steps = st.builds(
    Step,
    st.sampled_from(["create", "update", "delete"]),
    st.sampled_from(["a", "b", "c"]),
    st.sampled_from(["10.0.0.0/8", "11.0.0.0/8"]),
    st.booleans(),
)


def expected_error(step: Step, stored: Resource | None) -> type[DatastoreError] | None:
    if step.verb == "create":
        return AlreadyExists if stored else None
    if stored is None:
        return DoesNotExist
    return UpdateConflict if step.stale else None


async def request(client: Client, step: Step, stored: Resource | None) -> Resource | None:
    """Make the request; the new contents of its key."""
    revision = "999999" if step.stale or stored is None else stored.metadata.resource_version
    wanted = netset(step.name, step.net)
    if step.verb == "create":
        return await client.create(wanted)
    if step.verb == "update":
        metadata = msgspec.structs.replace(wanted.metadata, resource_version=revision)
        return await client.update(msgspec.structs.replace(wanted, metadata=metadata))
    await client.delete(wanted.key, revision=revision)
    return None


async def replay(client: Client, first: str, until: Key) -> dict[Key, Resource]:
    """What the log from a revision to the first event of a key adds up to, without that."""
    state: dict[Key, Resource] = {}
    async with aclosing(client.watch(["NetworkSet"], revision=first)) as batches:  # type: ignore[type-var]
        async for batch in batches:
            for event in batch:
                if event.key == until:
                    return state
                if event.value is None:
                    del state[event.key]
                else:
                    state[event.key] = event.value
    raise AssertionError("the watch ended")


@pytest.mark.parametrize("name", PARAMETERS)
@settings(max_examples=60, deadline=None)
@given(sequence=st.lists(steps, max_size=25))
def test_the_store_behaves_like_a_dictionary(name: str, sequence: list[Step]) -> None:
    async def scenario(client: Client) -> None:
        model: dict[Key, Resource] = {}
        first = (await client.list("NetworkSet")).revision
        for step in sequence:
            key = netset(step.name).key
            error = expected_error(step, model.get(key))
            if error is not None:
                with pytest.raises(error):
                    await request(client, step, model.get(key))
                continue
            value = await request(client, step, model.get(key))
            if value is None:
                del model[key]
            else:
                model[key] = value
        listing = await client.list("NetworkSet")
        assert listing.items == tuple(model[key] for key in sorted(model))
        end = await client.create(netset("end"))
        assert await replay(client, first, end.key) == model

    with tempfile.TemporaryDirectory() as directory:
        BACKENDS[name](Path(directory)).run(scenario)
