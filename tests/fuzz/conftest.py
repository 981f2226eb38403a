"""Says at the end how much was compared."""

import pytest
from tests.fuzz.tally import TALLY


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if TALLY.clusters:
        terminalreporter.write_line(f"fuzz: {TALLY}")
