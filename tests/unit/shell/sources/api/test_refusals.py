"""Lines of wandb-core's log, as wandb 0.29 to 0.31 writes them."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING

import pytest

from dr_wandb.shell.sources.api.refusals import RefusalWatch, is_refusal

if TYPE_CHECKING:
    from pathlib import Path

ENTRY = {
    "time": "2026-01-01T00:00:00.000000000Z",
    "level": "INFO",
    "msg": "api: retrying HTTP error",
    "status": 429,
    "url": "http://127.0.0.1:1/graphql",
    "body": "rate limit exceeded",
}
LINE = json.dumps(ENTRY).encode() + b"\n"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (LINE, True),
        (json.dumps({**ENTRY, "status": 503, "body": "429"}).encode(), False),
        (json.dumps({**ENTRY, "msg": "api: HTTP error"}).encode(), False),
        (json.dumps({**ENTRY, "body": 'msg":"api: retrying'}).encode(), True),
        (LINE[:-9], False),
        (b"null\n", False),
        (b"panic: \xff\n", False),
    ],
)
def test_refusal_is_recognized_by_status_and_message(line: bytes, expected: bool) -> None:
    assert is_refusal(line) is expected


def test_watch_counts_whole_lines_once_and_only_new_ones(tmp_path: Path) -> None:
    log = tmp_path / "core-debug-1.log"
    log.write_bytes(LINE * 3)
    counts: list[int] = []
    looked = threading.Condition()

    def note(refusals: int) -> None:
        with looked:
            counts.append(refusals)
            looked.notify_all()

    def wait_for(total: int) -> None:
        with looked:
            known = len(counts)
            assert looked.wait_for(lambda: sum(counts) == total and len(counts) > known + 1, 20)

    watch = RefusalWatch(tmp_path, note)
    try:
        wait_for(0)
        with log.open("ab") as more:
            more.write(LINE + LINE[:20])
        wait_for(1)
        with log.open("ab") as more:
            more.write(LINE[20:])
        (tmp_path / "core-debug-2.log").write_bytes(LINE * 2)
        wait_for(4)
    finally:
        watch.close()
