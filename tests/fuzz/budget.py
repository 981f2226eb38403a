"""How much to fuzz: by default a bounded number of clusters with fixed seeds, by environment longer and elsewhere."""

import os
import time
from collections.abc import Iterator

BATCHES = 5
SECONDS = float(os.environ.get("TORTIE_FUZZ_SECONDS", "0"))
SHRINK = os.environ.get("TORTIE_FUZZ_SHRINK", "1") != "0"
FIRST_SEED = int(os.environ.get("TORTIE_FUZZ_SEED", "0"))


def timeout(seconds: int) -> float:
    """The time-out of one batch: as given, or what a long run needs."""
    wanted = os.environ.get("TORTIE_FUZZ_CLUSTERS")
    return max(float(seconds), 2 * SECONDS + 60, int(wanted) * 2.0 if wanted else 0.0)


def seeds(batch: int, *, clusters: int, batches: int = BATCHES) -> Iterator[int]:
    """The seeds of one batch of `clusters` in all; with TORTIE_FUZZ_SECONDS as many as the batch's share of time allows."""
    count = int(os.environ.get("TORTIE_FUZZ_CLUSTERS", str(clusters)))
    end = time.monotonic() + SECONDS / batches
    number = batch
    while (time.monotonic() < end) if SECONDS else number < count:
        yield FIRST_SEED + number
        number += batches
