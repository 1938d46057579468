"""Read a `.wandb` file: its run, its rows, and everything else that was logged.

Rules
- Reading may stop at the end of any record and continue there when the file has grown: the result
  is that of reading it at once.
- Records that cannot be read are counted and reported; everything else is kept.
- Counting and reading use the same rule for rows, so that the count is always that of the rows.
"""

from collections.abc import Callable, Iterable, Iterator

from msgspec.structs import replace
from returns.result import Success

from dr_wandb.core.contract.columns import RowBatch
from dr_wandb.core.contract.fetch_window import FetchWindow
from dr_wandb.core.offline.counting import CountedRows, count_rows, read_and_count
from dr_wandb.core.offline.decoding import decode_record
from dr_wandb.core.offline.folding import RunFolding
from dr_wandb.core.offline.framing import BLOCK, read_frames, read_parts
from dr_wandb.core.offline.header import HEADER, Buffer
from dr_wandb.core.offline.legacy import replayed
from dr_wandb.core.offline.lost_bytes import LostBytes
from dr_wandb.core.offline.parts import Records, sort_records
from dr_wandb.core.offline.reading import MARKS, FileReading, Mark
from dr_wandb.core.offline.records import HistoryRecord, RunRecord, TelemetryRecord
from dr_wandb.core.offline.rows import (
    ColumnRows,
    inside,
    last_values,
    read_rows,
    rising,
    steps_of,
    with_steps,
)
from dr_wandb.core.offline.run import Replay, RunFold
from dr_wandb.core.offline.telemetry import RESUMED, has_feature
from dr_wandb.core.offline.telemetry_fields import telemetry_of

TakeRows = Callable[[RowBatch | ColumnRows], None]
"""Called with one batch of rows of a file, at least one row."""


def read_file(
    data: Buffer,
    before: FileReading,
    after_part: Callable[[], None] = lambda: None,
    take: TakeRows | None = None,
) -> FileReading:
    """Read a file, or the records that were added since an earlier reading of it.

    after_part: called when a part of the file is no longer needed. take: called with all rows that
    are read, as `rows_of` gives them, so that they need not be read again.
    """
    folding = RunFolding(before.fold)
    lost, marks = list(before.lost), list(before.marks)
    torn: LostBytes | None = None
    begin = before.end
    for frames in read_parts(data, begin):
        mark = Mark(
            offset=begin,
            below=folding.last_step,
            after=folding.end_step,
            stepless=folding.stepless,
        )
        marks.append(mark)
        _fold(sort_records(data, frames), folding, before.numbered_on, take)
        torn = next((loss for loss in frames.lost if loss.torn), None)
        for loss in frames.lost:
            if not loss.torn:
                _add_loss(lost, loss)
        begin = frames.end
        after_part()
    return replace(
        before,
        end=begin,
        fold=_with_replay(folding.fold, data, begin, before.fold.replay, after_part),
        lost=tuple(lost),
        torn=torn,
        marks=(*marks[:1], *marks[1:][-MARKS:]),
    )


def _with_replay(
    fold: RunFold,
    data: Buffer,
    end: int,
    before: Replay | None,
    after_part: Callable[[], None],
) -> RunFold:
    """Read the rows again if W&B's client computed values from them that no record has."""
    if not fold.needs_replay:
        return replace(fold, replay=None)
    has_metrics = bool(fold.metrics or fold.globs)
    replay = replayed(data, end, before or Replay(), has_metrics=has_metrics, after_part=after_part)
    return replace(fold, replay=replay)


def _add_loss(lost: list[LostBytes], loss: LostBytes) -> None:
    """Add a loss to those before it, joined with the last one if it continues it."""
    last = lost[-1] if lost else None
    if last is not None and (last.offset + last.length, last.reason) == (loss.offset, loss.reason):
        lost[-1] = replace(
            last, length=last.length + loss.length, records=last.records + loss.records
        )
    else:
        lost.append(loss)


