"""`python -m tests.bench`: every row in turns, five rounds, a table and (with --json FILE) the figures.

Nothing here passes or fails on a figure: the exit status is 0 unless a row could not be measured. docs/bench.md says what the
rows are.
"""

import argparse
import asyncio
import datetime
import os
import platform
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table
from tests.bench import rows
from tests.bench.measuring import Bench, Measure, Pair, Result, Row, Spread, result

_ROUNDS = 5


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _words(error: BaseException) -> str:
    """The first cause in a tree of errors."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


class _Run:
    """Stages that are up, and what they measured. A bench that fails is left out from then on; the others go on."""

    def __init__(self, benches: Sequence[Bench]) -> None:
        self._benches = benches
        self._pairs: dict[str, list[Pair]] = {}
        self._problems: dict[str, str] = {}

    async def run(self, rounds: int) -> list[Result]:
        """Measure everything. SIGINT and SIGTERM end it, with all stages taken down."""
        task = asyncio.current_task()
        assert task is not None
        for interruption in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(interruption, task.cancel)
        async with AsyncExitStack() as stack:
            measures: dict[str, Measure] = {}
            for bench in self._benches:
                try:
                    started = time.monotonic()
                    measures[bench.name] = await stack.enter_async_context(bench.stage())
                    _say(f"bench: stage of {bench.name}: {time.monotonic() - started:.1f} s")
                except Exception as error:
                    self._failed(bench, error)
            for number in range(rounds):
                started = time.monotonic()
                for bench in self._benches:
                    if bench.name in measures and bench.name not in self._problems:
                        await self._round(bench, measures[bench.name], number)
                _say(f"bench: round {number + 1} of {rounds}: {time.monotonic() - started:.1f} s")
        return [self._result(bench, row) for bench in self._benches for row in bench.rows]

    async def _round(self, bench: Bench, measure: Measure, number: int) -> None:
        try:
            found = await measure(number)
        except Exception as error:
            self._failed(bench, error)
            return
        for name, pair in found.items():
            self._pairs.setdefault(name, []).append(pair)

    def _failed(self, bench: Bench, error: Exception) -> None:
        self._problems[bench.name] = _words(error)
        _say(f"bench: {bench.name}: {_words(error)}")

    def _result(self, bench: Bench, row: Row) -> Result:
        problem = self._problems.get(bench.name, "")
        pairs = self._pairs.get(row.name, [])
        return result(row, pairs, problem=problem) if pairs else Result(row, problem=problem)


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _spread(spread: Spread | None, unit: str = "") -> str:
    if spread is None:
        return "-"
    return f"{_number(spread.median)}{unit} ({_number(spread.least)}-{_number(spread.greatest)})"


def _table(results: Sequence[Result]) -> Table:
    table = Table(title="median of the rounds (least-greatest); ratio = ours / beside", title_justify="left")
    for heading in ("row", "ours", "beside", "ratio", "target", ""):
        table.add_column(heading, overflow="fold")
    for item in results:
        row = item.row
        sign = "<=" if row.better == "less" else ">="
        table.add_row(
            row.name,
            f"{_spread(item.ours)} {row.unit}" if item.ours else item.problem,
            f"{_spread(item.peer)} {row.unit}" if item.peer else "-",
            _spread(item.ratio),
            "" if row.target is None else f"{sign} {row.target:g}",
            ""
            if item.verdict == "no target" and not item.problem
            else item.verdict + (f", {len(item.rounds)} rounds only" if item.problem else ""),
        )
    return table


def _machine() -> dict[str, Any]:
    pages, page = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return {
        "cpus": os.cpu_count(),
        "memoryGiB": round(pages * page / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "loadAverage": [round(value, 2) for value in os.getloadavg()],
    }


def _chosen(names: Sequence[str]) -> list[Bench]:
    """The benches of the rows that were asked for, each with those rows only. Exits when a name fits none."""
    benches = rows.all_benches()
    if not names:
        return benches
    known = {row.name for bench in benches for row in bench.rows} | {bench.name for bench in benches}
    if unknown := sorted(set(names) - known):
        sys.exit(f"bench: no row or group is named {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    found = []
    for bench in benches:
        wanted = bench.rows if bench.name in names else tuple(row for row in bench.rows if row.name in names)
        if wanted:
            found.append(Bench(bench.name, wanted, bench.stage))
    return found


def main() -> None:
    """Parse, run, show."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Ratios beside a peer or a floor.")
    parser.add_argument("--rounds", type=int, default=_ROUNDS, help="rounds to take (default: %(default)s)")
    parser.add_argument("--only", action="append", default=[], metavar="ROW", help="a row or a group of rows; repeatable")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    parser.add_argument("--list", action="store_true", help="show the rows and end")
    arguments = parser.parse_args()
    benches = _chosen(arguments.only)
    if arguments.list:
        for bench in benches:
            for row in bench.rows:
                print(f"{bench.name:<12} {row.name:<28} {row.ours} | beside: {row.peer}")
        return
    if os.geteuid() != 0:
        sys.exit("bench: network namespaces and nftables need root")
    machine, started = _machine(), time.monotonic()
    try:
        results = asyncio.run(_Run(benches).run(max(1, arguments.rounds)))
    except asyncio.CancelledError:
        sys.exit("bench: interrupted; everything is taken down")
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(_table(results))
    console.print(
        f"{arguments.rounds} rounds in {time.monotonic() - started:.0f} s on {machine['cpus']} CPUs, load at the start"
        f" {machine['loadAverage'][0]}"
    )
    if arguments.json:
        document = {
            "apiVersion": "tortie.io/v1",
            "kind": "BenchResult",
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "machine": machine,
            "rounds": arguments.rounds,
            "items": [item.to_json() for item in results],
        }
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")
    sys.exit(1 if any(item.problem for item in results) else 0)


if __name__ == "__main__":
    main()
