"""The page of metrics: well formed, typed, with a word on each of our own."""

import re

from tortie.agent.prometheus import HELP, process_numbers, render
from tortie.base.metrics import Metrics

LINE = re.compile(r'[a-zA-Z_:][a-zA-Z0-9_:]*(\{[a-z]+="(?:[^"\\]|\\.)*"\})? (\d+(\.\d+)?(e-?\d+)?|\+Inf)')


def sample() -> Metrics:
    metrics = Metrics()
    metrics.count("felix_nft_calls", 3)
    metrics.set("felix_resync_state", 3)
    for seconds in (0.25, 1.0, 0.5):
        metrics.observe("tortie_loop_lag_seconds", seconds)
    return metrics


def test_counters_gauges_and_summaries_have_their_types() -> None:
    lines = render(sample(), host="n", process=False, runtime=False).splitlines()
    assert "# TYPE felix_nft_calls counter" in lines
    assert "felix_nft_calls 3" in lines
    assert "# TYPE felix_resync_state gauge" in lines
    assert "# TYPE tortie_loop_lag_seconds summary" in lines
    assert "tortie_loop_lag_seconds_sum 1.75" in lines
    assert "tortie_loop_lag_seconds_count 3" in lines
    assert "tortie_loop_lag_seconds_max 1" in lines


def test_every_line_is_well_formed_and_every_family_is_announced_once() -> None:
    announced: list[str] = []
    for line in render(sample(), host='a "quoted" \\ name').splitlines():
        if line.startswith("# TYPE "):
            announced.append(line.split()[2])
        elif not line.startswith("# HELP "):
            assert LINE.fullmatch(line), line
            assert line.startswith(announced[-1])
    assert len(announced) == len(set(announced))


def test_the_process_and_its_runtime_can_be_left_out() -> None:
    with_all = render(sample(), host="n")
    assert "process_resident_memory_bytes" in with_all
    assert 'python_gc_collections_total{generation="2"}' in with_all
    without = render(sample(), host="n", process=False, runtime=False)
    assert "process_" not in without
    assert "python_" not in without


def test_the_process_is_described_as_it_is() -> None:
    numbers = process_numbers()
    assert 1e6 < numbers["process_resident_memory_bytes"] < numbers["process_virtual_memory_bytes"]
    assert 3 <= numbers["process_open_fds"] <= numbers["process_max_fds"]
    assert numbers["process_start_time_seconds"] > 1.6e9


def test_every_description_is_one_sentence_on_one_line() -> None:
    for name, text in HELP.items():
        assert re.fullmatch(r"(felix|tortie)_[a-z0-9_]+", name)
        assert text.endswith(".")
        assert "\n" not in text
