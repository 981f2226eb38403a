"""What Log rules and comments say: sections 7 and 8 of docs/policy-semantics.md."""

from collections.abc import Iterator

import pytest
from tests.kernel.statement_ground import Ground, felix, gnp, ground, np, tier

from tortie.kernel import netns
from tortie.kernel.nflog import LoggedPacket, NflogReader

pytestmark = pytest.mark.kernel

INTO_B = "selector: app == 'b', types: [Ingress]"
LOG_ALL = "ingress: [{action: Log}, {action: Allow}]"


@pytest.fixture(scope="module")
def built() -> Iterator[Ground]:
    with ground() as made:
        yield made


@pytest.fixture
def node(built: Ground) -> Iterator[Ground]:
    yield built
    built.reset()


@pytest.fixture
def log(built: Ground) -> Iterator[NflogReader]:
    """What the node's agent would read and write down."""
    reader = netns.run_in_named(built.node, lambda: NflogReader([1, 2]))
    yield reader
    reader.close()


def about(log: NflogReader, port: int) -> list[LoggedPacket]:
    return [each for each in log.read() if each.destination_port == port]


@pytest.mark.shows("PS-8.5", "PS-5.26")
def test_a_log_rule_writes_and_goes_on(node: Ground, log: NflogReader) -> None:
    node.has(
        gnp("some", f"{INTO_B}, ingress: [{{action: Log}}, {{action: Allow, protocol: TCP, destination: {{ports: [80]}}}}]")
    )
    assert node.lets("a", "b", "tcp/80")
    assert [(each.protocol, each.source_port is not None) for each in about(log, 80)] == [(6, True)] * 2, "one of each family"
    assert not node.lets("a", "b", "tcp/81")
    assert len(about(log, 81)) == 2


@pytest.mark.shows("PS-8.6")
def test_the_prefix_says_what_the_configuration_asks_for(node: Ground, log: NflogReader) -> None:
    def prefixes() -> set[str]:
        assert node.lets("a", "b", "tcp/80")
        return {each.prefix for each in about(log, 80)}

    node.has(np("some", f"{INTO_B}, {LOG_ALL}"))
    assert prefixes() == {"calico-packet"}
    node.has(felix("logPrefix: '%t %k %p %n'"), np("some", f"{INTO_B}, {LOG_ALL}"))
    assert prefixes() == {"default np one/some some"}
    node.has(felix("logPrefix: '%t %k %p %n'"), tier("first", "order: 1"), gnp("all", f"tier: first, {INTO_B}, {LOG_ALL}"))
    assert prefixes() == {"first gnp all all"}


@pytest.mark.shows("PS-8.7")
def test_the_rate_of_the_log_is_limited_and_decides_nothing(node: Ground, log: NflogReader) -> None:
    node.has(felix("logActionRateLimit: 1/hour, logActionRateLimitBurst: 3"), gnp("some", f"{INTO_B}, {LOG_ALL}"))
    assert all(node.lets("a", "b", "tcp/80") for _ in range(5))
    assert len(about(log, 80)) == 3, "ten packets"


@pytest.mark.shows("PS-7.39")
def test_annotations_stand_in_the_comment_and_the_rule_counts(node: Ground) -> None:
    rule = "{action: Deny, metadata: {annotations: {ticket: net-17}}}"
    node.has(gnp("some", f"{INTO_B}, ingress: [{rule}]"))
    before = node.counted("ticket=net-17")
    assert not node.lets("a", "b", "tcp/80")
    assert node.counted("ticket=net-17") == before + 2
