"""Run a piece of Python with the real SDK in a process of its own.

wandb-core reads its environment when it starts and is one per process, so a test that wants the
SDK against its own server needs its own process: a fork of one that has imported it.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.support.forked_python import ForkedPython
    from tests.support.server.stand_in import StandInServer

_PROLOGUE = """
import json, sys
def emit(value):
    print("\\nEMIT " + json.dumps(value), flush=True)
def describe(call):
    try:
        return call()
    except Exception as error:
        return [type(error).__name__, str(error)]
import wandb
"""


def run_script(
    forked_python: ForkedPython,
    server: StandInServer,
    home: Path,
    source: str,
    *,
    timeout_seconds: float = 60.0,
    environment: Mapping[str, str] | None = None,
) -> list[Any]:
    """Run `source`, with `wandb` imported, and return what it passed to `emit(value)`.

    The process sees no WANDB_* variable of ours; `environment` adds some. A failing script raises
    AssertionError with what it wrote to stderr.
    """
    inherited = {name: text for name, text in os.environ.items() if not name.startswith("WANDB")}
    done = forked_python.run(
        _PROLOGUE + source,
        env={**inherited, **server.environment(home), **(environment or {})},
        timeout=timeout_seconds,
        cwd=home,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    lines = [line for line in done.stdout.splitlines() if line.startswith("EMIT ")]
    return [json.loads(line.removeprefix("EMIT ")) for line in lines]
