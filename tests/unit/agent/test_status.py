"""What an agent finds in the status file of the one before it."""

from pathlib import Path

import pytest

from tortie.agent.status import StatusFile, left_route_protocols


def test_protocols_of_routes_are_found_as_they_were_written(tmp_path: Path) -> None:
    StatusFile(tmp_path, lambda: {"kind": "AgentStatus", "routeProtocols": [80, 81]}).write()
    assert left_route_protocols(tmp_path) == (80, 81)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"routeProtocols": "80"}', '{"routeProtocols": [2, 3, 4, 1000]}'])
def test_a_file_that_is_not_there_or_makes_no_sense_says_nothing(tmp_path: Path, text: str) -> None:
    assert left_route_protocols(tmp_path) == ()
    (tmp_path / "status.json").write_text(text)
    assert left_route_protocols(tmp_path) == ()
