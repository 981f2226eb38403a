"""Which profiles are in use."""

from tests.graph.states import profile

from tortie.api.profile import Profile
from tortie.calc.active_profiles import ActiveProfiles
from tortie.intent.keys import EndpointId

A, B = EndpointId("n", "ns", "a"), EndpointId("n", "ns", "b")


def test_a_profile_is_active_while_it_exists_and_an_endpoint_refers_to_it() -> None:
    said: list[tuple[str, bool]] = []

    def hear(name: str, value: Profile | None) -> None:
        said.append((name, value is not None))

    stage = ActiveProfiles(hear)
    stage.on_profile("p", profile("p"))
    stage.on_endpoint(A, ("p", "missing"))
    stage.on_endpoint(B, ("p",))
    stage.on_endpoint(A, ("missing",))
    assert said == [("p", True)]
    stage.on_profile("missing", profile("missing"))
    stage.on_profile("p", profile("p", allow=True))
    stage.on_profile("p", profile("p", allow=True))
    assert said[1:] == [("missing", True), ("p", True)]
    stage.on_endpoint(B, ())
    stage.on_profile("missing", None)
    assert said[3:] == [("p", False), ("missing", False)]
    stage.on_profile("p", None)
    stage.on_endpoint(A, ())
    assert len(said) == 5
    assert stage.is_empty()
