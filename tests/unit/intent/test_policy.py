"""Policies as values."""

import pytest

from tortie.intent.keys import PolicyId
from tortie.intent.policy import enforced_twin


@pytest.mark.parametrize("kind", ["NetworkPolicy", "KubernetesNetworkPolicy", "GlobalNetworkPolicy"])
def test_a_staged_policy_becomes_the_enforced_one_of_its_name(kind: str) -> None:
    enforced = PolicyId(kind, "ns", "p")
    assert enforced_twin(PolicyId(f"Staged{kind}", "ns", "p")) == enforced
    assert enforced_twin(enforced) == enforced
