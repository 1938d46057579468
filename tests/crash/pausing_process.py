"""Sync in processes of its own, each of which stops and waits at a given operation.

python -m tests.crash.pausing_process

Takes lines of JSON, `[data_root, scenario, number]`, and does each in a fork of itself. The fork
prints `[its pid, number, operation]` when it is at the operation of that number, and waits to be
killed. Without such an operation it prints `[its pid, null, all operations]` and ends. When it has
ended, either way, `[pid, "ended", status]` is printed.
"""

import json
import os
import sys
import time
from pathlib import Path

from tests.support.operations import Operation, observed
from tests.support.scenarios import SCENARIOS


def tell(*words: object) -> None:
    os.write(1, json.dumps(words).encode() + b"\n")


def sync_and_pause(data_root: Path, name: str, number: int) -> None:
    """Sync what a test has begun there, and wait at an operation."""
    scenario = SCENARIOS[name]
    source = scenario.begin(data_root.with_name(f"{data_root.name}-twin"))
    done: list[str] = []

    def before(operation: Operation) -> None:
        done.append(str(operation))
        if len(done) == number + 1:
            tell(os.getpid(), number, str(operation))
            time.sleep(600)

    with observed(before):
        scenario.sync(source, data_root)
    tell(os.getpid(), None, done)


def main() -> None:
    for line in sys.stdin:
        data_root, name, number = json.loads(line)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                sync_and_pause(Path(data_root), name, number)
                status = 0
            finally:
                os._exit(status)
        tell(child, "ended", os.waitpid(child, 0)[1])


if __name__ == "__main__":
    main()
