"""Describe in words what a sync will do, and what syncs have done."""

from collections.abc import Iterable, Iterator, Mapping

import msgspec
from msgspec.structs import replace

from dr_wandb.core.contract.changes import (
    ChangedRun,
    Compaction,
    FieldChange,
    RecordChanges,
    SyncChanges,
)
from dr_wandb.core.contract.cut_list import MOST_LISTED, headed
from dr_wandb.core.contract.dataset import HISTORY
from dr_wandb.core.contract.evidence import Standing
from dr_wandb.core.contract.unproven_runs import BEGINS_LATER, FailedRun, WaitingRun
from dr_wandb.core.contract.wording import as_lines, count, printable, quoted, size_in_words
from dr_wandb.core.sync.advance import RunOutcome
from dr_wandb.core.sync.changes import is_equal
from dr_wandb.core.sync.combine_changes import fields_that_differ
from dr_wandb.core.sync.describe_records import describe_planned_records, describe_unlisted
from dr_wandb.core.sync.fetch_plan import PartFetch
from dr_wandb.core.sync.plan import PlannedFiles, RunAction, RunPlan, SyncPlan
from dr_wandb.core.sync.planned_formats import FormatAction, PlannedFormat
from dr_wandb.core.sync.summary import ExportSummary

FIRST_LISTED = (
    RunAction.NEW,
    RunAction.REFRESH,
    RunAction.PRUNE,
    RunAction.FORGET,
    RunAction.MISSING,
    RunAction.REUSE,
)
"""The order of the lists of a plan; the runs that cannot be read come before all of them."""


def describe_plan(plan: SyncPlan, *, rest: str | None = None, raw: bool = False) -> tuple[str, ...]:
    """Describe a plan in lines of text: lists of runs, formats, and a line that sums them up.

    rest: how to see what is cut from long lists, such as `--all`; if None, nothing is cut. Runs
    that are used again are then only counted.
    raw: names and reasons as they are, with characters that can steer a terminal.
    """
    formats = (_describe_format(planned, plan.rows) for planned in plan.formats)
    records = describe_planned_records(plan.records)
    files = _describe_files(plan.files)
    return as_lines((*_lists(plan, rest), *formats, _sum_up_plan(plan), *records, *files), raw=raw)


def _lists(plan: SyncPlan, rest: str | None) -> Iterator[str]:
    if plan.failures:
        yield from headed("failed", plan.failures, _describe_failed, rest)
    for action in FIRST_LISTED:
        runs = [run for run in plan.runs if run.action == action]
        most = 0 if action == RunAction.REUSE else MOST_LISTED
        if runs:
            yield from headed(action, runs, describe_run, rest, most=most)


def _describe_failed(run: FailedRun) -> str:
    return f"{quoted(run.run_id)}: {run.reason}"


def _describe_format(planned: PlannedFormat, coming: int) -> str:
    """Say what is made or removed. coming: about how many rows the sync reads."""
    if planned.action == FormatAction.DROP:
        return f"drop {planned.format}: its files have {size_in_words(planned.bytes)}"
    held = count(planned.rows, "held row")
    if not coming:
        return f"make {planned.format}: of {held}, without a request"
    return f"make {planned.format}: of {held}, and of the rows that come"


def _describe_files(planned: PlannedFiles | None) -> Iterator[str]:
    if planned is not None:
        size = size_in_words(planned.bytes)
        yield f"files: {planned.files:,} to fetch" + (f", {size}" if planned.files else "")


def _sum_up_plan(plan: SyncPlan) -> str:
    numbers = {action: plan.count(action) for action in RunAction}
    if not numbers[RunAction.FORGET]:  # as is usual
        del numbers[RunAction.FORGET]
    counts = ", ".join(f"{number:,} {action}" for action, number in numbers.items())
    failed = len(plan.failures)
    counts += f", {failed:,} failed" if failed else ""
    runs = count(len(plan.runs) + failed, "run")
    removed = ""
    if plan.rows_removed:
        removed = f"; {count(plan.rows_removed, 'stored row')} dropped or cut by the selection"
    return f"{runs}: {counts}{_cost(plan)}{removed}"


def _cost(plan: SyncPlan) -> str:
    """Say about how much a sync requests and reads."""
    parts = [count(plan.requests, "request")] if plan.requests else []
    parts += [count(plan.rows, "row")] if plan.rows else []
    parts += [size_in_words(plan.bytes)] if plan.bytes else []
    return f"; about {', '.join(parts)}" if parts else ""


def describe_run(run: RunPlan) -> str:
    """Describe in a line of text why a run is read or not, and what is requested."""
    named = f"{quoted(run.run_id)}: {run.reason}"
    if not run.fetches:
        return f"{named}; {'metadata file' if run.metadata else 'no request'}"
    fetches = (_describe_fetch(dataset, fetch, run) for dataset, fetch in run.fetches.items())
    return "; ".join((named, *fetches))


