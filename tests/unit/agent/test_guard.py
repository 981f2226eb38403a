"""One agent a node."""

from pathlib import Path

import pytest

from tortie.agent.guard import AgentLock, refuse_beside_felix
from tortie.agent.options import AgentError


def test_a_second_agent_is_refused_and_told_who_holds_the_lock(tmp_path: Path) -> None:
    first, second = AgentLock(tmp_path), AgentLock(tmp_path)
    first.acquire()
    try:
        with pytest.raises(AgentError, match=r"another agent \(pid \d+\)"):
            second.acquire()
    finally:
        first.release()
    second.acquire()
    second.release()


def test_a_live_felix_in_our_network_namespace_is_refused(tmp_path: Path) -> None:
    for pid, name in (("self", "python"), ("100", "bash"), ("200", "calico-felix")):
        folder = tmp_path / pid / "ns"
        folder.mkdir(parents=True)
        (tmp_path / pid / "comm").write_text(name + "\n")
    (tmp_path / "self/ns/net").write_text("")
    for pid in ("100", "200"):
        (tmp_path / pid / "ns/net").hardlink_to(tmp_path / "self/ns/net")
    with pytest.raises(AgentError, match="process 200 \\(calico-felix\\)"):
        refuse_beside_felix(tmp_path)
    (tmp_path / "200/ns/net").unlink()
    (tmp_path / "200/ns/net").write_text("another namespace")
    refuse_beside_felix(tmp_path)
