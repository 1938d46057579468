"""Read from wandb-core's log which refusals it waits out by itself.

wandb-core obeys `Retry-After`, however long it is: no setting shortens that wait or turns it off (0
retries mean 20). It reports nothing until the wait is over, or until the request is given up after
`--timeout-seconds` (wandb 0.29 to 0.31). It only writes a line to its log at once, in the session's
private folder. The line names neither the length of the wait nor the request.
"""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from dr_wandb.shell.progress import LOGGER

LOOK_SECONDS = 0.2
LOGS = Path("wandb", "logs")
"""Below the SDK's folder for caches."""

_RETRYING = "api: retrying HTTP error"
_THROTTLED_STATUS = 429


class RefusalWatch:
    """Looks at wandb-core's log, from now on and until it is closed.

    folder: of the log. on_refusals: called at each look with the number of new refusals.
    """

    def __init__(self, folder: Path, on_refusals: Callable[[int], None]) -> None:
        self._folder = folder
        self._on_refusals = on_refusals
        self._closed = threading.Event()
        self._read: dict[Path, int] = {}
        for _ in self._new_lines():
            pass
        threading.Thread(target=self._watch, daemon=True).start()

    def close(self) -> None:
        """Stop looking."""
        self._closed.set()

    def _watch(self) -> None:
        while not self._closed.wait(LOOK_SECONDS):
            try:
                self._on_refusals(sum(map(is_refusal, self._new_lines())))
            except OSError as error:
                LOGGER.debug("cannot read wandb-core's log: %s", error)

    def _new_lines(self) -> Iterator[bytes]:
        for path in sorted(self._folder.glob("core-debug-*.log")):
            at = self._read.get(path, 0)
            if path.stat().st_size <= at:
                continue
            with path.open("rb") as log:
                log.seek(at)
                for line in log:
                    if not line.endswith(b"\n"):
                        break
                    at += len(line)
                    yield line
            self._read[path] = at


def is_refusal(line: bytes) -> bool:
    """Say whether a line of the log reports a request that was refused (HTTP 429)."""
    try:
        entry = json.loads(line)
    except ValueError:
        return False
    known = isinstance(entry, dict) and entry.get("msg") == _RETRYING
    return known and entry.get("status") == _THROTTLED_STATUS
