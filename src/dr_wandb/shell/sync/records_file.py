"""Bring the data file of a project's dataset up to date with a listing of its records.

Rules
- The records that came are written to a file in the staging folder as they come. It outlives a sync
  that is interrupted: the next one need not ask for what never changes. In memory is only
  the key, the digest and the byte ranges of each record, held or listed.
- A record is read without its large member, whose bytes are copied from file to file. One that is
  in the visible file or among those that came is not written a second time before the new file is.
- Lines that stay are copied as they are, unless they are not spelled as this tool writes them.
- A file that would not change is not written.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, NamedTuple

from msgspec.structs import replace
from returns.result import Success

from dr_wandb.core.contract.changes import ChangedRun, RecordChanges
from dr_wandb.core.contract.codec import encode_line
from dr_wandb.core.contract.dataset import PROJECT_DATASETS
from dr_wandb.core.contract.large_member import decode_content, with_large
from dr_wandb.core.contract.manifest import DataFile
from dr_wandb.core.contract.project_record import ProjectRecord
from dr_wandb.core.contract.project_records import KINDS, decode_own_record, decode_record
from dr_wandb.core.sync.project_records import (
    HeldRecord,
    ListedRecord,
    PlannedLine,
    RecordsPlan,
    compare_records,
)
from dr_wandb.shell.store import disk
from dr_wandb.shell.store.decoding import decoded, opened
from dr_wandb.shell.store.divided_lines import (
    DividedLine,
    FileRange,
    digest_of,
    read_divided,
    records_in,
)
from dr_wandb.shell.store.hashes import find_hashes
from dr_wandb.shell.store.project_records import REMEDY
from dr_wandb.shell.store.staging import KEPT_SUFFIX
from dr_wandb.shell.store.writing import LineWriter
from dr_wandb.shell.sync.framed_records import (
    Framed,
    LineParts,
    differ,
    encoded_large,
    frame_of,
    is_small,
    parts_of,
    without_large,
)


class _Line(NamedTuple):
    """A line, and its content. whole: it has to be decoded and encoded again as one.

    apart: the content is not in the line, which has a null instead.
    """

    at: FileRange
    content: FileRange | None = None
    whole: bool = False
    apart: bool = False


class RecordsFile:
    """The held and the listed records of one dataset. Used as a context manager.

    path: the visible file, which may not exist. folder: the staging folder. note_held: is given
    each held record, without its large member. as_written: the file is as this tool wrote it.
    `groups` and `ids` have the group and the source's id of each record.
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
        self.held: dict[str, HeldRecord] = {}
        self.listed: dict[str, ListedRecord] = {}
        self._kind = KINDS[dataset]
        self._path = path
        self._note_held = note_held
        self._as_written = as_written
        self.groups: dict[str, str] = {}
        self.ids: dict[str, str] = {}
        self._target = folder / self.name
        suffix = KEPT_SUFFIX if PROJECT_DATASETS[dataset].lasting else ".listed"
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
        previous = None
        for number, line in enumerate(read_divided(stream, self._kind), start=1):
            record, at = self._held_record(line, number)
            identity, key = record.identity, (record.sort_key, record.identity)
            if not self._as_written:
                self._respelled |= at.whole or (previous is not None and previous >= key)
            digest = line.digest
            if at.whole or record.missing_since is not None:
                framed, content = self._framed(at)
                present = replace(framed, missing_since=None)
                digest = digest_of(parts_of(present, content).all)
            self.held[identity] = HeldRecord(record.sort_key, digest, record.missing_since)
            self._held_at[identity] = at
            self._note(record)
            self._note_held(record if self._as_written else self._trusted(record, at))
            previous = key

    def _trusted(self, record: ProjectRecord, at: _Line) -> ProjectRecord:
        """Return a record without its large member if that is not as the source made it."""
        content = self._framed(at).content
        if content is None or record.lasts(records_in(content, self._kind), find_hashes()):
            return record
        return without_large(record, None)

    def _held_record(self, line: DividedLine, number: int) -> tuple[ProjectRecord, _Line]:
        """Return a held record without its large member, and its line."""
        at = _Line(line.line, line.content)
        if self._as_written:
            return decode_own_record(line.frame, self._kind), at
        frame = decode_record(line.frame, self._kind)
        if isinstance(frame, Success) and self._is_as_we_write(frame.unwrap(), line):
            return frame.unwrap(), at
        record = decoded(decode_record(line.whole, self._kind), self._path, number, REMEDY)
        return without_large(record), _Line(line.line, whole=True)

    def _is_as_we_write(self, record: ProjectRecord, line: DividedLine) -> bool:
        """Say whether a line is spelled as this tool writes it."""
        if encode_line(record) != line.frame:
            return False
        if line.content is None:
            return True
        try:
            pieces = decode_content(line.content.chunks(), self._kind)
            return all(piece.canonical for piece in pieces)
        except ValueError:
            return False

    def take(self, record: ProjectRecord, content: FileRange | None = None) -> None:
        """Store a record that came; a later one of the same identity replaces it.

        content: the bytes of its large member, if the record is without them.
        """
        self._note(record)
        at, digest = self._append(record, content)
        self.listed[record.identity] = ListedRecord(record.sort_key, digest)
        self._listed_at[record.identity] = at
        if at.content is not None:
            self._kept_at[record.content_id] = at

    def _note(self, record: ProjectRecord) -> None:
        self.groups[record.identity] = record.group
        self.ids[record.identity] = record.source_id

    def _take_kept(self) -> None:
        """Take over the lines of a sync that was interrupted, as far as they read."""
        with suppress(FileNotFoundError), self._spool_path.open("rb") as stream:
            for line in read_divided(stream, self._kind):
                kept = decode_record(line.frame, self._kind)
                if not (line.frame.endswith(b"\n") and isinstance(kept, Success)):
                    continue
                record = kept.unwrap()
                with suppress(ValueError):
                    if record.lasts(records_in(line.content, self._kind), find_hashes()):
                        self._kept_at[record.content_id] = self._append(record, line.content)[0]

    def bytes_of(self, identities: Iterable[str]) -> int:
        """Return about how many bytes the lines of some records that came take."""
        lines = [self._listed_at[one] for one in identities]
        apart = [line.content for line in lines if line.apart and line.content is not None]
        return sum(line.at.length for line in lines) + sum(content.length for content in apart)

    def kept_record(self, content_id: str) -> Framed | None:
        """Read a record whose content is here, None if there is none of this id."""
        at = self._kept_at.get(content_id)
        return None if at is None else self._framed(at)

    @property
    def kept(self) -> Mapping[str, object]:
        """Return the ids of the contents that are here, also of those that come later.

        An interrupted sync has left it, or it came in this sync: with an earlier try of the
        listing, or with another record of the same id.
        """
        return self._kept_at

    def _append(self, record: ProjectRecord, content: FileRange | None) -> tuple[_Line, str]:
        """Write a record to the spool. Returns its line there, and the digest of its line."""
        if content is None and record.content_id in self._kept_at:
            content = encoded_large(record)
        here = None if content is None else self._find_content(record.content_id, content)
        if here is None:
            return self._append_line(parts_of(record, content))
        line, _ = self._append_line(LineParts(encode_line(without_large(record, None))))
        return _Line(line.at, here, apart=True), digest_of(parts_of(record, here).all)

    def _find_content(self, content_id: str, content: FileRange) -> FileRange | None:
        """Return the same content in the visible file or the spool, None if it is not there."""
        if content.stream in (self._old, self._spool):
            return content
        kept = self._kept_at.get(content_id)
        return None if kept is None or differ(kept.content, content) else kept.content

    def _append_line(self, parts: LineParts) -> tuple[_Line, str]:
        """Write a line to the spool. Returns its byte ranges and its digest."""
        start, hashed = self._end, hashlib.blake2b(digest_size=16)

        def put(part: bytes) -> int:
            self._spool.seek(self._end)
            self._spool.write(part)
            hashed.update(part)
            self._end += len(part)
            return self._end

        begin = end = put(parts.before)
        for chunk in parts.inside:
            end = put(chunk)
        put(parts.after)
        content = FileRange(self._spool, begin, end - begin) if parts.after else None
        line = _Line(FileRange(self._spool, start, self._end - start), content)
        return line, hashed.hexdigest()

    def held_record(self, identity: str) -> Framed:
        """Read a held record."""
        return self._framed(self._held_at[identity])

    def listed_record(self, identity: str) -> Framed:
        """Read a record that came."""
        return self._framed(self._listed_at[identity])

    def changes(self, plan: RecordsPlan) -> RecordChanges:
        """Return what changed, by the members of each record."""
        changed = {
            identity: fields
            for identity in plan.changed
            if (fields := self._compare(self.held_record(identity), self.listed_record(identity)))
        }
        return RecordChanges(
            new=plan.new,
            changed=changed,
            missing=plan.missing,
            returned=plan.returned,
            pruned=plan.pruned,
        )

    def _compare(self, old: Framed, new: Framed) -> ChangedRun | None:
        """Compare two contents of a record; of a large member only that it changed is said."""
        large = None
        if differ(old.content, new.content) and not (is_small(old) and is_small(new)):
            large = self._kind.large
        return compare_records(self._with_small(old), self._with_small(new), large)

    def _with_small(self, one: Framed) -> ProjectRecord:
        """Return a record with its large member if that is small."""
        if one.content is None or not is_small(one):
            return one.record
        members = [found for some in records_in(one.content, self._kind) for found in some]
        return with_large(one.record, members)

    def write(self, plan: RecordsPlan, known: DataFile | None) -> DataFile:
        """Write the new file, unless it would be as the visible one; return its description.

        known: the description of the visible file, if that is as the last sync left it.
        """
        if known is not None and not (plan.rewrites or self._respelled or self._is_new):
            return known
        self._spool.flush()
        with LineWriter(self._target) as writer:
            for line in plan.lines:
                self._write(writer, line)
        return writer.written

    def _write(self, writer: LineWriter, line: PlannedLine) -> None:
        at = (self._listed_at if line.came else self._held_at)[line.identity]
        same = line.came or self.held[line.identity].missing_since == line.missing_since
        if same and not (at.whole or at.apart):
            writer.copy_line(at.at.stream, at.at.offset, at.at.length)
            return
        record, content = self._framed(at)
        writer.write_line(parts_of(replace(record, missing_since=line.missing_since), content).all)

    def _framed(self, at: _Line) -> Framed:
        if at.apart:
            return Framed(with_large(self._decode(at.at.whole, at.at.stream), ()), at.content)
        if not at.whole:
            text = at.at.whole if at.content is None else frame_of(at.at, at.content)
            return Framed(self._decode(text, at.at.stream), at.content)
        record = self._decode(at.at.whole, at.at.stream)
        return Framed(without_large(record), encoded_large(record))

    def _decode(self, line: bytes, stream: IO[bytes]) -> ProjectRecord:
        if self._as_written or stream is not self._old:
            return decode_own_record(line, self._kind)
        return decoded(decode_record(line, self._kind), self._path, 0, REMEDY)
