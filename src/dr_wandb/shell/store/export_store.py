"""ExportStore: the paths of an export, and how to load it.

Loading changes nothing and needs no W&B. Errors name the file, the line, and what to do.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from os import PathLike
from pathlib import Path
from typing import IO, TypeVar

from msgspec.structs import force_setattr

from dr_wandb.core.contract.artifacts import WandbArtifact
from dr_wandb.core.contract.dataset import (
    ARTIFACTS,
    CONSOLE,
    DATASETS,
    FILES,
    PROJECT_DATASETS,
    REPORTS,
    SWEEPS,
    SYSTEM,
)
from dr_wandb.core.contract.export_files import (
    CHANGES_FILE,
    HISTORY_FILE,
    MANIFEST_FILE,
    RUNS_FILE,
    STATE_FILE,
    is_parquet_history,
)
from dr_wandb.core.contract.failures import DamagedFile, DrWandbError, NoExport
from dr_wandb.core.contract.manifest import ExportManifest
from dr_wandb.core.contract.manifest_entries import ArtifactEntry
from dr_wandb.core.contract.problems import InvalidRequestError, name_problems
from dr_wandb.core.contract.project_records import WandbReport, WandbSweep
from dr_wandb.core.contract.records import (
    ConsoleLine,
    HistoryRow,
    Record,
    RunFile,
    RunSnapshot,
    SystemSample,
)
from dr_wandb.core.contract.row_forms import StoredRow
from dr_wandb.core.contract.scope import RunScope
from dr_wandb.core.contract.select import select_row
from dr_wandb.core.contract.selection import HistorySelection
from dr_wandb.core.contract.state import ExportState
from dr_wandb.shell.store.blobs import FETCH_AGAIN, blob_path, size_of
from dr_wandb.shell.store.decoding import (
    LINES,
    ROWS,
    RUN_FILES,
    SAMPLES,
    SNAPSHOTS,
    Decoders,
    decode_file,
)
from dr_wandb.shell.store.disk_errors import disk_refusals
from dr_wandb.shell.store.documents import check_identity, load_document, load_state
from dr_wandb.shell.store.one_moment import manifest_of_files
from dr_wandb.shell.store.project_records import iter_in_pieces, iter_records
from dr_wandb.shell.store.rows_of_runs import (
    created_at_of,
    require_runs,
    rows_in,
    rows_of_runs,
    runs_in,
    runs_with_lines,
    usable_state,
)

_R = TypeVar("_R", bound=StoredRow)


class ExportNotFoundError(DrWandbError, FileNotFoundError):
    """There is no export of that name."""


class ExportStore(Record, frozen=True, kw_only=True):
    """One named export below `data_root`. Nothing has to exist yet.

    Raises InvalidRequestError for a name that a request refuses too.
    """

    name: str
    data_root: Path

    def __post_init__(self) -> None:
        problems = name_problems("name", self.name)
        if isinstance(self.data_root, str | PathLike):
            force_setattr(self, "data_root", Path(self.data_root))
        if not isinstance(self.data_root, Path):
            problems.append(f"data_root must be a path, not {self.data_root!r}")
        if problems:
            raise InvalidRequestError(problems)

    @property
    def export_dir(self) -> Path:
        """Return the folder of the export."""
        return self.data_root / self.name

    @property
    def manifest_path(self) -> Path:
        """Return the path of the manifest."""
        return self.export_dir / MANIFEST_FILE

    @property
    def state_path(self) -> Path:
        """Return the path of the state, which the next sync builds on."""
        return self.export_dir / STATE_FILE

    @property
    def runs_path(self) -> Path:
        """Return the path of the run snapshots, one in each line."""
        return self.export_dir / RUNS_FILE

    @property
    def history_path(self) -> Path:
        """Return the path of the history rows, one in each line; it may not exist."""
        return self.export_dir / HISTORY_FILE

    @property
    def row_paths(self) -> dict[str, Path]:
        """Return the path of each dataset's rows, by its name; they may not exist."""
        return {name: self.export_dir / dataset.file for name, dataset in DATASETS.items()}

    @property
    def record_paths(self) -> dict[str, Path]:
        """Return the path of each dataset of the project, by its name; they may not exist."""
        return {name: self.export_dir / one.file for name, one in PROJECT_DATASETS.items()}

    @property
    def changes_path(self) -> Path:
        """Return the path of the change log: one line for each sync that changed something."""
        return self.export_dir / CHANGES_FILE

    def load_manifest(self) -> ExportManifest | None:
        """Load the manifest, None if there is no export."""
        return load_document(self.manifest_path, ExportManifest)

    def require_manifest(self) -> ExportManifest:
        """Load the manifest. Raises ExportNotFoundError (a FileNotFoundError) without one."""
        manifest = self.load_manifest()
        if manifest is None:
            raise self.not_found()
        return manifest

    def not_found(self) -> ExportNotFoundError:
        """Return the error for an export that is not there.

        Its failure is `NoSyncYet` if the first sync is at work or was interrupted, else `NoExport`.
        """
        from dr_wandb.shell.store.presence import first_sync_of

        failure = first_sync_of(self.name, self.export_dir)
        return ExportNotFoundError(failure or NoExport(path=str(self.manifest_path)))

    def load_state(self, *, entity: str, project: str) -> ExportState:
        """Load the state that the next sync of this project builds on, a new one if there is none.

        Raises DrWandbError if the export belongs to another project.
        """
        read = load_state(self.state_path)
        if read is None:
            return ExportState(name=self.name, entity=entity, project=project)
        state = read.state
        check_identity(self.state_path, state.entity, state.project, entity, project)
        return state

    def load_run_snapshots(self) -> list[RunSnapshot]:
        """Load the run snapshots, newest first."""
        self.require_manifest()
        return list(decode_file(self.runs_path, SNAPSHOTS))

    def iter_history_rows(
        self, *, run_ids: Iterable[str] | None = None, keys: Iterable[str] | None = None
    ) -> Iterator[HistoryRow]:
        """Load the history rows one at a time, in stored order; none in a metadata export.

        run_ids: load the rows of these runs only. If the file is as the last sync left it, nothing
        else of it is read; otherwise all of it. keys: load the rows that have at least one of these
        metrics, with just these, as `HistorySelection.keys` does. A single text is one id or one
        key. An empty collection gives no row, and so does a run without rows.

        Raises InvalidRequestError for a blank id or key, and for an id that the export does not
        have; it names the nearest ones.
        """
        manifest = self.require_manifest()
        selected = None if keys is None else _texts(keys)
        selection = HistorySelection(keys=selected)
        wanted = None if run_ids is None else frozenset(RunScope(run_ids=_texts(run_ids)).run_ids)
        if manifest.history_path is None:
            rows = self._rows_in_parquet(manifest, wanted)
        else:
            rows = self._rows_in_lines(wanted)
        if selected is None:
            return rows
        if not selected:  # an empty selection would keep everything
            return iter(())
        return (kept for row in rows if (kept := select_row(row, selection)) is not None)

    def iter_artifacts(self, *, entries: bool = True) -> Iterator[WandbArtifact]:
        """Load the artifact versions one at a time, by collection and version.

        entries: with those of their manifests; otherwise `entries` is None, and they are not read.
        None if they were never requested.
        """
        self.require_manifest()
        return iter_records(self.record_paths[ARTIFACTS], WandbArtifact, large=entries)

    def iter_artifact_entries(self) -> Iterator[tuple[WandbArtifact, ArtifactEntry]]:
        """Load the entries of all manifests one at a time, each with its version without entries.

        However many entries a version has, few are in memory.
        """
        self.require_manifest()
        for record, pieces in iter_in_pieces(self.record_paths[ARTIFACTS], WandbArtifact):
            for some in pieces:
                for entry in some:
                    yield record, entry

    def iter_sweeps(self) -> Iterator[WandbSweep]:
        """Load the sweeps one at a time, by their ids; none if they were never requested."""
        self.require_manifest()
        return iter_records(self.record_paths[SWEEPS], WandbSweep)

    def iter_reports(self) -> Iterator[WandbReport]:
        """Load the reports one at a time, by their ids; none if they were never requested."""
        self.require_manifest()
        return iter_records(self.record_paths[REPORTS], WandbReport)

    def iter_system_samples(
        self, *, run_ids: Iterable[str] | None = None
    ) -> Iterator[SystemSample]:
        """Load the samples of machines one at a time, by run id and time.

        run_ids: as `iter_history_rows` takes it. None in an export without samples.
        """
        return self._iter_rows(SYSTEM, SAMPLES, run_ids)

    def iter_console_lines(self, *, run_ids: Iterable[str] | None = None) -> Iterator[ConsoleLine]:
        """Load the lines that programs printed one at a time, by run id and number.

        run_ids: as `iter_history_rows` takes it. None in an export without a console.
        """
        return self._iter_rows(CONSOLE, LINES, run_ids)

    def iter_files(self, *, run_ids: Iterable[str] | None = None) -> Iterator[RunFile]:
        """Load what is known of the files of runs one at a time, by run id and path.

        run_ids: as `iter_history_rows` takes it. None in an export without files.
        """
        return self._iter_rows(FILES, RUN_FILES, run_ids)

    def open_blob(self, sha256: str) -> IO[bytes]:
        """Open the bytes of a file for reading. Raises DrWandbError if they are not there."""
        path = blob_path(self.export_dir, sha256)
        if size_of(path) is None:
            failure = DamagedFile(path=str(path), reason="the file is missing", remedy=FETCH_AGAIN)
            raise DrWandbError(failure)
        with disk_refusals(path):
            return path.open("rb")

    def _iter_rows(
        self, dataset: str, decoders: Decoders[_R], run_ids: Iterable[str] | None
    ) -> Iterator[_R]:
        """Load the rows of a dataset other than the history: ROWS decodes those of no own form."""
        path, held = self.row_paths[dataset], self.require_manifest().files
        wanted = None if run_ids is None else frozenset(RunScope(run_ids=_texts(run_ids)).run_ids)
        there = path.name in held
        if wanted is None:
            return decode_file(path, decoders) if there else iter(())
        state = usable_state(self.state_path)
        in_file = partial(runs_in, path, dataset, decoders)
        require_runs(wanted, state, self.runs_path, in_file if there else lambda _: frozenset())
        return rows_in(path, state, wanted, dataset, decoders) if wanted and there else iter(())

    def _rows_in_lines(self, wanted: frozenset[str] | None) -> Iterator[HistoryRow]:
        path = self.history_path
        if wanted is None:
            return decode_file(path, ROWS)
        state = usable_state(self.state_path)
        require_runs(wanted, state, self.runs_path, partial(runs_with_lines, path))
        return rows_of_runs(path, state, wanted) if wanted else iter(())

    def _rows_in_parquet(
        self, manifest: ExportManifest, wanted: frozenset[str] | None
    ) -> Iterator[HistoryRow]:
        """Load rows of an export without `history.jsonl`: from its Parquet files, if it has any."""
        if not any(map(is_parquet_history, manifest.files)):
            if wanted is not None:
                state = usable_state(self.state_path)
                require_runs(wanted, state, self.runs_path, lambda _: frozenset())
            return iter(())
        from dr_wandb.shell.store.parquet_history import ParquetHistory

        history = ParquetHistory(self.export_dir, manifest_of_files(self.export_dir, manifest))
        if wanted is None:
            return history.rows()
        state = usable_state(self.state_path)
        require_runs(wanted, state, self.runs_path, lambda _: history.run_ids())
        return history.rows({run_id: created_at_of(run_id, state) for run_id in wanted})


def _texts(texts: Iterable[str]) -> tuple[str, ...]:
    return (texts,) if isinstance(texts, str) else tuple(texts)
