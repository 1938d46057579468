"""Datasets: the kinds of rows that runs have, each described by one value.

Rules
- Rows of every dataset are treated in the same way; a `Dataset` says what is particular to one.
- A source that has a dataset has a method `read_<name>(run, window, attempt)`, which yields batches
  of raw rows: `shell/sources/api/system.py` is the model. It gives the rows of which
  `window.has(step)` is true; if no row has a step, all of them. `attempt` counts from 0: a later
  one may ask for less at once. If the server does not know the rows at all, there are none.
- Rows with a step are read from the last held one on, if more were counted; rows without one are
  read as a whole. So rows that may come at any step have none: the step is a metric of theirs.
  Rows that are only added at the end may have their position as `_step`; then `counts` gives the
  last one, `line_count - 1`.
- A raw row is a flat object: `_step` (an integer) and `_timestamp` (a number of seconds; `instant`
  reads a text) order the rows of a run, and either may be missing. All other keys are metrics.
  Such rows need no form of their own: they are `HistoryRow`s. Two that are equal are one.
- The rows of a dataset are lines of one data file, by run id, then in the order of `codec.row_key`.
- Each part of a run is decided on by itself.
- A counter that an old server may not know needs a `mark` beside it, also if the counter is there.
- Rows that are known by a name, such as files, are ordered by it, and each is there once.
- A dataset of the project has one part for the whole project, and lines of another kind.

CONTRIBUTING.md lists the files to edit for a new dataset.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from dr_wandb.core.contract.records import Record


class Counts(Record, omit_defaults=True, frozen=True, kw_only=True):
    """What a listing shows of the rows of a dataset; if it changes, so did the rows.

    Of the history, `line_count` is `historyLineCount`, `last_step` is `historyKeys.lastStep` (None
    if there is none), `last_logged_at` is the summary's `_timestamp` as text. Each may be stale on
    the server (wandb 0.31.0); `line_count` is the freshest. `mark` is any other text that may
    change with the rows: rows are read again if it does, unless the count and the last step say
    that all are held. A listing without a last step says so of rows without steps only. `version`
    is such a text for rows that may be replaced while their number stands still: they are read
    again whenever it changes.
    """

    line_count: int | None = None
    last_step: int | None = None
    last_logged_at: str | None = None
    mark: str | None = None
    version: str | None = None


class Dataset(Record, frozen=True, kw_only=True):
    """What is particular to one dataset.

    `file` is the name of its data file. `selects`: a request may ask for part of its rows. `counts`
    reads the counts of this dataset from a raw run of a listing; None for the history, for which a
    listing has fields of its own. `listed`: further fields of a run that `counts` needs, requested
    only if the dataset is.
    `numbered`: a row is known by its number (`_step`) alone, and the last copy of it counts.
    `named`: it is known by its name (see `RowName`) alone, likewise.
    `overlap`: how many of the last numbers may still change, so that a tail brings them again.
    `sampled`: a source may give a sample of the rows, which is no shortage.
    `is_capped` says whether an answer has as many rows as W&B gives or keeps at most.
    `rows_per_answer`: how many rows come in one answer; None if all do. The history has pages.
    `silent`: rows may change while nothing in a listing does; `detect_changes` reads them again.
    `has_content`: its rows describe files, whose bytes a request may want too (see run_files.py).
    `noun` names one of its rows, and `not_held` says what an export without the dataset does not
    hold of a run, for people.
    """

    name: str
    file: str
    noun: str = "row"
    selects: bool = False
    counts: Callable[[Mapping[str, Any]], Counts] | None = None
    listed: tuple[str, ...] = ()
    numbered: bool = False
    overlap: int = 0
    sampled: bool = False
    is_capped: Callable[[int], bool] | None = None
    rows_per_answer: int | None = None
    named: bool = False
    silent: bool = False
    has_content: bool = False
    not_held: str = ""

    @property
    def identified(self) -> bool:
        """Say whether a row is known by its number or name alone, whatever it holds."""
        return self.numbered or self.named


HISTORY = "history"
"""What runs log, row by row."""

SYSTEM = "system"
"""Samples of the machine that a run is on."""

CONSOLE = "console"
"""What a program prints, line by line."""

FILES = "files"
"""The files of a run."""

FILES_PER_ANSWER = 1000
"""How many files of a run are listed in one request."""

MOVED_AT = "movedAt"
"""A member of a raw run: W&B's `updatedAt`, under a name that no field of a snapshot has."""

