"""Root, or the next best thing: a user namespace in which we are root.

There the whole lab lives in fresh network, mount and process namespaces with a /run of its own, and ends with its command.
"""

import os
import sys
from pathlib import Path

from tortie.lab.spec import LabError

INSIDE = "TORTIE_LAB_IN_USER_NAMESPACE"


def ensure_root(arguments: list[str]) -> None:
    """Return if we may build namespaces; else run this command again inside a user namespace (does not return).

    Raises LabError where the kernel does not allow that, naming what is missing.
    """
    if os.geteuid() == 0:
        return
    problem = why_not()
    if problem:
        raise LabError(f"not root, and no user namespace either: {problem}")
    command = [
        "unshare", "--user", "--map-root-user", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
        "--", sys.executable, "-m", "tortie.lab.inside", *arguments,
    ]  # fmt: skip
    os.execvpe(command[0], command, {**os.environ, INSIDE: "1"})  # noqa: S606


def why_not(proc: Path = Path("/proc/sys")) -> str:
    """Why an unprivileged user namespace cannot be made here; "" if nothing speaks against it."""
    for name, closed, advice in (
        ("user/max_user_namespaces", "0", "sysctl user.max_user_namespaces is 0"),
        ("kernel/unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone is 0"),
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "AppArmor restricts unprivileged user namespaces"),
    ):
        try:
            if (proc / name).read_text().strip() == closed:
                return f"{advice}; run as root"
        except OSError:
            continue
    return ""
