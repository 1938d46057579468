"""The two forms in which a session of a run lies on the disk.

Rules
- A session is a `.wandb` file, or a folder from before these with a history of lines
  (`old_folders.py`). Everything else asks a `RunFile`, whichever form it has.
- The content is given as one buffer that is as long as the file was when it was found.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from dr_wandb.core.contract.fetch_window import FetchWindow
from dr_wandb.core.contract.streams import ConsoleText, SystemSample
from dr_wandb.core.offline.copies import is_copy
from dr_wandb.core.offline.framing import HEADER, header_problem
from dr_wandb.core.offline.old_folder import METADATA
from dr_wandb.core.offline.reading import FileReading, identify, read_file, rows_of, streams_of
from dr_wandb.core.offline.records import RunRecord
from dr_wandb.shell.sources import FileBatch
from dr_wandb.shell.sources.offline.files import FileOnDisk, run_id_of
from dr_wandb.shell.sources.offline.old_folders import OldFolder


class WandbFile(FileOnDisk, frozen=True, kw_only=True):
    """A `.wandb` file, as SDKs since 0.10 write it."""

    beside = ""
    first_byte = len(HEADER)

    @property
    def written_ns(self) -> int:
        """Return when it was last written to."""
        return self.modified_ns

    @property
    def run_id(self) -> str:
        """Return the id that the name of the file tells."""
        return run_id_of(self.location)

    @property
    def metadata_path(self) -> Path:
        """Return where W&B's own `wandb-metadata.json` of this file lies, if there is one."""
        return Path(self.folder) / "files" / METADATA

    def problem(self, data: memoryview) -> str | None:
        """Say why this is no `.wandb` file, None if it is one."""
        return header_problem(data)

    def identify(self, data: memoryview) -> RunRecord | None:
        """Return what the run is called, None if the file does not say it."""
        return identify(data)

    def read(
        self, data: memoryview, before: FileReading, release: Callable[[], None]
    ) -> FileReading:
        """Read the file, or what has come since an earlier reading of it."""
        return read_file(data, before, release)

    def rows(
        self, data: memoryview, reading: FileReading, window: FetchWindow
    ) -> Iterator[FileBatch]:
        """Read the rows that a reading counted whose step lies in the window."""
        return rows_of(data, reading, window)

    def streams(
        self, data: memoryview, reading: FileReading
    ) -> Iterator[SystemSample | ConsoleText]:
        """Read the samples of the machine and the console output."""
        return streams_of(data, reading)

    def is_copy(self, data: memoryview, whole: memoryview, release: Callable[[], None]) -> bool:
        """Say whether the file holds nothing that another one does not hold too."""
        return is_copy(data, whole, release)


RunFile = WandbFile | OldFolder
"""The file of one session of a run, in one of two forms.

size, modified_ns: of the file itself. written_ns: when this session was last written to. beside:
changes when something changes that is read with the file. first_byte: where its first record may
begin.
"""
