"""Find what a sync changed in an export.

Rules
- Fields that change by themselves are no change: heartbeat, system metrics, `url`, line counts and
  history keys. Nor is the summary, as long as the run is alive.
- The line of the sync that first sees a run ended has its summary, also what did not change since
  the sync before: no earlier line has it.
- A field is named by its path, `config.optimizer.lr`; a part of a name that has a dot is quoted.
- Old and new values are given with the name if both are small; otherwise `large` is set.
- A sync without changes writes no line.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import msgspec

from dr_wandb.core.contract.changes import ChangedRun, FieldChange, RowCount, SyncChanges
from dr_wandb.core.contract.dataset import DATASETS, HISTORY
from dr_wandb.core.contract.known_runs import ChangedRuns
from dr_wandb.core.contract.listing import TERMINAL_STATES
from dr_wandb.core.contract.part import UNKNOWN, PartTracking
from dr_wandb.core.contract.records import WandbRun
from dr_wandb.core.contract.row_shape import ROW_SHAPE
from dr_wandb.core.contract.state import RunTracking

SMALL_BYTES = 200
"""The most bytes of JSON that a value may have to be given."""

MOST_FIELDS = 100
"""The most fields of one run that are named; further ones are counted."""

_MOVES_BY_ITSELF = frozenset(
    {
        "heartbeat_at",
        "history_keys",
        "history_line_count",
        "storage_id",
        "system_metrics",
        "updated_at",
        "url",
    }
)
SUMMARY = "summary_metrics"
"""The field that moves by itself until a run ends: metrics, `_step`, `_runtime`, `_timestamp`."""

_SAYS_NOTHING_NEW = frozenset({"run_id", "name", "path"})
"""The identity of a run, and fields that repeat it or `display_name`."""

_RUN_FIELDS = tuple(
    field
    for field in WandbRun.__struct_fields__
    if field not in _MOVES_BY_ITSELF | _SAYS_NOTHING_NEW
)
_ENCODER = msgspec.json.Encoder(order="sorted")
_DECODER = msgspec.json.Decoder(str)
_PART = re.compile(r'(?:("(?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9a-f]{4})*")|([^.]*))(?:\.|\Z)')
ABSENT = object()
"""Stands for no value, not even null."""


def compare_runs(old: WandbRun, new: WandbRun, unknown: Collection[str] = ()) -> ChangedRun | None:
    """Return the fields in which two snapshots of a run differ, None if they differ in none.

    The summary is skipped if the run is alive in both, and all of it is given if the run has ended
    in between. unknown: the fields that the old one was made without; they are skipped.
    """
    was_alive, is_alive = (run.state not in TERMINAL_STATES for run in (old, new))
    changes = [
        change
        for field in _RUN_FIELDS
        if field not in unknown and not (field == SUMMARY and was_alive and is_alive)
        for change in compare_field(
            field,
            getattr(old, field),
            getattr(new, field),
            equal=field == SUMMARY and was_alive,
        )
    ]
    if not changes:
        return None
    return name_fields(changes)


def name_fields(changes: Collection[FieldChange], more: int = 0) -> ChangedRun:
    """Name at most `MOST_FIELDS` fields: the run's own before those inside its config or summary.

    Of the latter, those that differ come first. more: the number of further ones so far.
    """
    by_weight = sorted(
        changes, key=lambda change: ("." in change.field, is_equal(change), change.field)
    )
    named = sorted(by_weight[:MOST_FIELDS], key=lambda change: change.field)
    return ChangedRun(fields=tuple(named), more=more + len(changes) - len(named))


def ended_in(changed: ChangedRun) -> str | None:
    """Return the state in which a run ended by these changes, None if it did not."""
    for change in changed.fields:
        if change.field == "state" and not change.large and change.old not in TERMINAL_STATES:
            return change.new if change.new in TERMINAL_STATES else None
    return None


def compare_field(name: str, old: Any, new: Any, *, equal: bool = False) -> Iterator[FieldChange]:
    """Give the changes of one field, or of the fields inside it.

    equal: give small values that are equal, too.
    """
    if isinstance(old, msgspec.Struct) and isinstance(new, msgspec.Struct):
        old, new = msgspec.to_builtins(old), msgspec.to_builtins(new)
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted({*old, *new}):
            path = f"{name}.{_quoted(key)}"
            was, now = old.get(key, ABSENT), new.get(key, ABSENT)
            yield from compare_field(path, was, now, equal=equal)
    elif differ(old, new):
        yield _change(name, old, new)
    elif equal and new is not ABSENT and not (same := _change(name, old, new)).large:
        yield same


def differ(old: Any, new: Any) -> bool:
    """Compare as JSON does: true is not 1. `ABSENT` is no value at all."""
    if old is ABSENT or new is ABSENT:
        return old is not new
    return bool(old != new) or _ENCODER.encode(old) != _ENCODER.encode(new)


def is_equal(change: FieldChange) -> bool:
    """Say whether a value is given that is the same as before."""
    if change.old is msgspec.UNSET or change.new is msgspec.UNSET:
        return change.old is change.new and not change.large
    return not differ(change.old, change.new)


def _change(name: str, old: Any, new: Any) -> FieldChange:
    values = {side: value for side, value in (("old", old), ("new", new)) if value is not ABSENT}
    if any(len(_ENCODER.encode(value)) > SMALL_BYTES for value in values.values()):
        return FieldChange(field=name, large=True)
    return FieldChange(field=name, **values)


def _quoted(key: str) -> str:
    plain = key and "." not in key and not key.startswith('"')
    return key if plain else _ENCODER.encode(key).decode()


def path_of(name: str) -> tuple[str, ...]:
    """Return the parts of a field's name, without their quotes."""
    parts, rest = [], name
    while rest:
        part = _PART.match(rest)
        assert part is not None
        quoted, plain = part.groups()
        parts.append(plain if quoted is None else _DECODER.decode(quoted))
        rest = rest[part.end() :]
    return tuple(parts)