def _describe_fetch(dataset: str, fetch: PartFetch, run: RunPlan) -> str:
    window = fetch.window
    steps = f"the whole {dataset}"
    if not window.whole:
        steps = f"steps {window.low} to {'the end' if window.stop is None else window.stop}"
        steps = steps if dataset == HISTORY else f"{dataset}: {steps}"
    return steps if fetch.reason == run.reason else f"{steps} ({fetch.reason})"


def describe_changes(
    changes: SyncChanges,
    *,
    since: bool = False,
    until: str | None = None,
    fields: bool = True,
    raw: bool = False,
) -> tuple[str, ...]:
    """Describe in lines of text what one sync changed, or several `since` its time.

    until: the time before which these syncs were. fields: if not, only the line that sums them up.
    raw: names and values as they are, with characters that can steer a terminal.
    """
    begin = f"since {changes.at}" if since else changes.at
    begin = begin if until is None else f"{begin} until {until}"
    shown = {run_id: fields_that_differ(changed) for run_id, changed in changes.changed.items()}
    changes = replace(
        changes,
        changed={run_id: changed for run_id, changed in shown.items() if changed},
        records={name: _shown_records(records) for name, records in changes.records.items()},
    )
    details = _details(changes) if fields else ()
    lines = (f"{begin}  {_sum_up(changes)}", *(f"  {line}" for line in details))
    return as_lines(lines, raw=raw)


def _shown_records(records: RecordChanges) -> RecordChanges:
    shown = {one: fields_that_differ(changed) for one, changed in records.changed.items()}
    return replace(records, changed={one: changed for one, changed in shown.items() if changed})


def describe_compaction(done: Compaction) -> str:
    """Describe in a line of text what folding lines of the log did."""
    now = f"{count(done.lines_after, 'line')}, {size_in_words(done.bytes_after)}"
    if not done.folded:
        return f"nothing to fold: fewer than two lines are from before that time ({now})"
    before = f"{count(done.lines_before, 'line')}, {size_in_words(done.bytes_before)}"
    return f"folded {count(done.folded, 'line')} into one: {before} before; {now} now"


def _sum_up(changes: SyncChanges) -> str:
    counts = (
        (len(changes.new), "new"),
        (len(changes.changed), "changed"),
        (len(changes.finished), "finished"),
        (len(changes.missing), "gone upstream"),
        (len(changes.returned), "back upstream"),
        (len(changes.pruned), "pruned"),
        (len(changes.left_scope), "out of scope"),
        (len(changes.entered_scope), "in scope again"),
        *_count_records(changes.records),
        (
            sum(
                rows.before == rows.after
                for counts in changes.by_dataset.values()
                for rows in counts.values()
            ),
            "rewritten",
        ),
    )
    rows = ((changes.rows_added, "added"), (changes.rows_removed, "removed"))
    parts = [f"{number:,} {what}" for number, what in counts if number]
    parts += [f"{count(number, 'row')} {what}" for number, what in rows if number]
    return ", ".join(parts) or "nothing changed"


def _details(changes: SyncChanges) -> Iterator[str]:
    for what, run_ids in (
        ("new", changes.new),
        ("gone upstream", changes.missing),
        ("back upstream", changes.returned),
        ("pruned", changes.pruned),
        ("out of scope", changes.left_scope),
        ("in scope again", changes.entered_scope),
    ):
        if run_ids:
            yield f"{what}: {_names(run_ids)}"
    for run_id, state in changes.finished.items():
        yield f"finished: {_name(run_id)} ({_name(state)})"
    for run_id, changed in changes.changed.items():
        yield f"changed: {_name(run_id)}: {_fields(changed)}"
    for dataset, counts in changes.by_dataset.items():
        what = "rows" if dataset == HISTORY else f"{dataset} rows"
        for run_id, rows in counts.items():
            if run_id not in changes.new:
                yield f"{what}: {_name(run_id)}: {rows.before:,} -> {rows.after:,}"
    for dataset, records in changes.records.items():
        yield from _record_details(dataset, records)


def _count_records(records: Mapping[str, RecordChanges]) -> Iterator[tuple[int, str]]:
    for dataset, of in records.items():
        yield len(of.new), f"new {dataset}"
        yield len(of.changed), f"changed {dataset}"
        yield len(of.missing), f"{dataset} gone upstream"
        yield len(of.returned), f"{dataset} back upstream"
        yield len(of.pruned), f"{dataset} pruned"


def _record_details(dataset: str, records: RecordChanges) -> Iterator[str]:
    for what, identities in (
        ("new", records.new),
        ("gone upstream", records.missing),
        ("back upstream", records.returned),
        ("pruned", records.pruned),
    ):
        if identities:
            yield f"{dataset} {what}: {_names(identities)}"
    for identity, changed in records.changed.items():
        yield f"{dataset} changed: {_name(identity)}: {_fields(changed)}"


