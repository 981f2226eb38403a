"""The kernel's features are tried out for real, and nothing is left behind."""

import asyncio

import pytest

from tortie.agent.checkup import check_kernel
from tortie.kernel import netns

pytestmark = pytest.mark.kernel


def test_this_kernel_has_what_the_packet_path_needs_and_the_probe_leaves_nothing() -> None:
    checks = asyncio.run(check_kernel())
    assert [check.name for check in checks if check.state != "ok"] == []
    assert {"kernel netns", "kernel nf_tables", "kernel fib"} <= {check.name for check in checks}
    assert [name for name in netns.list_names() if name.startswith("tortie-doctor-")] == []
