"""What a comparison with W&B says of each run, and its description for people.

Rules
- Every run of the export or of W&B is in exactly one part of a comparison.
- What the export does not hold of any run is listed below the fully exported runs.
"""

from collections.abc import Collection, Iterator, Mapping

import msgspec

from dr_wandb.core.contract.cut_list import headed
from dr_wandb.core.contract.dataset import DATASETS, PROJECT_DATASETS
from dr_wandb.core.contract.held_rows import count_rows
from dr_wandb.core.contract.manifest import ExportManifest
from dr_wandb.core.contract.records import Record
from dr_wandb.core.contract.run_failure import RunFailure
from dr_wandb.core.contract.state import ExportState
from dr_wandb.core.contract.wording import as_lines, count, quoted
from dr_wandb.core.inspect.audit import StoredRun
from dr_wandb.core.inspect.audit_records import StoredRecord
from dr_wandb.core.inspect.audit_rows import StoredPart
from dr_wandb.core.inspect.doubts import AbsenceKind, Doubt
from dr_wandb.core.inspect.verify import VerifyReport, describe_report
from dr_wandb.core.sync.record_links import (
    UNKNOWN_MARK,
    HeldLinks,
    RunLinks,
    links_after,
    links_by_id,
)


def not_held_in(datasets: Collection[str]) -> tuple[str, ...]:
    """Return what an export with these datasets beside the history does not hold of any run."""
    of_project = (one.not_held for one in PROJECT_DATASETS.values() if one.name not in datasets)
    of_runs = (one.not_held for one in DATASETS.values() if one.name not in datasets)
    return tuple(filter(None, (*of_project, *of_runs)))


class CheckedExport(Record, frozen=True, kw_only=True):
    """A report, and what was read for it; None for a document that cannot be read.

    `rows` has the rows of each run, by dataset; `records` those of the project's datasets, by
    dataset and identity.
    """

    report: VerifyReport
    manifest: ExportManifest | None
    state: ExportState | None
    runs: dict[str, StoredRun]
    rows: Mapping[str, Mapping[str, StoredPart]]
    records: Mapping[str, Mapping[str, StoredRecord]] = {}


class HeldRun(Record, frozen=True, kw_only=True):
    """One run of the export, and the reasons why its rows are not fully exported, if any.

    `rows` are those of the history, `other_rows` those of the other datasets in the export.
    `failures` say which of its data cannot be read now, or could not be read by the last sync.
    """

    run_id: str
    display_name: str | None = None
    rows: int = 0
    other_rows: dict[str, int] = msgspec.field(default_factory=dict)
    reasons: tuple[Doubt, ...] = ()
    failures: tuple[RunFailure, ...] = ()


class UnheldRun(Record, frozen=True, kw_only=True):
    """One run that is on W&B and not in the export, and why. `failure` is set if it failed."""

    run_id: str
    display_name: str | None = None
    kind: AbsenceKind
    reason: str
    failure: RunFailure | None = None


class ComparedRecords(Record, frozen=True, kw_only=True):
    """A dataset of the project compared with W&B at one time: identities of its records.

    `exported` is the number of those that are as on W&B. `differ` have another content there,
    `not_exported` are there only, `gone_upstream` here only. `failure`: why W&B did not list all.
    """

    exported: int = 0
    differ: tuple[str, ...] = ()
    not_exported: tuple[str, ...] = ()
    gone_upstream: tuple[str, ...] = ()
    failure: RunFailure | None = None

    @property
    def level(self) -> bool:
        """Say whether every record on W&B is exported as it is there."""
        return not (self.differ or self.not_exported or self.failure)


def compare_records(
    held: Mapping[str, StoredRecord],
    listed: Mapping[str, str],
    failure: RunFailure | None,
    *,
    links: Mapping[str, RunLinks] = {},
    beside: Mapping[str, str] = {},
) -> ComparedRecords:
    """Compare the records of a dataset with a listing. listed: a digest of each, by identity.

    failure: why the listing is not complete; then no record is known to be gone. links: what runs
    say that they made and used. beside: records that no listing of the project shows, but runs use:
    the source's id of each, by identity.
    """
    stored = {one: record for one, record in held.items() if record.of_project}
    known = listed.keys() & stored.keys()
    differ = {one for one in known if stored[one].digest != listed[one]}
    differ |= _with_other_links(held, links)
    gone = stored.keys() - listed.keys() if failure is None else ()
    ids = {record.source_id for record in held.values()}
    foreign = {one for one, source_id in beside.items() if source_id not in ids}
    return ComparedRecords(
        exported=len(known - differ),
        differ=tuple(sorted(differ)),
        not_exported=tuple(sorted((listed.keys() - stored.keys()) | (foreign - listed.keys()))),
        gone_upstream=tuple(sorted(gone)),
        failure=failure,
    )


def _with_other_links(held: Mapping[str, StoredRecord], links: Mapping[str, RunLinks]) -> set[str]:
    """Return the records that would have other links if runs were asked now."""
    lines = (
        HeldLinks(one.source_id, one.links, one.missing_since)
        for one in held.values()
        if one.links is not None
    )
    after = links_after(links_by_id(lines), links)
    return {
        identity
        for identity, one in held.items()
        if one.missing_since is None and one.links not in (None, after.get(one.source_id))
    }


