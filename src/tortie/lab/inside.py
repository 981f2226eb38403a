"""First steps inside the user namespace of `privilege`: a /run and a /var/lib of our own, then the command itself."""

import sys

from tortie.kernel import mount


def main() -> None:
    """Prepare and go on with the command line that was given."""
    for folder in ("/run", "/var/lib"):
        mount.tmpfs(folder)
    from tortie.cli.main import main as command_line

    sys.argv = ["tortie", *sys.argv[1:]]
    command_line()


if __name__ == "__main__":
    main()
