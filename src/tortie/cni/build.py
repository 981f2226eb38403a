"""`python -m tortie.cni.build FILE`: put the CNI plugin's executable at FILE, or, under all its names, into the folder FILE.

The C shim where there is a compiler that links statically, else `client.py` behind a line that starts it lean. The file is
replaced by a rename, so that a runtime never executes half of it.
"""

import contextlib
import importlib.resources
import os
import shutil
import sys
from pathlib import Path

from tortie.base import process
from tortie.base.errors import TortieError

COMPILERS = ("gcc", "cc", "clang")
NAMES = ("tortie-cni", "tortie-ipam", "calico", "calico-ipam")
"""What network configurations may call us. The first is the file, the others are links to it."""
FLAGS = ("-O2", "-static", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-s")


class BuildError(TortieError):
    """The plugin could not be put in its place."""


def build_shim(target: Path, *, compiler: str) -> None:
    """Compile the C shim. Raises ProcessError with the compiler's own words."""
    with importlib.resources.as_file(importlib.resources.files("tortie.cni").joinpath("shim", "tortie-cni.c")) as source:
        process.run_blocking([compiler, *FLAGS, "-o", str(target), str(source)]).check()


def install_client(target: Path) -> None:
    """Write the Python client as an executable file."""
    source = importlib.resources.files("tortie.cni").joinpath("client.py").read_text(encoding="utf-8")
    target.write_text(f"#!{_interpreter()} -ISE\n{source}", encoding="utf-8")
    target.chmod(0o755)


def install(target: Path) -> str:
    """Put the plugin at `target`; returns what it is. Raises BuildError."""
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        kind = _make(draft)
        draft.replace(target)
    except OSError as error:
        raise BuildError(f"{target}: cannot be written: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()
    return kind


def install_names(folder: Path) -> str:
    """Put the plugin into `folder` under every name; returns what it is. Raises BuildError."""
    kind = install(folder / NAMES[0])
    for name in NAMES[1:]:
        draft = folder / f".{name}.{os.getpid()}"
        try:
            os.link(folder / NAMES[0], draft)
            draft.replace(folder / name)
        except OSError as error:
            raise BuildError(f"{folder / name}: cannot be written: {error.strerror}") from error
    return kind


def _make(draft: Path) -> str:
    for compiler in filter(None, map(shutil.which, COMPILERS)):
        try:
            build_shim(draft, compiler=compiler)
        except process.ProcessError as error:
            print(f"{compiler}: {error}", file=sys.stderr)  # noqa: T201  (a build step talks to the person who runs it)
            continue
        return "the C shim"
    install_client(draft)
    return "the Python client (no C compiler could link a static program)"


def _interpreter() -> str:
    """The base interpreter: a virtual environment's would look for its configuration first, which costs time."""
    return str(getattr(sys, "_base_executable", "") or sys.executable)


def main() -> None:
    """The command line."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tortie.cni.build FILE|FOLDER")
    try:
        target = Path(sys.argv[1])
        kind = install_names(target) if target.is_dir() else install(target)
    except TortieError as error:
        sys.exit(f"tortie-cni: {error}")
    print(f"{sys.argv[1]}: {kind}")  # noqa: T201


if __name__ == "__main__":
    main()
