"""What was measured, as values: these are what `results.json` holds."""

from collections.abc import Callable, Sequence
from statistics import median

import msgspec

from benchmarks.cases import Step
from benchmarks.environments import Tool
from benchmarks.measuring import Usage
from benchmarks.server_process import Asked
from benchmarks.workloads import Workload


def rows_of(step: Step, workload: Workload) -> int:
    """Return the number of rows that an export holds after a step, or that a loader gives."""
    return workload.rows_per_run if step == Step.LOAD_RUN else workload.rows


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One step of one tool in one round.

    seconds: of the whole process; for a loader, of the loop over its rows. run_lines, row_lines:
    what the export holds then; for a loader, row_lines are the rows that it gave. file_bytes: by
    name. asked is None for loaders, which ask nothing.
    """

    seconds: float
    usage: Usage
    asked: Asked | None
    run_lines: int
    row_lines: int
    file_bytes: dict[str, int]


class Floor(msgspec.Struct, frozen=True, kw_only=True):
    """What one step of this tool cannot do without, in one round.

    start: `import wandb; wandb.Api()`. fetch: the same answers by plain HTTP, over eight
    connections. write: a file of as many bytes as were exported, fsynced.
    """

    start_seconds: float
    fetch_seconds: float
    write_seconds: float
    bytes_fetched: int
    bytes_written: int

    @property
    def seconds(self) -> float:
        """All of it, one after the other."""
        return self.start_seconds + self.fetch_seconds + self.write_seconds


class Parsing(msgspec.Struct, frozen=True, kw_only=True):
    """What wandb's own protobuf module took for the records of an offline file, in one round.

    seconds: of parsing alone; read_seconds: of parsing them and asking each for its keys and texts;
    usage is of the whole process, which holds the file in memory.
    """

    seconds: float
    read_seconds: float
    records: int
    file_bytes: int
    usage: Usage


class Measurement(msgspec.Struct, kw_only=True):
    """One step of one tool, in all rounds."""

    case: str
    workload: Workload
    tool: str
    step: Step
    samples: list[Sample] = []
    floors: list[Floor] = []
    parsings: list[Parsing] = []

    def median(self, of: Callable[[Sample], float]) -> float:
        """Return the median of something over the rounds."""
        return median(map(of, self.samples))

    @property
    def seconds(self) -> float:
        """The median time."""
        return self.median(lambda sample: sample.seconds)

    @property
    def peak_bytes(self) -> float:
        """The median of the tool's own peak memory, with its like, without wandb-core."""
        return self.median(lambda sample: sample.usage.peak_bytes)

    @property
    def parsing_seconds(self) -> float | None:
        """The median time of parsing the records of an offline file, None where there is none."""
        return median(one.seconds for one in self.parsings) if self.parsings else None

    @property
    def reading_seconds(self) -> float | None:
        """The median time of parsing them and reading what they hold, None where there is none."""
        return median(one.read_seconds for one in self.parsings) if self.parsings else None

    @property
    def missing_rows(self) -> int:
        """The most rows missing in an export of this step; negative if it had too many."""
        expected = rows_of(self.step, self.workload)
        return max((expected - one.row_lines for one in self.samples), key=abs)


class Results(msgspec.Struct, kw_only=True):
    """All of one run of the benchmarks."""

    date: str
    scale: float
    repeat: int
    machine: dict[str, str]
    tools: list[Tool]
    measurements: list[Measurement] = []

    def find(self, case: str, tool: str, step: Step, rows: int | None = None) -> Measurement | None:
        """Return a measurement, of the project with so many rows where there are several."""
        for one in self.measurements:
            if (one.case, one.tool, one.step) == (case, tool, step) and rows in (
                None,
                one.workload.rows,
            ):
                return one
        return None

    def of_case(self, case: str, tool: str, step: Step) -> Sequence[Measurement]:
        """Return the measurements of all sizes of a case, in order."""
        wanted = (case, tool, step)
        return [one for one in self.measurements if (one.case, one.tool, one.step) == wanted]
