"""ExportStore: the paths of an export, and how to load it.

Loading changes nothing and needs no W&B: it reads the five visible files. Errors name the file,
the line, and what to do.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec.structs import force_setattr, replace
from returns.pipeline import is_successful
from returns.result import Result

from dr_wandb.core.contract.codec import decode_row, decode_rows, decode_snapshot, decode_snapshots
from dr_wandb.core.contract.dataset import DATASETS
from dr_wandb.core.contract.export_files import (
    CHANGES_FILE,
    HISTORY_FILE,
    MANIFEST_FILE,
    RUNS_FILE,
    STATE_FILE,
)
from dr_wandb.core.contract.failures import (
    DamagedFile,
    DrWandbError,
    NewerSchema,
    NoExport,
    WrongExport,
)
from dr_wandb.core.contract.manifest import ExportManifest
from dr_wandb.core.contract.problems import InvalidRequestError, name_problems
from dr_wandb.core.contract.records import SCHEMA_VERSION, HistoryRow, Record, RunSnapshot
from dr_wandb.core.contract.state import ExportState
from dr_wandb.shell.store.disk_errors import disk_refusals
from dr_wandb.shell.store.guards import require_visible_file
from dr_wandb.shell.store.state_files import ReadState, decode_state

_R = TypeVar("_R", bound=Record)
_D = TypeVar("_D")

_BUFFER_BYTES = 1 << 17
_DECODED_BYTES = 1 << 13
"""How many bytes are decoded at once: records still in the processor's cache are used faster."""

RESTORE = "restore it from a copy, or remove the file and sync again"
RESTORE_LINE = "restore the file, or delete that line and sync again to read its run again"


class ExportNotFoundError(DrWandbError, FileNotFoundError):
    """There is no export of that name."""


class _Versioned(msgspec.Struct):
    """The field that is checked before all others."""

    schema_version: int = 1


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
            raise ExportNotFoundError(NoExport(path=str(self.manifest_path)))
        return manifest

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
        return list(_decode_file(self.runs_path, decode_snapshots, decode_snapshot))

    def iter_history_rows(self) -> Iterator[HistoryRow]:
        """Load the history rows one at a time, in stored order; none in a metadata export."""
        if self.require_manifest().history_path is None:
            return iter(())
        return _decode_file(self.history_path, decode_rows, decode_row)


def read_state(path: Path) -> ReadState | None:
    """Read a state of any earlier or present form, None if there is no such file.

    A run is read only when it is looked at.
    """
    with disk_refusals(path):
        return _load(path, lambda *content: decode_state(path.parent, *content))


def load_state(path: Path) -> ReadState | None:
    """Read a state as `read_state` does, and all its runs."""
    read = read_state(path)
    if read is None:
        return None
    with disk_refusals(path):
        runs = dict(sorted(read.state.runs.items()))
        return read._replace(state=replace(read.state, runs=runs))


def load_document(path: Path, kind: type[_R]) -> _R | None:
    """Load a manifest, None if there is no such file."""
    return _load(path, lambda content, _: msgspec.json.decode(content, type=kind))


def _load(path: Path, read: Callable[[bytes, int], _D]) -> _D | None:
    """Read a document if its schema version is known."""
    with disk_refusals(path):
        require_visible_file(path)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
    try:
        version = msgspec.json.decode(content, type=_Versioned).schema_version
        if version > SCHEMA_VERSION:
            raise DrWandbError(NewerSchema(path=str(path), found=version, known=SCHEMA_VERSION))
        if version < 1:
            raise ValueError(f"there is no schema_version {version}")
        return read(content, version)
    except (ValueError, RecursionError) as error:
        raise DrWandbError(DamagedFile(path=str(path), reason=str(error), remedy=RESTORE)) from None


def check_identity(path: Path, entity: str, project: str, *wanted: str) -> None:
    """Raise DrWandbError if a file belongs to another project than the wanted one."""
    if (entity, project) != wanted:
        raise DrWandbError(
            WrongExport(path=str(path), found=f"{entity}/{project}", wanted="/".join(wanted))
        )


def _decode_file(
    path: Path,
    decode_lines: Callable[[Iterable[bytes]], Sequence[_R] | None],
    decode_line: Callable[[bytes], Result[_R, str]],
) -> Iterator[_R]:
    """Decode many lines at once, and one by one if that fails for one of them."""
    with disk_refusals(path):
        require_visible_file(path)
        if not path.exists():
            remedy = "restore it, or sync again"
            failure = DamagedFile(path=str(path), reason="the file is missing", remedy=remedy)
            raise DrWandbError(failure)
        number = 0
        with path.open("rb", buffering=_BUFFER_BYTES) as stream:
            while lines := stream.readlines(_DECODED_BYTES):
                records = decode_lines(lines)
                if records is None:
                    numbered = enumerate(lines, start=number + 1)
                    yield from (decoded(decode_line(line), path, at) for at, line in numbered)
                else:
                    yield from records
                number += len(lines)


def decoded(result: Result[_R, str], path: Path, number: int, remedy: str = RESTORE_LINE) -> _R:
    """Return a decoded line; raise DrWandbError that names the file and the line."""
    if is_successful(result):
        return result.unwrap()
    raise DrWandbError(
        DamagedFile(path=str(path), line=number, reason=result.failure(), remedy=remedy)
    )


def load_manifest(name: str, data_root: Path) -> ExportManifest | None:
    """Load the manifest of an export, None if there is no export of that name."""
    return ExportStore(name=name, data_root=data_root).load_manifest()


def load_run_snapshots(name: str, data_root: Path) -> list[RunSnapshot]:
    """Load the run snapshots of an export, newest first."""
    return ExportStore(name=name, data_root=data_root).load_run_snapshots()


def iter_history_rows(name: str, data_root: Path) -> Iterator[HistoryRow]:
    """Load the history rows of an export, one at a time."""
    return ExportStore(name=name, data_root=data_root).iter_history_rows()
