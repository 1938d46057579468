"""Compare each run of an export with the present listing of W&B.

Rules
- People delete runs because of this result: a run is fully exported only if nothing speaks against
  it, and anything unknown speaks against it.
- In an export that is not sound no run is fully exported.
- A run is reported as gone upstream only if the listing was complete.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from dr_wandb.core.contract.dataset import DATASETS, HISTORY
from dr_wandb.core.contract.evidence import Standing, same_moment
from dr_wandb.core.contract.file_choice import EVERY_FILE, NO_FILE, files_in_words
from dr_wandb.core.contract.identity import is_another_run
from dr_wandb.core.contract.listing import RunListing, same_second
from dr_wandb.core.contract.part import Position
from dr_wandb.core.contract.records import WandbRun
from dr_wandb.core.contract.request import ExportMode
from dr_wandb.core.contract.run_failure import RunFailure
from dr_wandb.core.contract.scope import RunScope
from dr_wandb.core.contract.selection import EVERYTHING, selection_in_words
from dr_wandb.core.contract.state import RunTracking
from dr_wandb.core.contract.wording import count
from dr_wandb.core.inspect.doubts import AbsenceKind, Doubt, DoubtKind
from dr_wandb.core.inspect.holdings import (
    CheckedExport,
    ComparedRecords,
    Comparison,
    HeldRun,
    UnheldRun,
    not_held_in,
)
from dr_wandb.core.inspect.shortfalls import shortage_in


def compare(
    checked: CheckedExport,
    listed: Iterable[RunListing],
    *,
    broken: Mapping[str, RunFailure],
    unread: Mapping[str, RunFailure],
    certain: Collection[str],
    strangers: Iterable[UnheldRun],
    unlisted: int,
    address: str,
    compared_at: str,
    records: Mapping[str, ComparedRecords] = {},
) -> Comparison:
    """Compare an export with a listing of the whole project.

    broken: by id, why the listing of a run cannot be read. unread: the same for a part of the
    listing. certain: the runs of the export that would have been listed if they existed. strangers:
    listed runs that are not in the export. records: the project's datasets that are held, compared.
    """
    listings = {run.run_id: run for run in listed}
    held, gone = [], []
    for run_id in sorted(checked.runs):
        listing = listings.get(run_id)
        if listing is not None:
            why = unread.get(run_id)
            unreadable = [_unreadable_listing(why)] if why is not None else []
            reasons = [*unreadable, *reasons_against(checked, listing)]
            held.append(_hold(checked, run_id, reasons, why))
        elif (why := broken.get(run_id)) is not None:
            held.append(_hold(checked, run_id, [_unreadable_listing(why)], why))
        elif run_id in certain:
            gone.append(_hold(checked, run_id, _gone(checked, run_id)))
        else:
            reason = "not listed, but the listing of W&B is not complete"
            held.append(_hold(checked, run_id, [_doubt(DoubtKind.NOT_LISTED, reason)]))
    return Comparison(
        name=checked.report.name,
        entity=checked.report.entity,
        project=checked.report.project,
        address=address,
        compared_at=compared_at,
        report=checked.report,
        fully_exported=tuple(run for run in held if not run.reasons),
        not_fully_exported=tuple(run for run in held if run.reasons),
        not_exported=tuple(sorted(strangers, key=lambda run: run.run_id)),
        gone_upstream=tuple(gone),
        unlisted=unlisted,
        not_held=not_held_in((*_others(checked), *records)),
        records=dict(records),
    )


def _doubt(kind: DoubtKind, reason: str) -> Doubt:
    return Doubt(kind=kind, reason=reason)


def _unreadable_listing(failure: RunFailure) -> Doubt:
    return _doubt(DoubtKind.LISTING_UNREAD, f"its listing cannot be read: {failure.reason}")


def _hold(
    checked: CheckedExport,
    run_id: str,
    reasons: Iterable[Doubt],
    failure: RunFailure | None = None,
) -> HeldRun:
    """Return a run of the export. failure: why its listing cannot be read now, None if it can."""
    history = checked.rows.get(HISTORY, {}).get(run_id)
    tracking = checked.state.runs.get(run_id) if checked.state is not None else None
    failures = [failure]
    if tracking is not None:
        failures += [tracking.failed, tracking.unread, tracking.metadata_failure]
    return HeldRun(
        run_id=run_id,
        display_name=checked.runs[run_id].display_name,
        rows=history.byte_range.rows if history is not None else 0,
        other_rows={
            dataset: _stored_rows(checked, dataset, run_id) for dataset in _others(checked)
        },
        reasons=tuple(reasons),
        failures=tuple(dict.fromkeys(one for one in failures if one is not None)),
    )


def _gone(checked: CheckedExport, run_id: str) -> Iterator[Doubt]:
    tracking = checked.state.runs.get(run_id) if checked.state is not None else None
    since = tracking.missing_since if tracking is not None else None
    reason = f"gone upstream since {since}" if since else "gone upstream after the last sync"
    yield _doubt(DoubtKind.GONE, reason)


def reasons_against(checked: CheckedExport, listing: RunListing) -> Iterator[Doubt]:
    """Give every reason why the run's rows, of each dataset in the export, are not all there."""
    manifest, state = checked.manifest, checked.state
    tracking = state.runs.get(listing.run_id) if state is not None else None
    if not checked.report.sound or manifest is None:
        findings = count(len(checked.report.findings), "finding")
        yield _doubt(DoubtKind.NOT_SOUND, f"the export is not sound: {findings}")
        return
    if tracking is None or tracking.seen is None:
        yield _doubt(DoubtKind.NEVER_SYNCED, "history never read by this version: sync first")
        return
    stored_at = checked.runs[listing.run_id].created_at
    same = {same_second(at, listing.created_at) for at in (tracking.created_at, stored_at)}
    if False in same or is_another_run(tracking, listing):
        again = "made again upstream: the stored data is of an earlier run with the same id"
        yield _doubt(DoubtKind.ANOTHER_RUN, again)
        return
    if None in same:
        unknown = "its time of creation is not known, so it may be another run with the same id"
        yield _doubt(DoubtKind.CREATION_UNKNOWN, unknown)
    if tracking.failed is not None:
        yield _doubt(DoubtKind.FAILED, f"failed last time: {tracking.failed.reason}")
    if tracking.unread is not None:
        yield _doubt(DoubtKind.UNREAD, f"a part of it could not be read: {tracking.unread.reason}")
    if tracking.metadata_failure is not None:
        reason = f"its metadata file did not come: {tracking.metadata_failure.reason}"
        yield _doubt(DoubtKind.METADATA_FAILED, reason)
    if not listing.terminal:
        alive = f"still {listing.state}" if listing.state else "W&B does not list its state"
        yield _doubt(DoubtKind.ALIVE, alive)
    elif not listing.fingerprint or listing.fingerprint != tracking.fingerprint:
        outdated = "its snapshot is out of date: sync with --sync-mode detect_changes"
        yield _doubt(DoubtKind.SNAPSHOT_OUTDATED, outdated)
    if manifest.mode == ExportMode.METADATA:
        yield _doubt(DoubtKind.METADATA_ONLY, "metadata only")
    elif (held := tracking.part(HISTORY).rows) is None:
        yield _doubt(DoubtKind.NEVER_READ, "history never read")
    else:
        if tracking.part(HISTORY).rows_incomplete:
            earlier = "stored in an earlier shape: sync to read its history again"
            yield _doubt(DoubtKind.EARLIER_SHAPE, earlier)
        yield from _reasons_of_standing(tracking, HISTORY)
        yield from _reasons_of_rows(checked, tracking, held, listing)
    for dataset in _others(checked):
        for doubt in _reasons_in(checked, tracking, listing, dataset):
            yield _doubt(doubt.kind, f"{dataset}: {doubt.reason}")


