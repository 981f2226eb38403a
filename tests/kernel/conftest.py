"""The CNI plugin's executables, built once for all tests that run them."""

from pathlib import Path

import pytest
from tests.kernel.cni_stage import build_executables


@pytest.fixture(scope="session")
def executables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return build_executables(tmp_path_factory.mktemp("cni"))


@pytest.fixture(params=["shim", "client"])
def either(request: pytest.FixtureRequest, executables: dict[str, Path]) -> Path:
    return executables[request.param]


@pytest.fixture
def shim(executables: dict[str, Path]) -> Path:
    return executables["shim"]
