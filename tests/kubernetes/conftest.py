"""Fixtures of the tests that need a real Kubernetes."""

import pytest
from tests.kubernetes.control_plane import Cluster, shared


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The control plane that all test modules share: keep to a namespace and names of your own."""
    return shared()
