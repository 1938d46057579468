"""Decode the content of a `.wandb` file."""

from collections.abc import Callable, Iterator
from typing import Any

from dr_wandb.core.contract.fetch_window import FetchWindow
from dr_wandb.core.offline.artifacts import FileArtifacts, artifacts_of
from dr_wandb.core.offline.console import console_of
from dr_wandb.core.offline.copies import Range, is_copy, repairs
from dr_wandb.core.offline.header import header_problem
from dr_wandb.core.offline.named_files import named_files
from dr_wandb.core.offline.reading import FileReading
from dr_wandb.core.offline.records import RunRecord
from dr_wandb.core.offline.system import samples_of
from dr_wandb.core.offline.wandb_file import TakeRows, first_step, identify, read_file, rows_of
from dr_wandb.shell.sources import FileBatch


class WandbDecoder:
    """Decodes `.wandb` files. It needs nothing but their bytes."""

    def problem(self, data: memoryview) -> str | None:
        """Return why this is not a `.wandb` file, None if it is one."""
        return header_problem(data)

    def identify(self, data: memoryview) -> RunRecord | None:
        """Return the record that names the run, None if the file has none."""
        return identify(data)

    def read(
        self, data: memoryview, before: FileReading, release: Callable[[], None]
    ) -> FileReading:
        """Read the file, or only what was appended since an earlier reading of it."""
        return read_file(data, before, release)

    def read_with_rows(
        self,
        data: memoryview,
        before: FileReading,
        release: Callable[[], None],
        take: TakeRows,
    ) -> FileReading:
        """Read the file, and pass all its rows to `take`."""
        return read_file(data, before, release, take)

    def first_step(self, data: memoryview) -> int | None:
        """Return the step of the first row, None if there is no row or it has no step."""
        return first_step(data)

    def rows(
        self, data: memoryview, reading: FileReading, window: FetchWindow
    ) -> Iterator[FileBatch]:
        """Read those rows of a reading whose step is in the window."""
        return rows_of(data, reading, window)

    def console(
        self, data: memoryview, reading: FileReading, first: int
    ) -> Iterator[list[dict[str, Any]]]:
        """Read the lines of the console. first: the number of the first one."""
        return console_of(data, reading.end, first)

    def samples(self, data: memoryview, reading: FileReading) -> Iterator[list[dict[str, Any]]]:
        """Read the samples of the machine."""
        return samples_of(data, reading.end)

    def artifacts(self, data: memoryview, reading: FileReading, project: str) -> FileArtifacts:
        """Read the artifacts that the run logged and used. project: ENTITY/PROJECT."""
        return artifacts_of(data, reading.end, project)

    def named_files(self, data: memoryview, reading: FileReading) -> set[str]:
        """Read the names of the files that the client meant to upload."""
        return named_files(data, reading.end)

    def is_copy(self, data: memoryview, whole: memoryview, release: Callable[[], None]) -> bool:
        """Say whether another file holds all content of this one."""
        return is_copy(data, whole, release)

    def repairs(
        self, data: memoryview, whole: memoryview, release: Callable[[], None]
    ) -> tuple[Range, ...]:
        """Return the byte ranges that read in this damaged copy, but not in the damaged file."""
        return repairs(data, whole, release)
