"""The feed: stored Kubernetes kinds in, Calico kinds out."""

from tortie.api.kubernetes import KubernetesNetworkPolicy, Namespace, ServiceAccount
from tortie.api.policy import NetworkPolicy
from tortie.api.profile import Profile
from tortie.api.resource import Key, Metadata, Update
from tortie.api.tier import Tier
from tortie.convert.feed import convert_update


def test_values_are_converted_and_their_key_names_what_they_became() -> None:
    namespace = Namespace(metadata=Metadata(name="shop"))
    account = ServiceAccount(metadata=Metadata(name="robot", namespace="shop"))
    policy = KubernetesNetworkPolicy(metadata=Metadata(name="p", namespace="shop"))
    for given, key, kind in (
        (namespace, Key("Profile", "", "kns.shop"), Profile),
        (account, Key("Profile", "", "ksa.shop.robot"), Profile),
        (policy, Key("KubernetesNetworkPolicy", "shop", "p"), NetworkPolicy),
    ):
        converted = convert_update(Update(given.key, given))
        assert converted.key == key
        assert isinstance(converted.value, kind)
        assert converted.value.key == key
        assert convert_update(Update(given.key, None)) == Update(key, None)


def test_other_kinds_pass_through() -> None:
    tier = Tier(metadata=Metadata(name="t"))
    assert convert_update(Update(tier.key, tier)) == Update(tier.key, tier)
    assert convert_update(Update(tier.key, None)) == Update(tier.key, None)
