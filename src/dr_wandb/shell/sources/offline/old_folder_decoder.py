"""Run folders from before `.wandb` files: read a history and the files beside it.

Rules
- Only the files that the SDK writes are opened, each by its fixed name, and only regular ones.
- A file that is too large, or not a YAML or JSON object, is reported; only its content is lost.
- YAML gives plain values: tags are ignored, and values that aliases would multiply are refused.
"""

import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dr_wandb.core.contract.fetch_window import FetchWindow
from dr_wandb.core.contract.values import clean_text, decode_json
from dr_wandb.core.contract.wording import count
from dr_wandb.core.offline.copies import Range, begins_with
from dr_wandb.core.offline.lines import first_step, line_parts, read_lines, rows_in_lines
from dr_wandb.core.offline.old_folder import (
    CONFIG,
    EVENTS,
    METADATA,
    SUMMARY,
    Beside,
    name_run,
    repeats,
    with_beside,
)
from dr_wandb.core.offline.pointers import HEAD_BYTES, out_of_reach
from dr_wandb.core.offline.reading import FileReading
from dr_wandb.core.offline.records import RunRecord
from dr_wandb.shell.sources import FileBatch
from dr_wandb.shell.sources.offline.forms import OldFolder
from dr_wandb.shell.sources.offline.run_files import FileOnDisk, mapped
from dr_wandb.shell.sources.offline.yaml_values import yaml_members

MOST_BYTES: Mapping[str, int] = {CONFIG: 1 << 24, SUMMARY: 1 << 26, METADATA: 1 << 24}
"""A larger file was not written by the SDK."""

LAST_BYTES, MOST_LAST_BYTES = 1 << 16, 1 << 24
"""How many bytes at the end of the events are read for the last line: at first, and at most."""

CONSOLE = "output.log"


class OldFolderDecoder:
    """Decodes the history of one folder, and the files beside it."""

    def __init__(self, folder: OldFolder) -> None:
        self._folder = folder

    def problem(self, data: memoryview) -> str | None:
        """Return why this is not a history: a pointer or a packed file. Other text may be one."""
        return out_of_reach(bytes(data[:HEAD_BYTES]))

    def identify(self, data: memoryview) -> RunRecord:
        """Return the record that names the run."""
        metadata, _ = self._json(METADATA)
        return name_run(self._folder.called, metadata)

    def read(
        self, data: memoryview, before: FileReading, release: Callable[[], None]
    ) -> FileReading:
        """Read the rows, or only those appended since, and the files beside the history."""
        beside = self._beside()
        named = name_run(self._folder.called, beside.metadata)
        fold = before.fold

        def is_repeated(row: Mapping[str, Any]) -> bool:
            return repeats(row, fold, beside.metadata)

        return with_beside(read_lines(data, before, is_repeated, release), named, beside)

    def first_step(self, data: memoryview) -> int | None:
        """Return the step of the first row, None if there is no row or it has no step."""
        return first_step(data)

    def rows(
        self, data: memoryview, reading: FileReading, window: FetchWindow
    ) -> Iterator[FileBatch]:
        """Read those rows of a reading whose step is in the window."""
        return rows_in_lines(data, reading, window)

    def is_copy(self, data: memoryview, whole: memoryview, release: Callable[[], None]) -> bool:
        """Say whether the history is the beginning of another one."""
        return len(data) > 0 and begins_with(whole, data, release)

    def repairs(
        self, data: memoryview, whole: memoryview, release: Callable[[], None]
    ) -> tuple[Range, ...]:
        """Return none: nothing shows which of two lines is the damaged one."""
        return ()

    def _beside(self) -> Beside:
        """Read the files beside the history."""
        metadata, *remarks = self._json(METADATA)
        summary, *more = self._json(SUMMARY)
        config, *most = self._load(CONFIG, yaml_members)
        sample, *last = self._last_sample()
        reported = tuple(remark for remark in (*remarks, *more, *most, *last) if remark is not None)
        return Beside(metadata, config, summary, sample, reported)

    def _json(self, name: str) -> tuple[Mapping[str, Any] | None, str | None]:
        return self._load(name, _json_members)

    def _load(
        self, name: str, decode: Callable[[bytes, str], Mapping[str, Any]]
    ) -> tuple[Mapping[str, Any] | None, str | None]:
        """Return the content of a file, and why it does not read; None for either."""
        try:
            file = self._other(name)
            if file is None:
                return None, None
            if file.size > MOST_BYTES[name]:
                return None, f"{name} is larger than {MOST_BYTES[name]} bytes: skipped"
            with mapped(file) as (data, _):
                content = bytes(data)
            return decode(content, name), None
        except OSError as error:
            return None, f"{name} cannot be read: {error.strerror or error}"
        except ValueError as error:
            return None, clean_text(str(error))

    def _last_sample(self) -> tuple[Mapping[str, Any] | None, str | None]:
        """Return the last line of the events that is an object, and a remark on bad lines."""
        try:
            events = self._other(EVENTS)
            if events is None:
                return None, None
            with mapped(events) as (data, _):
                rows, bad = _last_lines(data)
        except OSError as error:
            return None, f"{EVENTS} cannot be read: {error.strerror or error}"
        remark = f"{EVENTS} has {count(bad, 'line')} near its end that cannot be read"
        return rows[-1] if rows else None, remark if bad else None

    def _other(self, name: str) -> FileOnDisk | None:
        """Return a file beside the history, None if it does not exist."""
        location = f"{self._folder.folder}/{name}"
        try:
            status = Path(location).stat()
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(status.st_mode):
            raise OSError("it is not a file")
        return FileOnDisk(
            name=name,
            location=location,
            size=status.st_size,
            modified_ns=status.st_mtime_ns,
        )


def _last_lines(data: memoryview) -> tuple[list[dict[str, Any]], int]:
    """Return the objects at the end of a file of lines, and how many lines are not objects.

    Finds at least one object, if there is one in the last `MOST_LAST_BYTES`. A line that is cut off
    by the end of the file is not counted.
    """
    size = LAST_BYTES
    while True:
        content = bytes(data[-size:])
        whole = content if len(data) <= size else content.partition(b"\n")[2]
        parts = list(line_parts(whole, 0))
        rows = [row for part in parts for row in part.rows]
        if rows or len(data) <= size or size >= MOST_LAST_BYTES:
            lost = (loss for part in parts for loss in part.lost)
            return rows, sum(loss.records for loss in lost if not loss.torn)
        size *= 4


def _json_members(content: bytes, name: str) -> Mapping[str, Any]:
    value = decode_json(content, name)
    if not isinstance(value, Mapping):
        raise ValueError(f"{name} is not an object")
    return value
