"""Call `wandb-export` as a user does, against the stand-in W&B server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from tests.support.syncing import json_lines, tree

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from tests.support.forked_python import Fork, ForkedPython
    from tests.support.server import Request, StandInServer

COMMAND = "from dr_wandb.cli import main; main()"

LISTING = {"Viewer", "Runs"}
"""Operations that every sync sends: who am I, and which runs are there."""

PRIVATE = ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_ARTIFACT_DIR")
"""What a user has not set, so that the tool has to keep the SDK's files to itself."""

VISIBLE = {"manifest.json", "state.json", "runs.jsonl", "history.jsonl", "changes.jsonl"}


def beyond_listing(requests: Iterable[Request]) -> Counter[str]:
    """Count the requests that a sync without news does not send, by operation."""
    return Counter(one.operation for one in requests if one.operation not in LISTING)


@dataclass(frozen=True)
class Outcome:
    """What one call of the command did."""

    code: int
    stdout: str
    stderr: str
    folder: Path
    requests: tuple[Request, ...]
    seconds: float

    @property
    def summary(self) -> dict[str, Any]:
        """The one JSON document on stdout."""
        document: dict[str, Any] = json.loads(self.stdout)
        return document

    @property
    def asked(self) -> Counter[str]:
        """The requests beyond the listing, by operation."""
        return beyond_listing(self.requests)

    def rows(self) -> list[dict[str, Any]]:
        """The lines of `history.jsonl`."""
        return json_lines(self.folder / "history.jsonl")

    def runs(self) -> list[dict[str, Any]]:
        """The lines of `runs.jsonl`."""
        return json_lines(self.folder / "runs.jsonl")


class Command:
    """`wandb-export`, in a place of its own: `home`, `temp` and `cwd` are folders for it alone.

    forked: its calls are forks, which need not import the SDK; if None, each call is a new process.
    """

    def __init__(
        self, server: StandInServer, place: Path, forked: ForkedPython | None = None
    ) -> None:
        self.server = server
        self._forked = forked
        self.home, self.temp, self.cwd = place / "home", place / "temp", place / "cwd"
        for folder in (self.temp, self.cwd):
            folder.mkdir(parents=True)
        self.environment = self._environment()
        self.data_root = self.cwd / "data"

    def _environment(self) -> dict[str, str]:
        foreign = ("WANDB", "DR_WANDB", "XDG", "PYTHON")
        inherited = {
            name: text for name, text in os.environ.items() if not name.startswith(foreign)
        }
        own = self.server.environment(self.home)
        for name in (*PRIVATE, "WANDB_SILENT", "WANDB_ERROR_REPORTING"):
            del own[name]
        return {**inherited, **own, "TMPDIR": str(self.temp), "PYTHONDONTWRITEBYTECODE": "1"}

    def __call__(
        self, *arguments: str, env: Mapping[str, str] | None = None, timeout: float = 60
    ) -> Outcome:
        """Call the command with just these arguments."""
        before = len(self.server.requests)
        started = time.monotonic()
        done = self._run(arguments, {**self.environment, **(env or {})}, timeout)
        name = arguments[arguments.index("--name") + 1] if "--name" in arguments else ""
        return Outcome(
            code=done.returncode,
            stdout=done.stdout,
            stderr=done.stderr,
            folder=self.data_root / name,
            requests=tuple(self.server.requests[before:]),
            seconds=time.monotonic() - started,
        )

    def _run(
        self, arguments: Sequence[str], environment: Mapping[str, str], timeout: float
    ) -> subprocess.CompletedProcess[str]:
        if self._forked is not None:
            return self._forked.run(
                COMMAND, arguments, env=environment, cwd=self.cwd, timeout=timeout
            )
        return subprocess.run(
            [sys.executable, "-m", "dr_wandb", *arguments],
            env=environment,
            cwd=self.cwd,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=timeout,
            stdin=subprocess.DEVNULL,
        )

    def start(
        self, *arguments: str, stderr: IO[bytes] | None = None
    ) -> subprocess.Popen[bytes] | Fork:
        """Start the command with just these arguments, and do not wait for it.

        stderr: a file for both of its streams; by default they go nowhere.
        """
        if self._forked is not None:
            streams = None if stderr is None else [stderr.fileno()] * 2
            return self._forked.start(
                COMMAND, arguments, env=self.environment, cwd=self.cwd, streams=streams
            )
        return subprocess.Popen(
            [sys.executable, "-m", "dr_wandb", *arguments],
            env=self.environment,
            cwd=self.cwd,
            stdin=subprocess.DEVNULL,
            stdout=stderr or subprocess.DEVNULL,
            stderr=stderr or subprocess.DEVNULL,
        )

    def sync(self, *flags: str, name: str = "n", **more: Any) -> Outcome:
        """Export entity/project under a name."""
        return self("entity", "project", "--name", name, *flags, **more)

    def history(self, *flags: str, name: str = "n", **more: Any) -> Outcome:
        """Export entity/project with its history."""
        return self.sync("--mode", "history", *flags, name=name, **more)

    def left_behind(self) -> dict[str, bytes | None]:
        """Return all files and folders but those that a test has put there."""
        found = {f"temp/{name}": content for name, content in tree(self.temp).items()}
        found |= {f"cwd/{name}": content for name, content in tree(self.cwd).items()}
        found |= {
            f"home/{name}": content
            for name, content in tree(self.home).items()
            if content is not None
        }
        return found