def _others(checked: CheckedExport) -> Sequence[str]:
    """Return the datasets beside the history that the export holds."""
    return () if checked.manifest is None else sorted(checked.manifest.other_datasets)


def _stored_rows(checked: CheckedExport, dataset: str, run_id: str) -> int:
    found = checked.rows.get(dataset, {}).get(run_id)
    return found.byte_range.rows if found is not None else 0


def _reasons_in(
    checked: CheckedExport, tracking: RunTracking, listing: RunListing, dataset: str
) -> Iterator[Doubt]:
    """Give every reason why the run's rows of another dataset are not fully exported."""
    part, counts = tracking.part(dataset), listing.counts_of(dataset)
    held = part.rows
    if held is None:
        yield _doubt(DoubtKind.NEVER_READ, "never read")
        return
    yield from _reasons_of_standing(tracking, dataset)
    expected = held.whole_lines + (part.short_by or 0)
    if part.sampled_from is not None:
        reason = f"a sample of {held.rows:,} of {part.sampled_from:,} rows"
        yield _doubt(DoubtKind.SAMPLED, reason)
        expected = part.sampled_from
    yield from _reasons_of_count(counts.line_count, expected)
    now, then = (counts.mark, counts.version), (held.listed.mark, held.listed.version)
    if counts.line_count == expected and now != then:
        yield _doubt(DoubtKind.BEHIND, "the run has moved since it was read")
    if DATASETS[dataset].has_content and not part.has_contents(EVERY_FILE):
        reason = f"only the bytes of these are held: {files_in_words(part.contents or NO_FILE)}"
        yield _doubt(DoubtKind.CONTENTS, reason)
    stored, known = _stored_rows(checked, dataset, tracking.run_id), part.stored
    if not stored == (0 if known is None else known.rows) == held.rows:
        reason = f"{count(stored, 'row')} stored of {held.rows:,} received"
        yield _doubt(DoubtKind.ROWS_MISSING, reason)


