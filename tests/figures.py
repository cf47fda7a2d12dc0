"""The fixture `show`: figures of a test, which a run is looked at for, printed at its end whichever process the test ran in."""

from collections.abc import Callable
from typing import Final

import pytest

_PROPERTY: Final = "figures"


@pytest.fixture
def show(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Takes one line at a time."""
    return lambda line: record_property(_PROPERTY, line)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints the figures of all tests that had some."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.getreports(kind)]
    found = {
        report.nodeid: lines
        for report in reports
        if report.when == "call" and (lines := [line for name, line in report.user_properties if name == _PROPERTY])
    }
    if found:
        terminalreporter.section("figures")
    for test, lines in sorted(found.items()):
        terminalreporter.write_line(test)
        for line in lines:
            terminalreporter.write_line(f"  {line}")
