"""The feed: stored Kubernetes kinds in, Calico kinds out."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.api.wild_documents import documents

from tortie.api.cluster_policy import ClusterNetworkPolicy, ClusterNetworkPolicySpec, Subject
from tortie.api.documents import decode
from tortie.api.errors import ApiError
from tortie.api.hostendpoint import HostEndpoint
from tortie.api.kinds import KINDS
from tortie.api.kubernetes import KubernetesNetworkPolicy, LabelSelector, Namespace, ServiceAccount
from tortie.api.policy import GlobalNetworkPolicy, NetworkPolicy
from tortie.api.profile import Profile
from tortie.api.resource import Key, Metadata, Update
from tortie.api.services import EndpointSlice, Service
from tortie.api.staged import StagedKubernetesNetworkPolicy, StagedNetworkPolicy
from tortie.api.tier import Tier
from tortie.convert.feed import CONVERTED_KINDS, convert_update


def test_values_are_converted_and_their_key_names_what_they_became() -> None:
    namespace = Namespace(metadata=Metadata(name="shop"))
    account = ServiceAccount(metadata=Metadata(name="robot", namespace="shop"))
    policy = KubernetesNetworkPolicy(metadata=Metadata(name="p", namespace="shop"))
    staged = StagedKubernetesNetworkPolicy(metadata=Metadata(name="p", namespace="shop"))
    spec = ClusterNetworkPolicySpec(tier="Admin", priority=1, subject=Subject(namespaces=LabelSelector()))
    cluster = ClusterNetworkPolicy(metadata=Metadata(name="p"), spec=spec)
    for stored, key, kind in (
        (namespace, Key("Profile", "", "kns.shop"), Profile),
        (account, Key("Profile", "", "ksa.shop.robot"), Profile),
        (policy, Key("KubernetesNetworkPolicy", "shop", "p"), NetworkPolicy),
        (staged, Key("StagedKubernetesNetworkPolicy", "shop", "p"), StagedNetworkPolicy),
        (cluster, Key("KubernetesClusterNetworkPolicy", "", "p"), GlobalNetworkPolicy),
    ):
        converted = convert_update(Update(stored.key, stored))
        assert converted.key == key
        assert isinstance(converted.value, kind)
        assert converted.value.key == key
        assert convert_update(Update(stored.key, None)) == Update(key, None)


def test_a_cluster_policy_that_applies_to_nothing_is_as_if_it_were_not_there() -> None:
    nowhere = ClusterNetworkPolicy(metadata=Metadata(name="p"))
    assert convert_update(Update(nowhere.key, nowhere)) == Update(Key("KubernetesClusterNetworkPolicy", "", "p"), None)


def test_other_kinds_pass_through() -> None:
    in_shop = Metadata(name="t", namespace="shop")
    for resource in (
        Tier(metadata=Metadata(name="t")),
        HostEndpoint(metadata=Metadata(name="t")),
        StagedNetworkPolicy(metadata=in_shop),
        Service(metadata=in_shop),
        EndpointSlice(metadata=in_shop),
    ):
        assert convert_update(Update(resource.key, resource)) == Update(resource.key, resource)
        assert convert_update(Update(resource.key, None)) == Update(resource.key, None)


@pytest.mark.parametrize("kind", CONVERTED_KINDS)
@given(data=st.data())
@settings(max_examples=150)
def test_whatever_a_store_may_hold_is_converted_and_keeps_its_key(kind: str, data: st.DataObject) -> None:
    """What our own clients would refuse too: others write into the store as well."""
    try:
        resource = decode(data.draw(documents(KINDS[kind])))
    except ApiError:
        return
    key, value = convert_update(Update(resource.key, resource))
    assert key.kind == ("Profile" if kind in ("Namespace", "ServiceAccount") else kind)
    if value is None:
        assert kind == "KubernetesClusterNetworkPolicy"
    else:
        assert value.key == key
        assert KINDS[kind].struct is not type(value)
