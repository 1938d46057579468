"""The stand-in server, started and asked from outside."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.workloads import Workload

CHECKOUT = Path(__file__).parents[1]


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a tool asked of the server in one step, and what that cost the server.

    listing: GraphQL requests that name no run. of_runs: those that name one. history_pages: those
    of them that ask for live rows. bytes_sent: of all bodies.
    """

    cpu_seconds: float
    listing: int
    of_runs: int
    history_pages: int
    downloads: int
    bytes_sent: int
    operations: dict[str, int]
    problems: list[str]


class ServerProcess:
    """A stand-in server in a process of its own, from entering the context until leaving it."""

    arguments: Sequence[str] = ()

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        self.url = ""

    def __enter__(self) -> Self:
        spelled = msgspec.json.encode(self.workload).decode()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.serving", spelled],
            cwd=CHECKOUT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.url = json.loads(self._read())["url"]
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def begin(self) -> None:
        """Let the server count from here on."""
        self._ask(do="begin")

    def asked(self) -> Asked:
        """Return what was asked since `begin`; raise where the server did not understand."""
        asked = msgspec.convert(self._ask(do="asked"), Asked)
        if asked.problems:
            raise RuntimeError(f"the stand-in server had trouble: {asked.problems[:3]}")
        return asked

    def grow(self, rows: int | None = None) -> None:
        """Let the runs that still run log some of the rows that they are to gain, or all."""
        self._ask(do="grow", **({} if rows is None else {"rows": str(rows)}))

    def write_replay(self, path: Path) -> None:
        """Write what was asked since `begin`, for the floor to ask again."""
        self._ask(do="replay", path=str(path))

    def environment(self, home: Path) -> dict[str, str]:
        """Return the variables that point the SDK at this server, with its folders in `home`."""
        variables: dict[str, str] = self._ask(do="environment", home=str(home))
        return variables

    def _ask(self, **question: str) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return json.loads(self._read())

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the stand-in server has ended")
        return line
