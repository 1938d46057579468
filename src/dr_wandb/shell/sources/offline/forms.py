"""The two forms in which a session of a run lies on the disk.

Rules
- A session is a `.wandb` file, or a folder from before these with a history of lines. Everything
  else asks a `RunFile`, whichever form it has.
- What is known of a file without opening it is here. Its content is the matter of a decoder, which
  brings NumPy and protobuf: it is imported when the first file is opened, so a sync that finds
  every file as it was does without.
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
    """Decodes the content of one file, given as a buffer of the length that it was found with."""

    def problem(self, data: memoryview) -> str | None:
        """Say why this is no file of its form, None if it is one."""
        ...

    def identify(self, data: memoryview) -> RunRecord | None:
        """Return what the run is called, None if the file does not say it."""
        ...

    def read(
        self, data: memoryview, before: FileReading, release: Callable[[], None]
    ) -> FileReading:
        """Read the file, or what has come since an earlier reading of it."""
        ...

    def first_step(self, data: memoryview) -> int | None:
        """Return the step of the first row, None if there is no row or it has no step."""
        ...

    def rows(
        self, data: memoryview, reading: FileReading, window: FetchWindow
    ) -> Iterator[FileBatch]:
        """Read the rows that a reading counted whose step lies in the window."""
        ...

    def is_copy(self, data: memoryview, whole: memoryview, release: Callable[[], None]) -> bool:
        """Say whether the file holds nothing that another one does not hold too."""
        ...

    def repairs(
        self, data: memoryview, whole: memoryview, release: Callable[[], None]
    ) -> tuple[tuple[int, int], ...]:
        """Return which byte ranges this damaged copy of a damaged file has more than that."""
        ...


class WandbFile(FileOnDisk, frozen=True, kw_only=True):
    """A `.wandb` file, as SDKs since 0.10 write it."""

    first_byte = len(HEADER)

    @property
    def beside(self) -> str:
        """Return of which copies parts are taken that are damaged in this file."""
        return "\n".join(f"{repair.copy} {repair.ranges}" for repair in self.repairs)

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

    @property
    def decoder(self) -> "WandbDecoder":
        """Import what decodes `.wandb` files, and return it."""
        from dr_wandb.shell.sources.offline.wandb_decoder import WandbDecoder

        return WandbDecoder()


class OldFolder(FileOnDisk, frozen=True, kw_only=True):
    """A folder of SDK 0.9 or older. The file is its history, which may not be there yet.

    beside: the digest of the sizes and times of the other files. written_ns: when the latest of
    all was written to.
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
        """Return the id that the name of the folder tells."""
        return name_run(self.called, None).run_id

    @property
    def metadata_path(self) -> Path:
        """Return where `wandb-metadata.json` lies, if there is one."""
        return Path(self.folder) / METADATA

    @property
    def decoder(self) -> Decoder:
        """Import what decodes old folders, and return it."""
        from dr_wandb.shell.sources.offline.old_folder_decoder import OldFolderDecoder

        return OldFolderDecoder(self)


RunFile = WandbFile | OldFolder
"""The file of one session of a run, in one of two forms.

size, modified_ns: of the file itself. written_ns: when this session was last written to. beside:
changes when something changes that is read with the file. first_byte: where its first record may
begin.
"""
