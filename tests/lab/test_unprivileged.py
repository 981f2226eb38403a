"""Without root the lab re-executes itself in a user namespace: the same code, the same answers, and nothing outside it."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from tests.lab.stage import ROOT, namespaces_of, unique_name

from tortie.lab.privilege import why_not

pytestmark = [pytest.mark.lab, pytest.mark.timeout(120)]

NOBODY = 65534
CASE = """
apiVersion: tortie.io/v1
kind: Lab
nodes: [{name: a}, {name: b}]
namespaces: [{name: shop}]
pods:
- {name: shop/web, node: a, labels: {app: web}, serve: [tcp:80]}
- {name: shop/cart, node: b, labels: {app: cart}}
- {name: shop/thief, node: b}
apply: [policy.yaml]
probes:
- {from: shop/cart, to: shop/web, protocol: tcp, port: 80, expect: allowed}
- {from: shop/thief, to: shop/web, protocol: tcp, port: 80, expect: denied}
"""
POLICY = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress: [{from: [{podSelector: {matchLabels: {app: cart}}}]}]
"""


def interpreter_for_nobody() -> str | None:
    """A Python of our version that an unprivileged user may execute."""
    for candidate in (sys.executable, f"/usr/bin/python{sys.version_info[0]}.{sys.version_info[1]}"):
        probe = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "env", candidate, "-c", ""]
        if shutil.which(candidate) and subprocess.run(probe, capture_output=True, check=False).returncode == 0:
            return candidate
    return None


def test_a_case_runs_without_root(tmp_path: Path) -> None:
    folder = Path("/tmp") / unique_name()  # pytest's own folders are closed to other users
    folder.mkdir(mode=0o755)
    try:
        (folder / "lab.yaml").write_text(CASE)
        (folder / "policy.yaml").write_text(POLICY)
        packages = sysconfig.get_paths()["purelib"]
        environment = {
            "PYTHONPATH": f"{packages}:{ROOT / 'src'}",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(folder),
        }
        name = unique_name()
        command = ["-m", "tortie.cli.main", "lab", "run", "-f", str(folder / "lab.yaml"), "--name", name]
        interpreter = interpreter_for_nobody() if os.access(ROOT, os.R_OK) else None
        if interpreter is not None:
            drop = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
            line = [*drop, interpreter, *command]
        else:
            # No Python that nobody may run: enter the namespace as the lab itself would, from root.
            enter = ["unshare", "--user", "--map-root-user", "--net", "--mount", "--pid", "--fork", "--kill-child"]
            line = [*enter, "--mount-proc", "--", sys.executable, "-m", "tortie.lab.inside", *command[2:]]
        done = subprocess.run(line, env=environment, cwd="/", capture_output=True, text=True, timeout=100, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.count("allowed") >= 2
        assert "denied" in done.stdout
        assert namespaces_of(name) == []
        assert not (Path("/run/tortie/lab") / name).exists()
    finally:
        shutil.rmtree(folder)


def test_a_kernel_that_forbids_user_namespaces_is_named(tmp_path: Path) -> None:
    (tmp_path / "user").mkdir()
    (tmp_path / "user/max_user_namespaces").write_text("0\n")
    assert "user.max_user_namespaces is 0" in why_not(tmp_path)
    (tmp_path / "user/max_user_namespaces").write_text("1000\n")
    assert why_not(tmp_path) == ""
