"""Who uses which chain is what the endpoints' last words add up to."""

from hypothesis import given
from hypothesis import strategies as st

from tortie.dataplane.references import References, Use
from tortie.dataplane.render.names import Layer
from tortie.intent.keys import HostEndpointId, ProfileId
from tortie.intent.policy import Direction

USES = st.frozensets(
    st.builds(Use, st.sampled_from([ProfileId("a"), ProfileId("b")]), st.sampled_from(Layer), st.sampled_from(Direction)),
    max_size=4,
)


@given(st.lists(st.tuples(st.sampled_from([HostEndpointId("n", "x"), HostEndpointId("n", "y")]), USES)))
def test_a_chain_is_in_use_while_somebody_uses_it_and_its_owner_is_named_when_that_changes(
    steps: list[tuple[HostEndpointId, frozenset[Use]]],
) -> None:
    references, current = References(), dict[HostEndpointId, frozenset[Use]]()
    for user, uses in steps:
        before = frozenset().union(*current.values())
        current[user] = uses
        after = frozenset().union(*current.values())
        assert references.replace(user, uses) == {use.owner for use in before ^ after}
        every = [Use(owner, layer, direction) for owner in map(ProfileId, "ab") for layer in Layer for direction in Direction]
        assert {use for use in every if use in references} == after
