"""What the other tests here stand on: this is another kernel, with modules, over this checkout."""

import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.vm


def test_the_kernel_has_the_devices_that_the_tests_are_about() -> None:
    for module in ("ipip", "wireguard"):
        subprocess.run(["modprobe", module], check=True)
        assert Path("/sys/module", module).is_dir()


def test_what_is_written_here_stays_here() -> None:
    """The layer above the machine's file system is memory."""
    root = next(line.split() for line in Path("/proc/mounts").read_text().splitlines() if line.split()[1] == "/")
    assert root[2] == "overlay"
