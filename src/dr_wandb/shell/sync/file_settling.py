"""Which listed files need not be fetched, and what their rows say: for a sync, and for its plan.

Rules
- `run_files.decide` says which bytes are wanted. Held ones are used if their blob is there with its
  size. A full reconcile reads and hashes it, and compares it with W&B's own digest.
- Bytes that a source does not have, or by its own word will not give, are not wanted from it.
"""

from dr_wandb.core.contract.file_choice import FileChoice
from dr_wandb.core.contract.records import RunFile
from dr_wandb.core.contract.run_files import (
    Absence,
    Treatment,
    decide,
    is_left_out,
    with_bytes,
    without_bytes,
)
from dr_wandb.shell.store.blobs import BlobStore


class FileSettling:
    """Settles the rows of files, as far as that needs no bytes.

    has_bytes: whether the source gives the bytes of files at all. prove: held blobs are read and
    hashed before they are used.
    """

    def __init__(
        self, choice: FileChoice, blobs: BlobStore, *, has_bytes: bool, prove: bool
    ) -> None:
        self._choice = choice
        self._blobs = blobs
        self._has_bytes = has_bytes
        self._prove = prove

    def settle(self, row: RunFile, held: RunFile | None) -> RunFile | None:
        """Return the row of a file that need not be fetched, None if it has to be.

        row: as it is listed. held: its row in the export, if bytes are held.
        """
        if is_left_out(row):
            return row
        treatment, absence = decide(row, held, self._choice)
        if treatment == Treatment.HELD:
            assert held is not None
            if self._has(held, row.md5):
                return with_bytes(row, held.sha256 or "", held.size or 0, held.md5)
            treatment, absence = decide(row, None, self._choice)
            held = None
        if treatment == Treatment.FETCH:
            absence = self._never_given(row)
        if absence is None:
            return None
        return self.without_bytes(row, held, absence)

    def without_bytes(self, row: RunFile, held: RunFile | None, absence: Absence) -> RunFile:
        """Return the row of a file whose bytes do not come: that of held ones, if there."""
        there = held is not None and self._blobs.holds(held.sha256 or "", held.size)
        return without_bytes(row, held if there else None, absence)

    def _never_given(self, row: RunFile) -> Absence | None:
        """Return why a source does not give the bytes of a file, None if it may do so."""
        if not self._has_bytes:
            return Absence.NOT_IN_SOURCE
        return Absence.LINK_OUTSIDE if row.absent == Absence.LINK_OUTSIDE else None

    def _has(self, held: RunFile, md5: str | None) -> bool:
        sha256 = held.sha256 or ""
        if self._prove:
            return self._blobs.proves(sha256, md5)
        return self._blobs.holds(sha256, held.size)
