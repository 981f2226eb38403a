"""One agent through many changes: after each the state, and the kernel, are as if it had started there."""

import asyncio
from collections.abc import Iterator, Sequence
from random import Random

import pytest
from tests.fuzz import budget
from tests.fuzz.clusters import random_cluster
from tests.fuzz.court import Court, Disagreement, told
from tests.fuzz.kernel_judge import KernelJudge, LivingKernel
from tests.fuzz.layout import LAYOUT, NODE
from tests.fuzz.probes import random_probes
from tests.fuzz.product import Product
from tests.fuzz.shrink import report
from tests.fuzz.stage import Stage, stage
from tests.fuzz.tally import TALLY
from tests.oracle.cluster import Document
from tests.oracle.judge import Oracle
from tests.oracle.node import NodeOracle

from tortie.api.documents import decode
from tortie.api.resource import Key, Resource, Update
from tortie.api.validation import check
from tortie.calc.graph import Graph
from tortie.convert.offline import convert_offline
from tortie.intent.messages import Message
from tortie.intent.state import State

BATCHES = 2
STEPS = 4
"""Clusters that one agent lives through."""
PROBES = 120
_MAY_STAY = ("NetworkPolicy", "GlobalNetworkPolicy", "ClusterNetworkPolicy", "NetworkSet", "EndpointSlice", "Tier")
pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(budget.timeout(60))]


def resources(documents: Sequence[Document]) -> dict[Key, Resource]:
    """What the graph is fed for these documents."""
    updates = convert_offline([check(decode(document)) for document in documents])
    return {update.key: update.value for update in updates if update.value is not None}


def evolved(rng: Random, old: Sequence[Document], new: Sequence[Document]) -> list[Document]:
    """The new cluster, with some of what the old one had: so that endpoints change under policies that stay."""
    kept = {_identity(each): each for each in old if each["kind"] in _MAY_STAY and rng.random() < 0.6}
    return list(({_identity(each): each for each in new} | kept).values())


def _identity(document: Document) -> tuple[str, ...]:
    metadata = document["metadata"]
    return document["apiVersion"], document["kind"], metadata.get("namespace", ""), metadata["name"]


def changes(rng: Random, old: dict[Key, Resource], new: dict[Key, Resource]) -> list[Update]:
    """From one cluster to another, in any order."""
    updates = [Update(key, None) for key in old.keys() - new.keys()]
    updates += [Update(key, value) for key, value in new.items() if old.get(key) != value]
    rng.shuffle(updates)
    return updates


def flushes(rng: Random, graph: Graph, updates: Sequence[Update]) -> Iterator[list[Message]]:
    """Feed the updates in slices of random length, and give what follows from each."""
    at = 0
    while at < len(updates):
        size = rng.randint(1, 8)
        graph.on_updates(updates[at : at + size])
        at += size
        yield graph.flush()


def fresh(feed: dict[Key, Resource]) -> State:
    graph, state = Graph(NODE), State()
    graph.on_updates(Update(key, value) for key, value in feed.items())
    graph.on_in_sync()
    state.apply_all(graph.flush())
    return state


@pytest.mark.parametrize("batch", range(BATCHES))
def test_a_state_reached_step_by_step_is_the_state_of_a_fresh_start(batch: int) -> None:
    for seed in budget.seeds(batch, clusters=60, batches=BATCHES):
        rng = Random(seed)
        graph, state = Graph(NODE), State()
        graph.on_in_sync()
        state.apply_all(graph.flush())
        feed: dict[Key, Resource] = {}
        documents: list[Document] = []
        for step in range(STEPS):
            documents = evolved(rng, documents, random_cluster(rng))
            wanted = resources(documents)
            for messages in flushes(rng, graph, changes(rng, feed, wanted)):
                state.apply_all(messages)
            feed = wanted
            assert state == fresh(feed), f"seed {seed}, step {step}"
        for messages in flushes(rng, graph, changes(rng, feed, {})):
            state.apply_all(messages)
        assert state == fresh({}), f"seed {seed}: something is left when everything is gone"
        assert graph.is_empty()


@pytest.fixture(scope="module")
def built() -> Iterator[Stage]:
    with stage() as made:
        yield made


@pytest.mark.kernel
@pytest.mark.parametrize("batch", range(BATCHES))
def test_a_kernel_changed_step_by_step_agrees_with_the_oracle(batch: int, built: Stage) -> None:
    for seed in budget.seeds(batch, clusters=16, batches=BATCHES):
        found = asyncio.run(_live(Random(seed), built))
        if found is not None:
            pytest.fail(_told(*found, built, seed=seed), pytrace=False)


async def _live(rng: Random, built: Stage) -> tuple[list[Document], Disagreement] | None:
    graph = Graph(NODE)
    graph.on_in_sync()
    feed: dict[Key, Resource] = {}
    documents: list[Document] = []
    async with LivingKernel(built) as kernel:
        await kernel.apply(graph.flush())
        for _ in range(STEPS):
            documents = evolved(rng, documents, random_cluster(rng))
            wanted = resources(documents)
            for messages in flushes(rng, graph, changes(rng, feed, wanted)):
                if rng.random() < 0.5:
                    kernel.tell(messages)  # several flushes in one transaction
                else:
                    await kernel.apply(messages)
            await kernel.apply(())
            feed = wanted
            oracle, product = Oracle(documents), Product(documents)
            node = NodeOracle(oracle, LAYOUT)
            probes = random_probes(rng, oracle.cluster, PROBES)
            TALLY.clusters, TALLY.packets = TALLY.clusters + 1, TALLY.packets + len(probes)
            for probe, in_kernel in zip(probes, kernel.judge(product, probes), strict=True):
                expected = node.arrives(probe.sender, probe.via, probe.sent)
                if in_kernel != expected:
                    return documents, Disagreement(probe, {"oracle": expected, "kernel": in_kernel})
    return None


def _told(documents: list[Document], found: Disagreement, built: Stage, *, seed: int) -> str:
    """Shrunk if a kernel without history says the same."""
    judge = KernelJudge(built)
    alone = Court(documents, judge).disagreement([found.probe])
    if alone is not None:
        return told(documents, alone, seed=seed, kernel=judge)
    TALLY.disagreements += 1
    return "seen only behind other clusters:\n" + report(documents, found.probe, found.verdicts, seed=seed)