FILES_MARK = "filesMark"
"""A member of a raw run: a text that changes with any of its files, if the source has one."""

CONTENT_MARK = "contentMark"
"""A member of a raw run: a text that changes with any of its content, if the source has one."""

LINES_PER_ANSWER = 10_000
"""W&B gives at most this many lines of a console in one answer (its own client, wandb 0.31.0)."""

LINES_KEPT = 100_000
"""W&B keeps at most this many lines of a console, by its documentation."""

CHANGING_LINES = 32
"""The last lines of each program that writes to a run; they may still change (wandb 0.31.0)."""

MOST_WRITERS = 8
"""A tail brings the changing lines of this many programs; of more, all lines are read."""


def _counter(raw_run: Mapping[str, Any], name: str) -> int | None:
    value = raw_run.get(name)
    return value if type(value) is int and value >= 0 else None


def _mark(raw_run: Mapping[str, Any], *others: str) -> str:
    """Return what moves with a run besides a counter of its own, and these members."""
    content = raw_run.get(CONTENT_MARK)
    if content is not None:
        return str(content)
    members = ("state", "heartbeatAt", *others)
    return " ".join(str(raw_run.get(member)) for member in members)


def _count_lines(raw_run: Mapping[str, Any]) -> Counts:
    """Return the counts of the console. Without its counter, any other one is a sign."""
    lines = _counter(raw_run, "logLineCount")
    others = () if lines is not None else ("historyLineCount", "eventsLineCount")
    return Counts(line_count=lines, mark=_mark(raw_run, *others))


def _count_samples(raw_run: Mapping[str, Any]) -> Counts:
    """Return the counts of the samples of a machine, as those of the console."""
    samples = _counter(raw_run, "eventsLineCount")
    others = () if samples is not None else ("historyLineCount", "logLineCount")
    return Counts(line_count=samples, mark=_mark(raw_run, *others))


def _count_files(raw_run: Mapping[str, Any]) -> Counts:
    """Return the counts of files. A file may be replaced by one of the same name."""
    moved = MOVED_AT if raw_run.get(MOVED_AT) is not None else "heartbeatAt"
    content = raw_run.get(FILES_MARK, raw_run.get(CONTENT_MARK))
    own = f"{raw_run.get('state')} {raw_run.get(moved)}"
    version = own if content is None else str(content)
    return Counts(line_count=_counter(raw_run, "fileCount"), version=version)


def _is_capped_console(lines: int) -> bool:
    return lines == LINES_PER_ANSWER or lines >= LINES_KEPT


DATASETS: dict[str, Dataset] = {
    HISTORY: Dataset(name=HISTORY, file="history.jsonl", selects=True),
    SYSTEM: Dataset(
        name=SYSTEM,
        file="system.jsonl",
        noun="system sample",
        counts=_count_samples,
        listed=("eventsLineCount",),
        sampled=True,
        not_held="system metrics over time (--with system adds them): "
        "the snapshot has the last sample",
    ),
    CONSOLE: Dataset(
        name=CONSOLE,
        file="console.jsonl",
        noun="console line",
        counts=_count_lines,
        listed=("logLineCount",),
        numbered=True,
        overlap=CHANGING_LINES * MOST_WRITERS,
        is_capped=_is_capped_console,
        rows_per_answer=LINES_PER_ANSWER,
        not_held="console output (--with console adds it)",
    ),
    FILES: Dataset(
        name=FILES,
        file="files.jsonl",
        counts=_count_files,
        listed=("fileCount", "updatedAt"),
        rows_per_answer=FILES_PER_ANSWER,
        named=True,
        silent=True,
        has_content=True,
        noun="file",
        not_held="files of runs (--with files adds them): code, media, tables and the like, which "
        "are references in the rows",
    ),
}
"""All datasets, in the order in which a commit renames their files."""

