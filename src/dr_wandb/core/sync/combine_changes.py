"""Combine the changes of several syncs into one.

Rules
- The sum of the lines is the line of one sync that had seen only the first export and the last. The
  sum knows no more than the lines: a value that was `large` stays so.
- A run that came and went is not in the sum; one that was dropped and came back is in it as both.
- Of a run that ended, its summary at the end is in the sum, also what is as it was before.
- A folded line says all that its lines say of fields: its sum with later lines is that of all.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from dr_wandb.core.contract.changes import (
    ChangedRun,
    FieldChange,
    RecordChanges,
    RowCount,
    SyncChanges,
)
from dr_wandb.core.contract.dataset import HISTORY
from dr_wandb.core.sync.changes import (
    ABSENT,
    SUMMARY,
    compare_field,
    ended_in,
    name_fields,
    path_of,
)

Path = tuple[str, ...]


def combine_changes(lines: Iterable[SyncChanges], at: str) -> SyncChanges:
    """Return what several syncs, oldest first, changed together, as if they had been one.

    A field that went back to its first value is not in it.
    """
    combined = _Combined()
    for line in lines:
        combined.add(line)
    return combined.result(at)


def fold_changes(lines: Iterable[SyncChanges], at: str) -> SyncChanges:
    """Return one line that stands for several, oldest first, in every later sum.

    It names each field that one of them names, also those that went back to their first value, and
    more than `MOST_FIELDS` of a run if they do.
    """
    combined = _Combined()
    for line in lines:
        combined.add(line)
    return combined.result(at, lambda fields: fields.named)


def fields_that_differ(changed: ChangedRun) -> ChangedRun | None:
    """Return the fields of a run in a line without those of a folded line that went back."""
    fields = _Fields()
    fields.add(changed)
    return fields.reported


class _Combined:
    """The sum of lines so far."""

    def __init__(self) -> None:
        self._new: dict[str, None] = {}
        self._changed: dict[str, _Fields] = {}
        self._marks: dict[str, dict[str, None]] = {
            name: {} for name in ("missing", "returned", "left_scope", "entered_scope")
        }
        self._pruned: dict[str, None] = {}
        self._rows: dict[str, dict[str, RowCount]] = {HISTORY: {}}
        self._records: dict[str, _Combined] = {}

    def add(self, line: SyncChanges) -> None:
        """Add the next line. If it drops a run, its other changes of that run came after that."""
        for dataset, counts in line.by_dataset.items():
            rows = self._rows.setdefault(dataset, {})
            for run_id, count in counts.items():
                known = rows.get(run_id, count)
                rows[run_id] = RowCount(before=known.before, after=count.after)
        for run_id in line.pruned:
            self._prune(run_id)
        self._new |= dict.fromkeys(line.new)
        for run_id, changed in line.changed.items():
            self._changed.setdefault(run_id, _Fields()).add(changed)
        self._toggle("missing", "returned", line.missing, line.returned)
        self._toggle("left_scope", "entered_scope", line.left_scope, line.entered_scope)
        for dataset, records in line.records.items():
            self._records.setdefault(dataset, _Combined()).add(_as_runs(records))

    def _toggle(
        self, name: str, opposite: str, marked: Iterable[str], unmarked: Iterable[str]
    ) -> None:
        for one, other, run_ids in ((name, opposite, marked), (opposite, name, unmarked)):
            for run_id in run_ids:
                if self._marks[other].pop(run_id, ABSENT) is ABSENT:
                    self._marks[one][run_id] = None

    def _prune(self, run_id: str) -> None:
        self._changed.pop(run_id, None)
        for marked in self._marks.values():
            marked.pop(run_id, None)
        came = self._new.pop(run_id, ABSENT) is not ABSENT
        if not came or run_id in self._pruned:
            self._pruned[run_id] = None
            return
        for rows in self._rows.values():
            if run_id in rows:
                rows[run_id] = RowCount(before=0, after=rows[run_id].after)

    def result(
        self,
        at: str,
        fields_of: "Callable[[_Fields], ChangedRun | None]" = lambda fields: fields.reported,
    ) -> SyncChanges:
        """Return the sum. fields_of: gives the fields of a run that are in it."""
        changed = {
            run_id: reported
            for run_id, fields in sorted(self._changed.items())
            if run_id not in self._new and (reported := fields_of(fields)) is not None
        }
        ended = {run_id: ended_in(fields) for run_id, fields in changed.items()}
        return SyncChanges(
            at=at,
            new=tuple(sorted(self._new)),
            changed=changed,
            finished={run_id: state for run_id, state in ended.items() if state is not None},
            pruned=tuple(sorted(self._pruned)),
            rows=_that_were_there(self._rows[HISTORY]),
            other_rows={
                dataset: counts
                for dataset, rows in sorted(self._rows.items())
                if dataset != HISTORY and (counts := _that_were_there(rows))
            },
            records={
                dataset: records
                for dataset, combined in sorted(self._records.items())
                if (records := _as_records(combined.result("", fields_of)))
            },
            **{name: tuple(sorted(run_ids)) for name, run_ids in self._marks.items()},
        )


def _as_runs(records: RecordChanges) -> SyncChanges:
    """Return changes of records as if they were changes of runs: the sum is made alike."""
    return SyncChanges(
        at="",
        new=records.new,
        changed=records.changed,
        missing=records.missing,
        returned=records.returned,
        pruned=records.pruned,
    )


def _as_records(changes: SyncChanges) -> RecordChanges:
    return RecordChanges(
        new=changes.new,
        changed=changes.changed,
        missing=changes.missing,
        returned=changes.returned,
        pruned=changes.pruned,
    )


def _that_were_there(rows: Mapping[str, RowCount]) -> dict[str, RowCount]:
    return {run_id: count for run_id, count in sorted(rows.items()) if count.before or count.after}


class _Fields:
    """The changed fields of one run so far, by their paths: none is inside another one."""

    def __init__(self) -> None:
        self._changes: dict[Path, FieldChange] = {}
        self._more = 0

    def add(self, changed: ChangedRun) -> None:
        """Add the changes of the run in the next line."""
        self._more = max(self._more, changed.more)
        for change in changed.fields:
            path = path_of(change.field)
            around = next((path[:end] for end in range(1, len(path)) if path[:end] in self), None)
            if around is None:
                self._changes[path] = self._widen(path, change)
            else:
                self._change_inside(around, path[len(around) :], change)

    def __contains__(self, path: Path) -> bool:
        return path in self._changes

    def _widen(self, path: Path, change: FieldChange) -> FieldChange:
        """Return a change from the first value of the field, or of the fields inside it."""
        if (known := self._changes.get(path)) is not None:
            large = known.large or change.large
            return _from_to(change.field, known.old, change.new, large=large)
        first, large = change.old, change.large
        for inner in [inner for inner in self._changes if inner[: len(path)] == path]:
            inside = self._changes.pop(inner)
            first = _put(first, inner[len(path) :], inside.old)
            large = large or inside.large or first is None
        return _from_to(change.field, first, change.new, large=large)

    def _change_inside(self, around: Path, inner: Path, change: FieldChange) -> None:
        """Apply a change inside a field that is known to have changed."""
        known = self._changes[around]
        last = known.new if known.large else _put(known.new, inner, change.new)
        large = known.large or change.large or last is None
        self._changes[around] = _from_to(known.field, known.old, last, large=large)

    @property
    def reported(self) -> ChangedRun | None:
        """Return the changes of the run, None if there are none in the end."""
        ended = ended_in(self.named) is not None
        changes = [
            change_left
            for path, change in self._changes.items()
            for change_left in (
                [change]
                if change.large
                else compare_field(
                    change.field,
                    _absent(change.old),
                    _absent(change.new),
                    equal=ended and path[0] == SUMMARY,
                )
            )
        ]
        return name_fields(changes, self._more) if changes or self._more else None

    @property
    def named(self) -> ChangedRun:
        """Return every field that the lines name, with its first value and its last."""
        by_name = sorted(self._changes.values(), key=lambda change: change.field)
        return ChangedRun(fields=tuple(by_name), more=self._more)


def _from_to(field: str, old: Any, new: Any, *, large: bool) -> FieldChange:
    if large:
        return FieldChange(field=field, large=True)
    return FieldChange(field=field, old=old, new=new)


def _put(value: Any, path: Path, member: Any) -> Any:
    """Return an object with another value at a path inside it; UNSET removes the member.

    None if it has no such path: then the lines do not belong together.
    """
    if not isinstance(value, Mapping):
        return None
    key, rest = path[0], path[1:]
    if rest:
        member = _put(value.get(key), rest, member)
        if member is None:
            return None
    others = {name: other for name, other in value.items() if name != key}
    return others if member is msgspec.UNSET else {**others, key: member}


def _absent(value: Any) -> Any:
    return ABSENT if value is msgspec.UNSET else value
