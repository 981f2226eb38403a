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
    """The machine's file system cannot be written to, and the layer above the checkout is memory."""
    with pytest.raises(OSError, match="Read-only file system"):
        Path("/written-by-a-test").touch()
    subprocess.run(["mount", "-o", "remount,rw", "/"], check=False, capture_output=True)
    with pytest.raises(OSError, match="Read-only file system"):
        Path("/written-by-a-test").touch()
    checkout = Path(__file__).parents[2]
    (checkout / "written-by-a-test").touch()
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    assert dict(mounts)[str(checkout)] == "overlay"
