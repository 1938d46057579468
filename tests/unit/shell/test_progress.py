"""Progress in lines of the log, and waits that the log reports."""

import logging

import pytest

from dr_wandb.core.contract.progress import Progress, Stage
from dr_wandb.shell.progress import LOGGER, WAITING, LoggedProgress, Wait, log_wait, wait_in


class Clock:
    """Seconds that a test sets."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_long_listing_has_a_line_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    progress = LoggedProgress(clock)
    with caplog.at_level(logging.INFO, LOGGER.name):
        for clock.seconds in (100.0, 105.0, 110.0, 112.0, 121.0):
            done = int(clock.seconds)
            progress(Progress(stage=Stage.LISTING, done=done, total=1000))
        progress(Progress(stage=Stage.WRITING, done=1, total=1))
    assert caplog.messages == ["Listed 110 runs so far", "Listed 121 runs so far"]


def test_lines_of_a_sync_name_its_troubles(caplog: pytest.LogCaptureFixture) -> None:
    progress = LoggedProgress()
    with caplog.at_level(logging.INFO, LOGGER.name):
        progress(Progress(done=0, total=40))
        for done in range(1, 5):
            progress(Progress(done=done, total=40, rows=7, failed=done // 2, short=done // 4))
    assert caplog.messages == [
        "Processed 1/40 runs (2% complete), 7 rows",
        "Processed 2/40 runs (5% complete), 7 rows, 1 failed",
        "Processed 4/40 runs (10% complete), 7 rows, 2 failed, 1 short",
    ]


def test_wait_is_in_the_record_and_in_words(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(WAITING, LOGGER.name):
        log_wait("HTTP 502: bad gateway.", 1.25)
        LOGGER.info("something else")
    assert caplog.messages[0] == "HTTP 502: bad gateway: going on in 1.2 s"
    waits = [wait_in(record) for record in caplog.records]
    assert waits == [Wait("HTTP 502: bad gateway", 1.25), None]
