"""Bring the data file of a project's dataset up to date with a listing of its records.

Rules
- The records that came are written to a file in the staging folder as they come. It outlives a sync
  that is interrupted: the next one need not ask for what never changes. In memory is only
  the key, the digest and the byte range of each record, held or listed.
- Lines that stay are copied as they are, unless they are not spelled as this tool writes them.
- A file that would not change is not written.
"""

from collections.abc import Callable, Collection
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, NamedTuple

from msgspec.structs import replace
from returns.result import Success

from dr_wandb.core.contract.changes import RecordChanges
from dr_wandb.core.contract.codec import encode_line
from dr_wandb.core.contract.dataset import PROJECT_DATASETS
from dr_wandb.core.contract.manifest import DataFile
from dr_wandb.core.contract.project_record import ProjectRecord
from dr_wandb.core.contract.project_records import (
    KINDS,
    content_digest,
    decode_own_record,
    decode_record,
)
from dr_wandb.core.sync.project_records import (
    HeldRecord,
    ListedRecord,
    PlannedLine,
    RecordsPlan,
    compare_records,
)
from dr_wandb.shell.store import disk
from dr_wandb.shell.store.decoding import decoded, opened
from dr_wandb.shell.store.project_records import REMEDY
from dr_wandb.shell.store.staging import KEPT_SUFFIX
from dr_wandb.shell.store.writing import LineWriter


class _Line(NamedTuple):
    offset: int
    length: int


class RecordsFile:
    """The held and the listed records of one dataset. Used as a context manager.

    path: the visible file, which may not exist. folder: the staging folder. note_held: is given
    each held record. as_written: the file is as this tool wrote it. `groups` and `ids` have the
    group and the source's id of each record.
    Raises DrWandbError if a held line does not read.
    """

    def __init__(
        self,
        dataset: str,
        path: Path,
        folder: Path,
        note_held: Callable[[ProjectRecord], None] = lambda record: None,
        *,
        as_written: bool = False,
    ) -> None:
        self.name = PROJECT_DATASETS[dataset].file
        self._lasting = PROJECT_DATASETS[dataset].lasting
        self.held: dict[str, HeldRecord] = {}
        self.listed: dict[str, ListedRecord] = {}
        self._kind = KINDS[dataset]
        self._path = path
        self._note_held = note_held
        self._as_written = as_written
        self.groups: dict[str, str] = {}
        self.ids: dict[str, str] = {}
        self._target = folder / self.name
        suffix = KEPT_SUFFIX if self._lasting else ".listed"
        self._spool_path = folder / f"{self.name}{suffix}"
        self._kept_at: dict[str, _Line] = {}
        self._held_at: dict[str, _Line] = {}
        self._listed_at: dict[str, _Line] = {}
        self._is_new = not path.exists()
        self._respelled = False
        self._old: IO[bytes] | None = None
        self._spool: IO[bytes]
        self._stack: ExitStack
        self._end = 0

    def __enter__(self) -> "RecordsFile":
        with ExitStack() as stack:
            if not self._is_new:
                self._old = stack.enter_context(opened(self._path))
                self._read_held(self._old)
            fresh = self._spool_path.with_suffix(".new")
            self._spool = stack.enter_context(fresh.open("w+b"))
            self._take_kept()
            disk.rename(fresh, self._spool_path)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def _read_held(self, stream: IO[bytes]) -> None:
        offset, previous = 0, None
        for number, line in enumerate(stream, start=1):
            if self._as_written:
                record = decode_own_record(line, self._kind)
            else:
                record = decoded(decode_record(line, self._kind), self._path, number, REMEDY)
            identity, key = record.identity, (record.sort_key, record.identity)
            if not self._as_written:
                in_order = previous is None or previous < key
                self._respelled |= not in_order or encode_line(record) != line
            own = line if self._as_written else None
            self.held[identity] = HeldRecord(
                record.sort_key, content_digest(record, own), record.missing_since
            )
            self._held_at[identity] = _Line(offset, len(line))
            self._note(record)
            self._note_held(record)
            offset, previous = offset + len(line), key

    def take(self, record: ProjectRecord) -> None:
        """Store a record that came; a later one of the same identity replaces it."""
        line = encode_line(record)
        self._note(record)
        digest = content_digest(record, line)
        self.listed[record.identity] = ListedRecord(record.sort_key, digest)
        self._listed_at[record.identity] = self._append(line)

    def _note(self, record: ProjectRecord) -> None:
        self.groups[record.identity] = record.group
        self.ids[record.identity] = record.source_id

    def _take_kept(self) -> None:
        """Take over the lines of a sync that was interrupted, as far as they read."""
        with suppress(FileNotFoundError), self._spool_path.open("rb") as stream:
            for line in stream:
                kept = decode_record(line, self._kind) if line.endswith(b"\n") else None
                if isinstance(kept, Success) and kept.unwrap().lasts:
                    self._kept_at[kept.unwrap().source_id] = self._append(line)

    def kept_record(self, source_id: str) -> ProjectRecord | None:
        """Read a record that an interrupted sync has left, None if there is none."""
        at = self._kept_at.get(source_id)
        return None if at is None else self._read(self._spool, at)

    @property
    def kept(self) -> Collection[str]:
        """Return the ids of the records that an interrupted sync has left."""
        return self._kept_at.keys()

    def _append(self, line: bytes) -> _Line:
        at = _Line(self._end, len(line))
        self._spool.seek(self._end)
        self._spool.write(line)
        self._end += len(line)
        return at

    def held_record(self, identity: str) -> ProjectRecord:
        """Read a held record."""
        assert self._old is not None
        return self._read(self._old, self._held_at[identity])

    def listed_record(self, identity: str) -> ProjectRecord:
        """Read a record that came."""
        return self._read(self._spool, self._listed_at[identity])

    def changes(self, plan: RecordsPlan) -> RecordChanges:
        """Return what changed, by the members of each record."""
        changed = {
            identity: fields
            for identity in plan.changed
            if (
                fields := compare_records(
                    self.held_record(identity), self._read(self._spool, self._listed_at[identity])
                )
            )
        }
        return RecordChanges(
            new=plan.new,
            changed=changed,
            missing=plan.missing,
            returned=plan.returned,
            pruned=plan.pruned,
        )

    def write(self, plan: RecordsPlan, known: DataFile | None) -> DataFile:
        """Write the new file, unless it would be as the visible one; return its description.

        known: the description of the visible file, if that is as the last sync left it.
        """
        if known is not None and not (plan.rewrites or self._respelled or self._is_new):
            return known
        with LineWriter(self._target) as writer:
            for line in plan.lines:
                writer.write([self._line(line)])
        return writer.written

    def _line(self, line: PlannedLine) -> bytes:
        if line.came:
            return self._bytes(self._spool, self._listed_at[line.identity])
        record = self.held_record(line.identity)
        return encode_line(replace(record, missing_since=line.missing_since))

    def _read(self, stream: IO[bytes], at: _Line) -> ProjectRecord:
        line = self._bytes(stream, at)
        if self._as_written or stream is self._spool:
            return decode_own_record(line, self._kind)
        return decoded(decode_record(line, self._kind), self._path, 0, REMEDY)

    def _bytes(self, stream: IO[bytes], at: _Line) -> bytes:
        return b"".join(disk.read_range(stream, at.offset, at.length))
