"""Two labs of different names run side by side; ending one leaves the other alone."""

from pathlib import Path

import pytest
from tests.lab.stage import RunningLab, namespaces_of, tortie, unique_name

pytestmark = [pytest.mark.lab, pytest.mark.timeout(120)]


def test_two_labs_do_not_know_of_each_other(tmp_path: Path) -> None:
    names = [unique_name(), unique_name()]
    try:
        for name in names:
            tortie("lab", "up", "--name", name, "--nodes", "1").ok()
        one, two = (RunningLab(name) for name in names)
        for running in (one, two):
            running.lab("pod add", "default/a", "--serve", "tcp:80").ok()
            running.lab("pod add", "default/b").ok()
        one.tortie("delete", "ippool", "pool-0")  # whatever happens to one store is nothing to the other
        question = [{"from": "default/b", "to": "default/a", "protocol": "tcp", "port": 80}]
        one.lab("down").ok()
        assert namespaces_of(one.name) == []
        assert [item["outcome"] for item in two.probe(tmp_path, question)] == ["allowed", "allowed"]
    finally:
        for name in names:
            tortie("lab", "down", "--name", name).ok()
            assert namespaces_of(name) == []
