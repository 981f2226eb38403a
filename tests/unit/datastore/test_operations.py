"""Apply, create, replace and delete, and what a datastore holds from the start."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
from tests.conformance.backends import netset

from tortie.api.bgp import BGPPeer, BGPPeerSpec
from tortie.api.bgp_filter import BGPFilter
from tortie.api.cluster import ClusterInformation, ClusterInformationSpec
from tortie.api.ipam import IPAMBlock, IPAMBlockSpec
from tortie.api.ippool import IPPool, IPPoolSpec
from tortie.api.node import Node, NodeSpec, NodeStatus
from tortie.api.policy import GlobalNetworkPolicy, GlobalNetworkPolicySpec, NetworkPolicy, NetworkPolicySpec
from tortie.api.resource import Key, Metadata, Resource
from tortie.api.staged import (
    StagedGlobalNetworkPolicy,
    StagedGlobalNetworkPolicySpec,
    StagedNetworkPolicy,
    StagedNetworkPolicySpec,
)
from tortie.api.tier import Tier, TierSpec
from tortie.datastore import operations
from tortie.datastore.errors import AlreadyExists, DoesNotExist, InvalidRequest, NotSupported, UpdateConflict
from tortie.datastore.initialize import ensure_initialized
from tortie.datastore.sqlite.client import SqliteClient

Scenario = Callable[[SqliteClient], Awaitable[None]]
Run = Callable[[Scenario], None]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def run(scenario: Scenario) -> None:
        async def main() -> None:
            client = SqliteClient(str(tmp_path / "t.sqlite"))
            try:
                await scenario(client)
            finally:
                await client.close()

        asyncio.run(main())

    return run


def pool(name: str, cidr: str, block_size: int = 26) -> IPPool:
    return IPPool(metadata=Metadata(name=name), spec=IPPoolSpec(cidr=cidr, block_size=block_size))


def policy(name: str, tier: str = "default") -> NetworkPolicy:
    return NetworkPolicy(metadata=Metadata(name=name, namespace="default"), spec=NetworkPolicySpec(tier=tier))


def with_revision(resource: Resource, revision: str) -> Resource:
    return msgspec.structs.replace(resource, metadata=msgspec.structs.replace(resource.metadata, resource_version=revision))


def test_apply_creates_then_leaves_alone_then_updates(run: Run) -> None:
    async def scenario(client: SqliteClient) -> None:
        created, outcome = await operations.apply(client, netset("a", "10.0.0.0/8"))
        assert outcome == "created"
        same, outcome = await operations.apply(client, netset("a", "10.0.0.0/8"))
        assert (same, outcome) == (created, "unchanged")
        assert (await client.list("NetworkSet")).revision == created.metadata.resource_version
        changed, outcome = await operations.apply(client, netset("a", "11.0.0.0/8"))
        assert outcome == "updated"
        assert changed.metadata.uid == created.metadata.uid
        assert await client.get(created.key) == changed

    run(scenario)


def test_apply_of_what_was_read_is_unchanged(run: Run) -> None:
    async def scenario(client: SqliteClient) -> None:
        await operations.apply(client, netset("a", "10.0.0.0/8"))
        read = await client.get(Key("NetworkSet", "default", "a"))
        assert (await operations.apply(client, read))[1] == "unchanged"

    run(scenario)


def test_apply_of_labels_alone_is_an_update(run: Run) -> None:
    async def scenario(client: SqliteClient) -> None:
        await operations.apply(client, netset("a"))
        labelled = msgspec.structs.replace(netset("a"), metadata=Metadata(name="a", namespace="default", labels={"x": "y"}))
        assert (await operations.apply(client, labelled))[1] == "updated"

    run(scenario)


def test_apply_of_a_stale_version_is_a_conflict_that_names_both_versions(run: Run) -> None:
    async def scenario(client: SqliteClient) -> None:
        old, _ = await operations.apply(client, netset("a"))
        await operations.apply(client, netset("a", "10.0.0.0/8"))
        for act in (operations.apply, operations.replace):
            with pytest.raises(UpdateConflict, match=r"resource version '1' is out of date \(latest: 2\)"):
                await act(client, old)

    run(scenario)


def test_apply_of_a_foreign_version_that_says_nothing_new_is_unchanged(run: Run) -> None:
    """What `kubectl get -o yaml` printed can be applied twice, though its resourceVersion means nothing here."""

    async def scenario(client: SqliteClient) -> None:
        foreign = with_revision(netset("a", "10.0.0.0/8"), "987654")
        assert (await operations.apply(client, foreign))[1] == "created"
        assert (await operations.apply(client, foreign))[1] == "unchanged"

    run(scenario)


def test_many_concurrent_applies_of_one_key_all_succeed(run: Run) -> None:
    async def scenario(client: SqliteClient) -> None:
        results = await asyncio.gather(*(operations.apply(client, netset("a", f"10.{i}.0.0/16")) for i in range(12)))
        assert sorted(outcome for _, outcome in results) == ["created"] + ["updated"] * 11
        assert (await client.list("NetworkSet")).revision == "12"

    run(scenario)


def test_a_status_that_is_not_spoken_of_stays(run: Run) -> None:
    async def scenario(client: SqliteClient) -> None:
        node = Node(metadata=Metadata(name="n"), spec=NodeSpec(), status=NodeStatus(wireguard_public_key="key"))
        await operations.apply(client, node)
        bare = Node(metadata=Metadata(name="n"), spec=NodeSpec(ipv4_vxlan_tunnel_addr="10.0.0.1"))
        applied, _ = await operations.apply(client, bare)
        assert isinstance(applied, Node)
        assert applied.status == node.status
        assert applied.spec == bare.spec

    run(scenario)


def test_create_ignores_a_revision_and_refuses_what_is_there(run: Run) -> None:
    async def scenario(client: SqliteClient) -> None:
        await operations.create(client, with_revision(netset("a"), "77"))
        with pytest.raises(AlreadyExists):
            await operations.create(client, netset("a"))

    run(scenario)


def test_replace_needs_something_to_replace(run: Run) -> None:
    async def scenario(client: SqliteClient) -> None:
        with pytest.raises(DoesNotExist):
            await operations.replace(client, netset("a"))
        await operations.create(client, netset("a"))
        assert (await operations.replace(client, netset("a", "10.0.0.0/8"))).metadata.resource_version == "2"

    run(scenario)


def test_a_policy_of_a_missing_tier_is_refused_on_create_only(run: Run) -> None:
    async def scenario(client: SqliteClient) -> None:
        tier = Tier(metadata=Metadata(name="t"), spec=TierSpec(order=1))
        with pytest.raises(DoesNotExist, match=r"resource does not exist: Tier\(t\)"):
            await operations.apply(client, policy("t.a", "t"))
        assert (await client.list("NetworkPolicy")).items == ()
        await operations.check_references(client, [policy("t.a", "t"), tier])
        await operations.apply(client, tier)
        await operations.apply(client, policy("t.a", "t"))
        await client.delete(tier.key)
        changed = msgspec.structs.replace(policy("t.a", "t"), spec=NetworkPolicySpec(tier="t", order=3))
        assert (await operations.apply(client, changed))[1] == "updated"

    run(scenario)


def test_a_peer_needs_the_filters_that_it_names_on_create_and_on_update(run: Run) -> None:
    async def scenario(client: SqliteClient) -> None:
        wanted = BGPFilter(metadata=Metadata(name="f"))
        peer = BGPPeer(metadata=Metadata(name="p"), spec=BGPPeerSpec(peer_ip="192.0.2.1", as_number=1, filters=("f",)))
        for refused in (operations.create, operations.apply):
            with pytest.raises(DoesNotExist, match=r"resource does not exist: BGPFilter\(f\)"):
                await refused(client, peer)
        await operations.check_references(client, [peer, wanted])
        for resource in operations.in_order([peer, wanted]):
            await operations.apply(client, resource)
        more = msgspec.structs.replace(peer, spec=msgspec.structs.replace(peer.spec, filters=("f", "g")))
        for changed in (operations.apply(client, more), operations.replace(client, more)):
            with pytest.raises(DoesNotExist, match=r"BGPFilter\(g\)"):
                await changed
        with pytest.raises(DoesNotExist, match=r"BGPFilter\(g\)"):
            await operations.modify(client, peer.key, lambda stored: msgspec.structs.replace(stored, spec=more.spec))
        assert (await client.get(peer.key)).key == peer.key

    run(scenario)


def test_staged_policies_need_their_tier_and_keep_it(run: Run) -> None:
    async def scenario(client: SqliteClient) -> None:
        await ensure_initialized(client)
        tier = Tier(metadata=Metadata(name="t"), spec=TierSpec(order=1))
        for staged in (
            StagedNetworkPolicy(metadata=Metadata(name="a", namespace="n"), spec=StagedNetworkPolicySpec(tier="t")),
            StagedGlobalNetworkPolicy(metadata=Metadata(name="a"), spec=StagedGlobalNetworkPolicySpec(tier="t")),
        ):
            with pytest.raises(DoesNotExist, match=r"Tier\(t\)"):
                await operations.create(client, staged)
            await operations.apply(client, tier)
            await operations.create(client, staged)
            with pytest.raises(InvalidRequest, match=rf"Tier\(t\) is in use by {staged.kind}"):
                await operations.delete(client, tier.key)
            await operations.delete(client, staged.key)
            await operations.delete(client, tier.key)

    run(scenario)


def test_a_tier_in_use_and_a_predefined_tier_stay(run: Run) -> None:
    async def scenario(client: SqliteClient) -> None:
        await ensure_initialized(client)
        tier = Tier(metadata=Metadata(name="t"), spec=TierSpec(order=1))
        await operations.apply(client, tier)
        user = GlobalNetworkPolicy(metadata=Metadata(name="t.a"), spec=GlobalNetworkPolicySpec(tier="t"))
        await operations.apply(client, user)
        with pytest.raises(InvalidRequest, match=r"Tier\(t\) is in use by GlobalNetworkPolicy\(t\.a\)"):
            await operations.delete(client, tier.key)
        await operations.delete(client, user.key)
        assert (await operations.delete(client, tier.key)).key == tier.key
        for name in ("default", "kube-admin", "kube-baseline"):
            with pytest.raises(NotSupported, match="predefined"):
                await operations.delete(client, Key("Tier", "", name))

    run(scenario)


def test_pools_never_overlap_stored_or_new_ones(run: Run) -> None:
    async def scenario(client: SqliteClient) -> None:
        await operations.apply(client, pool("a", "10.0.0.0/16"))
        with pytest.raises(InvalidRequest, match=r"spec\.cidr 10\.0\.128\.0/17 of IPPool\(b\) overlaps .* of IPPool\(a\)"):
            await operations.apply(client, pool("b", "10.0.128.0/17"))
        with pytest.raises(InvalidRequest, match="overlaps"):
            await operations.check_references(client, [pool("b", "10.1.0.0/16"), pool("c", "10.1.0.0/24")])
        await operations.apply(client, pool("six", "fd00::/48", 122))
        assert (await operations.apply(client, pool("a", "10.0.0.0/16")))[1] == "unchanged"

    run(scenario)


def test_a_pool_keeps_its_range_and_block_size(run: Run) -> None:
    async def scenario(client: SqliteClient) -> None:
        await operations.apply(client, pool("a", "10.0.0.0/16"))
        with pytest.raises(InvalidRequest, match=r"spec\.cidr of IPPool\(a\) cannot be changed"):
            await operations.apply(client, pool("a", "10.0.0.0/17"))
        with pytest.raises(InvalidRequest, match=r"spec\.blockSize of IPPool\(a\) cannot be changed"):
            await operations.replace(client, pool("a", "10.0.0.0/16", 28))

    run(scenario)


def test_a_pool_of_load_balancers_stays_one(run: Run) -> None:
    async def scenario(client: SqliteClient) -> None:
        balancers = pool("lb", "203.0.113.0/24")
        spec = msgspec.structs.replace(balancers.spec, allowed_uses=("LoadBalancer",))
        await operations.apply(client, msgspec.structs.replace(balancers, spec=spec))
        other = msgspec.structs.replace(spec, allowed_uses=("Workload", "Tunnel"))
        with pytest.raises(InvalidRequest, match=r"spec.allowedUses of IPPool\(lb\) cannot be changed from LoadBalancer"):
            await operations.apply(client, msgspec.structs.replace(balancers, spec=other))
        off = msgspec.structs.replace(spec, disabled=True)
        assert (await operations.apply(client, msgspec.structs.replace(balancers, spec=off)))[1] == "updated"

    run(scenario)


def test_a_pool_fits_the_blocks_that_are_there(run: Run) -> None:
    async def scenario(client: SqliteClient) -> None:
        await client.create(IPAMBlock(metadata=Metadata(name="10-0-0-0-28"), spec=IPAMBlockSpec(cidr="10.0.0.0/28")))
        with pytest.raises(InvalidRequest, match=r"spec\.blockSize 26 of IPPool\(a\) does not fit the existing block"):
            await operations.apply(client, pool("a", "10.0.0.0/16"))
        await operations.apply(client, pool("a", "10.0.0.0/16", 28))

    run(scenario)


def test_what_nobody_writes_by_hand_is_refused_by_every_operation(run: Run) -> None:
    async def scenario(client: SqliteClient) -> None:
        await ensure_initialized(client)
        for resource in (ClusterInformation(metadata=Metadata(name="default")), policy("knp.default.a")):
            for act in (operations.create, operations.apply, operations.replace):
                with pytest.raises(NotSupported, match="is not supported on"):
                    await act(client, resource)
            with pytest.raises(NotSupported):
                await operations.delete(client, resource.key)

    run(scenario)


def test_what_others_refer_to_is_written_first_and_deleted_last() -> None:
    tier = Tier(metadata=Metadata(name="t"))
    resources = [policy("t.a"), netset("s"), tier]
    assert operations.in_order(resources) == [tier, policy("t.a"), netset("s")]
    assert operations.in_order([tier, policy("t.a"), netset("s")], deleting=True) == [policy("t.a"), netset("s"), tier]


class _Typed(SqliteClient):
    """As the client of a datastore that is a type of cluster in itself."""

    cluster_type = "kdd"


@pytest.mark.parametrize(
    ("before", "after"), [("", "kdd"), ("k8s,bgp", "k8s,bgp,kdd"), ("kdd,bgp", "kdd,bgp"), ("kddish", "kddish,kdd")]
)
def test_the_type_of_the_datastore_is_one_of_the_clusters_types(before: str, after: str, tmp_path: Path) -> None:
    async def scenario() -> str:
        client = _Typed(str(tmp_path / "t.sqlite"))
        try:
            spec = ClusterInformationSpec(cluster_type=before, cluster_guid="a" * 32)
            await client.create(ClusterInformation(metadata=Metadata(name="default"), spec=spec))
            await ensure_initialized(client)
            found = await client.get(Key("ClusterInformation", "", "default"))
            assert isinstance(found, ClusterInformation)
            assert found.spec.cluster_guid == "a" * 32
            return found.spec.cluster_type
        finally:
            await client.close()

    assert asyncio.run(scenario()) == after


def test_initialisation_makes_identity_and_tiers_once(run: Run) -> None:
    async def scenario(client: SqliteClient) -> None:
        await asyncio.gather(*(ensure_initialized(client) for _ in range(4)))
        first = await client.list_many(["ClusterInformation", "Tier"])
        (information,) = (item for item in first.items if isinstance(item, ClusterInformation))
        assert len(information.spec.cluster_guid) == 32
        assert information.spec.datastore_ready is True
        tiers = {item.metadata.name: item.spec for item in first.items if isinstance(item, Tier)}
        assert {name: (spec.order, spec.default_action) for name, spec in tiers.items()} == {
            "default": (1_000_000, "Deny"),
            "kube-admin": (1_000, "Pass"),
            "kube-baseline": (10_000_000, "Pass"),
        }
        await ensure_initialized(client)
        assert await client.list_many(["ClusterInformation", "Tier"]) == first

    run(scenario)


def test_initialisation_completes_an_identity_and_never_unlocks(run: Run) -> None:
    async def scenario(client: SqliteClient) -> None:
        await client.create(
            ClusterInformation(metadata=Metadata(name="default"), spec=ClusterInformationSpec(datastore_ready=False))
        )
        await ensure_initialized(client)
        found = await client.get(Key("ClusterInformation", "", "default"))
        assert isinstance(found, ClusterInformation)
        assert found.spec.cluster_guid
        assert found.spec.datastore_ready is False

    run(scenario)