def _reasons_of_standing(tracking: RunTracking, dataset: str) -> Iterator[Doubt]:
    part = tracking.part(dataset)
    evidence = part.evidence
    if evidence is not None and evidence.standing == Standing.WAITING:
        missing = count(evidence.missing_rows, "row")
        reason = f"{missing} did not come again; kept until a second read shows that they are gone"
        yield _doubt(DoubtKind.WAITING, reason)
    elif evidence is not None and evidence.standing == Standing.FAILED:
        yield _doubt(DoubtKind.LAST_READ_FAILED, "the rows that were listed last could not be read")
    elif (listed := part.capped_from(DATASETS[dataset])) is not None and part.rows is not None:
        reason = f"W&B keeps no more than {part.rows.rows:,} of {listed:,} rows"
        yield _doubt(DoubtKind.CAPPED, reason)
    elif (shortage := shortage_in(tracking, dataset)) is not None:
        if part.standing.stands:
            as_such = "accepted as such" if part.short_by else "accepted as short"
            yield _doubt(DoubtKind.ACCEPTED, f"{shortage.reason}, {as_such}")
        else:
            yield _doubt(DoubtKind.SHORT, shortage.reason)


def _reasons_of_rows(
    checked: CheckedExport, tracking: RunTracking, held: Position, listing: RunListing
) -> Iterator[Doubt]:
    if held.selection != EVERYTHING:
        words = selection_in_words(held.selection)
        yield _doubt(DoubtKind.SELECTION, f"read under a selection: {words}")
    if not held.whole:
        yield _doubt(DoubtKind.NOT_WHOLE, "only a part of its steps was read")
    part, lines = tracking.part(HISTORY), listing.counts_of(HISTORY).line_count
    expected = held.rows + (part.short_by or 0)
    yield from _reasons_of_count(lines, expected)
    history = checked.rows.get(HISTORY, {}).get(listing.run_id)
    stored = history.byte_range.rows if history is not None else 0
    known = part.stored.rows if part.stored is not None else 0
    if held.selection == EVERYTHING and not stored == known == held.rows:
        reason = f"{count(stored, 'row')} stored of {held.rows:,} received"
        yield _doubt(DoubtKind.ROWS_MISSING, reason)
    if lines == expected:
        yield from _differences_at_the_end(held, listing)


def _reasons_of_count(lines: int | None, expected: int) -> Iterator[Doubt]:
    """Give the difference between the listed lines and the received ones."""
    if lines is None:
        yield _doubt(DoubtKind.UNCOUNTED, "line count not known")
    elif lines > expected:
        yield _doubt(DoubtKind.BEHIND, f"{count(lines - expected, 'row')} behind")
    elif lines < expected:
        reason = f"W&B lists {lines:,} lines, but {expected:,} were read"
        yield _doubt(DoubtKind.SHRANK, reason)


def _differences_at_the_end(held: Position, listing: RunListing) -> Iterator[Doubt]:
    """Give the differences between the last row that W&B lists and the last received one.

    A run whose rows were replaced by as many others has another last row, since time goes on. If
    W&B does not list the time of its last row, that cannot be excluded.
    """
    if listing.last_step != held.last_step:
        reason = f"W&B lists step {listing.last_step} as the last, the export has {held.last_step}"
        yield _doubt(DoubtKind.LAST_STEP, reason)
    elif held.rows and (listing.last_logged_at is None or held.last_timestamp is None):
        unknown = "the time of the last row is not known, so it may be another row"
        yield _doubt(DoubtKind.LAST_TIME_UNKNOWN, unknown)
    elif not same_moment(listing.last_logged_at, held.last_timestamp):
        here = held.last_timestamp
        reason = f"W&B lists a last row at {listing.last_logged_at}, the export has {here}"
        yield _doubt(DoubtKind.LAST_TIME, reason)


def explain_absence(
    run: WandbRun, scope: RunScope | None, tracking: RunTracking | None
) -> UnheldRun:
    """Say why a run that W&B lists is not in an export of this scope."""
    failure = tracking.failed if tracking is not None else None
    if failure is not None:
        kind, reason = AbsenceKind.FAILED, f"failed last time: {failure.reason}"
    elif scope is not None and not scope.admits(run):
        kind, reason = AbsenceKind.OUT_OF_SCOPE, "outside of the scope of this export"
    elif scope is not None and scope.filters is not None:
        reason = "new, or outside of the run filter of this export"
        kind = AbsenceKind.NEW_OR_FILTERED
    else:
        kind, reason = AbsenceKind.NEW, "not exported yet"
    return UnheldRun(
        run_id=run.run_id,
        display_name=run.display_name,
        kind=kind,
        reason=reason,
        failure=failure,
    )
