"""`changes.jsonl`: the changes of each sync, one line each, oldest first.

Rules
- A line is part of the commit of its sync. The state has the length of the file.
- Complete lines are kept, whoever wrote them. An incomplete last line is removed.
"""

from collections.abc import Iterator
from pathlib import Path

from dr_wandb.core.contract.changes import SyncChanges
from dr_wandb.core.contract.codec import decode_changes, encode_line
from dr_wandb.core.contract.export_files import CHANGES_FILE
from dr_wandb.core.contract.manifest import DataFile
from dr_wandb.core.contract.part import ByteRange
from dr_wandb.shell.progress import LOGGER
from dr_wandb.shell.store import disk
from dr_wandb.shell.store.export_store import ExportStore, decoded
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
    if whole < stored.state.changes_length:
        LOGGER.warning("%s was cut short: lines of earlier syncs are missing", path)
    if changes.empty and (as_known or not path.exists()):
        return known if as_known else None
    with LineWriter(scratch / CHANGES_FILE) as writer:
        if whole:
            with path.open("rb") as stream:
                lines = sum(1 for _ in disk.read_lines(stream, 0, whole))
                writer.copy(stream, ByteRange(offset=0, length=whole, rows=lines, digest=""))
        if not changes.empty:
            writer.write([encode_line(changes)])
    return writer.written


def read_changes(path: Path) -> Iterator[SyncChanges]:
    """Read the changes of every sync, oldest first; none if there is no such file.

    Raises DrWandbError if a line does not read, naming it. An incomplete last line is skipped.
    """
    whole = _whole_length(path)
    if not whole:
        return
    with path.open("rb") as stream:
        for number, line in enumerate(disk.read_lines(stream, 0, whole), start=1):
            yield decoded(decode_changes(line), path, number, REMEDY)


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
