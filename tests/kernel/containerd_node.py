"""Debian's containerd and its `ctr` on a node of ours: someone else's runtime, which finds our plugin where it always looks.

It runs in the node's network namespace and in a mount namespace of its own, where our folders lie over /etc/cni/net.d and
/opt/cni/bin; its state is in a folder of the test. The image is made here, of one static program.
"""

import contextlib
import hashlib
import io
import json
import os
import signal
import subprocess
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tortie.kernel import netns

IMAGE = "tortie.test/box:1"
_BOX = Path("/usr/bin/busybox")
_START_SECONDS = 20.0
_CONFIG = """
version = 2
root = "{folder}/root"
state = "{folder}/state"
disabled_plugins = [
  "io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
]
[grpc]
address = "{folder}/c.sock"
"""


@dataclass
class Containerd:
    """One daemon."""

    folder: Path
    pid: int

    def ctr(self, *arguments: str, timeout: float = 30) -> subprocess.CompletedProcess[str]:
        """Run the client, beside the daemon: with --cni it is the client that calls the plugins."""
        line = ["nsenter", f"--target={self.pid}", "--mount", "--net", "--", "ctr", "-a", f"{self.folder}/c.sock", *arguments]
        return subprocess.run(line, capture_output=True, text=True, timeout=timeout, check=False)

    def run(self, name: str, *command: str) -> subprocess.CompletedProcess[str]:
        """A container with networking, to its end."""
        return self.ctr("run", "--rm", "--cni", "--snapshotter", "native", IMAGE, name, *command)

    def start(self, name: str) -> None:
        """A container with networking that stays."""
        done = self.ctr("run", "--detach", "--cni", "--snapshotter", "native", IMAGE, name, "/bin/sleep", "300")
        assert done.returncode == 0, done.stderr

    def inside(self, name: str, *command: str) -> subprocess.CompletedProcess[str]:
        """A command in a container that stays."""
        return self.ctr("tasks", "exec", "--exec-id", f"x{time.monotonic_ns()}", name, *command)


def write_image(path: Path) -> None:
    """An OCI archive: busybox and three of its names."""
    layer = _tar({f"bin/{name}": "busybox" for name in ("sh", "ip", "sleep", "wget", "nc")}, {"bin/busybox": _BOX.read_bytes()})
    config = _json(
        {
            "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine),
            "os": "linux",
            "config": {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
        }
    )
    kinds = "application/vnd.oci.image"
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": f"{kinds}.manifest.v1+json",
            "config": _described(f"{kinds}.config.v1+json", config),
            "layers": [_described(f"{kinds}.layer.v1.tar", layer)],
        }
    )
    named = {"annotations": {"io.containerd.image.name": IMAGE, "org.opencontainers.image.ref.name": "1"}}
    index = _json({"schemaVersion": 2, "manifests": [_described(f"{kinds}.manifest.v1+json", manifest) | named]})
    blobs = {f"blobs/sha256/{_digest(blob).removeprefix('sha256:')}": blob for blob in (layer, config, manifest)}
    path.write_bytes(_tar({}, {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": index, **blobs}))


@contextlib.contextmanager
def containerd(node: str, folder: Path, *, plugins: Path, conflist: dict[str, Any]) -> Iterator[Containerd]:
    """A daemon in a node's namespace, with our image; ended with everything that it started."""
    configurations = folder / "net.d"
    configurations.mkdir()
    (configurations / "10-test.conflist").write_text(json.dumps(conflist))
    (folder / "config.toml").write_text(_CONFIG.format(folder=folder))
    write_image(folder / "image.tar")
    script = (
        f"mount --bind {configurations} /etc/cni/net.d && mount --bind {plugins} /opt/cni/bin && "
        f"exec containerd -c {folder}/config.toml >{folder}/log 2>&1"
    )
    line = ["nsenter", f"--net={netns.path_of(node)}", "unshare", "--mount", "sh", "-c", script]
    with _mount_points("/etc/cni/net.d", "/opt/cni/bin"), subprocess.Popen(line) as process:
        made = Containerd(folder, process.pid)
        try:
            _wait_for(made)
            done = made.ctr("images", "import", "--snapshotter", "native", str(folder / "image.tar"))
            assert done.returncode == 0, done.stderr
            yield made
        finally:
            _end(made, process)


@contextlib.contextmanager
def _mount_points(*places: str) -> Iterator[None]:
    """Folders to mount over; those that were not there are removed again."""
    made: list[Path] = []
    for place in map(Path, places):
        for folder in (*reversed(place.parents), place):
            if not folder.exists():
                folder.mkdir()
                made.append(folder)
    try:
        yield
    finally:
        for folder in reversed(made):
            folder.rmdir()


def _wait_for(made: Containerd) -> None:
    end = time.monotonic() + _START_SECONDS
    while made.ctr("version").returncode != 0:
        assert time.monotonic() < end, (made.folder / "log").read_text()
        time.sleep(0.1)


def _end(made: Containerd, process: "subprocess.Popen[bytes]") -> None:
    for name in made.ctr("containers", "ls", "-q").stdout.split():
        made.ctr("tasks", "kill", "-s", "KILL", name)
        made.ctr("tasks", "delete", name)
        made.ctr("containers", "delete", name)
    process.terminate()
    process.wait(timeout=20)
    for entry in Path("/proc").iterdir():  # its shims outlive it; they are known by our folder's socket
        if not entry.name.isdecimal():
            continue
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if b"shim" in words[0] and str(made.folder / "c.sock").encode() in words:
                os.kill(int(entry.name), signal.SIGKILL)


def _tar(links: dict[str, str], files: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        if links:
            for folder in ("bin", "etc", "proc", "sys", "dev", "tmp"):
                entry = tarfile.TarInfo(folder)
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(entry)
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            archive.addfile(entry, io.BytesIO(content))
        for name, aim in links.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, aim
            archive.addfile(entry)
    return target.getvalue()


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document).encode()


def _digest(blob: bytes) -> str:
    return "sha256:" + hashlib.sha256(blob).hexdigest()


def _described(kind: str, blob: bytes) -> dict[str, Any]:
    return {"mediaType": kind, "digest": _digest(blob), "size": len(blob)}
