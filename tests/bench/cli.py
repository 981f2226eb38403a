"""How long a person waits for `tortie --help` and for a press of the tab key: `python -m tests.bench.cli`. Asserts nothing.

The aim for `--help` is 150 ms (issue of the command line). Each figure is over whole processes, interpreter included.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

_RUNS = 20
_COMMAND = (sys.executable, "-c", "from tortie.cli.main import main; main()")


def _measure(what: str, arguments: Sequence[str], environment: Mapping[str, str], *, command: Sequence[str] = _COMMAND) -> None:
    seconds = []
    before = sum(os.times()[2:4])
    for _ in range(_RUNS):
        start = time.perf_counter()
        subprocess.run([*command, *arguments], env=os.environ | environment, capture_output=True, check=False)
        seconds.append(time.perf_counter() - start)
    # Waiting for a busy machine does not count as work: processor time is the figure to compare.
    work = (sum(os.times()[2:4]) - before) / _RUNS * 1000
    print(f"{what:<28} p50 {statistics.median(seconds) * 1000:6.1f} ms  max {max(seconds) * 1000:6.1f} ms  cpu {work:5.1f} ms")


def main() -> None:
    """All figures."""
    # What the interpreter takes by itself: the rest is ours.
    _measure("python -c pass", [], {}, command=(sys.executable, "-c", "pass"))
    _measure("tortie --help (cli-help)", ["--help"], {})
    asked = {"_TORTIE_COMPLETE": "bash_complete", "COMP_CWORD": "1"}
    _measure("completion of a command", [], asked | {"COMP_WORDS": "tortie g"})
    _measure("completion of a kind", [], asked | {"COMP_WORDS": "tortie get g", "COMP_CWORD": "2"})


if __name__ == "__main__":
    main()