TABLES = tuple(name for name in DATASETS if name != HISTORY)
"""Those that have a table beside their lines if an export has Parquet files."""


class ProjectDataset(Record, frozen=True, kw_only=True):
    """What is particular to a dataset of the project: `file` is the name of its data file.

    Its lines are records with an identity of their own, see project_records.py. What is known of
    them is one part, which belongs to the project instead of a run.
    `linked`: its records are `LinkedRecord`s, whose runs are asked for them. Then `listed` and
    `counts` are as those of a dataset of runs, and say when a run has to be asked again.
    `grouped`: a listing may skip the records of a group whose mark did not move.
    `lasting`: records have content that never changes, so it is read once, and what an interrupted
    sync has read of it is used.
    `runs_per_request`: the links of how many runs are asked for together. `contents_per_request`:
    for how many records the content that never changes is, if a request is needed for that.
    `not_held` is as that of a dataset of runs.
    """

    name: str
    file: str
    linked: bool = False
    grouped: bool = False
    lasting: bool = False
    runs_per_request: int | None = None
    contents_per_request: int | None = None
    listed: tuple[str, ...] = ()
    counts: Callable[[Mapping[str, Any]], Counts] | None = None
    not_held: str = ""


ARTIFACTS = "artifacts"
"""The versions of artifacts, and which runs logged and used them."""

SWEEPS = "sweeps"
"""The searches for hyperparameters."""

REPORTS = "reports"
"""The documents that people write about runs."""

RUNS_PER_REQUEST = 20
"""The artifacts of at most this many runs are asked for in one request."""

ADDRESSES_PER_REQUEST = 50
"""How many addresses of manifests are requested together: more would expire before they are used.
The downloads are no requests."""

OUTPUTS, INPUTS = "outputArtifacts", "inputArtifacts"
"""Members of a raw run: connections to the artifacts that it logged and used."""


def _count_links(raw_run: Mapping[str, Any]) -> Counts:
    """Return how many artifacts a run logged and used; no mark if one of the numbers is unknown."""
    content = raw_run.get(CONTENT_MARK)
    if content is not None:
        return Counts(mark=str(content))
    connections = [raw_run.get(name) for name in (OUTPUTS, INPUTS)]
    outputs, inputs = (
        _counter(one, "totalCount") if isinstance(one, Mapping) else None for one in connections
    )
    if outputs is None or inputs is None:
        return Counts()
    return Counts(line_count=outputs + inputs, mark=f"{outputs} {inputs}")


PROJECT_DATASETS: dict[str, ProjectDataset] = {
    ARTIFACTS: ProjectDataset(
        name=ARTIFACTS,
        file="artifacts.jsonl",
        linked=True,
        grouped=True,
        lasting=True,
        runs_per_request=RUNS_PER_REQUEST,
        contents_per_request=ADDRESSES_PER_REQUEST,
        listed=(OUTPUTS, INPUTS),
        counts=_count_links,
        not_held="artifacts (--with artifacts adds what they are, not their files)",
    ),
    SWEEPS: ProjectDataset(name=SWEEPS, file="sweeps.jsonl"),
    REPORTS: ProjectDataset(name=REPORTS, file="reports.jsonl"),
}
"""The datasets of the project, in the order in which a commit renames their files."""


def counts_in(raw_run: Mapping[str, Any], names: Iterable[str]) -> dict[str, Counts]:
    """Return the counts of datasets other than the history from a raw listed run, by name."""
    counts = ((name, (DATASETS.get(name) or PROJECT_DATASETS[name]).counts) for name in names)
    return {name: count(raw_run) for name, count in counts if count is not None}