def unread_links(dataset: str, unread: Mapping[str, RunFailure]) -> RunFailure:
    """Return why runs could not be asked what they made and used: of the first of them."""
    first = unread[min(unread)]
    reason = f"the {dataset} of {count(len(unread), 'run')} could not be read: {first.reason}"
    return RunFailure(kind=first.kind, reason=reason)


def linked_runs(held: Mapping[str, StoredRecord]) -> dict[str, str]:
    """Return the runs that made or used records, as runs whose marks are not known."""
    links = (one.links for one in held.values() if one.links is not None)
    return {
        run_id: UNKNOWN_MARK
        for created_by, used_by in links
        for run_id in (*created_by, *(use.run_id for use in used_by))
    }


class Comparison(Record, frozen=True, kw_only=True):
    """An export compared with W&B at one time, run by run, each part in the order of run ids.

    `address` is the host, or the folder of a recording. `unlisted` is the number of runs that W&B
    counts but did not list. `report` is that of the check before the comparison. `not_held` is the
    data that the export does not hold of any run, not even of fully exported ones. `records` are
    the datasets of the project that the export holds, by name.
    """

    name: str
    entity: str | None = None
    project: str | None = None
    address: str
    compared_at: str
    report: VerifyReport
    fully_exported: tuple[HeldRun, ...] = ()
    not_fully_exported: tuple[HeldRun, ...] = ()
    not_exported: tuple[UnheldRun, ...] = ()
    gone_upstream: tuple[HeldRun, ...] = ()
    unlisted: int = 0
    not_held: tuple[str, ...] = not_held_in(())
    records: dict[str, ComparedRecords] = msgspec.field(default_factory=dict)

    @property
    def level(self) -> bool:
        """Say whether everything on W&B that the export is to hold is fully exported."""
        runs = self.not_fully_exported or self.not_exported or self.unlisted
        return (
            self.report.sound
            and not runs
            and all(records.level for records in self.records.values())
        )


def describe_comparison(
    comparison: Comparison, *, rest: str | None = None, raw: bool = False
) -> tuple[str, ...]:
    """Describe a comparison in lines of text: counts, then the runs, fully exported ones last.

    rest: how to see what is cut from long lists, such as `--all`; if None, nothing is cut.
    raw: names and reasons as they are, with characters that can steer a terminal.
    """
    return as_lines(_describe(comparison, rest), raw=raw)


def _describe(comparison: Comparison, rest: str | None) -> Iterator[str]:
    held, partly = comparison.fully_exported, comparison.not_fully_exported
    yield (
        f"{comparison.name} ({comparison.entity}/{comparison.project}) against "
        f"{comparison.address} at {comparison.compared_at}: {len(held):,} fully exported, "
        f"{len(partly):,} not fully, {len(comparison.not_exported):,} not exported, "
        f"{len(comparison.gone_upstream):,} gone upstream"
    )
    if not comparison.report.sound:
        yield "the export is not sound, so no run in it counts as fully exported:"
        yield from describe_report(comparison.report, rest=rest, raw=True)
    if comparison.unlisted:
        yield f"W&B counts {count(comparison.unlisted, 'run')} that it does not list"
    if partly:
        yield from headed("not fully exported", partly, _with_reasons, rest)
    if comparison.not_exported:
        title = "on W&B, not in this export"
        yield from headed(title, comparison.not_exported, _with_reason, rest)
    if comparison.gone_upstream:
        title = "gone upstream, kept here"
        yield from headed(title, comparison.gone_upstream, _with_reasons, rest)
    for dataset, records in comparison.records.items():
        yield from _describe_records(dataset, records, rest)
    yield from headed("history fully exported", held, _with_rows, rest)
    if held:
        yield "  not exported, and lost if these runs are deleted:"
        yield from (f"  - {what}" for what in comparison.not_held)


def _describe_records(dataset: str, records: ComparedRecords, rest: str | None) -> Iterator[str]:
    yield (
        f"{dataset}: {records.exported:,} exported as they are, {len(records.differ):,} differ, "
        f"{len(records.not_exported):,} not exported, {len(records.gone_upstream):,} gone upstream"
    )
    if records.failure is not None:
        yield f"W&B did not list all {dataset}: {records.failure.reason}"
    for title, identities in (
        (f"{dataset} that differ on W&B", records.differ),
        (f"{dataset} on W&B, not in this export", records.not_exported),
        (f"{dataset} gone upstream, kept here", records.gone_upstream),
    ):
        if identities:
            yield from headed(title, identities, quoted, rest, noun="record")


def _with_rows(run: HeldRun) -> str:
    others = (f", {count_rows(dataset, rows)}" for dataset, rows in run.other_rows.items())
    return f"{_name(run)}: {count(run.rows, 'row')}{''.join(others)}"


def _with_reasons(run: HeldRun) -> str:
    return f"{_with_rows(run)}; {'; '.join(doubt.reason for doubt in run.reasons)}"


def _with_reason(run: UnheldRun) -> str:
    return f"{_name(run)}: {run.reason}"


def _name(run: HeldRun | UnheldRun) -> str:
    named = run.display_name is not None and run.display_name != run.run_id
    return f"{quoted(run.run_id)} ({run.display_name})" if named else quoted(run.run_id)
