"""Sums up what the crash tests did: `pytest tests/crash` prints it at its end.

Coverage is not measured in them: other tests reach every line, and it takes a third of their time.
"""

from collections import Counter

import pytest

WORDS = {
    "operations_killed_at": "moments of a sync whose files were then synced to the same bytes",
    "operations_failed_at": "operations that failed; what they left was synced to the same bytes",
    "power_cuts": "disks as a power cut leaves them, which were synced to the same bytes",
    "kills": "processes ended with SIGKILL",
}


@pytest.fixture(autouse=True)
def lines_are_not_counted(no_cover: None) -> None:
    """Let pytest-cov pause in each crash test: it looks for `no_cover` by name."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    counts: Counter[str] = Counter()
    for report in terminalreporter.stats.get("passed", []):
        for name, count in report.user_properties:
            counts[name] += int(count)
    for name, words in WORDS.items():
        if counts[name]:
            terminalreporter.write_line(f"crash tests: {counts[name]} {words}")
