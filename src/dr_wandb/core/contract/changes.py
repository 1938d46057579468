"""What a sync changed, for people: one line of `changes.jsonl`.

core/sync/changes.py decides what counts as a change. Fields without content are not written.
"""

from collections.abc import Iterator
from datetime import datetime
from itertools import chain
from typing import Any

import msgspec

from dr_wandb.core.contract.dataset import HISTORY
from dr_wandb.core.contract.normalize import instant
from dr_wandb.core.contract.records import Record


class FieldChange(Record, omit_defaults=True, frozen=True, kw_only=True):
    """One field that differs. `old` or `new` is absent if the field is; both are if `large`."""

    field: str
    old: Any = msgspec.UNSET
    new: Any = msgspec.UNSET
    large: bool = False


class ChangedRun(Record, omit_defaults=True, frozen=True, kw_only=True):
    """The fields of one run that differ, by name; `more` further ones are not named."""

    fields: tuple[FieldChange, ...] = ()
    more: int = 0


class RowCount(Record, frozen=True, kw_only=True):
    """The number of stored rows of one run before and after. If equal, their content changed."""

    before: int
    after: int


class RecordChanges(Record, omit_defaults=True, frozen=True, kw_only=True):
    """What changed in one dataset of the project, by the identity of its records.

    `new` records, `changed` members of others, those `missing` upstream, `returned` from there, and
    `pruned` from the export.
    """

    new: tuple[str, ...] = ()
    changed: dict[str, ChangedRun] = msgspec.field(default_factory=dict)
    missing: tuple[str, ...] = ()
    returned: tuple[str, ...] = ()
    pruned: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self != RecordChanges()


class SyncChanges(Record, omit_defaults=True, frozen=True, kw_only=True):
    """What one sync changed, or several syncs whose lines were folded: then `at` is the last one's.

    `new` runs, and changes of other runs by run id: `changed` fields; `finished`, with the state
    they ended in; `missing` upstream, `returned` from there, `pruned` from the export;
    `left_scope`, `entered_scope`; `rows` of the histories that differ, `other_rows` of the other
    datasets, by name; `records` of the project's datasets, by name.
    """

    at: str
    new: tuple[str, ...] = ()
    changed: dict[str, ChangedRun] = msgspec.field(default_factory=dict)
    finished: dict[str, str] = msgspec.field(default_factory=dict)
    missing: tuple[str, ...] = ()
    returned: tuple[str, ...] = ()
    pruned: tuple[str, ...] = ()
    left_scope: tuple[str, ...] = ()
    entered_scope: tuple[str, ...] = ()
    rows: dict[str, RowCount] = msgspec.field(default_factory=dict)
    other_rows: dict[str, dict[str, RowCount]] = msgspec.field(default_factory=dict)
    records: dict[str, RecordChanges] = msgspec.field(default_factory=dict)

    @property
    def by_dataset(self) -> dict[str, dict[str, RowCount]]:
        """Return the rows that differ, by dataset and run."""
        return {HISTORY: self.rows, **self.other_rows}

    @property
    def empty(self) -> bool:
        """Say whether nothing changed."""
        return self == SyncChanges(at=self.at)

    def is_before(self, moment: datetime) -> bool:
        """Say whether the sync was before a moment; one without a time was not."""
        at = instant(self.at)
        return at is not None and at < moment

    @property
    def rows_added(self) -> int:
        """Return the number of rows added to parts of runs, not counting parts that shrank."""
        return sum(max(0, count.after - count.before) for count in self._counts())

    @property
    def rows_removed(self) -> int:
        """Return the number of rows removed from parts of runs, not counting parts that grew."""
        return sum(max(0, count.before - count.after) for count in self._counts())

    def _counts(self) -> Iterator[RowCount]:
        return chain.from_iterable(counts.values() for counts in self.by_dataset.values())


class Compaction(Record, frozen=True, kw_only=True):
    """What folding lines of `changes.jsonl` did: its size in lines and bytes before and after."""

    folded: int
    lines_before: int
    bytes_before: int
    lines_after: int
    bytes_after: int
