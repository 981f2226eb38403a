"""First steps inside the user namespace of `privilege`: a /run and a /var/lib of our own, then the command itself."""

import os
import sys

from tortie.kernel import mount


def main() -> None:
    """Prepare, and become the command line that was given."""
    for folder in ("/run", "/var/lib"):
        mount.tmpfs(folder)
    os.execv(sys.executable, [sys.executable, "-m", "tortie.cli.main", *sys.argv[1:]])  # noqa: S606


if __name__ == "__main__":
    main()
