"""What a folder of `.wandb` files holds, as `wandb-export scan` reports it."""

from collections.abc import Iterator
from enum import StrEnum

from dr_wandb.core.contract.records import Record
from dr_wandb.core.contract.run_failure import RunFailure
from dr_wandb.core.contract.wording import as_lines, count, printable, size_in_words, table

WIDEST = 80
"""The most characters of a cell of the table."""


class NoticeKind(StrEnum):
    """The kind of a notice, for programs (docs/offline.md)."""

    NO_RUN_FILE = "no_run_file"
    HOLLOW = "hollow"
    OUT_OF_REACH = "out_of_reach"
    NOT_A_RUN = "not_a_run"
    NOTHING_WRITTEN = "nothing_written"
    NO_PROJECT = "no_project"
    FORKED = "forked"
    COPY = "copy"
    SAME_START = "same_start"
    DAMAGED_COPY = "damaged_copy"
    STILL_WRITTEN = "still_written"
    LOST_BYTES = "lost_bytes"
    NOT_DECODED = "not_decoded"
    FILE_BESIDE = "file_beside"


class FileNotice(Record, frozen=True, kw_only=True):
    """A notice about a file, whose `name` is its path below the folder.

    text: for people, follows the name. serious: data may be missing because of it.
    """

    name: str
    kind: NoticeKind
    text: str
    serious: bool = True


class RunOnDisk(Record, frozen=True, kw_only=True):
    """One run. entity, project: "" if the files name none, as is usual for an entity.

    last_step: the highest step, None if no row has one. bytes: of all its files. whole: every
    byte was read as a record. forked_from: the run and step that it was forked at, as text.
    """

    run_id: str
    entity: str
    project: str
    name: str
    state: str
    created_at: str | None
    rows: int
    last_step: int | None
    files: tuple[str, ...]
    bytes: int
    whole: bool
    forked_from: tuple[str, ...] = ()


class FolderContent(Record, frozen=True, kw_only=True):
    """The runs below a folder, oldest first, those that cannot be read, and notices about files."""

    folder: str
    runs: tuple[RunOnDisk, ...]
    unread: dict[str, RunFailure]
    notices: tuple[FileNotice, ...]


def describe_folder(content: FolderContent, *, raw: bool = False) -> tuple[str, ...]:
    """Describe the runs that can be read, one line for each.

    raw: names as they are and whole, with characters that can steer a terminal.
    """
    head = ("run", "project", "name", "state", "rows", "last step", "size", "")
    lines = (
        table([head, *(_columns(run, raw) for run in content.runs)], right={4, 5, 6})
        if content.runs
        else ()
    )
    files = sum(len(run.files) for run in content.runs)
    found = f"{count(len(content.runs), 'run')} in {count(files, 'file')} below "
    return as_lines((*lines, *([""] if lines else []), found + content.folder), raw=raw)


def _columns(run: RunOnDisk, raw: bool) -> tuple[str, ...]:
    remarks = [
        *([] if run.whole else ["not whole"]),
        *([f"{len(run.files):,} files"] if len(run.files) > 1 else []),
        *(f"forked from {origin}" for origin in run.forked_from),
    ]
    names = (run.run_id, "/".join(filter(None, (run.entity, run.project))) or "-", run.name or "-")
    *shown, remarked = (
        text if raw else printable(text, WIDEST) for text in (*names, ", ".join(remarks))
    )
    return (
        *shown,
        run.state,
        f"{run.rows:,}",
        "-" if run.last_step is None else str(run.last_step),
        size_in_words(run.bytes),
        remarked,
    )


def describe_problems(content: FolderContent) -> Iterator[str]:
    """Give the runs that cannot be read, and the notices about files."""
    for run_id, failure in sorted(content.unread.items()):
        yield printable(f"run {run_id!r}: {failure.reason}")
    for notice in content.notices:
        yield printable(f"{notice.name} {notice.text}")