def _fold(records: Records, folding: RunFolding, numbered_on: bool, take: TakeRows | None) -> None:
    """Fold the records of a part, and give its rows to `take`, if set."""
    _fold_each(records.others, folding)
    changes = len(records.summaries.starts)
    last = last_values(records) if changes and folding.is_of_core else None
    if last is not None:
        folding.add_summaries(changes, last)
    else:
        _fold_each(records.contents(records.summaries), folding)
    for counted, rows in _count(records, folding.stepless, reads=take is not None):
        steps = rising(counted.steps, folding.end_step) if numbered_on else counted.steps
        if take is not None and rows is not None and rows.size:
            take(with_steps(rows, steps) if numbered_on else rows)
        folding.add_rows(steps)
        folding.stepless = counted.stepless
        folding.see(counted.moment)
        folding.skip(counted.unreadable)


def _count(
    records: Records, stepless: int, *, reads: bool
) -> Iterator[tuple[CountedRows, RowBatch | ColumnRows | None]]:
    """Count the rows of a part. reads: also give the rows."""
    if reads:
        yield from ((counted, rows) for rows, counted in read_and_count(records, stepless))
    else:
        yield from ((counted, None) for counted in count_rows(records, stepless))


def _fold_each(contents: Iterable[bytes], folding: RunFolding) -> None:
    for content in contents:
        match decode_record(content):
            case Success(HistoryRecord()):
                pass  # counted with all rows
            case Success(record):
                folding.add(record)
            case _:
                folding.skip()


def rows_of(
    data: Buffer, reading: FileReading, window: FetchWindow
) -> Iterator[RowBatch | ColumnRows]:
    """Read the rows counted by a reading whose step is in the window."""
    content = memoryview(data)[: reading.end]
    mark = _begin(reading, window)
    last, stepless = mark.after, mark.stepless
    as_read = FetchWindow() if reading.numbered_on else window
    for frames in read_parts(content, mark.offset):
        for found, count in read_rows(sort_records(content, frames), as_read, stepless):
            wanted, stepless = found, count
            if reading.numbered_on and found.size:
                steps = rising(steps_of(found), last)
                last = steps[-1]
                wanted = inside(with_steps(found, steps), window)
            if wanted.size:
                yield wanted


def _begin(reading: FileReading, window: FetchWindow) -> Mark:
    """Return the mark to begin at so that no row of the window is missed."""
    mark = reading.mark_before(window)
    if mark is not None:
        return mark
    after = reading.marks[0].after if reading.marks else None
    return Mark(offset=len(HEADER), below=None, after=after)


def identify(data: Buffer) -> RunRecord | None:
    """Return the first record that names the run, None if there is none.

    Telemetry, which comes before the first row, shows whether a resumed run counts on.
    """
    run: RunRecord | None = None
    first = _named_at_once(data)
    if first is not None and not first.resumes:
        return first
    for frames in read_parts(data, len(HEADER), BLOCK):
        records = sort_records(data, frames)
        for payload in records.others:
            match decode_record(payload):
                case Success(RunRecord() as first) if run is None:
                    run = first
                case Success(TelemetryRecord(telemetry=raw)) if run is not None:
                    if has_feature(telemetry_of([raw]), RESUMED):
                        return replace(run, counts_on=True)
                case _:
                    pass
            if run is not None and not run.resumes:
                return run
        if run is not None and (len(records.rows.starts) or records.odd):
            return run
    return run


def first_step(data: Buffer) -> int | None:
    """Return the step of the first row, None if there is no row or it has no step."""
    for frames in read_parts(data, len(HEADER), BLOCK):
        for counted in count_rows(sort_records(data, frames), 0):
            if counted.steps:
                return counted.steps[0]
    return None


FIRST_RECORDS, FIRST_BYTES = 4, 1 << 12
"""The SDK names the run in the first or second record, which are small for most runs."""


def _named_at_once(data: Buffer) -> RunRecord | None:
    """Return the run named by the first records: a shortcut, as small files are mostly this."""
    head = memoryview(data)[:FIRST_BYTES]
    frames = read_frames(head, len(HEADER), len(head))
    for start, end in zip(frames.starts[:FIRST_RECORDS], frames.ends[:FIRST_RECORDS], strict=True):
        match decode_record(bytes(head[start:end])):
            case Success(RunRecord() as run):
                return run
    return None
