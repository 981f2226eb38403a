"""Are the tests awake? Plants one bug at a time in a copy of the sources and runs the test that must notice it.

python -m tests.mutants            # all of them; exit 1 if a bug survives
python -m tests.mutants tier port  # those whose names contain one of the words
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.mutants.catalogue import MUTANTS
from tests.mutants.mutant import Mutant

_ROOT = Path(__file__).resolve().parents[2]
_PASSED, _FAILED = 0, 1  # pytest's; anything else means that the tests did not run
_AT_ONCE = 2
_SECONDS = 240


def main(words: Sequence[str]) -> int:
    """Run them and print a table. 0 if every bug was noticed."""
    wanted = [mutant for mutant in MUTANTS if not words or any(word in mutant.name for word in words)]
    checks = sorted({mutant.check for mutant in wanted})
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        healthy = list(pool.map(lambda check: _run(None, check)[0] == _PASSED, checks))
        for check, is_healthy in zip(checks, healthy, strict=True):
            if not is_healthy:
                print(f"{check[0]} fails without any bug planted: nothing can be concluded")
                return 1
        outcomes = list(pool.map(_outcome, wanted))
    for mutant, (outcome, seconds) in zip(wanted, outcomes, strict=True):
        print(f"{outcome:9} {seconds:5.1f} s  {mutant.file:32} {mutant.name}")
    noticed = sum(outcome == "noticed" for outcome, _ in outcomes)
    print(f"{noticed} of {len(wanted)} planted bugs were noticed")
    return 0 if noticed == len(wanted) else 1


def _outcome(mutant: Mutant) -> tuple[str, float]:
    code, seconds = _run(mutant, mutant.check)
    return {_PASSED: "SURVIVED", _FAILED: "noticed"}.get(code, f"BROKEN {code}"), seconds


def _run(mutant: Mutant | None, check: tuple[str, int]) -> tuple[int, float]:
    """Pytest's exit code over a copy of the sources with the bug in it, and how long it took."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tortie-mutant-") as folder:
        source = Path(folder) / "src"
        shutil.copytree(_ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        if mutant is not None:
            plant(mutant, source / "tortie")
        test, clusters = check
        environment = os.environ | {
            "PYTHONPATH": str(source),
            "PYTHONDONTWRITEBYTECODE": "1",
            "TORTIE_FUZZ_CLUSTERS": str(clusters),
            "TORTIE_FUZZ_SHRINK": "0",
        }
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", test]
        try:
            done = subprocess.run(command, cwd=_ROOT, env=environment, capture_output=True, timeout=_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            return -1, time.monotonic() - started
    return done.returncode, time.monotonic() - started


def plant(mutant: Mutant, package: Path) -> None:
    """Apply a bug to a copy of the package. Raises ValueError if its place is not found exactly once."""
    file = package / mutant.file
    text = file.read_text()
    if text.count(mutant.old) != 1:
        raise ValueError(f"{mutant.file}: the text of {mutant.name!r} occurs {text.count(mutant.old)} times, not once")
    file.write_text(text.replace(mutant.old, mutant.new))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
