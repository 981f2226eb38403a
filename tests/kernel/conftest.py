"""The CNI plugin's executables, built once for all tests that run them, and two nodes for WireGuard's manager."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kernel.cni_stage import build_executables
from tests.kernel.wireguard_stage import Node, two_nodes


@pytest.fixture(scope="session")
def executables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return build_executables(tmp_path_factory.mktemp("cni"))


@pytest.fixture(params=["shim", "client"])
def either(request: pytest.FixtureRequest, executables: dict[str, Path]) -> Path:
    return executables[request.param]


@pytest.fixture
def shim(executables: dict[str, Path]) -> Path:
    return executables["shim"]


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[tuple[Node, Node]]:
    """The nodes of wireguard_stage, as long as one test runs."""
    with two_nodes(tmp_path) as found:
        yield found
