"""`python -m tortie.kernel.bpf.build [FILE]`: compile ipip.c with clang, by default to where the agent looks for it.

Where there is no clang nothing is made; the agent says so when IPIP is asked for and the kernel has no module for it.
"""

import contextlib
import importlib.resources
import os
import shutil
import sys
import sysconfig
from pathlib import Path

from tortie.base import process
from tortie.base.errors import TortieError

COMPILERS = ("clang", "clang-19", "clang-16", "clang-14")
FLAGS = ("-O2", "-target", "bpf", "-mcpu=v3", "-Wall", "-Wextra", "-Werror", "-c")


class BuildError(TortieError):
    """The programs could not be compiled or put in their place."""


def object_file() -> Path:
    """Where the compiled programs are: beside this Python's own libraries."""
    return Path(sys.prefix, "lib", "tortie", "ipip.o")


def build(target: Path) -> None:
    """Compile, and put the file in its place by a rename. Raises BuildError."""
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        raise BuildError("clang is missing")
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    headers = ["-idirafter", f"/usr/include/{sysconfig.get_config_var('MULTIARCH') or ''}"]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with importlib.resources.as_file(importlib.resources.files("tortie.kernel.bpf").joinpath("ipip.c")) as source:
            process.run_blocking([compiler, *FLAGS, *headers, "-o", str(draft), str(source)]).check()
        draft.replace(target)
    except process.ProcessError as error:
        raise BuildError(str(error)) from error
    except OSError as error:
        raise BuildError(f"{target}: cannot be written: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()


def main() -> None:
    """The command line."""
    if len(sys.argv) > 2:
        sys.exit("usage: python -m tortie.kernel.bpf.build [FILE]")
    target = Path(sys.argv[1]) if len(sys.argv) == 2 else object_file()
    try:
        build(target)
    except TortieError as error:
        sys.exit(f"eBPF programs: {error}")
    print(f"{target}: IPIP for kernels without the module ipip")  # noqa: T201


if __name__ == "__main__":
    main()
