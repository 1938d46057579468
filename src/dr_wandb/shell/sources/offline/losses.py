"""Notices about a file that could not be read completely."""

from collections.abc import Iterator

from dr_wandb.core.contract.wording import count
from dr_wandb.core.offline.reading import FileReading
from dr_wandb.core.offline.scan_report import FileNotice, NoticeKind
from dr_wandb.shell.sources.offline.forms import RunFile
from dr_wandb.shell.sources.offline.found import lost_in

MOST_REPORTED = 10
"""At most this many damaged byte ranges of a file are reported one by one."""

STILL_WRITTEN = "is still being written; the next sync reads the rest"


def losses_of(
    file: RunFile, reading: FileReading, before: FileReading | None, is_written_to: bool
) -> Iterator[FileNotice]:
    """Yield a notice for each lost byte range, one for bad records, and one for each bad file.

    before: the reading of the run's file that was started before this one.
    """
    losses = lost_in(reading)
    for lost in losses[:MOST_REPORTED]:
        if lost.torn and is_written_to:
            yield FileNotice(
                name=file.name, kind=NoticeKind.STILL_WRITTEN, text=STILL_WRITTEN, serious=False
            )
            continue
        records = f": {count(lost.records, 'record')} or more lost" if lost.records else ""
        text = f"at byte {lost.offset}: {lost.reason} ({lost.length} bytes{records})"
        yield FileNotice(name=file.name, kind=NoticeKind.LOST_BYTES, text=text)
    if len(losses) > MOST_REPORTED:
        text = f"is damaged in {len(losses) - MOST_REPORTED:,} more byte ranges"
        yield FileNotice(name=file.name, kind=NoticeKind.LOST_BYTES, text=text)
    unreadable = reading.fold.unreadable - (before.fold.unreadable if before else 0)
    if unreadable:
        text = f"{count(unreadable, 'record')} cannot be decoded"
        yield FileNotice(name=file.name, kind=NoticeKind.NOT_DECODED, text=text)
    folder = file.name.rpartition("/")[0]
    for remark in reading.remarks:
        name, _, text = remark.partition(" ")
        path = f"{folder}/{name}" if folder else name
        yield FileNotice(name=path, kind=NoticeKind.FILE_BESIDE, text=text)
