"""Run one command and measure it: wall time, CPU time, peak memory.

Rules
- The clock runs from before the process starts until it has been waited for.
- Peak memory is that of the command's own process, and at least that of the one which starts it.
  To it come the peaks of the processes of the same program that it starts, at whatever moment each
  had its own. wandb-core, its child too, is told apart. Both are found by reading /proc while they
  live; without /proc they are unknown.
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
_UNKNOWN = Path()
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
    """Looks at the peak memory of a process, of the wandb-core below it, and of its like."""

    def __init__(self, process_id: int) -> None:
        self._process_id = process_id
        self._program = _program_of(process_id)
        self._before: set[int] = set()
        self._beside: dict[int, int] = {}
        self.own = 0
        self.core: int | None = None

    def look(self) -> None:
        self.own = peak_of(self._process_id) or self.own
        programs = {child: _program_of(child) for child in _children_of(self._process_id)}
        for child, program in programs.items():
            peak = peak_of(child)
            if program not in (self._program, _UNKNOWN):  # one that has ended has none
                self._beside.pop(child, None)
            if peak is not None and program.name == CORE:
                self.core = peak
            elif peak is not None and program == self._program and child in self._before:
                self._beside[child] = peak
        self._before = {child for child in programs if programs[child] == self._program}

    @property
    def beside(self) -> int:
        """Return the peaks of those that were twice seen to run the same program, and no other.

        One that has just begun runs it too, before it becomes another.
        """
        return sum(self._beside.values())


def run_measured(
    arguments: Sequence[str], *, folder: Path, environment: Mapping[str, str], code: int = 0
) -> tuple[Usage, str]:
    """Run a command in a folder; return what it used and what it printed.

    Its output goes through files in the folder, so that nobody has to read along. Raises
    CommandFailedError where it ends with another exit code, with the end of its stderr.
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
    if process.returncode != code:
        said = told.read_text(errors="replace")[-2000:]
        raise CommandFailedError(f"{' '.join(arguments)} ended with {process.returncode}:\n{said}")
    usage = Usage(
        seconds=seconds,
        cpu_seconds=used.ru_utime + used.ru_stime,
        peak_bytes=_own_peak(used.ru_maxrss * _MAXRSS_BYTES, watch) + watch.beside,
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
    waited for. Where one of these came as high, what was last seen of the process itself counts.
    """
    if max(watch.core or 0, watch.beside) >= 0.95 * waited:
        return watch.own
    return waited


def peak_of(process_id: int) -> int | None:
    """Return the most memory that a process had, in bytes, since it became its program.

    `ru_maxrss` would be at least that of the process which started it. None without /proc.
    """
    try:
        status = Path(f"/proc/{process_id}/status").read_text()
    except OSError:
        return None
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None


def _children_of(process_id: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{process_id}/task").iterdir())
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return []


def _program_of(process_id: int) -> Path:
    """Return the file that a process runs, one without a name where that cannot be told."""
    try:
        return Path(f"/proc/{process_id}/exe").readlink()
    except OSError:
        return _UNKNOWN
