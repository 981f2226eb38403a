"""Counting what the dataplane was told."""

from tortie.agent.census import Census
from tortie.intent.endpoint import Endpoint
from tortie.intent.keys import EndpointId, PolicyId
from tortie.intent.messages import EndpointUpdate, InSync, PolicyUpdate, SetUpdate
from tortie.intent.policy import Policy
from tortie.intent.sets import IPSet, SetKind


def test_what_comes_twice_counts_once_and_what_goes_counts_no_more() -> None:
    census = Census()
    endpoint_id, policy_id = EndpointId("n", "shop", "a"), PolicyId("NetworkPolicy", "shop", "p")
    endpoint = EndpointUpdate(endpoint_id, Endpoint(endpoint_id, "shop/a", "cali1", (), (), ()))
    policy = PolicyUpdate(policy_id, Policy(policy_id, "default", (), ()))
    ipset = SetUpdate("s:1", IPSet("s:1", next(iter(SetKind)), "x"))
    census.on_messages([endpoint, endpoint, policy, ipset, InSync()])
    assert (census.endpoints, census.policies, census.selectors) == (1, 1, 1)
    assert census.endpoint_ids == {endpoint_id}
    census.on_messages([EndpointUpdate(endpoint_id, None), PolicyUpdate(policy_id, None), SetUpdate("s:1", None)])
    assert (census.endpoints, census.policies, census.selectors) == (0, 0, 0)
    census.on_messages([EndpointUpdate(endpoint_id, None)])
    assert census.endpoints == 0
