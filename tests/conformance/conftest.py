"""One fixture: the backend under test."""

from pathlib import Path

import pytest
from tests.conformance.backends import BACKENDS, PARAMETERS, Backend


@pytest.fixture(params=PARAMETERS)
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    return BACKENDS[request.param](tmp_path)
