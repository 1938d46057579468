"""Summarize what one sync did."""

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from dr_wandb.core.contract.evidence import Standing
from dr_wandb.core.contract.export_files import MANIFEST_FILE, RUNS_FILE, STATE_FILE
from dr_wandb.core.contract.held_rows import HeldRows, held_rows
from dr_wandb.core.contract.manifest import ExportManifest
from dr_wandb.core.contract.records import Record
from dr_wandb.core.contract.request import ExportMode, ExportRequest, SyncMode
from dr_wandb.core.contract.run_failure import RunFailure
from dr_wandb.core.contract.unproven_runs import (
    FailedRun,
    ShortRun,
    WaitingRun,
    failed_run,
)
from dr_wandb.core.sync.advance import RunOutcome
from dr_wandb.core.sync.plan import RunAction, SyncPlan
from dr_wandb.core.sync.verdict import Judged


class RecordsSummary(Record, frozen=True, kw_only=True):
    """What one sync did with a dataset of the project. `count` is the number of held records.

    `missing_count` are gone upstream and kept. `unlisted_count` were counted but not listed, or do
    not read. `failure` is why the listing failed or was not believed; held records stay. `unread`:
    why the rest of a record, or the links of a run, could not be read, by its id.
    """

    count: int = 0
    new_count: int = 0
    changed_count: int = 0
    missing_count: int = 0
    pruned_count: int = 0
    unlisted_count: int = 0
    failure: RunFailure | None = None
    unread: dict[str, RunFailure] = msgspec.field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Say whether every record of W&B was read, with everything that belongs to it."""
        return self.failure is None and not (self.unlisted_count or self.unread)


class ExportSummary(Record, frozen=True, kw_only=True):
    """What one sync did. The fields up to `exported_at` are those of 3.0.3, with its full paths.

    `history_path` is None if the export has no `history.jsonl`. `missing_count` runs are gone
    upstream and kept, `pruned_count` were dropped, `out_of_scope_count` are kept but no longer
    followed once they have ended. `rows_added` is the number of rows added to the history, not
    counting runs that lost rows. `rows_removed` held rows were dropped or lost values, because the
    selection is narrower than before. `requests` were sent to the W&B server; downloads of exported
    files are not counted. `bytes` is the size of the data files. `unlisted_count` is the number of
    runs that W&B counts but did not list. `short` runs brought fewer rows than are listed,
    `waiting` ones did not bring all held rows. Of `unread` runs a part could not be read; the rest
    is exported. `refused` are the runs whose history W&B refuses to give, `refusal` is why. The
    metadata file of `metadata_failures` did not come; a held one stays, and the rest is exported.
    `datasets` are those of runs that are held beside the history, and `records` those of the
    project that were requested, both by name.
    """

    name: str
    entity: str
    project: str
    mode: ExportMode
    sync_mode: SyncMode
    output_dir: str
    state_path: str
    manifest_path: str
    runs_path: str
    history_path: str | None = None
    run_count: int = 0
    history_count: int = 0
    exported_at: str
    new_count: int = 0
    refreshed_count: int = 0
    reused_count: int = 0
    failed_count: int = 0
    missing_count: int = 0
    pruned_count: int = 0
    out_of_scope_count: int = 0
    unlisted_count: int = 0
    rows_added: int = 0
    rows_removed: int = 0
    requests: int = 0
    bytes: int = 0
    failures: tuple[FailedRun, ...] = ()
    short: tuple[ShortRun, ...] = ()
    waiting: tuple[WaitingRun, ...] = ()
    unread: tuple[FailedRun, ...] = ()
    metadata_failures: tuple[FailedRun, ...] = ()
    refused: tuple[str, ...] = ()
    refusal: RunFailure | None = None
    datasets: dict[str, HeldRows] = msgspec.field(default_factory=dict)
    records: dict[str, RecordsSummary] = msgspec.field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Say whether everything of W&B was read that was asked for and is listed."""
        if not all(records.complete for records in self.records.values()):
            return False
        unread = self.failures or self.unread or self.metadata_failures or self.refused
        return not (unread or self.short or self.waiting or self.unlisted_count)


def summarize(
    request: ExportRequest,
    plan: SyncPlan,
    failures: Iterable[FailedRun],
    outcomes: Iterable[RunOutcome],
    manifest: ExportManifest,
    *,
    folder: str,
    exported_at: str,
    unlisted: int,
    rows_added: int,
    rows_removed: int,
    requests: int = 0,
    records: Mapping[str, RecordsSummary] = {},
) -> ExportSummary:
    """Sum up a sync whose plan was carried out except for the failures. outcomes: of listed runs.

    folder: the folder of the export; the summary's paths are below it.
    """
    failed = {failure.run_id: failure for failure in failures}
    done = [run.action for run in plan.runs if run.run_id not in failed]
    history = manifest.history_path
    sorted_outcomes = sorted(outcomes, key=lambda outcome: outcome.listing.run_id)
    refused = [outcome for outcome in sorted_outcomes if outcome.refused]
    return ExportSummary(
        name=request.name,
        entity=request.entity,
        project=request.project,
        mode=request.mode,
        sync_mode=request.sync_mode,
        output_dir=folder,
        state_path=f"{folder}/{STATE_FILE}",
        manifest_path=f"{folder}/{MANIFEST_FILE}",
        runs_path=f"{folder}/{RUNS_FILE}",
        history_path=None if history is None else f"{folder}/{history}",
        run_count=manifest.run_count,
        history_count=manifest.history_count,
        exported_at=exported_at,
        new_count=done.count(RunAction.NEW),
        refreshed_count=done.count(RunAction.REFRESH),
        reused_count=done.count(RunAction.REUSE),
        failed_count=len(failed),
        missing_count=done.count(RunAction.MISSING),
        pruned_count=done.count(RunAction.PRUNE),
        out_of_scope_count=len(manifest.out_of_scope_runs),
        unlisted_count=unlisted,
        rows_added=rows_added,
        rows_removed=rows_removed,
        requests=requests,
        bytes=sum(file.bytes for file in manifest.files.values()),
        failures=tuple(failed[run_id] for run_id in sorted(failed)),
        short=tuple(
            ShortRun(
                run_id=outcome.listing.run_id,
                kind=judged.short,
                short_by=max(0, judged.evidence.difference or 0) or None,
                reason=judged.reason,
            )
            for outcome, judged in _judged(sorted_outcomes)
            if judged.short is not None
        ),
        waiting=tuple(
            WaitingRun(
                run_id=outcome.listing.run_id,
                kind=judged.evidence.kind,
                missing_rows=judged.evidence.missing_rows,
            )
            for outcome, judged in _judged(sorted_outcomes)
            if judged.standing == Standing.WAITING
        ),
        unread=tuple(
            failed_run(outcome.listing.run_id, outcome.unread)
            for outcome in sorted_outcomes
            if outcome.unread is not None
        ),
        metadata_failures=tuple(
            failed_run(outcome.listing.run_id, outcome.metadata_failure)
            for outcome in sorted_outcomes
            if outcome.metadata_failure is not None
        ),
        refused=tuple(outcome.listing.run_id for outcome in refused),
        datasets=held_rows(manifest),
        records=dict(records),
        refusal=next((run.failure for run in refused if run.failure is not None), None),
    )


def _judged(outcomes: Iterable[RunOutcome]) -> Iterator[tuple[RunOutcome, Judged]]:
    for outcome in outcomes:
        for part in outcome.parts.values():
            if part.judged is not None:
                yield outcome, part.judged
