"""What is known of an export without asking W&B, and its description for people.

Rules
- Everything follows from manifest, state, file sizes and other files in the folder; no data file is
  read.
- A run is as far behind as the last look at W&B said.
- An export that cannot be read has a status too: the problem.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

import msgspec

from dr_wandb.core.contract.amounts import kept_in_words
from dr_wandb.core.contract.cut_list import headed
from dr_wandb.core.contract.dataset import PROJECT_DATASETS
from dr_wandb.core.contract.evidence import Standing
from dr_wandb.core.contract.held_rows import HeldRows, held_rows, limits_in_words, rows_in_words
from dr_wandb.core.contract.manifest import ExportManifest
from dr_wandb.core.contract.normalize import instant
from dr_wandb.core.contract.project_part import ProjectPart
from dr_wandb.core.contract.records import Record
from dr_wandb.core.contract.request import ExportMode
from dr_wandb.core.contract.run_failure import RunFailure
from dr_wandb.core.contract.selection import HistorySelection, selection_in_words
from dr_wandb.core.contract.state import ExportState, RunTracking
from dr_wandb.core.contract.wording import (
    ago,
    as_lines,
    count,
    quoted,
    scope_in_words,
    size_in_words,
    table,
)
from dr_wandb.core.inspect.shortfalls import Lag, Shortage, lag_of, shortage_of


class ExportProblem(Record, frozen=True, kw_only=True):
    """Why an export cannot be read. kind: of the failure, or "missing"."""

    kind: str
    reason: str


class MissingRows(Record, frozen=True, kw_only=True):
    """Rows of a run that did not come again. kind: that of the run in a summary."""

    kind: str
    missing_rows: int


class RecordsStatus(Record, frozen=True, kw_only=True):
    """What an export holds of a dataset of the project: `count` records.

    `unlisted` were counted, but not listed or not readable, at the last look; `failure` is why they
    could not be listed.
    """

    count: int = 0
    unlisted: int = 0
    failure: RunFailure | None = None


class ExportStatus(Record, frozen=True, kw_only=True):
    """What one export holds, and what the last look at W&B said of it.

    `selection` and `scope` are in words. `file_bytes`: each file that a sync writes. `created_at`:
    the first sync, `changed_at`: the last that changed exported data, `looked_at`: the last of all,
    `looked_seconds_ago` before now. `alive` runs had not ended at the last look. `failed`,
    `behind`, `short` and `waiting` are by run id; `accepted` are the short runs of which no more is
    waited for. The metadata file of `metadata_failed` runs did not come. `missing` and
    `out_of_scope` runs have the time they were first found so. `sync` is who is syncing now, or
    what an interrupted sync has left: `fetched_parts` of runs in files of `fetched_bytes` bytes,
    fetched since `fetching_since`. `first_sync`: no sync has completed yet, so there is nothing to
    read. `problem` is why the export cannot be read; the other fields then have what is known.
    `datasets` are those of runs that are held beside the history, `records` those of the project,
    both by name.
    """

    name: str
    folder: str
    problem: ExportProblem | None = None
    entity: str | None = None
    project: str | None = None
    mode: ExportMode | None = None
    selection: str = ""
    scope: str = ""
    runs: int = 0
    rows: int = 0
    file_bytes: dict[str, int] = msgspec.field(default_factory=dict)
    bytes: int = 0
    created_at: str | None = None
    changed_at: str | None = None
    looked_at: str | None = None
    looked_seconds_ago: int | None = None
    alive: tuple[str, ...] = ()
    failed: dict[str, RunFailure] = msgspec.field(default_factory=dict)
    metadata_failed: dict[str, RunFailure] = msgspec.field(default_factory=dict)
    behind: dict[str, Lag] = msgspec.field(default_factory=dict)
    short: dict[str, Shortage] = msgspec.field(default_factory=dict)
    accepted: tuple[str, ...] = ()
    waiting: dict[str, MissingRows] = msgspec.field(default_factory=dict)
    missing: dict[str, str] = msgspec.field(default_factory=dict)
    out_of_scope: dict[str, str] = msgspec.field(default_factory=dict)
    sync: str | None = None
    fetched_parts: int = 0
    fetched_bytes: int = 0
    fetching_since: str | None = None
    first_sync: bool = False
    datasets: dict[str, HeldRows] = msgspec.field(default_factory=dict)
    records: dict[str, RecordsStatus] = msgspec.field(default_factory=dict)


def sum_up(
    name: str,
    folder: str,
    manifest: ExportManifest | None,
    state: ExportState | None,
    *,
    file_bytes: Mapping[str, int],
    now: datetime,
    sync: str | None,
    problem: ExportProblem | None,
) -> ExportStatus:
    """Return the status of an export, from the documents that can be read."""
    known = manifest or state
    runs = dict(sorted(state.runs.items())) if state is not None else {}
    history = manifest is not None and manifest.mode == ExportMode.HISTORY
    looked_at = state.last_exported_at if state is not None else None
    return ExportStatus(
        name=name,
        folder=folder,
        problem=problem,
        entity=known.entity if known is not None else None,
        project=known.project if known is not None else None,
        mode=manifest.mode if manifest is not None else None,
        selection=_selection(manifest),
        scope=scope_in_words(known.scope) if known is not None else "",
        runs=manifest.run_count if manifest is not None else len(runs),
        rows=manifest.history_count if manifest is not None else 0,
        file_bytes=dict(sorted(file_bytes.items())),
        bytes=sum(file_bytes.values()),
        created_at=manifest.created_at if manifest is not None else None,
        changed_at=manifest.updated_at if manifest is not None else None,
        looked_at=looked_at,
        looked_seconds_ago=_seconds_since(looked_at, now),
        sync=sync,
        datasets=held_rows(manifest),
        records=dict(_records(manifest, state)),
        alive=tuple(
            run_id
            for run_id, run in runs.items()
            if not run.terminal and not run.missing_since and not run.never_held
        ),
        failed={run_id: run.failed for run_id, run in runs.items() if run.failed},
        metadata_failed={
            run_id: run.metadata_failure for run_id, run in runs.items() if run.metadata_failure
        },
        behind={run_id: lag for run_id, run in runs.items() if history and (lag := lag_of(run))},
        short={run_id: short for run_id, run in runs.items() if (short := shortage_of(run))},
        accepted=tuple(
            run_id for run_id, run in runs.items() if run.short_by is not None and _stands(run)
        ),
        waiting={
            run_id: MissingRows(kind=part.evidence.kind, missing_rows=part.evidence.missing_rows)
            for run_id, run in runs.items()
            for part in run.parts.values()
            if part.evidence is not None and part.standing == Standing.WAITING
        },
        missing={run_id: run.missing_since for run_id, run in runs.items() if run.missing_since},
        out_of_scope={
            run_id: run.out_of_scope_since for run_id, run in runs.items() if run.out_of_scope_since
        },
    )


def _records(
    manifest: ExportManifest | None, state: ExportState | None
) -> Iterator[tuple[str, RecordsStatus]]:
    for name, dataset in PROJECT_DATASETS.items():
        file = manifest.files.get(dataset.file) if manifest is not None else None
        if file is not None:
            part = ProjectPart() if state is None else state.project_part(name)
            yield (
                name,
                RecordsStatus(count=file.lines, unlisted=part.unlisted, failure=part.failure),
            )


def _selection(manifest: ExportManifest | None) -> str:
    if manifest is None or manifest.mode == ExportMode.METADATA:
        return ""
    keys = manifest.selected_history_keys
    return selection_in_words(
        HistorySelection(
            keys=tuple(keys) if keys is not None else None, window=manifest.history_window
        )
    )


def _seconds_since(moment: str | None, now: datetime) -> int | None:
    at = instant(moment)
    return None if at is None else int((now - at).total_seconds())


def _stands(run: RunTracking) -> bool:
    return all(part.standing.stands for part in run.parts.values())


NO_SYNC_YET = "no sync has completed yet"


def describe_status(
    status: ExportStatus, *, rest: str | None = None, raw: bool = False
) -> tuple[str, ...]:
    """Describe all that is known of one export in lines of text, the important lists first.

    rest: how to see what is cut from long lists, such as `--all`; if None, nothing is cut.
    raw: names and reasons as they are, with characters that can steer a terminal.
    """
    return as_lines(_describe(status, rest), raw=raw)


def _describe(status: ExportStatus, rest: str | None) -> Iterator[str]:
    yield f"{status.name}: {status.entity or '?'}/{status.project or '?'} in {status.folder}"
    if status.first_sync:
        yield f"  {NO_SYNC_YET}"
        since = f" since {status.fetching_since}" if status.fetching_since else ""
        yield f"  fetched   {kept_in_words(status.fetched_parts, status.fetched_bytes)}{since}"
        yield f"  sync      {status.sync}"
        return
    if status.problem is not None:
        yield f"  cannot be read: {' '.join(status.problem.reason.split())}"
    if status.mode is not None:
        yield f"  mode      {status.mode}"
        yield f"  selection {status.selection}" if status.selection else "  selection no history"
        yield f"  scope     {status.scope}"
        held = [count(status.runs, "run"), count(status.rows, "row")]
        held += rows_in_words(status.datasets)
        held += [f"{one.count:,} {dataset}" for dataset, one in status.records.items()]
        yield f"  holds     {', '.join(held)}"
    sizes = ", ".join(f"{name} {size_in_words(n)}" for name, n in status.file_bytes.items())
    yield f"  size      {size_in_words(status.bytes)}{f' ({sizes})' if sizes else ''}"
    yield f"  created   {status.created_at or 'not known'}"
    yield f"  changed   {status.changed_at or 'not known'}"
    yield f"  looked at {status.looked_at or 'not known'} ({ago(status.looked_seconds_ago)})"
    if status.sync is not None:
        yield f"  sync      {status.sync}"
    yield from (f"  {line}" for line in limits_in_words(status.datasets))
    yield from (f"  {line}" for line in _describe_records(status.records))
    for title, runs in _parts(status):
        if runs:
            yield from (f"  {line}" for line in headed(title, runs, _describe_run, rest))


def _describe_records(records: Mapping[str, RecordsStatus]) -> Iterator[str]:
    for dataset, one in records.items():
        if one.failure is not None:
            yield f"{dataset} could not be listed last time: {one.failure.reason}"
        elif one.unlisted:
            yield f"{one.unlisted:,} of the {dataset} were counted last time, but not listed"


def _describe_run(run: tuple[str, str]) -> str:
    run_id, what = run
    return f"{quoted(run_id)}: {what}" if what else quoted(run_id)


def _parts(status: ExportStatus) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    yield "failed last time", _reasons(status.failed)
    yield "behind at the last look", _reasons(status.behind)
    short, accepted = _reasons(status.short), {*status.accepted}
    yield "short of the listing", [part for part in short if part[0] not in accepted]
    waiting = [
        (run, f"{count(one.missing_rows, 'row')} {one.kind}") for run, one in status.waiting.items()
    ]
    yield "waiting for a second read", waiting
    yield "without their last metadata file", _reasons(status.metadata_failed)
    yield "still alive at the last look", [(run_id, "") for run_id in status.alive]
    yield "gone upstream, kept", [(run, f"since {at}") for run, at in status.missing.items()]
    yield "out of scope, kept", [(run, f"since {at}") for run, at in status.out_of_scope.items()]
    yield "accepted as short", [part for part in short if part[0] in accepted]


def _reasons(runs: Mapping[str, RunFailure | Lag | Shortage]) -> list[tuple[str, str]]:
    return [(run_id, one.reason) for run_id, one in runs.items()]


def describe_statuses(statuses: Iterable[ExportStatus], *, raw: bool = False) -> tuple[str, ...]:
    """Describe each export in one line, in columns. raw: as in `describe_status`."""
    header = ("name", "project", "mode", "runs", "rows", "size", "looked at", "")
    rows = [header, *(as_lines(_columns(status), raw=raw) for status in statuses)]
    return table(rows, right={3, 4, 5})


def _columns(status: ExportStatus) -> tuple[str, ...]:
    return (
        status.name,
        f"{status.entity or '?'}/{status.project or '?'}",
        str(status.mode or "?"),
        f"{status.runs:,}",
        f"{status.rows:,}",
        size_in_words(status.bytes),
        ago(status.looked_seconds_ago),
        ", ".join(_remarks(status)),
    )


def _remarks(status: ExportStatus) -> Iterator[str]:
    if status.problem is not None:
        yield "cannot be read"
    if status.first_sync:
        yield NO_SYNC_YET
    if status.sync is not None:
        yield status.sync
    for number, what in (
        (len(status.alive), "alive"),
        (len(status.failed), "failed"),
        (len(status.behind), "behind"),
        (len(status.short), "short"),
        (len(status.waiting), "waiting"),
        (len(status.missing), "gone upstream"),
        (len(status.out_of_scope), "out of scope"),
    ):
        if number:
            yield f"{number:,} {what}"
    for dataset, one in status.records.items():
        if one.failure is not None or one.unlisted:
            yield f"{dataset} not complete"