def _fields(changed: ChangedRun) -> str:
    named = [_field(change) for change in changed.fields]
    return "; ".join([*named, f"and {changed.more:,} more"] if changed.more else named)


def _field(change: FieldChange) -> str:
    if change.large:
        return f"{_name(change.field)} (large)"
    if is_equal(change):
        return f"{_name(change.field)} still {_value(change.new)}"
    return f"{_name(change.field)} {_value(change.old)} -> {_value(change.new)}"


def _value(value: object) -> str:
    return "absent" if value is msgspec.UNSET else _JSON.encode(value).decode()


def _names(run_ids: Iterable[str]) -> str:
    return ", ".join(map(_name, run_ids))


def _name(text: str) -> str:
    """Return a name as it is, quoted if it could be taken for something else."""
    return text if text.isprintable() and text.strip() == text and text else quoted(text)


_JSON = msgspec.json.Encoder(order="sorted")


MOST_NAMED = 10
"""The most short or waiting runs that are named one by one."""


def describe_unproven(summary: ExportSummary) -> Iterator[str]:
    """Describe in lines of text what a sync could not read, and what to do about it."""
    return map(printable, _unproven(summary))


def _unproven(summary: ExportSummary) -> Iterator[str]:
    for failed in summary.failures:
        yield f"run {failed.run_id!r} failed: {failed.reason}"
    for run in summary.unread:
        yield f"run {run.run_id!r} is exported without a part that cannot be read: {run.reason}"
    yield from _named([f"run {run.run_id!r}: {run.reason}" for run in summary.short], "short")
    yield from _named([_waiting(run) for run in summary.waiting], "waiting")
    yield from _without_metadata(summary.metadata_failures)
    yield from describe_unlisted(summary.records)
    if summary.refused:
        refused = count(len(summary.refused), "run")
        why = "" if summary.refusal is None else f" ({summary.refusal.reason})"
        yield (
            f"W&B lists {refused} but refuses their history{why}; held rows "
            "stay; run `wandb-export doctor` for details"
        )
    not_read = len(summary.failures) + summary.unlisted_count
    if not_read:
        yield (
            f"{count(not_read, 'run')} could not be read; exported data stays, "
            "and the next sync tries again"
        )
    if summary.short:
        short = count(len(summary.short), "run")
        yield (
            f"{short} brought fewer rows than are listed; the received rows are exported, and "
            "accepted as short after three syncs that find no more"
        )
    if summary.waiting:
        waiting = count(len(summary.waiting), "run")
        yield (
            f"{waiting} did not bring all exported rows again; the rows stay until a sync at "
            "least ten minutes later does not find them either"
        )


def _waiting(run: WaitingRun) -> str:
    missing = count(run.missing_rows, "row")
    if run.kind != BEGINS_LATER:
        return f"run {run.run_id!r}: {missing} did not come again ({run.kind})"
    return (
        f"run {run.run_id!r}: its files begin later than those that its {missing} came from "
        f"({run.kind}); export the folder that holds all files of the run"
    )


def _without_metadata(failures: Iterable[FailedRun]) -> Iterator[str]:
    """Name the runs whose metadata file did not come, in one line for each reason."""
    runs: dict[str, list[str]] = {}
    for failed in failures:
        runs.setdefault(failed.reason, []).append(failed.run_id)
    reasons = sorted(runs, key=lambda reason: -len(runs[reason]))
    for reason in reasons[:MOST_NAMED]:
        run_ids = runs[reason]
        named = f"run {run_ids[0]!r}" if len(run_ids) == 1 else count(len(run_ids), "run")
        yield f"the metadata file of {named} did not come ({reason}); a stored one stays"
    if others := sum(len(runs[reason]) for reason in reasons[MOST_NAMED:]):
        yield f"nor did that of {count(others, 'other run')}"


def describe_accepted(outcomes: Iterable[RunOutcome]) -> Iterator[str]:
    """Describe in lines of text the runs that this sync accepted as short."""
    accepted = [
        f"run {outcome.listing.run_id!r}: {part.judged.reason}"
        for outcome in sorted(outcomes, key=lambda outcome: outcome.listing.run_id)
        for part in outcome.parts.values()
        if part.judged is not None
        and part.judged.standing == Standing.ACCEPTED
        and part.judged.reason
    ]
    yield from _named(accepted, "accepted")


def _named(lines: list[str], what: str) -> Iterator[str]:
    yield from lines[:MOST_NAMED]
    if len(lines) > MOST_NAMED:
        yield f"and {count(len(lines) - MOST_NAMED, f'more {what} run')}"
