"""The two forms of a run's session on disk.

Rules
- A session is a `.wandb` file, or an older folder with a history of lines. All other modules use
  a `RunFile`, whichever form it has.
- Facts that need no open file are here. The content is read by a decoder, which imports NumPy and
  protobuf: it is imported when the first file is opened, so a sync that finds every file unchanged
  does without them.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from dr_wandb.core.contract.fetch_window import FetchWindow
from dr_wandb.core.offline.header import HEADER
from dr_wandb.core.offline.old_folder import METADATA, name_run
from dr_wandb.core.offline.reading import FileReading
from dr_wandb.core.offline.records import RunRecord
from dr_wandb.shell.sources import FileBatch
from dr_wandb.shell.sources.offline.run_files import FileOnDisk, folder_name, run_id_of

if TYPE_CHECKING:
    from dr_wandb.shell.sources.offline.wandb_decoder import WandbDecoder


class Decoder(Protocol):
    """Decodes the content of one file, given as a buffer of the length found by discovery."""

    def problem(self, data: memoryview) -> str | None:
        """Return why this is not a file of its form, None if it is one."""
        ...

    def identify(self, data: memoryview) -> RunRecord | None:
        """Return the record that names the run, None if the file has none."""
        ...

    def read(
        self, data: memoryview, before: FileReading, release: Callable[[], None]
    ) -> FileReading:
        """Read the file, or only what was appended since an earlier reading of it."""
        ...

    def first_step(self, data: memoryview) -> int | None:
        """Return the step of the first row, None if there is no row or it has no step."""
        ...

    def rows(
        self, data: memoryview, reading: FileReading, window: FetchWindow
    ) -> Iterator[FileBatch]:
        """Read those rows of a reading whose step is in the window."""
        ...

    def is_copy(self, data: memoryview, whole: memoryview, release: Callable[[], None]) -> bool:
        """Say whether another file holds all content of this one."""
        ...

    def repairs(
        self, data: memoryview, whole: memoryview, release: Callable[[], None]
    ) -> tuple[tuple[int, int], ...]:
        """Return the byte ranges that read in this damaged copy, but not in the damaged file."""
        ...


class WandbFile(FileOnDisk, frozen=True, kw_only=True):
    """A `.wandb` file, as SDKs since 0.10 write it."""

    first_byte = len(HEADER)

    @property
    def beside(self) -> str:
        """Return the copies from which damaged parts of this file are read, as text."""
        return "\n".join(f"{repair.copy} {repair.ranges}" for repair in self.repairs)

    @property
    def written_ns(self) -> int:
        """Return the time of the last write, in epoch nanoseconds."""
        return self.modified_ns

    @property
    def run_id(self) -> str:
        """Return the run id in the name of the file."""
        return run_id_of(self.location)

    @property
    def metadata_path(self) -> Path:
        """Return the path of W&B's `wandb-metadata.json` for this file; it may not exist."""
        return Path(self.folder) / "files" / METADATA

    @property
    def decoder(self) -> "WandbDecoder":
        """Import the decoder of `.wandb` files, and return it."""
        from dr_wandb.shell.sources.offline.wandb_decoder import WandbDecoder

        return WandbDecoder()


class OldFolder(FileOnDisk, frozen=True, kw_only=True):
    """A folder of SDK 0.9 or older. The file is its history, which may not exist yet.

    beside: the sizes and times of the other files, as text. written_ns: the time of the last write
    to any of the files.
    """

    beside: str
    written_ns: int

    first_byte = 0

    @property
    def called(self) -> str:
        """Return the name of the folder."""
        return folder_name(self.folder)

    @property
    def run_id(self) -> str:
        """Return the run id in the name of the folder."""
        return name_run(self.called, None).run_id

    @property
    def metadata_path(self) -> Path:
        """Return the path of `wandb-metadata.json`; it may not exist."""
        return Path(self.folder) / METADATA

    @property
    def decoder(self) -> Decoder:
        """Import the decoder of old folders, and return it."""
        from dr_wandb.shell.sources.offline.old_folder_decoder import OldFolderDecoder

        return OldFolderDecoder(self)


RunFile = WandbFile | OldFolder
"""The file of one session of a run, in one of two forms.

size, modified_ns: of the file itself. written_ns: the last write to this session. beside: changes
if other files change that are read with this one. first_byte: the offset at which its first record
may begin.
"""
