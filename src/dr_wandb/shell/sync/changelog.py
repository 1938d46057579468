"""`changes.jsonl`: what each sync changed, one line each, oldest first.

Rules
- A line is part of the commit of its sync. The state knows how long the file is.
- Whole lines are kept, whoever wrote them. A torn one at the end goes.
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
    """Write the file anew with a line more into `scratch`, if there is something to tell.

    Returns what the file is after the sync, None where there is none.
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
    """Read what every sync changed, oldest first; nothing where there is no such file.

    Raises DrWandbError that names the line which does not read. A torn last line is left out.
    """
    whole = _whole_length(path)
    if not whole:
        return
    with path.open("rb") as stream:
        for number, line in enumerate(disk.read_lines(stream, 0, whole), start=1):
            yield decoded(decode_changes(line), path, number, REMEDY)


def _whole_length(path: Path) -> int:
    """Return where the last whole line of a file ends, 0 where there is none."""
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
