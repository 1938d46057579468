"""Which files a table of a dataset has, and what each of them is made of.

Rules
- A run is in the pack of its month of creation and its digest, as a small run of the history is.
- The contents of a pack are those of the lines of its runs. So it is known whether a pack is as it
  was without reading it, or a line.
"""

from collections.abc import Mapping
from typing import NamedTuple

from dr_wandb.core.columnar.digest import pack_digest
from dr_wandb.core.columnar.files import pack_name
from dr_wandb.core.contract.export_files import table_folder
from dr_wandb.core.contract.part import ByteRange
from dr_wandb.core.contract.state import RunTracking


class TablePack(NamedTuple):
    """A file of a table. runs: the lines of each run in it, by run id, ascending."""

    runs: dict[str, ByteRange]

    @property
    def rows(self) -> int:
        """Return how many rows there are."""
        return sum(lines.rows for lines in self.runs.values())

    @property
    def contents(self) -> str:
        """Return the digest of the contents, see `pack_digest`."""
        return pack_digest((run_id, lines.digest) for run_id, lines in self.runs.items())


def table_packs(dataset: str, runs: Mapping[str, RunTracking]) -> dict[str, TablePack]:
    """Return the files of the table of a dataset, by their paths in the export."""
    packs: dict[str, TablePack] = {}
    for run_id in sorted(runs):
        run = runs[run_id]
        lines = run.part(dataset).stored
        if lines is not None and lines.rows:
            name = table_pack(dataset, run_id, run.created_at)
            packs.setdefault(name, TablePack({})).runs[run_id] = lines
    return packs


def table_pack(dataset: str, run_id: str, created_at: str | None) -> str:
    """Return the path of the file that holds a run in the table of a dataset."""
    return f"{table_folder(dataset)}/{pack_name(run_id, created_at)}"
