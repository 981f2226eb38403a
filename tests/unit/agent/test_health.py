"""One answer over many parts."""

from http import HTTPStatus

from tortie.agent.health import Condition, Health, answer


def test_without_parts_all_is_well_and_nothing_is_said() -> None:
    health = Health()
    assert answer(health.readiness()).status is HTTPStatus.NO_CONTENT


def test_one_part_that_is_not_ready_makes_the_agent_unready_but_not_dead() -> None:
    health = Health()
    health.register("CNI", lambda: Condition())
    health.register("BIRD", lambda: Condition(False, "not configured yet"))
    assert answer(health.liveness()).status is HTTPStatus.OK
    said = answer(health.readiness())
    assert said.status is HTTPStatus.SERVICE_UNAVAILABLE
    assert said.body == "CNI: ok\nBIRD: FAILED (not configured yet)\n"
    assert health.reasons() == ("BIRD: not configured yet",)


def test_a_part_that_is_dead_is_not_ready_either() -> None:
    health = Health()
    health.register("loop", lambda: Condition(live=False))
    assert not health.liveness().good
    assert not health.readiness().good


def test_a_part_that_is_busy_beyond_its_limit_counts_as_neither() -> None:
    busy = 0.0
    health = Health()
    health.register("dataplane", lambda: Condition(busy_seconds=busy), limit_seconds=90)
    busy = 90.0
    assert health.liveness().good
    busy = 91.0
    assert not health.liveness().good
    assert not health.readiness().good
    assert "91 s, 90 s are the limit" in health.reasons()[0]


def test_a_limit_can_be_overridden_and_taken_away() -> None:
    health = Health()
    health.register("dataplane", lambda: Condition(busy_seconds=50), limit_seconds=90)
    health.set_limits({"dataplane": 40})
    assert not health.liveness().good
    health.set_limits({"dataplane": 0})
    assert health.liveness().good


def test_a_note_is_told_and_decides_nothing() -> None:
    down = "not established: Mesh_192_0_2_7"
    health = Health()
    health.register("BIRD", lambda: Condition())
    health.note("BGP peers", lambda: down)
    assert answer(health.readiness()).body == f"BIRD: ok\nBGP peers: note ({down})\n"
    assert health.readiness().good
    down = ""
    assert answer(health.readiness()).body == "BIRD: ok\n"