def changes_between(runs: ChangedRuns, changed: Mapping[str, ChangedRun], at: str) -> SyncChanges:
    """Return the changes of an export's runs. changed: the fields of runs that it held before."""
    before, after = runs.before, runs.changed
    known = {run_id for run_id in after if run_id in before and before[run_id].snapshot is not None}
    moved = {run_id: (before[run_id], after[run_id]) for run_id in known}

    def moved_ids(said: Callable[[RunTracking, RunTracking], bool]) -> tuple[str, ...]:
        return tuple(sorted(run_id for run_id, (was, now) in moved.items() if said(was, now)))

    return SyncChanges(
        at=at,
        new=tuple(sorted(run for run, now in after.items() if now.snapshot and run not in known)),
        changed=dict(sorted(changed.items())),
        finished={
            run_id: state
            for run_id, fields in sorted(changed.items())
            if (state := ended_in(fields)) is not None
        },
        missing=moved_ids(lambda was, now: not was.missing_since and bool(now.missing_since)),
        returned=moved_ids(lambda was, now: bool(was.missing_since) and not now.missing_since),
        pruned=tuple(sorted(run for run in runs.gone if before[run].snapshot)),
        left_scope=moved_ids(
            lambda was, now: not was.out_of_scope_since and bool(now.out_of_scope_since)
        ),
        entered_scope=moved_ids(
            lambda was, now: bool(was.out_of_scope_since) and not now.out_of_scope_since
        ),
        rows=_count_rows(runs, HISTORY),
        other_rows={
            dataset: counts
            for dataset in DATASETS
            if dataset != HISTORY and (counts := _count_rows(runs, dataset))
        },
    )


def _count_rows(runs: ChangedRuns, dataset: str) -> dict[str, RowCount]:
    counts = {}
    for run_id in sorted({*runs.changed, *runs.gone}):
        part, part_now = (
            tracked[run_id].part(dataset) if run_id in tracked else UNKNOWN
            for tracked in (runs.before, runs.changed)
        )
        was, now = part.stored, part_now.stored
        if (was and was.digest) == (now and now.digest) or _only_reshaped(part, part_now):
            continue
        counts[run_id] = RowCount(before=was.rows if was else 0, after=now.rows if now else 0)
    return counts


def _only_reshaped(was: PartTracking, now: PartTracking) -> bool:
    """Say whether rows only changed from an earlier shape, not in number: no change.

    Of rows that were found without a position, as in a copy, the shape is not known.
    """
    if was.stored is None or now.stored is None or was.position is None:
        return False
    return was.row_shape < ROW_SHAPE and was.stored.rows == now.stored.rows
