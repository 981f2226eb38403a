"""What holds for every test: who may run it, that nothing was left out unseen, that none changes another's logs."""

import logging
import os
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import HealthCheck, settings

NEEDS_ROOT = ("kernel", "lab")

# How long an example, or making it, takes says something of the machine only.
settings.register_profile("tortie", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tortie")


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Without root the tests that need it are skipped, with one reason for all of them.

    Whichever test is the first to want a control plane starts it, for itself or for all, and that takes the time it takes.
    """
    for item in items:
        if item.get_closest_marker("kubernetes") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(150))
    if os.geteuid() == 0:
        return
    skip = pytest.mark.skip(reason="needs root: network namespaces are made")
    for item in items:
        if any(item.get_closest_marker(name) for name in NEEDS_ROOT):
            item.add_marker(skip)


@pytest.fixture(autouse=True)
def logs_as_before() -> Iterator[None]:
    """Whoever configures the logs of the whole process, as commands do, does so for one test."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    yield
    root.setLevel(level)
    for handler in list(root.handlers):
        if handler not in handlers:
            root.removeHandler(handler)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many tests were collected and how many of them ran."""
    stats = terminalreporter.stats
    run = sum(len(stats.get(outcome, ())) for outcome in ("passed", "failed", "xfailed", "xpassed"))
    deselected, skipped = len(stats.get("deselected", ())), len(stats.get("skipped", ()))
    collected = run + deselected + skipped
    sign = "=" if run == collected else "≠"
    terminalreporter.write_line(f"collected {collected} {sign} run {run}  (skipped {skipped}, deselected {deselected})")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """In CI nothing may skip: a skip is a failure there."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") == "true" and exitstatus == 0 and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
