"""`changes.jsonl`: the changes of each sync, one line each, oldest first.

Rules
- A line is part of the commit of its sync. The state has the length of the file.
- Complete lines are kept, whoever wrote them. An incomplete last line is removed.
- Lines are only ever folded from the first one on, so that their order stays.
"""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from dr_wandb.core.contract.changes import SyncChanges
from dr_wandb.core.contract.codec import decode_changes, encode_line
from dr_wandb.core.contract.export_files import CHANGES_FILE
from dr_wandb.core.contract.manifest import DataFile
from dr_wandb.core.contract.part import ByteRange
from dr_wandb.core.sync.combine_changes import fold_changes
from dr_wandb.shell.progress import LOGGER
from dr_wandb.shell.store import disk
from dr_wandb.shell.store.decoding import decoded
from dr_wandb.shell.store.export_store import ExportStore
from dr_wandb.shell.store.reading import StoredExport
from dr_wandb.shell.store.writing import LineWriter

REMEDY = "restore the file, or delete that line; no other file depends on it"


def append_changes(
    store: ExportStore, stored: StoredExport, changes: SyncChanges, scratch: Path
) -> DataFile | None:
    """Write the file with one more line into `scratch`, if the sync changed something.

    Returns the description of the file after the sync, None if there is no file.
    """
    path = store.changes_path
    whole = _whole_length(path)
    known = stored.manifest.files.get(CHANGES_FILE) if stored.manifest is not None else None
    as_known = known is not None and whole == known.bytes == stored.state.changes_length
    warn_if_cut_short(path, stored.state.changes_length)
    if changes.empty and (as_known or not path.exists()):
        return known if as_known else None
    with LineWriter(scratch / CHANGES_FILE) as writer:
        if whole:
            _copy_lines(path, 0, whole, writer)
        if not changes.empty:
            writer.write([encode_line(changes)])
    return writer.written


def read_changes(path: Path) -> Iterator[SyncChanges]:
    """Read the changes of every sync, oldest first; none if there is no such file.

    Raises DrWandbError if a line does not read, naming it. An incomplete last line is skipped.
    """
    for changes, _ in _read_lines(path, _whole_length(path)):
        yield changes


class OldLines(NamedTuple):
    """The first lines of the file, up to a moment, and the length of all complete lines."""

    lines: int
    length: int
    last_at: str
    whole: int


def find_old_lines(path: Path, moment: datetime) -> OldLines:
    """Return the lines before the first one that is not before a moment.

    Raises DrWandbError if one of them does not read.
    """
    whole = _whole_length(path)
    count = length = 0
    last_at = ""
    for changes, line_length in _read_lines(path, whole):
        if not changes.is_before(moment):
            break
        count, length, last_at = count + 1, length + line_length, changes.at
    return OldLines(lines=count, length=length, last_at=last_at, whole=whole)


def write_folded(path: Path, old: OldLines, scratch: Path) -> DataFile:
    """Write the file with one line in place of the old ones into `scratch`, and describe it."""
    lines = (changes for changes, _ in _read_lines(path, old.length))
    folded = encode_line(fold_changes(lines, old.last_at))
    with LineWriter(scratch / CHANGES_FILE) as writer:
        writer.write([folded])
        _copy_lines(path, old.length, old.whole - old.length, writer)
    return writer.written


def warn_if_cut_short(path: Path, known_length: int) -> None:
    """Warn if the file is shorter than the state says."""
    if _whole_length(path) < known_length:
        LOGGER.warning("%s was cut short: lines of earlier syncs are missing", path)


def count_lines(path: Path, offset: int, length: int) -> int:
    """Count the lines of a range of the file."""
    if not length:
        return 0
    with path.open("rb") as stream:
        return sum(1 for _ in disk.read_lines(stream, offset, length))


def _copy_lines(path: Path, offset: int, length: int, writer: LineWriter) -> None:
    lines = count_lines(path, offset, length)
    with path.open("rb") as stream:
        writer.copy(stream, ByteRange(offset=offset, length=length, rows=lines, digest=""))


def _read_lines(path: Path, length: int) -> Iterator[tuple[SyncChanges, int]]:
    """Read the first lines of the file, each with its length in bytes."""
    if not length:
        return
    with path.open("rb") as stream:
        for number, line in enumerate(disk.read_lines(stream, 0, length), start=1):
            yield decoded(decode_changes(line), path, number, REMEDY), len(line)


def _whole_length(path: Path) -> int:
    """Return the offset at which the last complete line of a file ends, 0 if there is none."""
    try:
        stream = path.open("rb")
    except FileNotFoundError:
        return 0
    with stream:
        end = stream.seek(0, 2)
        while end:
            start = max(0, end - disk.CHUNK)
            stream.seek(start)
            newline = stream.read(end - start).rfind(b"\n")
            if newline >= 0:
                return start + newline + 1
            end = start
    return 0
