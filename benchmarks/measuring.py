"""Run one command and measure it: wall time, CPU time, peak memory.

Rules
- The clock runs from before the process starts until it has been waited for.
- Peak memory is that of the command's own process, and at least that of the one which starts it.
  wandb-core, its child, is told apart by reading /proc while both live; without /proc its peak is
  unknown.
- Dirty pages of what ran before are written first, so that nobody pays for another's writes.
"""

import os
import resource
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

SECONDS_BETWEEN_LOOKS = 0.01
TIMEOUT_SECONDS = 3600.0
CORE = "wandb-core"
_MAXRSS_BYTES = 1 if os.uname().sysname == "Darwin" else 1024


class CommandFailedError(Exception):
    """A measured command did not do its work."""


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What a command used. cpu_seconds includes the children that it waited for."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    core_peak_bytes: int | None


class _Watch:
    """Looks at the peak memory of a process and of the wandb-core below it."""

    def __init__(self, process_id: int) -> None:
        self._process_id = process_id
        self._core_id: int | None = None
        self.own = 0
        self.core: int | None = None

    def look(self) -> None:
        self.own = _peak_of(self._process_id) or self.own
        if self._core_id is None:
            self._core_id = _find_core(self._process_id)
        if self._core_id is not None:
            self.core = _peak_of(self._core_id) or self.core


def run_measured(
    arguments: Sequence[str], *, folder: Path, environment: Mapping[str, str]
) -> tuple[Usage, str]:
    """Run a command in a folder; return what it used and what it printed.

    Its output goes through files in the folder, so that nobody has to read along. Raises
    CommandFailedError where it ends with another code than 0, with the end of its stderr.
    """
    os.sync()
    printed, told = folder / "stdout", folder / "stderr"
    with printed.open("wb") as out, told.open("wb") as errors:
        started = time.perf_counter()
        process = subprocess.Popen(
            arguments,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=errors,
        )
        watch = _Watch(process.pid)
        try:
            status, used = _wait(process, watch, started)
        except BaseException:
            process.kill()
            process.wait()
            raise
        seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        said = told.read_text(errors="replace")[-2000:]
        raise CommandFailedError(f"{' '.join(arguments)} ended with {process.returncode}:\n{said}")
    usage = Usage(
        seconds=seconds,
        cpu_seconds=used.ru_utime + used.ru_stime,
        peak_bytes=_own_peak(used.ru_maxrss * _MAXRSS_BYTES, watch),
        core_peak_bytes=watch.core,
    )
    return usage, printed.read_text(errors="replace")


def _wait(
    process: subprocess.Popen[bytes], watch: _Watch, started: float
) -> tuple[int, resource.struct_rusage]:
    while True:
        ended, status, used = os.wait4(process.pid, os.WNOHANG)
        if ended:
            return status, used
        if time.perf_counter() - started > TIMEOUT_SECONDS:
            process.kill()
        watch.look()
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _own_peak(waited: int, watch: _Watch) -> int:
    """Return the peak of the process alone.

    What wait4 tells is exact, but it is the largest of the process and of the children that it
    waited for. Where wandb-core came as high, what was last seen of the process itself counts.
    """
    if watch.core is not None and watch.core >= 0.95 * waited:
        return watch.own
    return waited


def _peak_of(process_id: int) -> int | None:
    try:
        status = Path(f"/proc/{process_id}/status").read_text()
    except OSError:
        return None
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None


def _find_core(process_id: int) -> int | None:
    try:
        tasks = list(Path(f"/proc/{process_id}/task").iterdir())
        children = [child for task in tasks for child in (task / "children").read_text().split()]
        for child in children:
            if Path(f"/proc/{child}/comm").read_text().strip() == CORE:
                return int(child)
    except OSError:
        pass
    return None
