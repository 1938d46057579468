"""What a project holds, on the stand-in server or offline; a value that fits on a command line."""

import msgspec

METADATA = "metadata"
HISTORY = "history"


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """One project.

    mode: of the export; in metadata mode runs announce their rows, and none are prepared.
    step_stride: steps from one row to the next. live_rows: share of each run's rows, its last
    ones, that is not exported to Parquet. live_runs: share of the runs that are still running,
    with nothing exported. rows_per_file: most rows of one Parquet file. summaries: in an offline
    file, two records of the summary stand before each row. mixed_metrics: the first metrics, of
    which one value is NaN, are exported as columns of mixed type, and the step is a double.
    config_bytes: how long the JSON of each config is at least.
    exported_live_runs: those that still run are exported as far as the others. double_live_steps:
    `liveData` spells steps as 199.0. gained_rows: what each running run logs when the server grows.
    samples, lines: of the machine and the console of each run.
    """

    runs: int
    rows_per_run: int
    metrics: int = 8
    step_stride: int = 1
    live_rows: float = 0.0
    live_runs: float = 0.0
    latency_seconds: float = 0.0
    rows_per_file: int = 500_000
    mode: str = HISTORY
    summaries: bool = False
    mixed_metrics: int = 0
    config_bytes: int = 0
    exported_live_runs: bool = False
    double_live_steps: bool = False
    gained_rows: int = 0
    samples: int = 0
    lines: int = 0

    @property
    def rows(self) -> int:
        """The rows that an export of this project holds."""
        return self.runs * self.rows_per_run if self.mode == HISTORY else 0

    @property
    def records(self) -> int:
        """The records of an offline file of one run: header, run, history, exit."""
        return 2 + self.rows_per_run * (3 if self.summaries else 1) + 1

    @property
    def running_count(self) -> int:
        """The number of runs that are still running."""
        return max(1, round(self.runs * self.live_runs)) if self.live_runs else 0

    def live_from(self, number: int) -> int:
        """Return the position of the first live row of a run, counted from 0."""
        if number >= self.runs - self.running_count and not self.exported_live_runs:
            return 0
        return self.rows_per_run - round(self.rows_per_run * self.live_rows)

    def grown(self, gained: int | None = None) -> "Workload":
        """Return the project once rows to be gained are there, all of them live.

        gained: how many of them; by default all.
        """
        gained = self.gained_rows if gained is None else min(gained, self.gained_rows)
        rows = self.rows_per_run + gained
        live = round(self.rows_per_run * self.live_rows) + gained
        return msgspec.structs.replace(
            self, rows_per_run=rows, gained_rows=self.gained_rows - gained, live_rows=live / rows
        )

    def scaled(self, scale: float) -> "Workload":
        """Return a smaller project: fewer runs, or fewer rows where there are few runs."""
        if self.runs >= 100:
            return msgspec.structs.replace(self, runs=max(2, round(self.runs * scale)))
        return msgspec.structs.replace(self, rows_per_run=max(10, round(self.rows_per_run * scale)))


GROWING = Workload(
    runs=200,
    rows_per_run=200,
    live_runs=1.0,
    live_rows=0.1,
    exported_live_runs=True,
    double_live_steps=True,
    gained_rows=20,
    latency_seconds=0.02,
)
"""Runs that are alive, of which the first 180 rows are exported."""

SYNCED_HOURLY = Workload(
    runs=30, rows_per_run=200, live_runs=1.0, live_rows=0.1, exported_live_runs=True,
    gained_rows=1_000,
)  # fmt: skip
"""Runs that are alive, and log 20 rows between two of 51 syncs."""
