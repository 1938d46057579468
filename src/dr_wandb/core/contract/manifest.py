"""What one export says of itself: `manifest.json`.

Rules
- Paths are relative to the export, so that it can be moved.
- The fields of dr-wandb 3.0.3 come first and keep their meaning, except that paths are relative.
"""

import msgspec

from dr_wandb.core.contract.file_choice import FileChoice
from dr_wandb.core.contract.records import WITHOUT_PARQUET, Record
from dr_wandb.core.contract.request import ExportMode
from dr_wandb.core.contract.scope import RunScope
from dr_wandb.core.contract.selection import EVERYTHING, HistorySelection, HistoryWindow


class DataFile(Record, omit_defaults=True, frozen=True, kw_only=True):
    """One data file: its lines, its bytes, and the SHA-256 of its content in hex.

    Of a Parquet file, `lines` is the number of rows in it (of history, not of its table).
    `contents` is a digest that does not depend on the program that wrote it, see docs/format.md;
    `writer` names that program.
    """

    lines: int
    bytes: int
    sha256: str
    contents: str = ""
    writer: str = ""


class RequestedDataset(Record, frozen=True, kw_only=True):
    """How a dataset was last requested: the formats of its file, and the selection of its rows.

    `contents`: which bytes were wanted beside the rows; absent if the dataset has none.
    """

    formats: list[str] = msgspec.field(default_factory=lambda: ["jsonl"])
    selection: HistorySelection = EVERYTHING
    contents: FileChoice | msgspec.UnsetType = msgspec.UNSET


class Requested(Record, frozen=True, kw_only=True):
    """What the syncs of an export requested, so that it can be requested again.

    `datasets`: each as in the last sync that requested it. `include_metadata`, `any_project` and
    `source` are those of the last sync; `source` is as `--source` takes it, with a path relative to
    the export.
    `host` is the W&B server of the runs, "" as long as none was asked.
    """

    datasets: dict[str, RequestedDataset] = msgspec.field(default_factory=dict)
    include_metadata: bool = False
    any_project: bool = False
    source: str = "api"
    host: str = ""


class HeldDataset(Record, frozen=True, kw_only=True):
    """What an export holds of a dataset other than the history.

    `short_runs`: as in the manifest, of this dataset alone. `sampled_runs`: how many rows W&B lists
    of the runs of which it gave a sample; `capped_runs` the same of those of which it keeps no more
    rows than are held. The latter are in `short_runs` too.
    """

    rows: int
    short_runs: dict[str, int] = msgspec.field(default_factory=dict)
    sampled_runs: dict[str, int] = msgspec.field(default_factory=dict)
    capped_runs: dict[str, int] = msgspec.field(default_factory=dict)


class ExportManifest(Record, frozen=True, kw_only=True):
    """What one named export holds.

    `mode` is "history" once there is a history, in any format. `history_count` and the selection
    describe it; a later metadata sync leaves them as they are. `history_path` is its file of lines,
    None if it is in Parquet alone. Paths are relative to the export.
    `scope` is that of the last sync. `short_runs` are those whose source lists more lines than it
    gave rows, with the difference: still waited for, or accepted as short. `missing_runs` are gone
    upstream and `out_of_scope_runs` have left the scope, each with the time of the sync that first
    found it so. `moved_from` are the earlier addresses of the project, ENTITY/PROJECT, oldest
    first: snapshots of runs that were gone before a move still have them. `requested` is what a
    repeated sync asks for, None before the first sync that notes it. `datasets`: what is held
    beside the history, by name; not there if nothing is.
    """

    schema_version: int = WITHOUT_PARQUET
    name: str
    entity: str
    project: str
    mode: ExportMode
    created_at: str
    updated_at: str
    runs_path: str
    history_path: str | None = None
    run_count: int = 0
    history_count: int = 0
    selected_history_keys: list[str] | None = None
    history_window: HistoryWindow | None = None
    scope: RunScope | None = None
    short_runs: dict[str, int] = msgspec.field(default_factory=dict)
    missing_runs: dict[str, str] = msgspec.field(default_factory=dict)
    out_of_scope_runs: dict[str, str] = msgspec.field(default_factory=dict)
    files: dict[str, DataFile] = msgspec.field(default_factory=dict)
    tool_version: str = ""
    requested: Requested | None = None
    moved_from: list[str] = msgspec.field(default_factory=list)
    datasets: dict[str, HeldDataset] | msgspec.UnsetType = msgspec.UNSET

    @property
    def other_datasets(self) -> dict[str, HeldDataset]:
        """Return what is held beside the history, by name."""
        return {} if isinstance(self.datasets, msgspec.UnsetType) else self.datasets
