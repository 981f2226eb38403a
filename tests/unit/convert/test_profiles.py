"""Namespaces and service accounts become profiles."""

from tortie.api.kubernetes import Namespace, ServiceAccount
from tortie.api.resource import Metadata
from tortie.convert.namespaces import namespace_to_profile
from tortie.convert.serviceaccounts import service_account_to_profile


def test_a_namespace_allows_all_and_hands_its_labels_down() -> None:
    meta = Metadata(name="shop", labels={"team": "a", "projectcalico.org/name": "forged"}, resource_version="7")
    profile = namespace_to_profile(Namespace(metadata=meta))
    assert profile.metadata.name == "kns.shop"
    assert profile.metadata.resource_version == "7/"
    assert [rule.action for rule in (*profile.spec.ingress, *profile.spec.egress)] == ["Allow", "Allow"]
    assert profile.spec.labels_to_apply == {"pcns.team": "a", "pcns.projectcalico.org/name": "shop"}


def test_a_service_account_has_labels_and_no_rules() -> None:
    meta = Metadata(name="robot.v2", namespace="shop", labels={"role": "x"}, resource_version="8")
    profile = service_account_to_profile(ServiceAccount(metadata=meta))
    assert profile.metadata.name == "ksa.shop.robot.v2"
    assert profile.metadata.resource_version == "/8"
    assert (profile.spec.ingress, profile.spec.egress) == ((), ())
    assert profile.spec.labels_to_apply == {"pcsa.role": "x", "pcsa.projectcalico.org/name": "robot.v2"}


def test_a_service_account_without_namespace_belongs_to_default() -> None:
    assert service_account_to_profile(ServiceAccount(metadata=Metadata(name="x"))).metadata.name == "ksa.default.x"
