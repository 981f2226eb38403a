"""Whatever a datastore holds that is of the right types, however senseless: the graph goes on, and what it says renders.

An exception here would end the agent, and again at each start, until somebody finds the one object that is at fault.
"""

from collections.abc import Iterable
from random import Random
from typing import Any

import msgspec
import pytest
from msgspec import inspect

from tortie.api.kinds import KINDS as ALL
from tortie.api.resource import Key, Update
from tortie.base.errors import TortieError
from tortie.calc.graph import KINDS, STAGED_KINDS, Graph
from tortie.convert.feed import convert_update
from tortie.dataplane.render.config import Config, parse
from tortie.dataplane.render.endpoint import render_endpoint
from tortie.dataplane.render.policy import render_policy, render_profile
from tortie.intent.keys import PolicyId, ProfileId
from tortie.intent.messages import ConfigUpdate, EndpointUpdate, Message, PolicyUpdate, ProfileUpdate
from tortie.intent.policy import Direction, Policy
from tortie.kernel.nft.encode import encode_chain

BATCHES, RUNS = 4, 120
TEXTS = (
    "", "a", "all()", 'a == "b"', "a ==", "10.0.0.0/8", "::/0", "0.0.0.0/0", "10.0.0.1", "fd00::1/200", "n1", "default", "TCP",
    "Ingress", "Allow", "Deny", "x" * 300, "é\u202e", "1:2", "80", "web", "99999", "-1", "kns.default", "global()", "!has(x)",
    "k in {}", "\x00", "a/b", '"', "\\", "\n", "100G", "eui64", "00:11:22:33:44:55", "nan", "1e999", "2020-01-01T00:00:00Z",
    "host:n1", "{{", "projectcalico.org/namespace", "1h\n",
)  # fmt: skip
NUMBERS = (0, 1, -1, 4, 6, 58, 80, 65535, 65536, 1 << 31, -1 << 40, 10**18)
_KINDS = KINDS + STAGED_KINDS
_TYPES = {kind: inspect.type_info(ALL[kind].struct) for kind in _KINDS}


def wild(of: inspect.Type, rng: Random, depth: int = 0) -> Any:
    """A value of the type, if not of any sense."""
    match of:
        case inspect.StructType():
            chosen = [each for each in of.fields if each.required or rng.random() < (0.6 if depth < 4 else 0.2)]
            return of.cls(**{each.name: wild(each.type, rng, depth + 1) for each in chosen})
        case inspect.UnionType():
            return wild(rng.choice(of.types), rng, depth)
        case inspect.BoolType():
            return rng.random() < 0.5
        case inspect.IntType():
            return rng.choice(NUMBERS)
        case inspect.FloatType():
            return rng.choice((0.0, -1.5, 1e308, 1000.0))
        case inspect.StrType():
            return rng.choice(TEXTS)
        case inspect.LiteralType():
            return rng.choice(of.values)
        case inspect.VarTupleType():
            return tuple(wild(of.item_type, rng, depth + 1) for _ in range(rng.choice((0, 1, 1, 2, 3))))
        case inspect.DictType():
            return {rng.choice(TEXTS): wild(of.value_type, rng, depth + 1) for _ in range(rng.choice((0, 1, 2)))}
        case inspect.NoneType() | inspect.AnyType():
            return None
    raise TypeError(of)


def wild_update(rng: Random) -> Update:
    kind = rng.choice(_KINDS)
    value = wild(_TYPES[kind], rng)
    name, namespace = rng.choice(("a", "default", "n1", "node.n1", "kns.default")), rng.choice(("default", "x"))
    key = Key(kind, namespace if ALL[kind].namespaced else "", name)
    metadata = msgspec.structs.replace(value.metadata, name=key.name, namespace=key.namespace)
    value = msgspec.structs.replace(value, kind=kind, metadata=metadata)
    if kind == "WorkloadEndpoint" and rng.random() < 0.8:
        spec = msgspec.structs.replace(value.spec, node="n1", interface_name=rng.choice(("cali1", "cali2")))
        value = msgspec.structs.replace(value, spec=spec)
    if kind == "HostEndpoint" and rng.random() < 0.8:
        spec = msgspec.structs.replace(value.spec, node="n1", interface_name=rng.choice(("eth0", "*", "")))
        value = msgspec.structs.replace(value, spec=spec)
    return Update(key, value)


def render(messages: Iterable[Message]) -> None:
    policies: dict[PolicyId, Policy] = {}
    profiles: set[ProfileId] = set()
    for message in messages:
        match message:
            case PolicyUpdate(id=policy_id, policy=Policy() as policy):
                policies[policy_id] = policy
                for direction in Direction:
                    for chain in render_policy(policy, direction, config=Config()):
                        encode_chain(chain)
            case ProfileUpdate(id=profile_id, profile=profile) if profile is not None:
                profiles.add(profile_id)
                for direction in Direction:
                    for chain in render_profile(profile, direction, config=Config()):
                        encode_chain(chain)
            case EndpointUpdate(endpoint=endpoint) if endpoint is not None:
                for chain in render_endpoint(endpoint, policies=policies, profiles=profiles, config=Config()):
                    encode_chain(chain)
            case ConfigUpdate(values=values):
                try:
                    parse(dict(values))
                except TortieError:
                    pass


@pytest.mark.parametrize("batch", range(BATCHES))
def test_whatever_is_stored_the_graph_goes_on(batch: int) -> None:
    for seed in range(batch, RUNS * BATCHES, BATCHES):
        rng, graph = Random(seed), Graph("n1", staged=seed % 2 == 0)
        updates = [wild_update(rng) for _ in range(25)]
        for update in updates:
            graph.on_updates([convert_update(update)])
        graph.on_in_sync()
        render(graph.flush())
        graph.on_updates(convert_update(Update(key, None)) for key in {update.key for update in updates})
        graph.flush()
        assert graph.is_empty(), f"seed {seed}"
