"""One report of the fuzzer again, before all judges: python -m tests.fuzz.replay FILE (needs root; 0 if they agree now)."""

import sys
from pathlib import Path

from tests.fuzz.court import Court, PendingCourt
from tests.fuzz.kernel_judge import KernelJudge
from tests.fuzz.shrink import read_report
from tests.fuzz.stage import stage


def main(path: str) -> int:
    """Say who says what."""
    documents, probe = read_report(Path(path).read_text())
    with stage() as built:
        found = Court(documents, KernelJudge(built)).disagreement([probe]) or PendingCourt(documents).disagreement([probe])
    if found is None:
        print("all judges agree")
        return 0
    for judge, verdict in found.verdicts.items():
        print(f"{judge:24} {'allows' if verdict else 'denies'}")
    return 2


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tests.fuzz.replay FILE")
    sys.exit(main(sys.argv[1]))
