"""Both forms of what a runtime executes, the shim under the sanitizers."""

import functools
import shutil
import tempfile
from pathlib import Path

from tortie.base.process import ProcessError, run_blocking
from tortie.cni import build

FORMS = ("shim", "client")
_SOURCE = Path(build.__file__).parent / "shim" / "tortie-cni.c"
_SANITIZERS = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-std=gnu11", "-Wall", "-Wextra", "-Werror")


@functools.cache
def executable(form: str) -> Path | None:
    """The file; None where the form needs a compiler and there is none."""
    target = Path(tempfile.mkdtemp(prefix="tortie-cni-")) / "tortie-cni"
    if form == "client":
        build.install_client(target)
        return target
    compiler = shutil.which("gcc")
    if compiler is None:
        return None
    try:
        run_blocking([compiler, *_SANITIZERS, "-o", str(target), str(_SOURCE)]).check()
    except ProcessError:  # a compiler without sanitizers is good enough to test with
        build.build_shim(target, compiler=compiler)
    return target


def remove_all() -> None:
    """Delete what was built."""
    for form in FORMS:
        found = executable(form)
        if found is not None:
            shutil.rmtree(found.parent, ignore_errors=True)
    executable.cache_clear()
